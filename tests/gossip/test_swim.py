"""The rules of SWIM one by one: which news counts, and what a node answers to news about itself."""

import math

import pytest

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.gossip.messages import Alive, Dead, Message, Suspect, User, encode
from mesh.gossip.options import SwimOptions
from mesh.gossip.streams import ALIVE, DEAD, LEFT, SUSPECT, NodeState
from mesh.gossip.swim import (
    AWARENESS_MAX,
    INCARNATION_MAX,
    Exchange,
    Notice,
    Remark,
    Send,
    Swim,
)

HERE, THERE = b"\x0a\0\0\1", b"\x0a\0\0\2"


class Node:
    def __init__(self, **options: float) -> None:
        self.swim = Swim("me", SwimOptions(**options), SeededDice(1), 0.0)  # type: ignore[arg-type]
        self.swim.go_live(0.0, "10.0.0.9", 7946, b"m")
        self.quiet()

    def quiet(self) -> None:
        self.swim.take()
        while self.swim.queue.draw(10_000, 0, 1):
            pass

    def alive(self, incarnation: int = 1, now: float = 0.0, **changes: object) -> None:
        fields = {"node": "x", "address": HERE, "port": 7946, **changes}
        self.swim.alive(now, Alive(incarnation, **fields))  # type: ignore[arg-type]

    def suspect(self, incarnation: int = 1, source: str = "a", now: float = 0.0) -> None:
        self.swim.suspect(now, Suspect(incarnation, "x", source))

    def dead(self, incarnation: int = 1, source: str = "a", now: float = 0.0) -> None:
        self.swim.dead(now, Dead(incarnation, "x", source))

    def says(self) -> list[Message]:
        said = self.swim.queue.draw(10_000, 0, 1)
        self.quiet()
        return said

    def notices(self) -> list[str]:
        return [effect.kind for effect in self.swim.take() if isinstance(effect, Notice)]

    def remarks(self) -> list[Remark]:
        return [effect for effect in self.swim.take() if isinstance(effect, Remark)]

    @property
    def x(self) -> tuple[int, int]:
        peer = self.swim.peers["x"]
        return peer.state, peer.incarnation


def mine(incarnation: int, address: bytes = b"\x0a\0\0\x09", meta: bytes = b"m") -> Alive:
    return Alive(incarnation, "me", address, 7946, meta)


