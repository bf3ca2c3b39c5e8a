"""Rows about what nodes' sidecars refused."""

from __future__ import annotations

import pytest

from mesh.errors import Invalid
from mesh.registry.intentions import Intention
from mesh.registry.refusals import (
    HOUR,
    REFUSALS_MAX,
    TEXT_MAX,
    All,
    Forget,
    Of,
    Refusal,
    Tell,
    is_tried,
    together,
)
from tests.registry.world import World


def one(source: str = "web", **more: object) -> Refusal:
    given = {"kind": "denied", "rule": "r", "count": 1, "first": 1.0, "last": 2.0} | more
    return Refusal(source=source, destination="db", **given)  # type: ignore[arg-type]


def test_a_node_has_one_row_and_none_when_it_saw_nothing() -> None:
    world = World()
    assert world.do(Tell("N1", [one("web"), one("api")]))
    row = world.ask(Of("n1"))
    assert row is not None
    assert [each.source for each in row.found] == ["api", "web"]
    world.do(Tell("n1"))
    assert world.ask(All()) == []


@pytest.mark.parametrize(
    "tell",
    [
        Tell(""),
        Tell("n1", [one()] * (REFUSALS_MAX + 1)),
        Tell("n1", [one("x" * (TEXT_MAX + 1))]),
        Tell("n1", [one(examples=["x"] * 5)]),
    ],
)
def test_what_is_told_has_limits(tell: Tell) -> None:
    with pytest.raises(Invalid):
        World().do(tell)


def test_rows_of_nodes_that_are_gone_are_dropped_after_an_hour() -> None:
    world = World()
    for node in ("n1", "gone"):
        world.do(Tell(node, [one()]))
    assert world.do(Forget()) == 0
    world.now += HOUR + 1
    assert world.do(Forget()) == 1
    assert [row.node for row in world.ask(All())] == ["n1"]


def test_sums_keep_the_first_and_the_last_time() -> None:
    found = together([one(), one("api")], [one(first=0.0, last=1.0, count=4)])
    assert [(each.source, each.count, each.first, each.last) for each in found] == [
        ("api", 1, 1.0, 2.0),
        ("web", 5, 0.0, 2.0),
    ]


def test_dry_runs_are_shown_while_they_are_there() -> None:
    trying = Intention(source="*", destination="db", action="deny", dry_run=True)
    real = Intention(source="web", destination="db", action="deny")
    assert is_tried(one(kind="would-deny"), [real, trying])
    assert not is_tried(one(kind="would-deny"), [real])
    assert is_tried(one(), [])
