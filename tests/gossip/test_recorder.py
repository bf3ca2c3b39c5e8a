"""The recorder: what a node remembers on disk, over restarts, leaves and full disks."""

from __future__ import annotations

import asyncio
import stat
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.gossip.driver import Gossip
from mesh.gossip.members import Member, MemberEvent, Status
from mesh.gossip.recorder import Recorder
from mesh.gossip.snapshot import Times, read
from tests.gossip.test_driver import Pool, seed, statuses, until


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    for node in made.nodes:
        await node.stop()


async def again(pool: Pool, node: Gossip) -> Gossip:
    options = msgspec.structs.replace(node.options, bind_port=node.address[1])
    life = Gossip(node.name, options, SystemClock(), SeededDice(9))
    await life.start()
    pool.nodes.append(life)
    return life


def event(kind: str, name: str, address: str = "10.0.0.1") -> MemberEvent:
    return MemberEvent(kind, Member(name, address, 7946, {}, Status.ALIVE, 1))  # type: ignore[arg-type]


async def test_another_life_finds_its_pool_and_hears_no_event_twice(
    pool: Pool, tmp_path: Path
) -> None:
    path = tmp_path / "local.snapshot"
    first, second = await pool.node("first"), await pool.node("second")
    node = await pool.node("node", snapshot_path=str(path))
    await second.join([seed(first)])
    await node.join([seed(first)])
    await until(lambda: len(statuses(node)) == 3)
    heard: list[str] = []
    node.on_event(lambda event: heard.append(event.name))
    first.fire("before", b"")
    await until(lambda: heard == ["before"])
    time = node.pool.times()
    await node.stop()
    assert set(read(path.read_bytes()).members) == {"first", "second", "node"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # Meanwhile they fail for it, it for them, and something happens.
    await until(lambda: statuses(first)["node"] == "FAILED")
    first.fire("meanwhile", b"")

    life = await again(pool, node)
    heard.clear()
    life.on_event(lambda event: heard.append(event.name))
    assert set(life.previous) == {"first", "second", "node"}
    assert life.pool.times().member >= time.member
    assert await life.rejoin() == 1
    await until(lambda: set(statuses(life).values()) == {"ALIVE"} and len(statuses(life)) == 3)
    await until(lambda: statuses(first)["node"] == "ALIVE")
    await until(lambda: heard == ["meanwhile"])
    assert life.counters["snapshot_failures"] == 0


async def test_who_left_forgets_unless_it_shall_rejoin(pool: Pool, tmp_path: Path) -> None:
    first = await pool.node("first")
    for rejoin in (False, True):
        path = tmp_path / f"{rejoin}.snapshot"
        node = await pool.node(
            f"rejoin-{rejoin}",
            snapshot_path=str(path),
            rejoin_after_leave=rejoin,
        )
        await node.join([seed(first)])
        await until(lambda node=node: "first" in statuses(node))  # type: ignore[misc]
        await node.leave()
        first.fire("later", b"")
        await node.stop()
        life = await again(pool, node)
        assert ("first" in life.previous) == rejoin
        assert await life.rejoin() == rejoin


async def test_who_failed_is_looked_for_and_who_left_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x"
    recorder = Recorder(str(path), Times, Counter(), rejoin_after_leave=False)
    await recorder.load()
    for name in ("stays", "fails", "leaves", "reaped"):
        recorder.note(event("join", name))
    recorder.note(event("join", "six", "::1"))
    recorder.note(event("failed", "fails"))
    recorder.note(event("leave", "leaves"))
    recorder.note(event("reap", "reaped"))
    await recorder.flush()
    assert read(path.read_bytes()).members == {
        "stays": "10.0.0.1:7946",
        "fails": "10.0.0.1:7946",
        "six": "[::1]:7946",
    }


async def test_a_file_that_grew_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "x"
    recorder = Recorder(str(path), Times, Counter(), rejoin_after_leave=False)
    await recorder.load()
    sizes = []
    for number in range(4000):
        recorder.note(event("join", "n" * 100, f"10.0.{number // 250}.{number % 250}"))
        await recorder.flush()
        sizes.append(path.stat().st_size)
    assert max(sizes) <= 128 * 1024
    assert sizes[-1] < max(sizes)
    assert len(read(path.read_bytes()).members) == 1


async def test_a_disk_that_refuses_stops_nothing_and_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    counters: Counter[str] = Counter()
    recorder = Recorder(str(folder / "x"), Times, counters, rejoin_after_leave=False)
    assert (await recorder.load()).members == {}
    recorder.note(event("join", "a"))
    await recorder.flush()
    assert counters["snapshot_failures"] == 1
    folder.mkdir()
    await recorder.flush()
    assert set(read((folder / "x").read_bytes()).members) == {"a"}
    # A folder in its place cannot be read either.
    (folder / "y").mkdir()
    bad = Recorder(str(folder / "y"), Times, counters, rejoin_after_leave=False)
    assert (await bad.load()).members == {}
    assert counters["snapshot_failures"] == 2


async def test_a_flush_that_is_cancelled_ends_before_the_next_begins(tmp_path: Path) -> None:
    path = tmp_path / "x"
    recorder = Recorder(str(path), Times, Counter(), rejoin_after_leave=False)
    await recorder.load()
    for number in range(50):
        recorder.note(event("join", "a", f"10.0.0.{number}"))
        run = asyncio.ensure_future(asyncio.shield(recorder.flush()))
        await asyncio.sleep(0)
        run.cancel()
        recorder.note(event("join", "a", f"10.0.1.{number}"))
        await recorder.flush()
        assert read(path.read_bytes()).members == {"a": f"10.0.1.{number}:7946"}
