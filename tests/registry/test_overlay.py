"""The overlay: whatever arrives in whatever order, the newest statement about a check holds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.registry.catalog import SERF_HEALTH, Check, Node, Service
from mesh.registry.health import (
    DAMPED,
    GOSSIP_HEALTH,
    Instance,
    Instances,
    NodeChecks,
    ServiceChecks,
    worst,
)
from mesh.registry.overlay import (
    NODE_ENTRIES_MAX,
    SETTLE_SECONDS,
    Overlay,
    Standing,
)
from mesh.registry.transitions import GONE, Transition

WEB = Instances("web")
NOBODY = Standing()


def check(status: str = "passing", sequence: int | None = 1, **fields: str) -> Check:
    given = {"node": "n1", "id": "c", "service_id": "web", "service_name": "web"} | fields
    number = msgspec.UNSET if sequence is None else sequence
    return Check(status=status, sequence=number, **given)  # type: ignore[arg-type]  # All strings.


def serf(status: str = "passing", node: str = "n1") -> Check:
    return Check(node=node, id=SERF_HEALTH, status=status)


def instance(*checks: Check, node: str = "n1", name: str = "web") -> Instance:
    return Instance(Node(name=node), Service(node=node, id=name, name=name), list(checks))


def says(status: str, sequence: int, check_id: str = "c", service_id: str = "web") -> Transition:
    return Transition(service_id, check_id, status, sequence)


def laid(
    overlay: Overlay, *found: Instance, as_of: float = 0.0, standing: Standing = NOBODY
) -> dict[str, str]:
    """The status of each instance that is left, by node."""
    value = list(found)
    left = overlay.patch(WEB, value, as_of, standing).applied(value)
    return {one.node.name: one.status for one in left}


@given(
    statuses=some.lists(some.sampled_from(["passing", "warning", "critical", GONE]), min_size=1),
    gossip=some.lists(some.integers(0, 30), max_size=40),
    catalog=some.integers(0, 30),
    clock=some.lists(some.floats(0, 1000), min_size=41, max_size=41),
)
def test_any_interleaving_ends_at_the_newest_that_arrived(
    statuses: list[str], gossip: list[int], catalog: int, clock: list[float]
) -> None:
    """Events are lost, doubled and reordered; the catalog shows any version, older or newer."""
    history = [says(status, number) for number, status in enumerate(statuses, 1)]
    overlay, heard = Overlay(), list[int]()
    for at, pick in enumerate(gossip):
        one = history[pick % len(history)]
        heard.append(one.sequence)
        overlay.hear(clock[at], "N1", [one])
    row = history[catalog % len(history)]
    newest = max([row.sequence, *heard])
    expected = history[newest - 1].status
    if row.status == GONE:
        # The catalog shows a removal by having no row: without a number the latest word wins.
        return
    found = instance(check(row.status, row.sequence))
    patched = overlay.patch(WEB, [found], clock[-1], NOBODY).applied([found])
    statuses_left = [one.status for one in patched[0].checks]
    assert statuses_left == ([] if expected == GONE else [expected])


@given(
    some.permutations(range(6)),
    some.permutations(range(6)),
    some.lists(some.sampled_from(["passing", "critical", GONE]), min_size=6, max_size=6),
)
def test_two_agents_that_heard_the_same_agree(
    one: list[int], other: list[int], statuses: list[str]
) -> None:
    history = [says(status, number) for number, status in enumerate(statuses, 1)]
    answers = []
    for order in (one, other):
        overlay = Overlay()
        for at in order:
            overlay.hear(0.0, "n1", [history[at]])
        answers.append(laid(overlay, instance(check("passing", None)), instance(node="n2")))
    assert answers[0] == answers[1]


def test_critical_passing_critical_with_the_second_event_lost() -> None:
    """Where status or index alone would mislead: the row's number says that it is older."""
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says("critical", 2)])
    assert laid(overlay, instance(check("passing", 1)), as_of=100.0) == {"n1": "critical"}
    assert laid(overlay, instance(check("passing", 3)), as_of=0.0) == {"n1": "passing"}
    overlay.hear(1.0, "n1", [says("critical", 4)])
    assert laid(overlay, instance(check("passing", 3)), as_of=900.0) == {"n1": "critical"}
    assert laid(overlay, instance(check("critical", 4)), as_of=900.0) == {"n1": "critical"}
    overlay.hear(2.0, "n1", [says("passing", 5)])
    assert laid(overlay, instance(check("critical", 4)), as_of=900.0) == {"n1": "passing"}


def test_an_answer_that_nothing_was_heard_about_stays_the_same_object() -> None:
    overlay = Overlay()
    value = [instance(check("passing", 7), serf())]
    overlay.hear(0.0, "n1", [says("passing", 3), says("critical", 2, "c2", "other")])
    overlay.hear(0.0, "n2", [says("critical", 9)])
    assert not overlay.patch(WEB, value, 0.0, Standing(present=frozenset({"n1"})))


@pytest.mark.parametrize("age", [0.0, SETTLE_SECONDS - 1, SETTLE_SECONDS + 1])
def test_a_row_without_a_number_is_believed_once_it_had_time_to_settle(age: float) -> None:
    overlay = Overlay()
    overlay.hear(10.0, "n1", [says("critical", 2)])
    value = [instance(check("passing", None))]
    patch = overlay.patch(WEB, value, 10.0 + age, NOBODY)
    assert bool(patch) == (age < SETTLE_SECONDS)
    assert patch.until == (10.0 + SETTLE_SECONDS if patch else float("inf"))


