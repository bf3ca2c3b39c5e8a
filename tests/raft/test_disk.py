"""Free space: below the floor nothing new is taken, all else goes on, and it ends by itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.raft.world import World, WorldClock

from mesh.clock import SeededDice
from mesh.errors import DiskFull, MeshError, OutcomeUnknown, explained
from mesh.raft.disk import Disk, Room, Space, discarding, floor_bytes, is_full, measure, naming
from mesh.raft.journal import Journal
from mesh.raft.messages import Append, Reset
from mesh.raft.node import Options, Peer
from tests.raft.cluster import until
from tests.raft.server import Server

FLOOR = 1000
COMMAND, OTHER = b"\0x", b"\1"


def low(world: World, name: str, free: int = FLOOR - 1) -> None:
    """Let the disk of one server have so much space."""
    world.hosts[name].replica.room.observe(free, FLOOR)


def calm(tmp_path: Path, count: int = 3) -> tuple[World, str, list[str]]:
    world = World(1, count, tmp_path)
    world.heal()
    world.run(3.0)
    leader = world.leaders[max(world.leaders)]
    return world, leader, [name for name in world.names if name != leader]


def write(world: World, name: str, number: int) -> list[MeshError | None]:
    """Propose at one server; its answer appears in the list."""
    answers: list[MeshError | None] = []
    replica = world.hosts[name].replica

    def done(index: int, _result: object, error: MeshError | None) -> None:
        answers.append(error)
        if error is None:
            world.acknowledged[index] = b"%d" % number

    replica.propose(b"%d" % number, done)
    world.hosts[name].pump()
    return answers


def equal(world: World) -> bool:
    states = [host.state for host in world.hosts.values()]
    return all(state == states[0] for state in states)


@pytest.mark.parametrize(
    ("wanted", "total", "floor"),
    [
        (None, 10 << 30, (10 << 30) // 100),
        (None, 1 << 40, 256 << 20),
        (0, 1 << 40, 0),
        (5, 1 << 40, 5),
    ],
)
def test_the_default_floor_suits_small_disks(wanted: int | None, total: int, floor: int) -> None:
    assert floor_bytes(wanted, total) == floor


def test_the_floor_is_left_only_a_little_above_it() -> None:
    room = Room()
    seen = []
    for free in (5000, 1000, 999, 1000, 1099, 1100, 1000, 999):
        changed = room.observe(free, FLOOR)
        seen.append((room.low, changed))
    assert seen == [
        (False, False),
        (False, False),
        (True, True),
        (True, False),
        (True, False),
        (False, True),
        (False, False),
        (True, True),
    ]
    room.observe(0, 0)
    assert not room.low


@pytest.mark.parametrize(
    ("free", "floor", "size", "fits"),
    [(0, 0, 10**12, True), (999, 1000, 749, True), (999, 1000, 750, False), (9, 8, 8, False)],
)  # fmt: skip
def test_a_snapshot_is_begun_only_where_it_fits(
    free: int, floor: int, size: int, fits: bool
) -> None:
    room = Room()
    room.observe(free, floor)
    assert room.fits(size) == fits


def test_what_a_follower_takes_without_room() -> None:
    journal, room = Journal(), Room()
    for index, term in ((1, 0), (2, 1), (3, 1)):
        journal.append(COMMAND, index, term)
    entries = [(1, COMMAND), (1, COMMAND), (2, OTHER), (2, COMMAND), (2, OTHER)]
    assert room.admit(journal, 1, entries) == entries
    room.observe(1, FLOOR)
    # Held, held, a no-op; then a new command and nothing after it.
    assert room.admit(journal, 1, entries) == entries[:3]
    assert room.admit(journal, 1, [(2, COMMAND)]) == []
    assert room.admit(journal, 3, []) == []
    # Those below our first entry are in our snapshot.
    journal.delete_to(3)
    assert room.admit(journal, 0, [(0, COMMAND), (1, COMMAND), (1, COMMAND)]) == [
        (0, COMMAND),
        (1, COMMAND),
        (1, COMMAND),
    ]


def test_the_disk_is_looked_at_once_a_second_and_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, looks = WorldClock(), []
    free = [5000]

    def look(folder: str) -> Space:
        looks.append(folder)
        if free[0] < 0:
            raise OSError(errno.EIO, "broken")
        return Space(free[0], 100_000)

    disk = Disk("/x", FLOOR, clock, look)
    for step in range(30):
        clock.now = 100.0 + step / 10
        disk.poll()
    assert len(looks) == 3
    free[0] = 7
    disk.poll(now=True)
    disk.poll(now=True)
    assert caplog.text.count("below raft_disk_floor") == 1
    free[0] = -1
    disk.poll(now=True)
    assert "broken" in caplog.text
    lows = [disk.room.low]
    free[0] = 7
    for floor in (5, 9):
        disk.set_floor(floor)
        lows.append(disk.room.low)
    assert lows == [True, False, True]
    disk.set_floor(None)  # A hundredth of 100,000.
    assert (disk.room.low, disk.room.floor) == (True, 1000)


def test_a_real_folder_has_space(tmp_path: Path) -> None:
    space = measure(str(tmp_path))
    assert 0 < space.free <= space.total
    with pytest.raises(FileNotFoundError):
        measure(str(tmp_path / "none"))


def test_errors_of_the_disk_name_their_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with pytest.raises(OSError, match="No space") as caught, naming(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    assert is_full(caught.value)
    path.write_text("half")
    with pytest.raises(OSError, match="other"), discarding(path):
        raise OSError(errno.EIO, "x", "other")
    assert not path.exists()
    assert not is_full(OSError(errno.EIO, "x"))
    assert not is_full(None)


def test_a_leader_without_room_refuses_writes_and_serves_reads(tmp_path: Path) -> None:
    world, leader, _ = calm(tmp_path)
    assert write(world, leader, 1) == []
    world.run(0.5)
    low(world, leader)
    [error] = write(world, leader, 2)
    assert isinstance(error, DiskFull)
    assert "free space or lower the floor" in error.message
    terms, reads = set(world.leaders), world.reads
    for _ in range(20):
        world.read()
        world.run(0.1)
    assert world.reads > reads
    assert set(world.leaders) == terms
    low(world, leader, 2 * FLOOR)
    answers = write(world, leader, 3)
    world.run(0.5)
    assert answers == [None]
    assert world.hosts[leader].state == ["1", "3"]


def test_the_leader_goes_on_without_a_follower_that_has_no_room(tmp_path: Path) -> None:
    world, leader, (full, _) = calm(tmp_path)
    answers = write(world, leader, 0)
    world.run(0.5)
    follower = world.hosts[full].replica
    last, terms = follower.journal.last_index, set(world.leaders)
    low(world, full)
    carried: list[Append | Reset] = []
    carry = world.carry

    def count(link: tuple[str, str], message: object) -> None:
        if full in link and isinstance(message, Append | Reset):
            carried.append(message)
        carry(link, message)  # type: ignore[arg-type]

    world.carry = count  # type: ignore[method-assign]
    for number in range(1, 31):
        answers += write(world, leader, number)
        world.run(0.2)
    assert len(world.acknowledged) == 31
    assert follower.journal.last_index == last
    assert follower.engine.commit == last
    assert follower.heard_commit > last
    # It is not sent everything again with each heartbeat.
    assert len([one for one in carried if isinstance(one, Reset)]) <= 1
    assert sum(len(one.entries) for one in carried if isinstance(one, Append)) < 90
    assert set(world.leaders) == terms
    low(world, full, 2 * FLOOR)
    world.run(2.0)
    assert equal(world)


def test_a_snapshot_that_does_not_fit_waits_until_it_does(tmp_path: Path) -> None:
    world, leader, (full, _) = calm(tmp_path)
    low(world, full)
    for number in range(120):  # Beyond what the leader keeps in its log.
        write(world, leader, number)
        world.run(0.05)
    host = world.hosts[full]
    world.cut((leader, full))
    world.cut((full, leader))
    world.run(0.1)
    low(world, full, FLOOR // 4)
    world.heal()
    terms = set(world.leaders)
    world.run(3.0)
    assert host.state == []
    assert not list((tmp_path / full).glob("incoming.part"))
    low(world, full, 10**6)
    world.run(3.0)
    assert equal(world)
    assert host.replica.installs == 1
    assert set(world.leaders) == terms


def test_without_room_anywhere_a_leader_is_still_found_and_reads_are_served(
    tmp_path: Path,
) -> None:
    world, leader, others = calm(tmp_path)
    write(world, leader, 1)
    world.run(0.5)
    for name in world.names:
        low(world, name)
    world.hosts[leader].crash()
    world.run(5.0)
    now = world.leaders[max(world.leaders)]
    assert now in others
    reads: list[object] = []
    world.hosts[now].replica.barrier(reads.append)
    world.run(1.0)
    assert reads == [None]
    assert world.hosts[now].state == ["1"]
    assert isinstance(write(world, now, 2)[0], DiskFull)


@pytest.mark.parametrize("seed", range(6))
def test_disks_that_fill_and_empty_lose_nothing(tmp_path: Path, seed: int) -> None:
    world, dice = World(seed, 3, tmp_path), SeededDice(seed)
    world.heal()
    world.run(2.0)
    for number in range(400):
        world.write(number)
        if dice.below(4) == 0:
            world.read()
        if dice.below(8) == 0:
            low(world, dice.choice(world.names), dice.choice([0, FLOOR // 2, 10**6, 10**6]))
        if dice.below(20) == 0:
            world.disturb()
        world.run(dice.uniform(0.0, 0.05))
    world.heal()
    for name in world.names:
        low(world, name, 10**6)
    world.run(6.0)
    before = len(world.acknowledged)
    world.hosts[world.leaders[max(world.leaders)]].pump()
    for number in range(1000, 1030):
        world.write(number)
        world.run(0.05)
    world.run(2.0)
    assert len(world.acknowledged) > before
    assert equal(world)
    written = set(world.hosts["n0"].state)
    assert {one.decode() for one in world.acknowledged.values()} <= written


async def test_a_failed_sync_is_fatal_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(Peer("one", "one", "127.0.0.1:0"), Options(str(tmp_path)))
    await server.start()
    server.node.bootstrap([server.me])
    await until(lambda: _is(server.node.leased()))
    await server.node.propose(b"kept")

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        with pytest.raises(OutcomeUnknown):
            await server.node.propose(b"perhaps")
        path = only(tmp_path, "*.journal")
        assert [explained(error) for error in server.fatal] == [f"{path}: Input/output error"]
        assert "Traceback" not in caplog.text
        await server.stop()
    again = Server(Peer("one", "one", "127.0.0.1:0"), Options(str(tmp_path)))
    await again.start()
    await until(lambda: _is(again.node.leased()))
    assert again.machine.commands[0] == b"kept"
    await again.stop()


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


async def _is(found: bool) -> bool:
    return found
