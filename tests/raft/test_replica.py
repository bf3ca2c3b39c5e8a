"""Replicas in a simulated world: nothing acknowledged is lost, nothing read is stale."""

from pathlib import Path

import pytest

from mesh.clock import SeededDice
from mesh.raft import progress
from mesh.raft.engine import NO_OP
from mesh.raft.journal import Batch, Journal
from mesh.raft.messages import Ack, Append, Message, PreVoteReply, Probe, Vote, VoteReply
from mesh.raft.replica import Replica
from mesh.raft.snapshots import Incoming, Snapshots
from tests.raft.world import TIMING, World, WorldClock


def shake(tmp_path: Path, seed: int, count: int) -> None:
    """Writes, reads and faults, then some seconds of health; see `world` for what is checked."""
    world = World(seed, count, tmp_path)
    world.heal()
    world.run(2.0)
    number = 0
    for step in range(300):
        quiet = step // 60 % 2  # Then all logs are equal, and anybody could be elected.
        for _ in range(0 if quiet else world.dice.below(6)):
            number += 1
            world.write(number)
        if world.dice.below(3) == 0:
            world.read()
        if world.dice.below(12) == 0:
            world.disturb()
        world.run(world.dice.uniform(0.0, 0.05))
    world.heal()
    world.run(6.0)
    before = len(world.acknowledged)
    for _ in range(20):
        for _ in world.names * 3:
            number += 1
            world.write(number)
        world.read()
        world.run(0.05)
    world.run(1.0)
    assert len(world.acknowledged) > before, "no writes after healing"
    assert world.reads
    states = [host.state for host in world.hosts.values()]
    assert all(state == states[0] for state in states), "not caught up"
    written = set(states[0])
    lost = [one for one in world.acknowledged.values() if one.decode() not in written]
    assert not lost
    for index, command in world.acknowledged.items():
        assert world.applied[index] == command


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_faults_lose_nothing(
    tmp_path: Path, seed: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed % 2:  # Many small messages instead of a few large ones.
        monkeypatch.setattr(progress, "BATCH_BYTES", 20)
        monkeypatch.setattr(progress, "CHUNK_BYTES", 100)
    shake(tmp_path, seed, count)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(100, 400))