def test_deregistered_instances_go_and_come_back() -> None:
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says(GONE, 5, ""), says(GONE, 6)])
    held = instance(check("passing", 1))
    assert laid(overlay, held, instance(node="n2")) == {"n2": "passing"}
    # Registered anew: the catalog's rows say it, or gossip does.
    assert laid(overlay, instance(check("passing", 8))) == {"n1": "passing"}
    overlay.hear(1.0, "n1", [says("passing", 7, "")])
    assert laid(overlay, held) == {"n1": "passing"}
    overlay.hear(1.0, "n1", [says(GONE, 9, "")])
    assert laid(overlay, instance()) == {}
    assert laid(overlay, instance(), as_of=1.0 + SETTLE_SECONDS) == {"n1": "passing"}


def test_checks_that_the_catalog_does_not_list_count() -> None:
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says("critical", 2, "_service_maintenance:web")])
    assert laid(overlay, instance(check())) == {"n1": "maintenance"}
    assert laid(overlay, instance(name="api")) == {"n1": "passing"}
    overlay.hear(0.0, "n1", [says("critical", 3, "_node_maintenance", "")])
    assert laid(overlay, instance(name="api")) == {"n1": "maintenance"}
    overlay.hear(0.0, "n1", [says(GONE, 4, "_node_maintenance", "")])
    assert laid(overlay, instance(name="api")) == {"n1": "passing"}


def test_a_check_moved_to_another_service_counts_there() -> None:
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says("critical", 2, "c", "api")])
    assert laid(overlay, instance(check("passing", 1))) == {"n1": "passing"}
    assert laid(overlay, instance(name="api")) == {"n1": "critical"}


def test_who_is_in_the_pool_is_known_first_hand() -> None:
    overlay = Overlay()
    found = [instance(serf()), instance(serf("critical", "N2"), node="N2"), instance(node="n3")]
    assert laid(overlay, *found) == {"n1": "passing", "N2": "critical", "n3": "passing"}
    standing = Standing(absent=frozenset({"n1", "n3"}), present=frozenset({"n2"}))
    expected = {"n1": "critical", "N2": "passing", "n3": "critical"}
    assert laid(overlay, *found, standing=standing) == expected


def test_the_catalog_says_who_is_damped() -> None:
    overlay = Overlay()
    damped = msgspec.structs.replace(serf("critical"), output=DAMPED)
    found = [instance(damped), instance(serf("critical", "n2"), node="n2")]
    here = frozenset({"n1", "n2"})
    expected = {"n1": "critical", "n2": "passing"}
    assert laid(overlay, *found, standing=Standing(present=here, damped=here)) == expected
    quiet = {"n1": "passing", "n2": "passing"}
    assert laid(overlay, *found, standing=Standing(present=here)) == quiet
    assert Standing(present=here).differing(Standing(present=here, damped=here)) == here


def test_that_removals_are_frozen_takes_nobody_out() -> None:
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says("warning", 5, GOSSIP_HEALTH, "")])
    assert laid(overlay, instance(serf())) == {"n1": "passing"}
    patch = overlay.patch(NodeChecks("n1"), [serf()], 0.0, Standing())
    assert {row.id for row in patch.applied([serf()])} == {SERF_HEALTH, GOSSIP_HEALTH}


def test_lists_of_checks_follow() -> None:
    overlay = Overlay()
    overlay.hear(0.0, "n1", [says("critical", 5), says(GONE, 6, "old"), says("warning", 7, "new")])
    rows = [serf(), check("passing", 1), check("passing", 1, id="old")]
    for query, more in ((NodeChecks("n1"), {"new": "warning"}), (ServiceChecks("web"), {})):
        patch = overlay.patch(query, rows, 0.0, Standing(absent=frozenset({"n1"})))
        found = {row.id: row.status for row in patch.applied(rows)}
        assert found == {SERF_HEALTH: "critical", "c": "critical"} | more
        assert worst(patch.applied(rows)) == "critical"


def test_it_forgets_whom_it_must_and_no_more_than_it_must() -> None:
    overlay = Overlay(limit=10)
    for node in range(6):
        overlay.hear(0.0, f"n{node}", [says("critical", 2), says("critical", 3, "d")])
    assert overlay.entries == 10
    assert laid(overlay, *(instance(check(node=f"n{n}"), node=f"n{n}") for n in (0, 5))) == {
        "n0": "passing",
        "n5": "critical",
    }
    overlay.retain({"n5"})
    assert overlay.entries == 2
    assert (overlay.newest("N5"), overlay.newest("n4")) == (3, 0)
    large = Overlay()
    large.hear(0.0, "n1", [says("critical", n, str(n)) for n in range(1, NODE_ENTRIES_MAX + 3)])
    assert (large.entries, large.refused) == (NODE_ENTRIES_MAX, 2)


def test_what_is_old_news_changes_nothing() -> None:
    overlay = Overlay()
    assert overlay.hear(0.0, "n1", [says("critical", 2)]) == 1
    before = overlay.version
    assert overlay.hear(50.0, "n1", [says("critical", 2), says("passing", 1)]) == 0
    assert overlay.version == before
    assert overlay.hear(50.0, "n2", []) == 0
    assert overlay.entries == 1
