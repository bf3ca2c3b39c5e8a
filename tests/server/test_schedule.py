"""Scheduled snapshots: each is restored and compared before it counts; trouble is told and ends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.errors import Busy
from mesh.registry import kv
from mesh.registry.envelope import Envelope, seal
from mesh.registry.snapshots import Open, Opened, OwnSchedule, Schedules
from mesh.rpc.client import Client
from mesh.rpc.client import Options as ClientOptions
from mesh.rpc.forwarded import Told
from mesh.server.machine import Machine
from mesh.server.schedule import VERIFIER, Peers, Schedule
from mesh.server.shelf import LIST, Settings, Shelf
from mesh.server.snapshots import OPEN_MAX, Place, Snapshots
from mesh.server.verification import restored

DAMAGE = """
import subprocess, sys
from pathlib import Path
path = Path(sys.argv[1])
data = bytearray(path.read_bytes())
data[len(data) // 2] ^= 4
path.write_bytes(data)
sys.exit(subprocess.call([sys.executable, "-m", "mesh.server.verification", str(path)]))
"""


class Alone:
    """A cluster of one server, which leads."""

    is_leader = True
    leader_address = "127.0.0.1:1"
    knows_leader = True
    peer_addresses = ("127.0.0.1:1",)
    last_contact = 0.0
    applied_index = 9
    cluster_id = "c"
    term = 2

    def leased(self) -> bool:
        return True

    async def barrier(self) -> None:
        pass

    async def propose(self, entry: bytes) -> object:
        raise AssertionError("nothing is written")

    def begin(self, entry: bytes, tell: Told) -> bool:
        raise AssertionError("nothing is written")


class World:
    """A server with some keys, and its schedule."""

    def __init__(self, folder: Path, clock: SystemClock | None = None) -> None:
        self.machine = Machine()
        self.number = 1
        self.consensus, clock = Alone(), clock or SystemClock()
        place, world = Place("id", "s1", "dc1", str(folder)), (clock, SeededDice(1))
        client = Client(ClientOptions("s1", "dc1"))
        reach = (client, lambda _: "")
        self.snapshots = Snapshots(
            place, self.machine, (self.consensus, self.consensus), reach, world
        )
        self.shelf = folder / "kept"
        settings = Settings(3600.0, str(self.shelf), 2)
        peers = Peers(client, lambda: [("gone", "127.0.0.1:1")])
        self.schedule = Schedule(self.snapshots, self.consensus, settings, peers, clock)
        self.told: list[tuple[str, str]] = []
        self.schedule.tell = lambda *said: self.told.append(said)
        self.write()

    def write(self) -> None:
        self.number += 1
        command = kv.Set(f"key/{self.number}", b"x" * 300)
        self.machine.apply(self.number, seal(Envelope(1, f"r{self.number}", 1.0, "", "", command)))

    def names(self) -> list[str]:
        return sorted(path.name for path in self.shelf.iterdir())


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.snapshots.stop()


async def test_each_is_restored_and_compared_and_only_the_newest_stay(world: World) -> None:
    for _ in range(3):
        world.write()
        await world.schedule.take()
    assert [status for status, _ in world.told] == ["passing"] * 3
    own = await world.schedule.orders[OwnSchedule](OwnSchedule())
    assert [one.index for one in own.kept] == [5, 4]
    assert all(one.verified and one.size for one in own.kept)
    assert world.names() == sorted([LIST, *(one.name for one in own.kept)])
    path = world.shelf / own.kept[0].name
    assert restored(path) == own.kept[0].digest


async def test_what_a_disk_damages_turns_health_red_until_the_next_good_one(world: World) -> None:
    world.schedule._verifier = (sys.executable, "-c", DAMAGE)
    await world.schedule.take()
    status, reason = world.told[-1]
    assert status == "critical"
    assert "it cannot be restored: the snapshot is damaged" in reason
    assert world.names() == []
    assert world.schedule.counters == {"taken": 0, "failed": 1}
    world.schedule._verifier = VERIFIER
    await world.schedule.take()
    assert world.told[-1][0] == "passing"
    assert not world.schedule.problem


async def test_a_store_that_comes_out_different_is_red(world: World) -> None:
    world.schedule._verifier = (sys.executable, "-c", "print('00')")
    await world.schedule.take()
    assert world.told[-1] == (
        "critical",
        "the scheduled snapshot failed: restored, it has other rows than this server",
    )


async def test_a_directory_that_cannot_be_written_is_red(world: World) -> None:
    world.shelf.write_text("a file where the directory should be")
    await world.schedule.take()
    assert world.told[-1][0] == "critical"
    assert "File exists" in world.told[-1][1] or "Not a directory" in world.told[-1][1]
    world.shelf.unlink()
    await world.schedule.take()
    assert world.told[-1][0] == "passing"


async def test_a_leader_that_was_deposed_is_green_again(world: World) -> None:
    world.schedule._verifier = (sys.executable, "-c", "print('00')")
    running = asyncio.ensure_future(world.schedule.run())
    while not world.told:
        await asyncio.sleep(0.01)
    assert world.told[0][0] == "critical"
    world.consensus.is_leader = False
    while world.told[-1][0] != "passing":
        await asyncio.sleep(0.01)
    running.cancel()


async def test_servers_that_cannot_be_asked_are_named(world: World) -> None:
    found = await world.schedule.orders[Schedules](Schedules())
    assert [one.server for one in found] == ["gone", "s1"]
    assert "cannot connect" in found[0].error


def test_what_was_half_written_goes(tmp_path: Path) -> None:
    shelf = Shelf(str(tmp_path))
    old = shelf.begin("mesh-dc1-1-1.snap")
    shelf.write(old, [b"x"])
    assert shelf.begin("mesh-dc1-2-2.snap") != old
    assert not old.exists()
    (tmp_path / LIST).write_text("no JSON")
    assert shelf.listed() == []


async def test_no_more_are_read_at_once_than_may_be(world: World) -> None:
    caught_up = asyncio.Event()
    world.consensus.barrier = caught_up.wait  # type: ignore[method-assign, assignment]
    take = world.snapshots.orders[Open]
    asked = [asyncio.ensure_future(take(Open())) for _ in range(OPEN_MAX + 2)]
    await asyncio.sleep(0)
    caught_up.set()
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(one) for one in found] == [Opened] * OPEN_MAX + [Busy] * 2


class Wall(SystemClock):
    """A clock whose time of day can be set."""

    ahead = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead


async def test_a_clock_that_was_ahead_keeps_no_new_one_away(tmp_path: Path) -> None:
    clock = Wall()
    world = World(tmp_path, clock)
    clock.ahead = 1e8
    for _ in range(2):
        world.write()
        await world.schedule.take()
    clock.ahead = 0.0
    world.schedule._tried = float("-inf")
    assert await world.schedule._due()
    world.write()
    await world.schedule.take()
    assert [one.index for one in await world.schedule._kept()] == [5, 4]
    world.schedule._tried = float("-inf")
    assert not await world.schedule._due()
    await world.snapshots.stop()


async def test_a_list_that_cannot_be_written_leaves_no_file_behind(world: World) -> None:
    await world.schedule.take()
    before = world.names()
    (world.shelf / f"{LIST}.new").mkdir()
    world.write()
    await world.schedule.take()
    assert world.told[-1][0] == "critical"
    assert world.names() == sorted([*before, f"{LIST}.new"])


async def test_only_the_owner_may_read_them_and_files_of_others_stay(world: World) -> None:
    world.shelf.mkdir()
    for name in ("mesh-notes.part", "mesh-mine.snap"):
        (world.shelf / name).write_text("not ours")
    for _ in range(3):
        world.write()
        await world.schedule.take()
    kept = await world.schedule._kept()
    assert {(world.shelf / one.name).stat().st_mode & 0o777 for one in kept} == {0o600}
    expected = [LIST, "mesh-mine.snap", "mesh-notes.part", *(one.name for one in kept)]
    assert world.names() == sorted(expected)
