from __future__ import annotations

from typing import Any

import pytest

from mesh.registry.checks import Check
from mesh.registry.maintenance import Maintenance, Target
from mesh.registry.orders import Health, ServerHealth
from mesh.registry.overview import Tally, Totals
from mesh.registry.refusals import Refusal
from mesh.ui.facts import Facts, Freeze, Levels, Member, Sidecar
from mesh.ui.findings import Finding
from mesh.ui.now import LATELY_SECONDS, REFUSED_MAX, find

NOW = 1_700_000_000.0


def found(**facts: Any) -> list[Finding]:
    return find(Facts(now=NOW, node="n0", **facts))


def only(**facts: Any) -> Finding:
    (one,) = found(**facts)
    return one


def server(name: str, **more: Any) -> ServerHealth:
    usual: dict[str, Any] = {"voter": True, "healthy": True, "leader": False, "status": "alive"}
    return ServerHealth(id=name, name=name, address="", version="1", **(usual | more))


def check(node: str, **more: Any) -> Check:
    return Check(node=node, id="up", name="up", status="critical", **more)


def test_nothing_is_wrong_where_nothing_is_known() -> None:
    assert found() == []


def test_a_member_that_is_gone_is_told_once() -> None:
    gone = Member(name="a b", failed=True, since=NOW - 60, server=True)
    serf = Check(node="A B", id="serfHealth", status="critical")
    ill = server("a b", healthy=False)
    one = only(members=[gone], failing=[serf], servers=Health(False, 1, [ill, server("s2")]))
    assert (one.kind, one.severity, one.of, one.since) == ("gone", "critical", "node", NOW - 60)
    assert [step.command for step in one.next if step.command] == [
        "meshctl doctor network 'a b'",
        "meshctl force-leave 'a b'",
    ]


def test_the_worst_comes_first() -> None:
    damped = Member(name="a", damped_until=NOW + 1)
    row = Maintenance(target=Target(node="n1"), reason="new disk", owner="ann", since=1.0)
    every = found(members=[damped], maintenance=[row], failing=[check("z")])
    assert [one.severity for one in every] == ["critical", "warning", "info"]
    assert every[2].detail == "new disk (ann). It ends only by hand."


@pytest.mark.parametrize(
    ("target", "of", "name", "flags"),
    [
        (Target(node="n1"), "node", "n1", "--node n1"),
        (Target(service="web"), "service", "web", "--cluster --service web"),
        (Target(node="n1", service_id="w 1"), "instance", "w 1 on n1", "--node n1 --service 'w 1'"),
    ],
)
def test_maintenance_says_how_it_is_ended(target: Target, of: str, name: str, flags: str) -> None:
    one = only(maintenance=[Maintenance(target=target, until=NOW + 9)])
    assert (one.of, one.name) == (of, name)
    assert one.next[0].command == f"meshctl maint --disable {flags}"


def test_a_freeze_is_told_with_whom_it_keeps_and_not_again_by_its_check() -> None:
    freeze = Freeze(since=5.0, rule="3 of 5 vanished", ends="soon", held=["b", "a"])
    gossip = Check(node="n0", id="mesh-gossip", status="warning")
    one = only(freeze=freeze, failing=[gossip])
    assert (one.detail, one.since) == ("3 of 5 vanished; soon Kept: a, b.", 5.0)
    assert only(failing=[gossip]).kind == "frozen"


def test_servers_that_are_not_healthy_are_worse_when_none_may_fail() -> None:
    ill = server("s1", healthy=False, reason="heard 2s ago", stable_since=7.0)
    three = [ill, server("s2"), server("s3")]
    one = only(servers=Health(False, 1, three))
    assert (one.severity, one.detail, one.since) == ("warning", "heard 2s ago", 7.0)
    kinds = {one.kind: one.severity for one in found(servers=Health(False, 0, three))}
    assert kinds == {"unhealthy": "critical", "no spare": "warning"}


def test_a_server_alone_is_no_news_and_one_without_a_vote_is() -> None:
    assert found(servers=Health(True, 0, [server("s1", leader=True)])) == []
    one = only(servers=Health(True, 1, [server("s1"), server("s2"), server("s4", voter=False)]))
    assert (one.kind, one.severity, one.name) == ("no vote", "info", "s4")
    replica = server("s4", voter=False, read_replica=True)
    assert found(servers=Health(True, 1, [server("s1"), replica])) == []


def test_what_could_not_be_asked_is_a_finding() -> None:
    every = found(failures={"leader": "no leader at present", "snapshots": "too slow"})
    assert [(one.kind, one.severity, one.name) for one in every] == [
        ("no leader", "critical", "servers"),
        ("not asked", "warning", "snapshots"),
    ]


def test_sidecars_that_are_down_or_refuse_what_they_are_told() -> None:
    well = Sidecar(id="a", state="running")
    ill = Sidecar(id="b", state="failed", why="exit 1", refused=["cluster x: bad"], problems=["?"])
    every = found(sidecars=[well, ill])
    assert [(one.kind, one.severity, one.name) for one in every] == [
        ("down", "critical", "b on n0"),
        ("refused", "warning", "b on n0"),
        ("unclear", "warning", "b on n0"),
    ]


def test_refused_calls_are_counted_by_pair_and_forgotten_after_an_hour() -> None:
    def refusal(kind: Any, source: str, last: float = NOW) -> Refusal:
        return Refusal(
            kind=kind, source=source, destination="db", rule="deny", count=2, first=3.0, last=last
        )

    rows = [refusal("denied", "web"), refusal("denied", "web"), refusal("would-deny", "api")]
    old = refusal("denied", "old", NOW - LATELY_SECONDS - 1)
    every = found(refusals=[*rows, old])
    assert [(one.name, one.kind, one.detail) for one in every] == [
        ("api → db", "dry run", "A dry run would deny 2 calls: deny"),
        ("web → db", "denied", "4 calls denied: deny"),
    ]
    many = found(refusals=[refusal("denied", f"s{i}") for i in range(REFUSED_MAX + 3)])
    assert [one.detail for one in many if one.name == "others"] == [
        "Calls between 3 more pairs of services were refused."
    ]


def test_levels_wait_for_servers_or_for_an_operator() -> None:
    assert found(levels=Levels(5, 5)) == []
    assert only(levels=Levels(4, 5, ["s3"])).detail == "Level 5 waits for s3."
    assert only(levels=Levels(4, 5)).next[0].command == "meshctl operator upgrade finalize"


def test_totals_tell_how_many_instances_there_are() -> None:
    totals = Totals(Tally(), [Tally("web", 3, 2, 0, 1)], [])
    ill = check("n1", service_id="web-1", service_name="web", output="refused\nmore")
    one = only(failing=[ill], totals=totals)
    assert one.detail == "1 of 3 instances critical on n1: up: refused"
