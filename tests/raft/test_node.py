"""Nodes on real disks and sockets, in real processes that are really killed."""

import asyncio
import signal
from os import kill
from pathlib import Path
from typing import cast

import pytest

from mesh.errors import Conflict, Invalid, MeshError, NoLeader, TooLarge
from mesh.raft.node import Node, Options, Peer
from tests.raft.cluster import Cluster, Load, until
from tests.raft.server import Memory, Server


def single(directory: Path, threshold: int = 16384) -> Server:
    return Server(
        Peer("one", "one", "127.0.0.1:0"), Options(str(directory), snapshot_threshold=threshold)
    )


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.rglob(pattern)
    return path


def spoil(directory: Path) -> tuple[Path, bytes]:
    path = only(directory, "*.journal")
    spoiled = b"something else" + path.read_bytes()
    path.write_bytes(spoiled)
    return path, spoiled


def read(path: Path) -> bytes:
    return path.read_bytes()


async def led(node: Node) -> None:
    async def leased() -> bool:
        return node.leased()

    await until(leased)


async def test_a_single_voter_leads_at_once_and_remembers(tmp_path: Path) -> None:
    # It would wait for so long if there were others to hear from.
    options = Options(str(tmp_path), snapshot_threshold=20, election_seconds=(3600.0, 7200.0))
    server = Server(Peer("one", "one", "127.0.0.1:0"), options)
    heard: list[Peer | None] = []
    server.node.listen(heard.append)
    await server.start()
    assert not server.node.bootstrapped
    assert server.node.last_contact == float("inf")
    with pytest.raises(NoLeader):
        await server.node.propose(b"x")
    server.node.bootstrap([server.me])
    await led(server.node)
    for number in range(50):
        index, result = await server.node.propose(b"%d" % number)
        assert (index, result) == (server.node.applied_index, number + 1)
    await server.node.barrier()
    with pytest.raises(TooLarge):
        await server.node.propose(b"x" * (2 << 20))
    server.node.bootstrap([server.me])
    with pytest.raises(Conflict):
        server.node.bootstrap([server.me, Peer("two", "two", "127.0.0.1:1")])
    await server.stop()
    assert heard == [server.me, None]

    again = single(tmp_path)
    await again.start()
    await led(again.node)
    assert again.machine.commands == [b"%d" % number for number in range(50)]
    assert again.node.cluster_id == server.node.cluster_id
    await again.stop()


async def test_large_commands_make_snapshots_sooner(tmp_path: Path) -> None:
    options = Options(str(tmp_path), snapshot_bytes=1 << 20, segment_bytes=1 << 20)
    server = Server(Peer("one", "one", "127.0.0.1:0"), options)
    await server.start()
    server.node.bootstrap([server.me])
    await led(server.node)
    for _ in range(40):
        await server.node.propose(b"x" * 100_000)

    async def compacted() -> bool:
        await server.node.propose(b"")
        first, last = cast(list[int], server.node.status()["log"])
        return server.node.counters["snapshots_saved"] > 0 and last - first < 30

    await until(compacted)
    await server.stop()


async def test_damage_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    server = single(tmp_path)
    await server.start()
    server.node.bootstrap([server.me])
    await led(server.node)
    await server.stop()
    path, before = spoil(tmp_path)
    with pytest.raises(Invalid, match=path.name):
        await single(tmp_path).start()
    assert read(path) == before


async def test_a_lost_journal_and_a_lost_record_are_refused(tmp_path: Path) -> None:
    server = single(tmp_path)
    await server.start()
    server.node.bootstrap([server.me])
    await led(server.node)
    await server.stop()
    journal, record = only(tmp_path, "*.journal"), only(tmp_path, "epoch.json")
    away = journal.rename(tmp_path / "away")
    with pytest.raises(Invalid, match="journal is missing"):
        await single(tmp_path).start()
    away.rename(journal)
    record.unlink()
    again = single(tmp_path)
    await again.start()
    with pytest.raises(Invalid, match="without a record"):
        again.node.bootstrap([again.me])
    assert not record.exists()
    await again.stop()


