"""Free space: below the floor nothing new is taken, all else goes on, and it ends by itself."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mesh.clock import SeededDice
from mesh.errors import DiskFull, MeshError, OutcomeUnknown, explained
from mesh.raft.disk import Disk, Room, Space, discarding, floor_bytes, is_full, measure, naming
from mesh.raft.figures import SNAPSHOT_PAUSE_SECONDS
from mesh.raft.journal import Journal
from mesh.raft.messages import Append, Message, Reset
from mesh.raft.node import Options, Peer
from tests.raft import server as voter
from tests.raft.cluster import until
from tests.sim.checks import State
from tests.sim.clock import HostClock, Timeline
from tests.sim.faults import disturb
from tests.sim.network import Pair
from tests.sim.runs import heal_and_judge
from tests.sim.scenarios import calm, load, write
from tests.sim.server import FLOOR, PLENTY, Server
from tests.sim.world import World

SMALL = 1000  # A floor.
COMMAND, OTHER = b"\0x", b"\1"


def low(server: Server, free: int = FLOOR - 1) -> None:
    """Let the disk of one server have so much space."""
    server.room.observe(free, FLOOR)


def propose(world: World, server: Server, command: bytes) -> list[MeshError | None]:
    """Propose at one server; its answer appears in the list."""
    answers: list[MeshError | None] = []
    floor = world.checks.newest

    def done(index: int, _result: object, error: MeshError | None) -> None:
        answers.append(error)
        if error is None:
            world.checks.acknowledge(index, command, floor)

    server.replica.propose(command, done)
    server.pump()
    return answers


def read(world: World, server: Server) -> list[MeshError | None]:
    """Read at one server; its answer appears in the list."""
    answers: list[MeshError | None] = []
    floor = world.checks.newest

    def done(error: MeshError | None) -> None:
        answers.append(error)
        if error is None:
            server.look()
            world.checks.read("barrier", server.state.index, floor)

    server.replica.barrier(done)
    server.pump()
    return answers


def commands(world: World) -> list[bytes]:
    """What was applied, in order."""
    return [command for _, command in sorted(world.checks.applied.items())]


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
        changed = room.observe(free, SMALL)
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
    room.observe(1, SMALL)
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
    timeline, looks = Timeline(100.0), []
    free = [5000]

    def look(folder: str) -> Space:
        looks.append(folder)
        if free[0] < 0:
            raise OSError(errno.EIO, "broken")
        return Space(free[0], 100_000)

    disk = Disk("/x", SMALL, HostClock(timeline), look)
    for step in range(30):
        timeline.now = 100.0 + step / 10
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


def test_a_leader_without_room_refuses_writes_and_serves_reads() -> None:
    with calm(1) as (world, leader, _):
        write(world, leader, b"1")
        low(leader)
        [error] = propose(world, leader, b"2")
        assert isinstance(error, DiskFull)
        assert "free space or lower the floor" in error.message
        terms, reads = set(world.checks.leaders), list[MeshError | None]()
        for _ in range(20):
            answers = read(world, leader)
            world.run(0.1)
            reads += answers
        assert reads == [None] * 20
        assert set(world.checks.leaders) == terms
        low(leader, 2 * FLOOR)
        write(world, leader, b"3", 0.5)
        assert commands(world) == [b"1", b"3"]
        assert leader.state.index == max(world.checks.applied)


def test_the_leader_goes_on_without_a_follower_that_has_no_room() -> None:
    with calm(1) as (world, leader, (full, _)):
        write(world, leader, b"0", 0.5)
        follower = full.replica
        last, terms = follower.journal.last_index, set(world.checks.leaders)
        low(full)
        carried: list[Append | Reset] = []
        carry = world.carry

        def count(pair: Pair, message: Message) -> None:
            if full.name in pair and isinstance(message, Append | Reset):
                carried.append(message)
            carry(pair, message)

        world.carry = count  # type: ignore[method-assign]
        for number in range(1, 31):
            write(world, leader, b"%d" % number, 0.2)
        assert len(world.checks.acknowledged) == 31
        assert follower.journal.last_index == last
        assert follower.engine.commit == last
        assert follower.heard_commit > last
        # It is not sent everything again with each heartbeat.
        assert len([one for one in carried if isinstance(one, Reset)]) <= 1
        assert sum(len(one.entries) for one in carried if isinstance(one, Append)) < 90
        assert set(world.checks.leaders) == terms
        low(full, 2 * FLOOR)
        world.run(2.0)
        world.checks.look_at_end(world.servers.values())


def test_a_snapshot_that_does_not_fit_waits_until_it_does() -> None:
    with calm(1, 3, 40) as (world, leader, (full, _)):
        low(full, FLOOR // 4)
        for number in range(120):  # Beyond what the leader keeps in its log.
            write(world, leader, b"%d" % number, 0.05)
        assert leader.journal.first_index > full.journal.last_index
        for pair in ((leader.name, full.name), (full.name, leader.name)):
            world.links.cut(pair)
        terms = set(world.checks.leaders)
        world.run(3.0)
        assert world.links.is_up((leader.name, full.name))
        assert full.state == State()
        assert not any(name.endswith("incoming.part") for name in full.disk.names)
        low(full, PLENTY)
        world.run(3.0)
        world.checks.look_at_end(world.servers.values())
        assert full.installs == 1
        assert set(world.checks.leaders) == terms


def test_without_room_for_a_snapshot_the_log_stays() -> None:
    with calm(1, 3, 40) as (world, leader, (full, other)):
        full.room.observe(10, 10)  # Commands fit, a snapshot does not.
        for number in range(60):
            write(world, leader, b"%d" % number, 0.05)
        assert (other.saves, full.saves, full.journal.first_index) == (1, 0, 1)
        low(full, PLENTY)
        world.run(0.5)
        assert full.saves == 1
        assert full.journal.first_index > 1
        world.checks.look_at_end(world.servers.values())


def test_a_snapshot_that_finds_the_disk_full_is_given_up_and_made_later() -> None:
    with calm(1, 3, 40) as (world, leader, (full, _)):
        labels: list[str] = []

        def fill(label: str) -> None:
            labels.append(label)
            if label == "snapshot" and labels.count(label) == 1:
                full.disk.fails = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full.submitted = fill  # type: ignore[method-assign]
        for number in range(60):
            write(world, leader, b"%d" % number, 0.05)
        assert full.snapshot_figures.failures == labels.count("snapshot") == 1
        assert (full.saves, full.failed_disks) == (0, 0)
        assert not any(name.endswith("own.part") for name in full.disk.names)
        world.run(2 * SNAPSHOT_PAUSE_SECONDS)
        assert (full.saves, full.failed_disks) == (1, 0)
        assert full.snapshot_figures.failures == 0
        world.checks.look_at_end(world.servers.values())


def test_without_room_anywhere_a_leader_is_still_found_and_reads_are_served() -> None:
    with calm(1) as (world, leader, others):
        write(world, leader, b"1", 0.5)
        for server in world.servers.values():
            low(server)
        leader.crash()
        world.run(5.0)
        now = world.leader
        assert now in others
        answers = read(world, now)
        world.run(1.0)
        assert answers == [None]
        assert commands(world) == [b"1"]
        assert now.state.index == max(world.checks.applied)
        assert isinstance(propose(world, now, b"2")[0], DiskFull)


@pytest.mark.parametrize("seed", range(6))
def test_disks_that_fill_and_empty_lose_nothing(seed: int) -> None:
    dice = SeededDice(seed)
    with calm(seed, 3, 40) as (world, _, _):
        clients = load(world, 5)
        for _ in range(400):
            if dice.below(8) == 0:
                one = world.servers[dice.choice(world.names)]
                low(one, dice.choice([0, FLOOR // 2, PLENTY, PLENTY]))
            if dice.below(20) == 0:
                disturb(world)
            world.run(dice.uniform(0.0, 0.05))
        heal_and_judge(world, clients)
        assert len(world.checks.acknowledged) > 100


async def test_a_failed_sync_is_fatal_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = voter.Server(Peer("one", "one", "127.0.0.1:0"), Options(str(tmp_path)))
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
    again = voter.Server(Peer("one", "one", "127.0.0.1:0"), Options(str(tmp_path)))
    await again.start()
    await until(lambda: _is(again.node.leased()))
    assert again.machine.commands[0] == b"kept"
    await again.stop()


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


async def _is(found: bool) -> bool:
    return found
