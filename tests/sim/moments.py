"""Single moments that random worlds meet too seldom, brought about on purpose.

Each raises `Violation` when a rule does not hold.
"""

from __future__ import annotations

from mesh.raft.engine import COMMAND
from mesh.raft.messages import Ack, Append, Chunk, Probe, VoteReply
from tests.sim.checks import Violation
from tests.sim.scenarios import bytes_received, calm, expect, hurry, write
from tests.sim.server import TIMING


def chunk_hole(seed: int) -> None:
    """Pieces of a snapshot with a hole between them are never put together."""
    with calm(seed) as (made, leader, (one, _)):
        made.part(one.name)
        replica, size = one.replica, 400
        term, probe = replica.engine.term, Probe(1, 0.0)
        for offset in (0, 200, 300):
            chunk = Chunk(term, probe, 99, term, size, offset, b"x" * 100)
            replica.receive(leader.name, chunk)
        expect(
            bytes_received(one) == 0,
            "a hole in a snapshot",
            f"{bytes_received(one)} bytes are held",
        )


def stale_acks(seed: int) -> None:
    """Acknowledgements of an earlier leadership arrive at who leads again, of five voters."""
    with calm(seed, 5) as (made, leader, others):
        made.part(leader.name)
        leader.replica.propose(b"x", lambda *_: None)
        leader.pump()
        made.run(0.1)
        index, term = leader.journal.last_index, leader.replica.engine.term
        for other in others[:2]:
            leader.receive(other.name, Ack(term - 1, index, Probe(0, 0.0)))


def false_acks(seed: int) -> None:
    """A voter acknowledges what was never in the log, then the log grows."""
    with calm(seed) as (made, leader, (one, _)):
        made.part(leader.name)
        term, last = leader.replica.engine.term, leader.journal.last_index
        leader.receive(one.name, Ack(term, last + 5, Probe(0, 0.0)))
        leader.replica.propose(b"x", lambda *_: None)
        leader.pump()
        made.run(0.2)


def repeated_votes(seed: int) -> None:
    """One voter's vote arrives several times, of five voters."""
    with calm(seed, 5) as (made, _, (one, other, *_)):
        made.part(one.name)
        made.run(2.0)
        one.replica.elections.patience.end()
        one.replica.elections._campaign()
        one.pump()
        term = one.replica.engine.term
        for _ in range(3):
            one.receive(other.name, VoteReply(term))
        expect(not one.replica.engine.leads, "election safety", "two votes made a leader of five")


def reset_storm(seed: int) -> None:
    """A follower asks three times in one generation to begin again; it is heard once."""
    with calm(seed) as (_, leader, (one, _)):
        leading = leader.replica.leading
        assert leading is not None
        progress = leading.peers[one.name]
        generation = progress.generation
        obeyed = [progress.reset(generation, 2) for _ in range(3)]
        expect(obeyed == [True, False, False], "resets without end", str(obeyed))


def second_vote(seed: int) -> None:
    """A voter that crashed after its vote does not vote for another in the same term."""
    with calm(seed) as (made, _, (one, other)):
        made.part(one.name)
        made.run(2.0)
        term = one.replica.engine.term + 1
        one.replica.elections.patience.end()
        one.replica.engine.hear_candidate(other.name, term, 99, 99)
        one.pump()
        made.run(0.1)
        expect(one.journal.vote == other.name, "no vote")
        one.crash()
        one.start()
        known = (one.journal.term, one.journal.vote)
        expect(known == (term, other.name), "durability", f"it knows {known}")


def sealed_damage(seed: int) -> None:
    """A bit of a sealed segment flips: the server refuses to start."""
    with calm(seed) as (made, leader, (one, _)):
        for number in range(60):
            write(made, leader, b"%d " % number + b"." * 200, 0.05)
        made.run(1.0)
        one.crash()
        oldest = min(name for name in one.disk.names if name.endswith(".journal"))
        one.disk.names[oldest].data[1500] ^= 1
        try:
            one.start()
        except Violation as refusal:
            expect(refusal.rule == "refused to start", refusal.rule, str(refusal))
            return
        raise Violation("damage unnoticed", oldest)