async def test_a_bootstrap_cut_short_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = single(tmp_path)
    await server.start()

    def fail(_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(server.node._epochs, "save", fail)
    with pytest.raises(OSError, match="space"):
        server.node.bootstrap([server.me])
    again = single(tmp_path)
    await again.start()
    assert not again.node.bootstrapped
    again.node.bootstrap([again.me])
    await led(again.node)
    await again.stop()
    await server.stop()


async def test_a_machine_that_fails_ends_the_node(tmp_path: Path) -> None:
    class Failing(Memory):
        def apply(self, index: int, data: bytes) -> object:
            raise ValueError("cannot apply")

    server = single(tmp_path)
    server.machine = server.node._machine = Failing()
    await server.start()
    server.node.bootstrap([server.me])
    await led(server.node)
    with pytest.raises(MeshError):
        await server.node.propose(b"x")
    assert [str(error) for error in server.fatal] == ["cannot apply"]
    assert server.node.leader is None
    await server.stop()


async def test_a_single_voter_killed_under_load_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    async with Cluster(tmp_path, 1, threshold=300) as cluster:
        load = Load(cluster)
        clients = [asyncio.create_task(load.client()) for _ in range(32)]
        for _ in range(3):
            await load.reach(1000)
            await cluster.servers[0].kill()
            await cluster.servers[0].start()
        await load.reach(10)
        load.running = False
        await asyncio.gather(*clients)
        assert set(load.acknowledged) <= set(await cluster.settled())


async def test_three_elect_replicate_and_survive_kills_of_the_leader(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        leader = await cluster.leader()
        for server in cluster.servers:
            if server is not leader:
                with pytest.raises(NoLeader):
                    await server.ask("propose", "to a follower")
        load = Load(cluster)
        clients = [asyncio.create_task(load.client()) for _ in range(32)]
        for _ in range(3):
            await load.reach(500)
            leader = await cluster.leader()
            await leader.kill()
            await load.reach(500)
            await leader.start()
        await load.reach(10)
        load.running = False
        await asyncio.gather(*clients)
        written = await cluster.settled()
        assert set(load.acknowledged) <= set(written)
        assert len(set(written)) == len(written)


async def test_one_that_was_away_catches_up_by_snapshot(tmp_path: Path) -> None:
    async with Cluster(tmp_path, threshold=100) as cluster:
        leader = await cluster.leader()
        away = next(server for server in cluster.servers if server is not leader)
        await leader.ask("propose", "before")
        await away.kill()
        load = Load(cluster, size=2000)
        clients = [asyncio.create_task(load.client()) for _ in range(16)]
        await load.reach(1000)
        await away.start()
        await load.reach(200)
        load.running = False
        await asyncio.gather(*clients)
        assert {"before", *load.acknowledged} <= set(await cluster.settled())
        status = await away.ask("status")
        assert status["counters"]["snapshots_installed"] >= 1
        await away.kill()
        await away.start()
        await cluster.leader()
        assert set(load.acknowledged) <= set(await cluster.settled())


async def test_all_killed_at_once_and_started_again(tmp_path: Path) -> None:
    async with Cluster(tmp_path, threshold=500) as cluster:
        load = Load(cluster)
        clients = [asyncio.create_task(load.client()) for _ in range(32)]
        for _ in range(2):
            await load.reach(800)
            for server in cluster.servers:
                kill(server.pid, signal.SIGKILL)
            for server in cluster.servers:
                await server.kill()
                await server.start()
        await load.reach(10)
        load.running = False
        await asyncio.gather(*clients)
        assert set(load.acknowledged) <= set(await cluster.settled())


async def test_a_paused_leader_is_replaced_and_follows_when_it_wakes(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        paused = await cluster.leader()
        await paused.ask("propose", "first")
        kill(paused.pid, signal.SIGSTOP)
        others = [server for server in cluster.servers if server is not paused]

        async def another() -> bool:
            return any([(await server.ask("status"))["leased"] for server in others])

        await until(another)
        kill(paused.pid, signal.SIGCONT)

        async def follows() -> bool:
            return not (await paused.ask("status"))["leads"]

        await until(follows)
        leader = await cluster.leader()
        await leader.ask("barrier")
        await leader.ask("propose", "second")
        assert await cluster.settled() == ["first", "second"]


async def test_who_begins_a_write_is_told_once_and_not_at_once(tmp_path: Path) -> None:
    server, told = single(tmp_path), list[tuple[int, object, MeshError | None]]()
    await server.start()
    assert not server.node.begin(b"x", lambda *answer: told.append(answer))
    server.node.bootstrap([server.me])
    await led(server.node)

    def fails(*_: object) -> None:
        raise ValueError("this is no concern of the others")

    before = server.node.figures.commits.total
    assert server.node.begin(b"0", fails)
    for number in range(1, 4):
        assert server.node.begin(b"%d" % number, lambda *answer: told.append(answer))
    assert not told
    await until(lambda: _true(len(told) == 3))
    assert [(result, error) for _, result, error in told] == [(2, None), (3, None), (4, None)]
    assert server.machine.commands == [b"0", b"1", b"2", b"3"]
    assert server.node.figures.commits.total == before + 4
    assert server.node.begin(b"late", lambda *answer: told.append(answer))
    await server.node.stop()
    await until(lambda: _true(len(told) == 4))
    await server.stop()


async def _true(value: bool) -> bool:
    return value
