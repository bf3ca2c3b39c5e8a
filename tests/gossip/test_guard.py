"""The mass-failure guard: when it freezes, what it holds, how it ends; alone and in a world."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.gossip.guard import Guard, Rule
from mesh.gossip.members import MemberEvent, Status
from mesh.gossip.options import Options
from mesh.gossip.pool import Outcome
from tests.gossip.world import Node, World

NAMES = [f"n{number}" for number in range(10)]


def guard(count: int, **changes: float) -> Guard:
    made = Guard(Rule(**changes))  # type: ignore[arg-type]
    for number in range(count):
        made.came(0.0, f"n{number}")
    return made


def is_frozen(made: Guard) -> bool:
    return made.freeze is not None


def fail(made: Guard, count: int, now: float = 1.0) -> None:
    for number in range(count):
        made.failed(now, f"n{number}")


@pytest.mark.parametrize(
    ("pool", "failed", "frozen"),
    [
        (2, 1, False),  # One of two is half, and still only one.
        (3, 1, False),
        (3, 2, True),  # Whoever sees that is probably the one cut off.
        (4, 1, False),
        (4, 2, True),
        (5, 2, False),  # The majority's view of a partition 3/2 ...
        (5, 3, True),  # ... and the minority's.
        (9, 3, False),  # A zone of three.
        (9, 6, True),
        (100, 40, False),
        (100, 41, True),
    ],
)
def test_what_is_a_mass(pool: int, failed: int, frozen: bool) -> None:
    made = guard(pool)
    fail(made, failed)
    assert (made.freeze is not None) is frozen
    assert made.held == (frozenset(f"n{n}" for n in range(failed)) if frozen else frozenset())


def test_failures_far_apart_are_no_mass() -> None:
    made = guard(10)
    for number in range(9):
        made.failed(number * 31.0, f"n{number}")
    assert made.freeze is None or made.freeze.pool < 5, "only a small rest may seem a mass"


def test_suspects_count_once_two_failed() -> None:
    made = guard(100)
    suspects = [f"n{number}" for number in range(60)]
    made.failed(1.0, "n0", suspects)
    assert not is_frozen(made)
    made.failed(1.0, "n1", suspects)
    assert made.freeze is not None
    assert (made.freeze.vanished, made.freeze.pool) == (60, 100)
    assert made.held == {"n0", "n1"}
    # They refute, and two of a hundred are no mass: after a while the two go.
    assert made.deadline() == 61.0
    made.tick(61.0)
    assert made.held == frozenset()


def test_what_fails_during_a_freeze_is_held_and_who_leaves_goes() -> None:
    made = guard(10)
    fail(made, 5)
    made.failed(50.0, "n9")
    made.left(51.0, "n0")
    assert made.held == {"n1", "n2", "n3", "n4", "n9"}


def test_it_ends_when_all_are_back() -> None:
    made = guard(4)
    fail(made, 3)
    for number in range(3):
        made.came(9.0, f"n{number}")
    assert not is_frozen(made)
    began, ended = made.take()
    assert began.frozen
    assert "3 of 4 members" in began.text or "2 of 4 members" in began.text
    assert "more than 40%" in began.text
    assert "300 s" in began.text
    assert ended.text == (
        "removals from discovery are no longer frozen, after 8 s: nobody is missing any more"
    )


def test_it_ends_a_window_after_the_rule_ceased_to_hold() -> None:
    made = guard(10)
    fail(made, 6)
    made.came(10.0, "n0")
    made.came(20.0, "n1")  # Four are missing: no mass any more.
    assert made.deadline() == 80.0
    made.came(30.0, "n2")
    assert made.deadline() == 80.0, "the first moment counts"
    made.failed(40.0, "n0")
    made.failed(41.0, "n1")
    assert made.deadline() == 301.0, "it holds again"
    made.came(50.0, "n0")
    made.tick(110.0)
    made.take()
    assert not is_frozen(made)


def test_a_real_failure_is_believed_in_the_end() -> None:
    made = guard(10)
    fail(made, 6)
    made.tick(300.9)
    assert is_frozen(made)
    made.tick(301.0)
    assert not is_frozen(made)
    assert "it lasted 300 s, the most it may; 6 that are still missing go now" in (
        made.take()[-1].text
    )
    assert made.deadline() == math.inf
    # Those dead for long make no new mass.
    made.failed(302.0, "n6")
    assert not is_frozen(made)


def test_an_operator_ends_it() -> None:
    made = guard(10)
    assert not made.release(0.0)
    fail(made, 6)
    assert made.release(2.0)
    assert made.held == frozenset()
    assert "an operator released it" in made.take()[-1].text


def test_it_can_be_turned_off() -> None:
    made = guard(10, enabled=False)
    fail(made, 9)
    assert not is_frozen(made)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["came", "failed", "left", "release", "tick"]),
            st.sampled_from(NAMES),
            st.floats(0.0, 40.0),
        ),
        max_size=80,
    )
)
def test_whatever_happens(steps: list[tuple[str, str, float]]) -> None:
    """Held are only members that failed and neither came back nor left; no freeze lasts."""
    made, now = Guard(Rule()), 0.0
    failed: set[str] = set()
    for name in NAMES:
        made.came(now, name)
    for kind, name, pause in steps:
        end = now + pause
        while made.deadline() <= end:
            now = max(now, made.deadline())
            made.tick(now)
        now = end
        if kind == "failed":
            made.failed(now, name)
            failed.add(name)
        elif kind in {"came", "left"}:
            getattr(made, kind)(now, name)
            failed.discard(name)
        elif kind == "release":
            made.release(now)
        assert made.held <= failed
        assert (made.freeze is None) == (not made.held)
        if made.freeze is not None:
            assert now < made.freeze.since + made.rule.hold_max_seconds
            assert now < made.deadline() <= made.freeze.latest
    turns = [turn.frozen for turn in made.take()]
    assert turns == [number % 2 == 0 for number in range(len(turns))], "begin and end alternate"


# In a world


def guarded(world: World) -> dict[str, Guard]:
    """A guard on every node, fed as the daemon feeds it."""
    found = {}
    for node in world.nodes:
        made = found[node.name] = Guard(Rule())
        for name in node.statuses():
            made.came(world.now, name)
        _feed(world, node, made)
    return found


def _feed(world: World, node: Node, made: Guard) -> None:
    take = node.pool.take

    def taken(now: float) -> list[Outcome]:
        outcomes = take(now)
        made.tick(now)
        for event in outcomes:
            if not isinstance(event, MemberEvent):
                continue
            member = event.member
            if event.kind == "reap" or member.status == Status.LEFT:
                made.left(now, member.name)
            elif member.status == Status.FAILED:
                made.failed(now, member.name, node.swim.suspicions)
            else:
                made.came(now, member.name)
        return outcomes

    node.pool.take = taken  # type: ignore[method-assign]


def failed(node: Node) -> set[str]:
    return {name for name, status in node.statuses().items() if status == "FAILED"}


def everybody_is_back(world: World) -> bool:
    alive = {node.name: "ALIVE" for node in world.nodes}
    return all(node.statuses() == alive for node in world.nodes)


@pytest.mark.parametrize("seed", range(3))
def test_a_minority_freezes_and_the_majority_goes_on(seed: int) -> None:
    world = World(seed, 20, Options())
    world.settle()
    guards = guarded(world)
    few, many = world.nodes[:6], world.nodes[6:]
    world.network.part([node.name for node in few])
    lost, gone = {node.name for node in few}, {node.name for node in many}
    world.run_until(
        lambda: (
            all(guards[node.name].held == gone for node in few)
            and all(failed(node) == lost for node in many)
        ),
        200.0,
    )
    for node in many:
        assert guards[node.name].freeze is None, "six of twenty are 30 %"
    world.network.heal()
    world.run_until(lambda: everybody_is_back(world), 240.0)
    assert not any(made.freeze for made in guards.values())


@pytest.mark.parametrize("seed", range(3))
def test_half_that_die_at_once_are_kept(seed: int) -> None:
    world = World(seed, 8, Options())
    world.settle()
    guards = guarded(world)
    dead, living = world.nodes[:4], world.nodes[4:]
    for node in dead:
        world.kill(node)
    names = {node.name for node in dead}
    world.run_until(lambda: all(guards[one.name].held == names for one in living), 120.0)
    for node in living:
        assert guards[node.name].freezes == 1
