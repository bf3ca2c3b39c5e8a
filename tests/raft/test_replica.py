"""A replica alone and among others; what must never happen is in `tests/sim`."""

from pathlib import Path

import pytest

from mesh.clock import SeededDice
from mesh.codec import pack
from mesh.raft import engine
from mesh.raft.engine import COMMAND, NO_OP, STOP_SIGN
from mesh.raft.epochs import Epoch, Peer
from mesh.raft.journal import Batch, Journal
from mesh.raft.messages import Ack, Append, Message, PreVoteReply, Probe, Vote, VoteReply
from mesh.raft.replica import Replica
from mesh.raft.snapshots import Incoming, Snapshots
from tests.sim.clock import HostClock, Timeline
from tests.sim.runs import heal_and_judge
from tests.sim.scenarios import calm, load
from tests.sim.server import TIMING


def test_a_long_wrong_tail_is_replaced() -> None:
    with calm(1) as (world, leader, _):
        world.part(leader.name)
        for number in range(300):  # Only the old leader has these, and nobody hears of them.
            leader.replica.propose(b"lost %d" % number + b"." * 1000, lambda *_: None)
        leader.pump()
        clients = load(world)
        world.run(4.0)
        assert leader.journal.last_index > 300
        heal_and_judge(world, clients)
        assert not any(command.startswith(b"lost") for command in world.checks.applied.values())


@pytest.mark.parametrize("count", [1, 3])
def test_a_steady_stream_of_writes_does_not_put_off_their_answers(count: int) -> None:
    answered: list[float] = []
    with calm(1, count) as (world, leader, _):
        timeline = world.timeline

        def write() -> None:
            asked = timeline.now
            leader.replica.propose(b"x", lambda *_: answered.append(timeline.now - asked))
            leader.pump()
            timeline.after(0.0005, write)

        write()
        world.run(3.0)
    assert len(answered) > 3000
    assert max(answered) < 2.0


def test_an_acknowledgement_of_another_term_counts_for_nothing() -> None:
    with calm(1, 5) as (world, leader, others):
        world.part(leader.name)
        leader.replica.propose(b"x", lambda *_: None)
        leader.pump()
        world.run(0.1)
        engine, journal = leader.replica.engine, leader.journal
        for other in others[:2]:
            leader.replica.receive(
                other.name, Ack(engine.term - 1, journal.last_index, Probe(0, 0))
            )
        engine.tick()
        assert engine.commit < journal.last_index
        for other in others[:2]:
            leader.replica.receive(other.name, Ack(engine.term, journal.last_index, Probe(0, 0)))
        assert leader.replica.leading
        peers = leader.replica.leading.peers
        assert [peers[one.name].match for one in others[:2]] == [journal.last_index] * 2


class Stalled:
    """A host whose disk has not answered yet."""

    def __init__(self, tmp_path: Path) -> None:
        self.sent: list[Message] = []
        self.applied: list[bytes] = []
        self.timeline = Timeline(100.0)
        self.clock = HostClock(self.timeline)
        disk = (Journal(), Snapshots(str(tmp_path)))
        voters = ("a", ["a", "b", "c"])
        self.replica = Replica(voters, disk, self, TIMING, (self.clock, SeededDice(1)))
        self.disk()

    def send(self, peer: str, message: Message) -> None:
        self.sent.append(message)

    def apply(self, index: int, command: bytes) -> object:
        self.applied.append(command)
        return index

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
    host.timeline.now += 1.5
    replica.receive("b", Vote(1, 9, 9))
    assert not host.step()
    assert host.disk() == {"VoteReply"}
    replica.receive("b", Append(1, 0, probe, 1, 0, 1, [(1, NO_OP)]))
    assert not host.step()
    replica.receive("b", Append(1, 0, probe, 1, 0, 1, []))
    assert host.step() == {"Ack"}  # A heartbeat: it repeats only what is durable.
    assert host.disk() == {"Ack"}
    host.timeline.now += 1.5
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


def test_a_long_log_is_applied_before_its_epoch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others say that the epoch ended, all before its stop-sign comes first."""
    monkeypatch.setattr(engine, "APPLY_MAX", 3)
    host = Stalled(tmp_path)
    voters = tuple(Peer(name, name, "") for name in "abc")
    entries = [(1, COMMAND + b"%d" % number) for number in range(10)]
    record = pack(Epoch("x", 2, voters))
    entries.append((1, STOP_SIGN + record))
    host.replica.receive("b", Append(1, 0, Probe(0, 0.0), 1, 0, 1, entries))
    assert host.replica.learn_stop(Epoch("x", 2, voters, 12, 1))
    applied = {len(host.applied): host.replica.stop}
    for _ in range(9):
        host.replica.step()
        applied[len(host.applied)] = host.replica.stop
    ended = applied.pop(10)
    assert ended is not None
    assert ended.index == host.replica.engine.applied == 12
    assert len(applied) > 1
    assert not any(applied.values())
