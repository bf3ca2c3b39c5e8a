"""How loudly the end of a root is told."""

from __future__ import annotations

import pytest

from mesh.connect import ca
from mesh.connect.horizon import DAY, judge
from mesh.registry.authority import HOUR, Rules, Trust
from tests.connect.authority import START, Elsewhere, Office


@pytest.mark.parametrize(
    ("left", "status", "stage"),
    [(61, "passing", 0), (59, "warning", 1), (29, "warning", 2), (6, "critical", 3)],
)
def test_the_root_ends(left: float, status: str, stage: int) -> None:
    office = Office()
    office.now = office.state.active.not_after - 100 * DAY
    office.amend(ca.renew(office.state, office.making))
    verdict = judge(office.trust, office.state.active.not_after - left * DAY)
    assert (verdict.status, verdict.stage) == (status, stage)


def test_it_has_ended() -> None:
    office = Office()
    verdict = judge(office.trust, office.state.active.not_after)
    assert (verdict.status, verdict.stage) == ("critical", 4)
    assert "meshctl connect ca recover" in verdict.reason


def test_a_short_life_is_told_by_its_share() -> None:
    short = Rules(leaf_cert_ttl=HOUR, intermediate_cert_ttl=3 * HOUR, root_cert_ttl=12 * HOUR)
    trust = Office(short).trust
    assert judge(trust, START + HOUR).status == "passing"
    assert judge(trust, START + 11.5 * HOUR).status == "critical"


def test_an_intermediate_that_is_not_renewed() -> None:
    office = Office()
    root = office.state.active
    verdict = judge(office.trust, root.intermediate_not_after - 30 * DAY, "no key here")
    assert verdict.status == "critical"
    assert verdict.reason == "the intermediate ends in 30 days and is not renewed: no key here"


@pytest.mark.parametrize(
    ("left", "status", "stage", "why"),
    [
        (61, "passing", 0, "the root is good"),
        (59, "warning", 1, "from outside ends in 59 days"),
        (6, "critical", 3, "from outside ends in 6 days"),
        (-1, "critical", 3, "no leaf can be signed"),
    ],
)
def test_an_intermediate_from_outside_ends(left: float, status: str, stage: int, why: str) -> None:
    office = Office(brought=Elsewhere().gives(365))
    verdict = judge(office.trust, office.state.active.intermediate_not_after - left * DAY)
    assert (verdict.status, verdict.stage) == (status, stage)
    assert why in verdict.reason


def test_none_yet() -> None:
    assert judge(Trust(), START, "no disk").reason.endswith("authority yet: no disk")