def others(node: Node, count: int) -> None:
    for number in range(count):
        node.alive(node=f"other-{number}", address=bytes((10, 1, number // 250, number % 250)))
    node.quiet()


def test_alive_needs_a_newer_incarnation() -> None:
    node = Node()
    node.alive(3)
    assert (node.x, node.notices(), len(node.says())) == ((ALIVE, 3), ["join"], 1)
    for old in (2, 3):
        node.alive(old, meta=b"new")
    assert (node.notices(), node.says()) == ([], [])
    node.alive(4, meta=b"new")
    assert (node.x, node.notices(), len(node.says())) == ((ALIVE, 4), ["update"], 1)


def test_alive_at_incarnation_0_is_not_listed() -> None:
    node = Node()
    node.alive(0)
    assert "x" not in node.swim.peers


@pytest.mark.parametrize("state", ["alive", "suspect", "just dead"])
def test_a_live_member_does_not_move(state: str) -> None:
    node = Node()
    node.alive(1)
    if state == "suspect":
        node.suspect()
    elif state == "just dead":
        node.dead()
    node.quiet()
    before = node.x
    node.alive(9, now=10.0, address=THERE)
    assert node.x == before
    assert [remark.warning for remark in node.remarks()] == [True]
    assert node.says() == []


def test_a_name_may_come_back_elsewhere_after_leaving_or_a_while_after_dying() -> None:
    node = Node()
    node.alive(5)
    node.dead(5, source="x")
    node.alive(1, now=1.0, address=THERE)
    assert node.x == (ALIVE, 1)
    node.dead(1, now=2.0)
    node.alive(1, now=31.0, address=HERE)
    assert node.x == (DEAD, 1)
    node.alive(1, now=33.0, address=HERE)
    assert node.x == (ALIVE, 1)
    assert node.swim.peers["x"].host == "10.0.0.1"


def test_suspicion_needs_the_incarnation_and_an_alive_member() -> None:
    node = Node()
    node.suspect()
    assert "x" not in node.swim.peers
    node.alive(3)
    node.quiet()
    node.suspect(2)
    assert (node.x, node.says()) == ((ALIVE, 3), [])
    node.suspect(3)
    assert (node.x, node.says()) == ((SUSPECT, 3), [Suspect(3, "x", "a")])
    node.alive(4)
    assert (node.x, node.swim.suspicions) == ((ALIVE, 4), {})
    node.dead(4)
    node.suspect(4)
    assert (node.x, node.swim.suspicions) == ((DEAD, 4), {})


def test_confirmations_are_passed_on_as_long_as_they_count() -> None:
    node = Node()
    others(node, 10)
    node.alive()
    node.suspect(source="a")
    node.quiet()
    for source, counts in [("a", False), ("b", True), ("b", False), ("c", True), ("d", False)]:
        node.suspect(source=source)
        assert bool(node.says()) == counts, source
    assert node.swim.deadline() <= node.swim.suspicions["x"].deadline
    shortest = 4 * math.floor(math.log10(12) * 1000) / 1000
    assert node.swim.suspicions["x"].deadline == pytest.approx(shortest)


def test_a_suspicion_that_runs_out_kills() -> None:
    node = Node()
    node.alive()
    node.suspect()
    node.quiet()
    node.swim.tick(3.9)
    assert node.x == (SUSPECT, 1)
    node.swim.tick(4.1)
    assert node.x == (DEAD, 1)
    assert "leave" in node.notices()


def test_dead_needs_the_incarnation_and_is_final() -> None:
    node = Node()
    node.alive(3)
    node.quiet()
    node.dead(2)
    assert node.x == (ALIVE, 3)
    node.dead(3)
    assert (node.x, node.notices(), node.says()) == ((DEAD, 3), ["leave"], [Dead(3, "x", "a")])
    node.dead(3, source="x")
    assert (node.x, node.notices(), node.says()) == ((DEAD, 3), [], [])
    node.alive(4)
    node.dead(4, source="x")
    assert node.x == (LEFT, 4)


def test_news_about_this_node_is_refuted_past_the_accusation() -> None:
    node = Node()
    for number, (act, accused, after) in enumerate(
        [
            (node.swim.suspect, Suspect(1, "me", "a"), 2),
            (node.swim.dead, Dead(7, "me", "a"), 8),
            (node.swim.dead, Dead(8, "me", "me"), 9),
            (node.swim.alive, mine(9, meta=b"other"), 10),
            (node.swim.alive, mine(12), 13),
        ]
    ):
        act(0.0, accused)  # type: ignore[operator]
        assert node.swim.me.incarnation == after
        assert node.says() == [mine(after)]
        assert node.swim.awareness == number + 1


def test_old_or_equal_news_about_this_node_is_silent() -> None:
    node = Node()
    node.swim.suspect(0.0, Suspect(1, "me", "a"))
    node.quiet()
    node.swim.dead(0.0, Dead(1, "me", "a"))
    node.swim.alive(0.0, mine(1, meta=b"other"))
    node.swim.alive(0.0, mine(2))
    assert (node.swim.me.incarnation, node.says(), node.swim.awareness) == (2, [], 1)


def test_who_missed_the_refutation_is_told_again() -> None:
    node = Node()
    node.swim.suspect(0.0, Suspect(1, "me", "a"))
    assert node.says() == [mine(2)]
    node.swim.suspect(9.0, Suspect(1, "me", "b"))
    assert (node.swim.me.incarnation, node.swim.awareness) == (2, 1)
    assert node.says() == [mine(2)]


def test_two_nodes_of_one_name_do_not_refute_each_other_for_ever() -> None:
    node = Node()
    node.swim.alive(0.0, mine(9, address=THERE))
    assert (node.swim.me.incarnation, node.says(), node.swim.awareness) == (1, [], 0)
    node.swim.alive(0.0, mine(9, address=THERE))
    assert [remark.warning for remark in node.remarks()] == [True]


def test_the_incarnation_stops_at_its_largest_value() -> None:
    node = Node()
    node.swim.dead(0.0, Dead(INCARNATION_MAX, "me", "a"))
    node.swim.dead(0.0, Dead(INCARNATION_MAX, "me", "a"))
    node.swim.set_meta(b"new")
    assert node.swim.me.incarnation == INCARNATION_MAX
    assert node.says() == [mine(INCARNATION_MAX, meta=b"new")]


def test_who_left_says_goodbye_and_nothing_else() -> None:
    node, done = Node(), []
    others(node, 2)
    node.swim.leave(lambda: done.append(True))
    node.swim.suspect(0.0, Suspect(5, "me", "a"))
    node.swim.dead(0.0, Dead(5, "me", "a"))
    node.swim.alive(0.0, mine(5))
    node.swim.set_meta(b"new")
    assert not done
    assert node.says() == [Dead(1, "me", "me")]
    assert done == [True]


def test_while_it_only_prepares_to_leave_it_still_refutes() -> None:
    node = Node()
    node.swim.leaving = True
    node.swim.dead(0.0, Dead(1, "me", "a"))
    assert node.says() == [mine(2)]


def test_merging_never_kills_at_once() -> None:
    node = Node()
    for name in ("a", "b", "c"):
        node.alive(3, node=name)
    states = [
        NodeState("a", HERE, 7946, 3, DEAD),
        NodeState("b", HERE, 7946, 3, SUSPECT),
        NodeState("c", HERE, 7946, 3, LEFT),
        NodeState("d", HERE, 7946, 3, ALIVE),
        NodeState("unknown", HERE, 7946, 3, DEAD),
    ]
    assert node.swim.merge(0.0, states) == 0
    found = {name: peer.state for name, peer in node.swim.peers.items() if name != "me"}
    assert found == {"a": SUSPECT, "b": SUSPECT, "c": LEFT, "d": ALIVE}


def test_merging_skips_entries_that_could_not_be_passed_on() -> None:
    node = Node()
    bad = [
        NodeState("", HERE, 1, 1, ALIVE),
        NodeState("x" * 129, HERE, 1, 1, ALIVE),
        NodeState("a", b"", 1, 1, ALIVE),
        NodeState("b", HERE, 1, 1, ALIVE, b"x" * 513),
        NodeState("c", HERE, 1, 1, ALIVE, b"", b""),
        NodeState("d", HERE, 1, 1, ALIVE, b"", b"\x01\x05\x02\x02\x05\x05" * 300),
    ]
    assert node.swim.merge(0.0, [*bad, NodeState("good", HERE, 1, 1, ALIVE)]) == len(bad)
    assert set(node.swim.peers) == {"me", "good"}


def test_gossip_goes_to_the_living_and_for_a_while_to_the_dead() -> None:
    node = Node(push_pull_interval_seconds=0.0)
    for number, name in enumerate(("alive", "suspect", "dead", "left")):
        node.alive(node=name, address=bytes((10, 0, 1, number)))
    node.swim.suspect(0.0, Suspect(1, "suspect", "q"))
    node.swim.dead(0.0, Dead(1, "dead", "q"))
    node.swim.dead(0.0, Dead(1, "left", "left"))
    node.quiet()
    del node.swim.suspicions["suspect"]

    def targets(now: float) -> set[str]:
        found = set()
        for step in range(40):
            node.swim.queue.add("news", User(b"news"))
            node.swim.plan(now + (step - 1) * 0.2)
            node.swim.tick(now + step * 0.2)
            found |= {one.address for one in node.swim.take() if isinstance(one, Send)}
        return found

    assert targets(1.0) == {"10.0.1.0", "10.0.1.1", "10.0.1.2"}
    assert targets(31.0) == {"10.0.1.0", "10.0.1.1"}


@pytest.mark.parametrize("overhead", [0, 36])
def test_packets_keep_to_their_size(overhead: int) -> None:
    node = Node(push_pull_interval_seconds=0.0)
    node.swim.overhead = overhead
    others(node, 5)
    node.swim.draw_above = lambda budget, overhead: (
        [User(bytes(budget - overhead - 1))] if budget > overhead else []
    )
    node.swim.waits_above = lambda: True
    for number in range(200):
        node.alive(2, node=f"n{number}", meta=bytes(number))
    node.swim.plan(0.0)
    for step in range(20):
        node.swim.tick(step * 0.2)
    sent = [effect for effect in node.swim.take() if isinstance(effect, Send)]
    sizes = [2 + sum(len(encode(message)) + 2 for message in one.messages) for one in sent]
    assert max(sizes) == 1400 - overhead


@pytest.mark.parametrize(
    ("members", "seconds"), [(32, 30), (33, 60), (64, 60), (65, 90), (1000, 180), (5000, 270)]
)
def test_the_period_of_exchanges_grows_with_the_pool(members: int, seconds: float) -> None:
    node = Node()
    for number in range(members - 1):
        node.swim.peers[str(number)] = node.swim.me
    assert node.swim._exchange_period() == seconds


def test_state_is_exchanged_with_a_live_member() -> None:
    node = Node()
    node.alive()
    node.swim.tick(30.0)
    assert not any(isinstance(effect, Exchange) for effect in node.swim.take()), "not in step yet"
    node.swim.tick(60.0)
    assert Exchange("x", "10.0.0.1", 7946) in node.swim.take()
    node.dead()
    node.swim.tick(120.0)
    assert not any(isinstance(effect, Exchange) for effect in node.swim.take())


def test_health_stays_in_its_bounds() -> None:
    node = Node()
    node.swim.degrade(100)
    assert node.swim.awareness == AWARENESS_MAX - 1
    node.swim.degrade(-100)
    assert node.swim.awareness == 0


def test_a_member_at_an_ipv6_address() -> None:
    node = Node()
    node.alive(address=bytes(15) + b"\x01")
    node.alive(node="mapped", address=bytes(10) + b"\xff\xff" + HERE)
    assert node.swim.peers["x"].host == "::1"
    assert node.swim.peers["mapped"].host == "10.0.0.1"


def test_gossip_is_due_at_its_interval_and_only_while_there_is_news() -> None:
    node = Node(push_pull_interval_seconds=0.0)
    others(node, 5)
    assert node.swim.deadline() == math.inf
    phases = set()
    for now in (1.0, 7.55, 33.333, 60.0):
        node.alive(int(now) + 1, now=now)
        node.swim.plan(now)
        due = node.swim.deadline()
        assert now < due <= now + 0.2
        phases.add(round(due % 0.2, 6))
        while node.swim.deadline() < math.inf:
            assert node.swim.deadline() == pytest.approx(due)
            node.swim.tick(node.swim.deadline())
            due += 0.2
    assert len(phases) == 1


def test_gossip_never_falls_due_when_it_was_planned() -> None:
    node = Node(push_pull_interval_seconds=0.0)
    now = node.swim._first_gossip
    for _ in range(1000):
        node.alive(node=str(now), now=now)
        node.swim.plan(now)
        assert node.swim.deadline() > now
        now = node.swim.deadline()
        node.swim.tick(now)


@pytest.mark.parametrize("versions", [(1, 5, 0, 2, 5, 5), (1, 1, 1, 2, 5, 5), (1, 5, 2, 2, 4, 4)])
def test_news_of_a_member_nobody_understands_does_not_end_every_push_pull(
    versions: tuple[int, ...],
) -> None:
    node = Node()
    node.alive()
    with pytest.raises(Invalid, match="Vsn: "):
        node.alive(node="y", versions=bytes(versions))
    with pytest.raises(Invalid, match="Vsn: "):
        node.alive(2, versions=bytes(versions))
    assert "y" not in node.swim.peers
    assert node.x == (ALIVE, 1)
    assert node.swim.misfit(node.swim.states()) == ""
    # Older members of the pool are still heard.
    node.alive(node="z", versions=bytes((1, 2, 2, 2, 5, 4)))
    assert "z" in node.swim.peers
