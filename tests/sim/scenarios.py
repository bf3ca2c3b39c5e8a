"""Worlds in which one certain thing goes wrong. Each raises `Violation` when a rule does not hold.

Without a switch (see `switches`) none does.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mesh.raft.engine import COMMAND, NO_OP
from mesh.raft.journal import Segments
from mesh.raft.messages import Chunk, Probe
from tests.sim.checks import Violation, WatchedJournal
from tests.sim.clients import Client
from tests.sim.runs import heal_and_judge, sizes
from tests.sim.server import Server
from tests.sim.world import NEVER, Setting, World, world

Scenario = Callable[[int], None]


def expect(holds: bool, rule: str, detail: str = "") -> None:
    """Raise `Violation` unless it holds."""
    if not holds:
        raise Violation(rule, detail)


@contextmanager
def calm(
    seed: int,
    voters: int = 3,
    threshold: int = NEVER,
    rates: tuple[float, ...] = (),
    segment_bytes: int = 3000,
) -> Iterator[tuple[World, Server, list[Server]]]:
    """A world at rest: who leads in it, and the others."""
    setting = Setting(voters, threshold, rates=rates, segment_bytes=segment_bytes)
    with sizes(small=False), world(seed, setting) as made:
        made.run(4.0)
        leader = made.leader
        assert leader is not None
        yield made, leader, [one for one in made.servers.values() if one is not leader]


def load(made: World, clients: int = 3) -> list[Client]:
    """Clients at work."""
    started = [Client(made, f"c{number}", 0.08) for number in range(clients)]
    for client in started:
        client.begin()
    return started


def write(made: World, server: Server, command: bytes, seconds: float = 1.0) -> None:
    """Write by a server and wait for the answer."""
    answers, floor = list[bool](), made.checks.newest

    def done(index: int, _result: object, error: object) -> None:
        answers.append(error is None)
        if error is None:
            made.checks.acknowledge(index, command, floor)

    server.replica.propose(command, done)
    server.pump()
    made.run(seconds)
    expect(answers == [True], "no writes", f"by {server.name}")


def hurry(made: World, server: Server, seconds: float) -> None:
    """Let it ask for an election all the time, for so long or until it leads."""
    end = made.timeline.now + seconds
    while made.timeline.now < end:
        leading = server.replica.leading
        if leading is not None and leading.in_charge:
            return
        if leading is None:
            server.replica.elections.deadline = 0.0
        made.run(0.01)


def all_crash(seed: int) -> None:
    """Everybody loses power at once, several times, in the middle of writing."""
    with calm(seed, 3, 30) as (made, _, _):
        clients = load(made, 5)
        for _ in range(4):
            made.run(made.dice.uniform(0.3, 1.0))
            for server in made.servers.values():
                server.crash()
            for server in made.servers.values():
                server.start()
            made.run(made.dice.uniform(0.0, 2.5))
        heal_and_judge(made, clients)


def conflicting_tails(seed: int, tail: int, ahead: int) -> None:
    """Two followers hold a tail of a dead leader, the third is many entries ahead."""

    def prepare(made: World) -> None:
        for number, name in enumerate(made.names):
            journal = WatchedJournal(made.checks)
            journal.append(NO_OP, 1, 0)
            count, term = (ahead, 3) if number == 0 else (tail, 2)
            for index in range(2, count + 2):
                journal.append(COMMAND + b"%d %d " % (term, index) + b"." * 1000, index, term)
            journal.set_term(3, "")
            segments = Segments(f"/{name}/journal")
            list(segments.open(fresh=True))
            segments.store(journal.take())

    with world(seed, Setting(), prepare) as made:
        made.run(12.0)
        expect(made.leader is not None, "no leader after healing")
        expect(made.checks.top > ahead, "not caught up", f"{made.checks.top} of {ahead}")
        states = {server.name: server.state for server in made.servers.values()}
        made.checks.look_at_end(made.servers.values(), states)


def _same_leader(made: World, terms: set[int]) -> None:
    new = set(made.checks.leaders) - terms
    expect(not new, "disturbed", f"new leaders in terms {sorted(new)}")


def isolated_follower(seed: int) -> None:
    """One follower hears nobody for a while: nobody notices when it is back."""
    with calm(seed) as (made, _, (one, _)):
        clients, terms = load(made), set(made.checks.leaders)
        made.part(one.name)
        made.run(5.0)
        heal_and_judge(made, clients)
        _same_leader(made, terms)
        expect(one.replica.engine.term == max(terms), "disturbed", "its term rose")


def cut_link(seed: int) -> None:
    """Leader and one follower do not reach each other, all others do. At rest all logs are equal,
    so that only stickiness keeps the leader."""
    with calm(seed) as (made, leader, (one, _)):
        terms, cut = set(made.checks.leaders), {leader.name, one.name}
        made.block(lambda a, b: {a, b} == cut)
        made.run(5.0)
        _same_leader(made, terms)
        clients = load(made)
        heal_and_judge(made, clients)
        _same_leader(made, terms)


def deaf_follower(seed: int) -> None:
    """One follower receives nothing while its own connections stay up."""
    with calm(seed) as (made, leader, (one, other)):
        clients, terms = load(made), set(made.checks.leaders)
        made.links.stall((leader.name, one.name), 5.0)
        made.links.stall((other.name, one.name), 5.0)
        made.run(5.0)
        heal_and_judge(made, clients)
        _same_leader(made, terms)


def isolated_leader(seed: int) -> None:
    """It loses its lease before another leads, then its office, and answers nothing stale."""
    with calm(seed) as (made, leader, others):
        clients = load(made)
        expect(leader.leased, "no lease in health")
        waiting: list[object] = []
        made.part(leader.name)
        leader.replica.propose(b"alone", lambda _index, _result, error: waiting.append(error))
        leader.replica.barrier(waiting.append)
        leader.pump()
        made.run(0.6)
        expect(not leader.leased, "stale lease")
        made.run(4.0)
        expect(not leader.replica.engine.leads, "a leader without a majority goes on")
        expect(len(waiting) == 2 and None not in waiting, "answers", "nobody told who waited")
        expect(made.leader in others, "no leader after healing")
        heal_and_judge(made, clients)


def high_term(seed: int) -> None:
    """A follower comes back with a much higher term: it is not left behind for ever."""
    with calm(seed) as (made, _, (one, _)):
        clients = load(made)
        one.kill()
        one.journal.set_term(50, "")
        segments = Segments(f"/{one.name}/journal")
        list(segments.open(fresh=False))
        segments.store(one.journal.take())
        made.run(1.0)
        heal_and_judge(made, clients)


def paused_leader(seed: int) -> None:
    """The leader is stopped for longer than an election, and wakes with full buffers."""
    with calm(seed, 3, 30) as (made, leader, _):
        clients = load(made, 5)
        for _ in range(3):
            made.run(made.dice.uniform(0.1, 0.6))
            (made.leader or leader).pause(made.dice.uniform(0.6, 3.0))
            made.run(3.5)
        expect(len(made.checks.leaders) > 1, "nobody took over")
        heal_and_judge(made, clients)


def crash_in_job(label: str, steps: int, *, power: bool, seed: int = 1) -> bool:
    """End a server so many steps into a job of its disk. Whether the job has as many steps."""
    with calm(seed, 3, 30, segment_bytes=600) as (made, _, (one, _)):
        if label == "install":
            one.crash()
        clients = load(made, 5)
        made.run(2.0)
        one.interrupt = (label, steps, power)
        if label == "install":
            one.start()
        for _ in range(100):
            made.run(0.05)
            if not one.alive:
                break
        expect(not one.alive, f"no {label} in this world")
        made.run(made.dice.uniform(0.1, 1.0))
        finished = one.steps_of_end
        heal_and_judge(made, clients)
        return finished >= steps


def broken_stream(seed: int, *, cuts: int, damages: int) -> None:
    """A snapshot reaches a follower although the connection breaks and bytes arrive wrong."""
    with calm(seed, 3, 30) as (made, leader, (one, _)):
        one.crash()
        clients = load(made, 5)
        made.run(4.0)
        leader.damages = damages
        one.start()
        for _ in range(cuts):
            before = one.replica.installs
            while one.replica.engine.applied < 30 and one.replica.installs == before:
                made.run(0.003)
                if bytes_received(one):
                    break
            made.links.cut((leader.name, one.name))
        made.run(1.0)
        heal_and_judge(made, clients)
        expect(one.installs > 0, "no snapshot was needed")
        expect(cuts > 0 or one.damaged_arrivals >= min(damages, 1), "damage unnoticed")
        expect(one.damaged_arrivals <= damages, "a hole in a snapshot", str(one.damaged_arrivals))


def bytes_received(server: Server) -> int:
    incoming = server.replica._fetch.incoming
    return incoming.received if incoming is not None else 0


def stale_snapshot(seed: int) -> None:
    """The rest of an old snapshot arrives at a follower that is ahead of it."""
    with calm(seed, 3, 30) as (made, leader, (one, _)):
        clients = load(made, 5)
        made.run(2.0)
        stored = leader.replica.snapshots.latest
        assert stored is not None
        data = stored.path.read_bytes()
        made.run(1.0)
        chunk = Chunk(
            one.replica.engine.term, Probe(1, 0.0), stored.index, stored.term, len(data), 0, data
        )  # fmt: skip
        one.receive(leader.name, chunk)
        made.run(0.5)
        heal_and_judge(made, clients)
        expect(not one.installs, "an old snapshot replaced a newer log")


def slow_disk(seed: int) -> None:
    """Syncs of half a second and more, at a follower and then at the leader, elect nobody new."""
    with calm(seed) as (made, leader, (one, _)):
        clients, terms = load(made), set(made.checks.leaders)
        for server in (one, leader):
            before = len(made.checks.acknowledged)
            server.slow_until = made.timeline.now + 6.0
            made.run(8.0)
            expect(len(made.checks.acknowledged) > before, "no writes")
        _same_leader(made, terms)
        heal_and_judge(made, clients)


def failing_disk(seed: int) -> None:
    """A sync fails for lack of space: that server ends, the others go on, it comes back."""
    with calm(seed, 3, 30) as (made, leader, (one, _)):
        clients = load(made)
        for server, code in ((one, errno.ENOSPC), (leader, errno.EIO)):
            server.disk.fails = OSError(code, "the disk of this scenario")
            made.run(4.0)
            expect(server.failed_disks == 1, "a failed sync went unnoticed")
        heal_and_judge(made, clients)


def fast_clock(seed: int) -> None:
    """The only voter that answers has a clock at twice the rate, and forgets the leader early.

    With a lease from it the leader would answer while another leads already.
    """
    with calm(seed, 3, NEVER, (1.0, 2.0, 1.0)) as (made, _, _):
        fast = made.servers["n1"]
        while made.leader in {fast, None}:
            fast.crash()
            made.run(3.0)
            fast.start()
            made.run(3.0)
        leader = made.leader
        assert leader is not None
        (third,) = (one for one in made.servers.values() if one not in (leader, fast))
        cut = {leader.name, third.name}
        made.block(lambda a, b: {a, b} == cut)
        made.run(3.0)
        expect(made.leader is leader, "disturbed")
        made.part(leader.name)
        hurry(made, fast, 0.6)
        expect(fast.replica.engine.leads, "no leader")
        write(made, fast, b"new", 0.05)
