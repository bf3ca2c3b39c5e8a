"""SIGKILL at each step of a snapshot on the disk of a real process, and what is there then."""

import asyncio
import json
import os
from functools import partial
from pathlib import Path

import msgspec

from mesh.errors import Unreachable
from tests.raft.cluster import Cluster, Load, Process, until

STEPS_MAX = 60
THRESHOLD = 20
COUNT = 9 * THRESHOLD  # Entries after which there is a snapshot, however large the state is.


async def save_twice(server: Process, acknowledged: list[str]) -> None:
    """Propose until it is through with two snapshots; what it acknowledged is noted.

    Raises Unreachable when it dies before.
    """
    saved = after = 0
    while after < 3:  # What the snapshot made needless goes with the next ones.
        command = f"{len(acknowledged)}".ljust(100)
        await server.ask("propose", command)
        acknowledged.append(command)
        before, saved = saved, (await server.ask("status"))["counters"]["snapshots_saved"]
        after += saved >= 2 and saved == before


async def leads(server: Process) -> bool:
    return bool((await server.ask("status"))["leased"])


async def test_at_each_step_of_saving(tmp_path: Path) -> None:
    """One voter, so that nobody else has what it lost; segments go with each snapshot."""
    done, step = False, -1
    while not done:
        step += 1
        assert step < STEPS_MAX
        alone = Cluster(tmp_path / str(step), 1, threshold=THRESHOLD)
        server, founders = alone.servers[0], [msgspec.to_builtins(peer) for peer in alone.peers]
        acknowledged: list[str] = []
        await server.start(["tests.crashes.crashing", "save", str(step)])
        await server.ask("bootstrap", json.dumps(founders))
        await until(partial(leads, server))
        try:
            await save_twice(server, acknowledged)
            done = True
        except Unreachable:
            pass
        await server.kill()
        await server.start()
        await until(partial(leads, server))
        await server.ask("barrier")
        held = await server.ask("commands")
        await server.ask("propose", "goes on")
        await server.kill()
        assert held[: len(acknowledged)] == acknowledged
        assert len(held) <= len(acknowledged) + 1  # The last may have been written, unanswered.
    assert step >= 10  # Each of them was a crash.


async def test_at_each_step_of_receiving(tmp_path: Path) -> None:
    """A follower that is behind its leader's log: it dies while it takes in the snapshot."""
    async with Cluster(tmp_path, threshold=THRESHOLD) as cluster:
        leader = await cluster.leader()
        away = next(server for server in cluster.servers if server is not leader)
        await leader.ask("propose", "before")
        step, through = -1, False
        while not through:
            step += 1
            assert step < STEPS_MAX
            await away.kill()
            leader = await cluster.leader()
            before = (await leader.ask("status"))["snapshot_index"]
            writes = [leader.ask("propose", f"{step}-{number}") for number in range(COUNT)]
            await asyncio.gather(*writes)
            await until(partial(newer, leader, before))
            await away.start(["tests.crashes.crashing", "receive", str(step)])
            try:
                await until(partial(installed, away))
                await cluster.settled()
                through = True
            except Unreachable:
                pass
        assert step >= 8  # Each of them was a crash.
        await away.kill()
        await away.start()
        held = await cluster.settled()
        assert len(held) == len(set(held)) == 1 + COUNT * (step + 1)


async def installed(server: Process) -> bool:
    """Whether it has taken in a snapshot since its start."""
    return bool((await server.ask("status"))["counters"].get("snapshots_installed"))


async def newer(leader: Process, index: int) -> bool:
    return bool((await leader.ask("status"))["snapshot_index"] > index)


async def test_a_stream_cut_in_the_middle_begins_again(tmp_path: Path) -> None:
    """The follower is killed, then the leader, while a snapshot of many pieces is on its way."""
    async with Cluster(tmp_path, threshold=50, shortest=0.15) as cluster:
        leader = await cluster.leader()
        away = next(server for server in cluster.servers if server is not leader)
        await away.kill()
        load = Load(cluster, size=60_000)
        clients = [asyncio.create_task(load.client()) for _ in range(8)]
        await load.reach(200)
        load.running = False
        await asyncio.gather(*clients)
        for victim in (away, await cluster.leader()):
            await away.start()
            await until(partial(arriving, tmp_path / away.me.id))
            await victim.kill()
            await away.kill()
            if victim is not away:
                await victim.start()
        await away.start()
        await cluster.leader()
        assert set(load.acknowledged) <= set(await cluster.settled())
        assert (await away.ask("status"))["counters"]["snapshots_installed"] >= 1


async def arriving(folder: Path) -> bool:
    """Whether a part of a snapshot is on the disk, or already all of it."""
    names = [name for _, _, files in os.walk(folder) for name in files]
    return any(name == "incoming.part" or name.endswith(".snapshot") for name in names)