def kill_then_power(seed: int) -> None:
    """What a killed process left to the kernel is durable before the next start relies on it."""
    with calm(seed) as (made, leader, (one, _)):
        made.part(one.name)
        one.interrupt = ("sync", 1, False)  # Written, but not synced.
        term = one.replica.engine.term
        one.replica.elections.patience.end()
        one.replica.engine.hear_candidate(leader.name, term + 1, 99, 99)
        one.pump()
        made.run(0.01)
        expect(not one.alive, "no sync in this world")
        one.start()
        one.crash()
        one.start()


def handed_over(seed: int) -> None:
    """A leader that handed its leadership over has no lease in that term any more."""
    with calm(seed) as (made, leader, _):
        expect(leader.leased, "no lease in health")
        assert leader.replica.leading is not None
        leader.replica.leading.lease_allowed = False
        made.run(1.0)
        expect(not leader.leased, "stale lease")


def restarted_voter(seed: int) -> None:
    """A voter that restarts helps nobody against a lease it may have granted."""
    with calm(seed) as (made, leader, (one, other)):
        cut = {leader.name, one.name}
        made.block(lambda a, b: {a, b} == cut)
        made.run(TIMING.election[0])
        other.crash()
        other.start()
        made.part(leader.name)
        one.replica.elections.patience.end()
        hurry(made, one, 0.35)
        expect(made.leader is leader, "stale lease", "elected while a lease may be held")
        made.run(3.0)
        expect(made.leader is not leader, "no leader after healing")


def first_conflict(seed: int) -> None:
    """Entries that are held already arrive again, alone: what follows them stays."""
    with calm(seed) as (made, leader, (one, _)):
        for number in range(5):
            write(made, leader, b"%d" % number, 0.1)
        made.run(1.0)
        journal = one.journal
        last = journal.last_index
        again = [(term, command) for command, _, term in journal.slice(last - 3, 1)]
        previous = last - 4
        message = Append(
            one.replica.engine.term, 0, Probe(1, 0.0), previous, journal.term_at(previous) or 0,
            previous, again,
        )  # fmt: skip
        one.receive(leader.name, message)
        expect(one.journal.last_index == last, "deletion below commit", "without a conflict")


def below_snapshot(seed: int) -> None:
    """Old entries arrive again at a voter that has them in its snapshot: it acknowledges them."""
    with calm(seed, 3, 20) as (made, leader, (one, _)):
        for number in range(60):
            write(made, leader, b"%d" % number, 0.05)
        expect(one.journal.first_index > 10, "no snapshot")
        term, sent = one.replica.engine.term, one.replica._outbox
        entries = [(term, COMMAND + b"x")] * 3
        one.replica.receive(leader.name, Append(term, 0, Probe(1, 0.0), 3, term, 3, entries))
        answer = sent[-1][1]
        expect(isinstance(answer, Ack) and answer.index == 6, "a gap below a snapshot", str(answer))


def lost_probe(seed: int) -> None:
    """The round of a read is lost with its connections: the read is answered all the same."""
    with calm(seed) as (made, leader, others):
        answers: list[object] = []
        leader.replica.barrier(answers.append)
        leader.pump()
        for other in others:
            made.links.cut((leader.name, other.name))
        made.run(1.5)
        expect(answers == [None], "answers", f"the read got {answers}")


def old_log_asks(seed: int) -> None:
    """Who lacks entries is not encouraged to become a candidate."""
    with calm(seed) as (made, leader, (one, other)):
        made.part(one.name)
        write(made, leader, b"x")
        leader.kill()
        made.network.heal()
        made.links.connect_all()
        before = one.replica.elections.started
        other.replica.elections.deadline = float("inf")
        for _ in range(10):
            one.replica.elections.deadline = 0.0
            made.run(0.2)
        expect(one.replica.elections.started == before, "disturbed", "by a candidate that lost")
