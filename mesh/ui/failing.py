"""Failing: what the checks that do not pass come to, by service and by node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from mesh.registry import health
from mesh.registry.checks import SERF_HEALTH, Check
from mesh.registry.maintenance import CLUSTER_MAINTENANCE
from mesh.registry.overview import Totals
from mesh.ui.findings import Finding, Severity, Step, arguments, counted, line, listed, word

_LEAF = f"{health.LEAF_HEALTH}:"
_OWN: dict[str, tuple[str, str, Step]] = {
    health.RAFT_HEALTH: (
        "lagging",
        "server",
        Step("How the servers fare", "meshctl operator raft status", ["servers"]),
    ),
    health.SNAPSHOT_HEALTH: (
        "snapshots fail",
        "server",
        Step(
            "What is kept, and what failed", "meshctl operator snapshots", ["servers", "snapshots"]
        ),
    ),
    health.CA_HEALTH: (
        "expiring",
        "certificate",
        Step("Roots and their dates", "meshctl connect ca roots", ["certificates"]),
    ),
    health.GOSSIP_HEALTH: (
        "frozen",
        "server",
        Step("What is frozen, and why", "meshctl guard status", ["members"]),
    ),
}
"""What mesh says of itself by a check of a node: what the matter is, of what, and what to do."""


def find(
    checks: Iterable[Check], totals: Totals | None, gone: set[str], known: set[str]
) -> list[Finding]:
    """A finding for each service and each node whose checks do not pass.

    Nodes that are `gone` have one already, and so has what `known` checks say.
    """
    of_services: dict[str, list[Check]] = {}
    of_nodes: dict[str, list[Check]] = {}
    found: list[Finding] = []
    for check in checks:
        if check.id.startswith(CLUSTER_MAINTENANCE) or check.id in known:
            continue  # The table of maintenances says more.
        if check.id == health.NODE_MAINTENANCE or check.id.startswith(health.SERVICE_MAINTENANCE):
            found.append(_maintained(check))
        elif check.id.startswith(_LEAF):
            found.append(_leaf(check))
        elif check.id in _OWN:
            found.append(_own(check))
        elif check.service_id:
            of_services.setdefault(check.service_name, []).append(check)
        elif not (check.id == SERF_HEALTH and check.node.lower() in gone):
            of_nodes.setdefault(check.node, []).append(check)
    sizes = {one.name: one.total for one in totals.services} if totals is not None else {}
    found += [_service(name, rows, sizes.get(name, 0)) for name, rows in of_services.items()]
    return found + [_node(name, rows) for name, rows in of_nodes.items()]


def seconds(text: str) -> float:
    """Unix seconds of a time in RFC 3339; 0 when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _severity(checks: Iterable[Check]) -> Severity:
    return "critical" if any(one.status == "critical" for one in checks) else "warning"


class _Worst:
    """The checks of the highest severity among those that do not pass."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.severity = _severity(checks)
        self.checks = sorted((one for one in checks if one.status == self.severity), key=_place)
        self.first = self.checks[0]

    def finding(self, of: str, name: str, detail: str, steps: list[Step]) -> Finding:
        said = line(self.first.output) or self.first.notes
        return Finding(
            kind="failing",
            severity=self.severity,
            of=of,
            name=name,
            since=_since(self.checks),
            detail=line(f"{detail}: {said}" if said else detail),
            next=steps,
        )


def _service(name: str, checks: Sequence[Check], total: int) -> Finding:
    worst = _Worst(checks)
    first = worst.first
    instances = len({(one.node.lower(), one.service_id) for one in worst.checks})
    of = f"{instances} of {counted(total, 'instance')}" if total else counted(instances, "instance")
    where = listed(one.node for one in worst.checks)
    detail = f"{of} {worst.severity} on {where}: {first.name or first.id}"
    see = Step("See its instances and what the checks say", path=["services", name, "instances"])
    flags = f"--node {word(first.node)} --service {word(first.service_id)} --for 1h"
    rest = Step("Take one out while you mend it", f"meshctl maint --enable {flags}")
    return worst.finding("service", name, detail, [see, rest])


def _node(name: str, checks: Sequence[Check]) -> Finding:
    worst = _Worst(checks)
    more = f" and {len(worst.checks) - 1} more" if len(worst.checks) > 1 else ""
    detail = f"{worst.first.name or worst.first.id}{more} {worst.severity}"
    see = Step("See the node and what its checks say", path=["nodes", name])
    command = f"meshctl maint --enable --node {word(name)} --for 1h"
    rest = Step("Take it out while you mend it", command)
    return worst.finding("node", name, detail, [see, rest])


def _since(checks: Iterable[Check]) -> float:
    """Since when the first of them is so; 0 when the catalog does not have it of all."""
    dates = [one.since for one in checks]
    known = [one for one in dates if one is not msgspec.UNSET]
    return min(known) if len(known) == len(dates) else 0.0


def _place(check: Check) -> tuple[str, str]:
    return (check.node.lower(), check.id)


def _own(check: Check) -> Finding:
    kind, of, step = _OWN[check.id]
    return Finding(
        kind=kind,
        severity=_severity([check]),
        of=of,
        name=check.node,
        since=_since([check]),
        detail=line(check.output) or check.name,
        next=[step],
    )


def _leaf(check: Check) -> Finding:
    name = check.service_name or check.service_id or check.id.removeprefix(_LEAF)
    return Finding(
        kind="expiring",
        severity=_severity([check]),
        of="certificate",
        name=f"{name} on {check.node}",
        since=_since([check]),
        detail=line(check.output) or "The certificate of this service in the mesh ends soon.",
        next=[
            Step(
                "Have it renewed, on that node",
                f"meshctl connect ca reissue {arguments(name)}",
                ["certificates"],
            )
        ],
    )


def _maintained(check: Check) -> Finding:
    """Of an agent's own keeping: it ends by that agent's word only."""
    of_node = check.id == health.NODE_MAINTENANCE
    flags = "" if of_node else f" --service {word(check.service_id)}"
    return Finding(
        kind="maintenance",
        severity="info",
        of="node" if of_node else "instance",
        name=check.node if of_node else f"{check.service_id} on {check.node}",
        since=_since([check]),
        detail=line(check.notes) or "In maintenance, by its own agent.",
        next=[
            Step(
                "When the work is done, on that node",
                f"meshctl maint --disable{flags}",
                ["nodes", check.node],
            )
        ],
    )
