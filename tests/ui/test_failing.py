from __future__ import annotations

from typing import Any

from mesh.registry.checks import Check
from mesh.ui.failing import find, seconds
from mesh.ui.findings import Finding


def check(node: str, identity: str = "up", status: str = "critical", **more: Any) -> Check:
    return Check(node=node, id=identity, name=identity, status=status, **more)


def found(*checks: Check, gone: set[str] | None = None) -> list[Finding]:
    return find(checks, None, gone or set(), set())


def test_checks_of_one_service_are_one_finding_of_the_worst() -> None:
    of = {"service_name": "web"}
    (one,) = found(
        check("n2", status="warning", service_id="w2", **of),
        check("n3", service_id="w3", **of),
        check("n1", service_id="w1", output="refused", **of),
    )
    assert (one.severity, one.name) == ("critical", "web")
    assert one.detail == "2 instances critical on n1, n3: up: refused"
    assert one.next[0].path == ["services", "web", "instances"]
    assert one.next[1].command == "meshctl maint --enable --node n1 --service w1 --for 1h"


def test_checks_of_one_node_are_one_finding() -> None:
    (one,) = found(check("n1", "disk", output="full"), check("n1", "memory"))
    assert (one.of, one.name, one.detail) == ("node", "n1", "disk and 1 more critical: full")


def test_it_is_so_since_the_first_of_them_is() -> None:
    of = {"service_name": "web", "service_id": "w"}
    (one,) = found(
        check("n1", since=300.0, **of),
        check("n2", since=200.0, **of),
        check("n3", status="warning", since=100.0, **of),
    )
    assert one.since == 200.0


def test_what_one_of_them_does_not_say_is_not_guessed() -> None:
    (one,) = found(check("n1", "disk", since=200.0), check("n1", "memory"))
    assert one.since == 0.0


def test_a_member_that_is_gone_is_not_told_by_its_check_too() -> None:
    assert found(check("N1", "serfHealth"), gone={"n1"}) == []
    assert len(found(check("n1", "serfHealth"))) == 1


def test_what_mesh_says_of_itself_leads_to_what_helps() -> None:
    found_ = found(
        check("s1", "mesh-raft", output="far behind"),
        check("s1", "mesh-snapshots"),
        check("s1", "mesh-ca", "warning"),
        check("n1", "mesh-leaf:web", "warning", service_name="web", service_id="web"),
    )
    assert [(one.kind, one.of, one.next[0].path) for one in found_] == [
        ("lagging", "server", ["servers"]),
        ("snapshots fail", "server", ["servers", "snapshots"]),
        ("expiring", "certificate", ["certificates"]),
        ("expiring", "certificate", ["certificates"]),
    ]
    assert found_[3].next[0].command == "meshctl connect ca reissue web"


def test_maintenance_of_an_agent_is_no_failure() -> None:
    node, service = found(
        check("n1", "_node_maintenance", notes="disk"),
        check("n1", "_service_maintenance:w1", service_id="w1", service_name="web"),
    )
    assert (node.severity, node.detail, node.next[0].command) == (
        "info",
        "disk",
        "meshctl maint --disable",
    )
    assert service.next[0].command == "meshctl maint --disable --service w1"
    assert found(check("n1", "_cluster_maintenance"), check("n1", "_cluster_maintenance:w")) == []


def test_times_that_are_none_are_zero() -> None:
    assert seconds("2023-11-14T22:13:20Z") == 1_700_000_000.0
    assert seconds("2023-11-14T22:13:20") == 1_700_000_000.0
    assert seconds("") == seconds("soon") == 0.0