def test_faults_lose_nothing_in_many_worlds(
    tmp_path: Path, seed: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    test_faults_lose_nothing(tmp_path, seed, count, monkeypatch)


def calm(tmp_path: Path, count: int = 3) -> tuple[World, str, list[str]]:
    """A world at rest: who leads in it, and the others."""
    world = World(1, count, tmp_path)
    world.heal()
    world.run(3.0)
    leader = world.leaders[max(world.leaders)]
    return world, leader, [name for name in world.names if name != leader]


def test_a_cut_between_leader_and_one_follower_changes_no_leader(tmp_path: Path) -> None:
    world, leader, (one, _) = calm(tmp_path)
    terms = set(world.leaders)
    world.cut((leader, one))
    world.cut((one, leader))
    world.run(5.0)
    world.heal()
    world.run(3.0)
    assert set(world.leaders) == terms


def test_one_that_hears_nothing_disturbs_nobody_when_it_is_back(tmp_path: Path) -> None:
    world, leader, (one, other) = calm(tmp_path)
    terms = set(world.leaders)
    world.cut((leader, one))
    world.cut((other, one))
    world.run(5.0)
    world.heal()
    world.run(3.0)
    assert set(world.leaders) == terms
    assert world.hosts[one].replica.engine.term == max(terms)


def test_an_isolated_leader_loses_its_lease_and_then_its_office(tmp_path: Path) -> None:
    world, leader, others = calm(tmp_path)
    old = world.hosts[leader].replica
    leading = old.leading
    assert leading is not None
    assert leading.leased()
    for other in others:
        world.cut((leader, other))
        world.cut((other, leader))
    world.run(0.5)
    assert not leading.leased()
    world.run(4.0)
    assert not old.engine.leads
    assert world.leaders[max(world.leaders)] in others


def test_a_long_wrong_tail_is_replaced(tmp_path: Path) -> None:
    world, leader, others = calm(tmp_path)
    for other in others:
        world.cut((leader, other))
        world.cut((other, leader))
    for number in range(300):  # Only the old leader has these, and nobody hears of them.
        world.hosts[leader].replica.propose(b"lost %d" % number + b"." * 1000, lambda *_: None)
    world.hosts[leader].pump()
    world.run(4.0)
    for number in range(300):
        world.write(number)
        world.run(0.01)
    world.heal()
    world.run(3.0)
    states = [host.state for host in world.hosts.values()]
    assert states[0] == states[1] == states[2]
    assert set(world.acknowledged.values()) <= {one.encode() for one in states[0]}


@pytest.mark.parametrize("count", [1, 3])
def test_a_steady_stream_of_writes_does_not_put_off_their_answers(
    tmp_path: Path, count: int
) -> None:
    world, leader, _ = calm(tmp_path, count)
    host = world.hosts[leader]
    answered: list[float] = []

    def write() -> None:
        asked = world.clock.now
        host.replica.propose(b"x", lambda *_: answered.append(world.clock.now - asked))
        host.pump()
        world.after(0.0005, write)

    write()
    world.run(3.0)
    assert len(answered) > 3000
    assert max(answered) < 2.0


def test_a_voter_that_just_restarted_helps_nobody_against_a_lease(tmp_path: Path) -> None:
    world, leader, (one, other) = calm(tmp_path)
    world.cut((leader, one))
    world.cut((one, leader))
    world.hosts[other].crash()
    world.hosts[other].start()
    world.cut((leader, other))
    world.cut((other, leader))
    world.hosts[one].replica.elections.patience.end()
    world.hosts[one].replica.elections.deadline = 0.0
    world.run(0.2)
    assert world.hosts[leader].leased
    assert world.leaders[max(world.leaders)] == leader
    world.run(3.0)
    assert world.leaders[max(world.leaders)] != leader


def test_an_acknowledgement_of_another_term_counts_for_nothing(tmp_path: Path) -> None:
    world, leader, others = calm(tmp_path, 5)
    host = world.hosts[leader]
    for link in list(world.links()):
        world.cut(link)
    host.replica.propose(b"x", lambda *_: None)
    world.run(0.1)
    engine = host.replica.engine
    index, term, commit = host.replica.journal.last_index, engine.term, engine.commit
    for stamp, expected in ((term - 1, commit), (term, index)):
        for other in others[:2]:
            host.receive(other, Ack(stamp, index, Probe(0, 0.0)))
        assert engine.commit == expected


class Stalled:
    """A host whose disk has not answered yet."""

    def __init__(self, tmp_path: Path) -> None:
        self.sent: list[Message] = []
        self.clock = WorldClock()
        disk = (Journal(), Snapshots(str(tmp_path)))
        voters = ("a", ["a", "b", "c"])
        self.replica = Replica(voters, disk, self, TIMING, (self.clock, SeededDice(1)))
        self.disk()

    def send(self, peer: str, message: Message) -> None:
        self.sent.append(message)

    def apply(self, index: int, command: bytes) -> object:
        return None

    def install(self, incoming: Incoming) -> None: ...

    def kinds(self) -> set[str]:
        """What left since the last call."""
        sent, self.sent = self.sent, []
        return {
            "Heartbeat" if isinstance(one, Append) and not one.entries else type(one).__name__
            for one in sent
        }

    def step(self) -> set[str]:
        """A step while the disk stands still; what left."""
        self.replica.step()
        self.batch = self.replica.begin_store() or self.batch
        return self.kinds()

    batch: Batch | None = None

    def disk(self) -> set[str]:
        """The disk caught up; what left."""
        left = self.step()
        while self.batch is not None:
            self.batch = None
            self.replica.stored()
            left |= self.kinds() | self.step()
        return left


def test_no_promise_leaves_before_it_is_on_disk(tmp_path: Path) -> None:
    host, probe = Stalled(tmp_path), Probe(1, 1.0)
    replica = host.replica
    host.clock.now += 1.5
    replica.receive("b", Vote(1, 9, 9))
    assert not host.step()
    assert host.disk() == {"VoteReply"}
    replica.receive("b", Append(1, 0, probe, 1, 0, 1, [(1, NO_OP)]))
    assert not host.step()
    replica.receive("b", Append(1, 0, probe, 1, 0, 1, []))
    assert host.step() == {"Ack"}  # A heartbeat: it repeats only what is durable.
    assert host.disk() == {"Ack"}
    host.clock.now += 1.5
    assert host.step() == {"PreVote"}
    replica.receive("c", PreVoteReply(1, replica.elections._asks, True))
    assert not host.step()
    assert host.disk() == {"Vote"}
    for peer in ("b", "c"):
        replica.connected(peer)
    replica.receive("c", VoteReply(2))
    assert replica.leading
    assert host.step() == {"Heartbeat"}
    assert host.disk() == {"Append"}
