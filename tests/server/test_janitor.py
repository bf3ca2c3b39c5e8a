"""The janitor frees what a restore left, once nobody goes on with it, and nothing else."""

from typing import Any

from mesh.clock import SeededDice, SystemClock
from mesh.registry.envelope import Envelope, seal
from mesh.registry.levels import Found
from mesh.registry.port import Answer, Command, Query, ReadOptions, WriteOptions
from mesh.registry.restores import CHUNKS, CLEANED_ROWS, IDLE_SECONDS, Add, Begin, State
from mesh.server.janitor import Janitor
from mesh.server.machine import Machine


class AsLeader:
    """Reads and writes one machine, whose log goes by this clock."""

    def __init__(self) -> None:
        self.machine, self.index, self.time = Machine(), 1, 0.0

    async def read(self, query: Query[Any], options: ReadOptions) -> Answer[Any]:
        live = self.machine.answers.read(query)
        return Answer(live.value, live.index)

    async def write(self, command: Command[Any], options: WriteOptions) -> Any:
        self.index += 1
        request = options.request or f"r{self.index}"
        entry = Envelope(4, request, self.time, "", "t", command, since=self.index - 1)  # type: ignore[arg-type]
        return self.machine.apply(self.index, seal(entry))


class Leads:
    is_leader = True


async def test_it_frees_what_was_left_a_part_at_a_time() -> None:
    leader, clock = AsLeader(), SystemClock()
    janitor = Janitor(leader, Leads(), (clock, SeededDice(1)))  # type: ignore[arg-type]
    assert await janitor.look() == 0  # Below the level at which there are restores.
    leader.time = clock.wall()
    await leader.write(Found(4), WriteOptions())
    await leader.write(Begin("x", "s", 10_000, 4), WriteOptions())
    count = CLEANED_ROWS + 3
    for number in range(count):
        await leader.write(Add("x", number, b"?"), WriteOptions())
    before = leader.index
    assert await janitor.look() == 0
    assert leader.index == before  # Somebody may still go on with it.
    leader.time -= IDLE_SECONDS + 1
    await leader.write(Add("x", count, b"?"), WriteOptions())
    leader.time += IDLE_SECONDS + 1
    assert await janitor.look() == 4
    assert await janitor.look() == 0
    assert leader.machine.answers.read(State()).value == []
    assert not leader.machine.database.contents[CHUNKS.name].rows
    assert leader.machine.database.staging is None
