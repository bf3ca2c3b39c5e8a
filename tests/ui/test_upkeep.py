from __future__ import annotations

from typing import Any

from mesh.registry.authority import Report, Root, Trust
from mesh.registry.snapshots import Kept, Schedule
from mesh.registry.workloads import Ack, said
from mesh.ui import upkeep
from mesh.ui.facts import Facts, Member

NOW = 1_700_000_000.0
DAY = 86400.0


def facts(**more: Any) -> Facts:
    return Facts(now=NOW, node="n0", **more)


def root(identity: str, standing: Any = "active", ends: float = NOW + 3000 * DAY) -> Root:
    return Root(
        id=identity,
        name=identity,
        serial="01",
        certificate="",
        not_before=NOW - 650 * DAY,
        not_after=ends,
        key_type="ec",
        key_bits=256,
        standing=standing,
        intermediate_not_before=NOW,
        intermediate_not_after=NOW + 365 * DAY,
        past_since=NOW - 60 if standing == "past" else 0.0,
        leaf_ttl=3 * DAY,
    )


def trust(*roots: Root) -> Trust:
    return Trust(trust_domain="d.consul", active=roots[0].id, roots=list(roots))


def test_a_root_is_told_of_near_its_end() -> None:
    assert upkeep.authority(facts()) == []
    assert upkeep.authority(facts(trust=trust(root("a")))) == []
    (one,) = upkeep.authority(facts(trust=trust(root("a", ends=NOW + 20 * DAY))))
    assert (one.kind, one.severity) == ("expiring", "warning")
    (one,) = upkeep.authority(facts(trust=trust(root("a", ends=NOW + 5 * DAY))))
    assert one.severity == "critical"


def test_a_rotation_says_whom_it_waits_for() -> None:
    report = Report(node="n1", said=said([Ack(id="proxy:web", roots=["a"], leaf="a")]))
    both = trust(root("a"), root("b", "prepared"))
    (one,) = upkeep.authority(facts(trust=both, reports=[report]))
    assert (one.kind, one.severity) == ("rotation", "info")
    assert "proxy:web on n1" in one.detail
    assert one.next[0].command == "meshctl connect ca rotate status"
    (one,) = upkeep.authority(facts(trust=trust(root("b"), root("a", "past"))))
    assert (one.since, one.next[0].command) == (NOW - 60, "meshctl connect ca rotate retire")


def test_certificates_of_the_node_are_told_of_a_month_ahead() -> None:
    ends = {"a": NOW + 40 * DAY, "b": NOW + 20 * DAY, "c": NOW + 2 * DAY, "d": NOW - 1}
    found = upkeep.ends(facts(ends=ends))
    assert [(one.name, one.severity, one.detail.split()[-3:]) for one in found] == [
        ("b of n0", "warning", ["in", "20", "days."]),
        ("c of n0", "critical", ["in", "2", "days."]),
        ("d of n0", "critical", ["certificate", "has", "ended."]),
    ]


def test_snapshots_are_overdue_after_two_intervals() -> None:
    def schedule(time: str) -> Schedule:
        kept = [Kept(name="x", time=time, size=1, index=1)] if time else []
        return Schedule(server="s1", interval=3600.0, kept=kept)

    assert upkeep.snapshots(facts()) == []
    (one,) = upkeep.snapshots(facts(schedules=[Schedule(server="s1")]))
    assert (one.kind, one.severity) == ("no snapshots", "info")
    assert upkeep.snapshots(facts(schedules=[schedule("")])) == []
    assert upkeep.snapshots(facts(schedules=[schedule("2023-11-14T21:00:00Z")])) == []
    (one,) = upkeep.snapshots(facts(schedules=[schedule("2023-11-14T19:00:00Z")]))
    assert (one.kind, one.severity) == ("overdue", "warning")
    assert upkeep.snapshots(facts(schedules=[Schedule(server="s1", error="away")])) == []


def test_members_of_different_versions_are_an_upgrade_that_is_not_over() -> None:
    members = [Member(name="a", version="1"), Member(name="b", version="2")]
    (one,) = upkeep.upgrade(facts(members=members))
    assert one.detail == "The nodes run different versions: 1 run 1, 1 run 2."
    assert upkeep.upgrade(facts(members=members[:1])) == []


def test_a_second_key_of_gossip_is_a_rotation_that_is_not_over() -> None:
    assert upkeep.keyring(facts(keys=1)) == []
    (one,) = upkeep.keyring(facts(keys=2))
    assert one.kind == "rotation"
