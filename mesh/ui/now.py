"""Now: what is failing, expiring, lagging, frozen or in maintenance, from what is known of it.

Everything here is a function of its arguments. What could not be asked is a finding too.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mesh.registry import health
from mesh.registry.maintenance import Maintenance
from mesh.registry.orders import ServerHealth
from mesh.registry.refusals import Refusal
from mesh.ui import failing, upkeep
from mesh.ui.facts import Facts, Member
from mesh.ui.findings import (
    Finding,
    Severity,
    Step,
    arguments,
    counted,
    line,
    listed,
    ordered,
    word,
)

LATELY_SECONDS = 3600.0
"""Refused calls are news for so long."""
REFUSED_MAX = 20
"""Pairs of services whose calls are refused, before the others are counted."""


def find(facts: Facts) -> list[Finding]:
    """Everything that somebody should know, the worst first."""
    return ordered(one for source in SOURCES for one in source(facts))


def _checks(facts: Facts) -> list[Finding]:
    gone = {one.name.lower() for one in facts.members if one.failed}
    known = {health.GOSSIP_HEALTH} if facts.freeze is not None else set()
    return failing.find(facts.failing, facts.totals, gone, known)


def _members(facts: Facts) -> list[Finding]:
    found = [_gone(one) for one in facts.members if one.failed]
    found += [
        Finding(
            kind="damped",
            severity="warning",
            of="node",
            name=one.name,
            detail="It failed again and again: it is left out until it has been quiet for a while.",
            next=[Step("Who is damped, and until when", "meshctl guard status", ["members"])],
        )
        for one in facts.members
        if one.damped_until > facts.now
    ]
    return found


def _gone(one: Member) -> Finding:
    return Finding(
        kind="gone",
        severity="critical",
        of="node",
        name=one.name,
        since=one.since,
        detail="Gossip does not hear it any more" + (", a server." if one.server else "."),
        next=[
            Step("See what runs there", path=["nodes", one.name]),
            Step(
                "If others hear it, test the network",
                f"meshctl doctor network {arguments(one.name)}",
            ),
            Step("If it will not come back", f"meshctl force-leave {arguments(one.name)}"),
        ],
    )


def _freeze(facts: Facts) -> list[Finding]:
    if (one := facts.freeze) is None:
        return []
    detail = f"{one.rule}; {one.ends}" if one.ends else one.rule
    return [
        Finding(
            kind="frozen",
            severity="warning",
            of="discovery",
            name="removals from discovery",
            since=one.since,
            detail=line(f"{detail} Kept: {listed(one.held)}." if one.held else detail),
            next=[
                Step("See what is frozen, and why", "meshctl guard status", ["members"]),
                Step("Test the network between members", "meshctl doctor network"),
                Step("If they are really gone, let them go", "meshctl guard release"),
            ],
        )
    ]


def _maintenance(facts: Facts) -> list[Finding]:
    return [_maintained(one) for one in facts.maintenance]


def _maintained(one: Maintenance) -> Finding:
    target = one.target
    if target.service:
        of, name = "service", target.service
        flags, path = f"--cluster --service {word(name)}", ["services", name]
    elif target.service_id:
        of, name = "instance", f"{target.service_id} on {target.node}"
        flags = f"--node {word(target.node)} --service {word(target.service_id)}"
        path = ["nodes", target.node]
    else:
        of, name = "node", target.node
        flags, path = f"--node {word(name)}", ["nodes", name]
    owner = f" ({one.owner})" if one.owner else ""
    ends = "" if one.until else " It ends only by hand."
    return Finding(
        kind="maintenance",
        severity="info",
        of=of,
        name=name,
        since=one.since,
        detail=line(f"{one.reason or 'No reason given'}{owner}.{ends}"),
        next=[Step("When the work is done", f"meshctl maint --disable {flags}", path)],
    )


def _servers(facts: Facts) -> list[Finding]:
    seen = facts.servers
    if seen is None:
        return []
    gone = {one.name.lower() for one in facts.members if one.failed}
    here = [one for one in seen.servers if one.name.lower() not in gone]
    spare, voters = seen.failure_tolerance, sum(one.voter for one in seen.servers)
    found = [_unhealthy(one, spare) for one in here if not one.healthy]
    found += [
        _voteless(one) for one in here if one.healthy and not one.voter and not one.read_replica
    ]
    if voters > 1 and not spare:
        found.append(
            Finding(
                kind="no spare",
                severity="warning",
                of="cluster",
                name="servers",
                detail=f"None of {voters} voters may fail: nothing could be written then.",
                next=[
                    Step(
                        "Bring back or add a server",
                        "meshctl operator raft list-peers",
                        ["servers"],
                    )
                ],
            )
        )
    return found


def _unhealthy(one: ServerHealth, spare: int) -> Finding:
    return Finding(
        kind="unhealthy",
        severity="warning" if spare else "critical",
        of="server",
        name=one.name,
        since=one.stable_since,
        detail=line(one.reason or "Autopilot holds it for unhealthy."),
        next=[
            Step(
                "How the servers fare",
                "meshctl operator autopilot health",
                ["servers", "server", one.name],
            )
        ],
    )


def _voteless(one: ServerHealth) -> Finding:
    return Finding(
        kind="no vote",
        severity="info",
        of="server",
        name=one.name,
        detail=line(one.reason or "It follows the log and does not vote."),
        next=[
            Step(
                "If it is to vote",
                f"meshctl operator raft add --id {word(one.name)}",
                ["servers", "server", one.name],
            )
        ],
    )


def _leadership(facts: Facts) -> list[Finding]:
    if "leader" not in facts.failures:
        return []
    return [
        Finding(
            kind="no leader",
            severity="critical",
            of="cluster",
            name="servers",
            detail=line(facts.failures["leader"]),
            next=[
                Step("What each server says", "meshctl operator raft status --stale", ["servers"]),
                Step(
                    "If most of them are lost for good", "meshctl operator raft recover --dry-run"
                ),
            ],
        )
    ]


def _sidecars(facts: Facts) -> list[Finding]:
    found = []
    for one in facts.sidecars:
        step = Step(
            "What it was told, and what it said", f"meshctl proxy status {arguments(one.id)}"
        )
        problems: list[tuple[str, Severity, str]] = []
        if one.state == "failed":
            problems.append(("down", "critical", one.why or f"Its Envoy is {one.state}."))
        if one.refused:
            problems.append(("refused", "warning", f"It refused {one.refused[0]}"))
        if one.problems:
            problems.append(("unclear", "warning", one.problems[0]))
        for kind, severity, detail in problems:
            found.append(
                Finding(
                    kind=kind,
                    severity=severity,
                    of="sidecar",
                    name=f"{one.id} on {facts.node}",
                    detail=line(detail),
                    next=[msgspec.structs.replace(step, path=["nodes", facts.node])],
                )
            )
    return found


def _refusals(facts: Facts) -> list[Finding]:
    late = [one for one in facts.refusals if facts.now - one.last <= LATELY_SECONDS]
    pairs: dict[tuple[str, str, str], list[Refusal]] = {}
    for one in late:
        pairs.setdefault((one.kind, one.source, one.destination), []).append(one)
    found = [_refused(*key, rows) for key, rows in sorted(pairs.items())[:REFUSED_MAX]]
    if (more := len(pairs) - REFUSED_MAX) > 0:
        found.append(
            Finding(
                kind="denied",
                severity="info",
                of="intention",
                name="others",
                detail=f"Calls between {counted(more, 'more pair')} of services were refused.",
                next=[Step("All of them", "meshctl intention report --denied", ["intentions"])],
            )
        )
    return found


def _refused(kind: str, source: str, destination: str, rows: list[Refusal]) -> Finding:
    count, names = sum(one.count for one in rows), arguments(source, destination)
    if kind == "denied":
        detail = f"{counted(count, 'call')} denied: {rows[0].rule}"
        steps = [
            Step("Why", f"meshctl intention check {names}", ["intentions"]),
            Step("If it is to be allowed", f"meshctl intention allow {names}"),
        ]
    else:
        verb = "deny" if kind == "would-deny" else "allow"
        detail = f"A dry run would {verb} {counted(count, 'call')}: {rows[0].rule}"
        steps = [
            Step("What it would change", "meshctl intention report", ["intentions"]),
            Step("If that is right", f"meshctl intention promote {names}"),
        ]
    return Finding(
        kind="denied" if kind == "denied" else "dry run",
        severity="info",
        of="intention",
        name=f"{source} → {destination}",
        since=min(one.first for one in rows),
        detail=line(detail),
        next=steps,
    )


def _unasked(facts: Facts) -> list[Finding]:
    return [
        Finding(
            kind="not asked",
            severity="warning",
            of="source",
            name=name,
            detail=line(why),
            next=[
                Step("What the servers say", "meshctl operator raft status --stale", ["servers"])
            ],
        )
        for name, why in facts.failures.items()
        if name != "leader"
    ]


SOURCES: tuple[Callable[[Facts], list[Finding]], ...] = (
    _leadership,
    _checks,
    _members,
    _freeze,
    _maintenance,
    _servers,
    upkeep.authority,
    upkeep.snapshots,
    upkeep.upgrade,
    _sidecars,
    upkeep.ends,
    upkeep.keyring,
    _refusals,
    _unasked,
)
