"""Upkeep: what ends, is overdue or half done, and has to be cared for by an operator."""

from __future__ import annotations

from collections import Counter

from mesh.connect import horizon, proof
from mesh.registry import health
from mesh.ui import failing
from mesh.ui.facts import Facts
from mesh.ui.findings import Finding, Step, counted, listed, word

SOON_SECONDS = 30 * 86400.0
URGENT_SECONDS = 7 * 86400.0
"""A node's certificate is told of when so little is left; it is longer-lived than a leaf."""
OVERDUE = 2.0
"""A snapshot is overdue after so many intervals."""


def authority(facts: Facts) -> list[Finding]:
    """The end of the mesh's root, and a rotation that is under way."""
    trust = facts.trust
    if trust is None or not trust.trust_domain:
        return []
    found: list[Finding] = []
    verdict = horizon.judge(trust, facts.now)
    told = any(one.id == health.CA_HEALTH for one in facts.failing)
    if verdict.status != "passing" and not told:
        found.append(
            Finding(
                kind="expiring",
                severity="critical" if verdict.status == "critical" else "warning",
                of="certificate",
                name="authority of the mesh",
                detail=verdict.reason,
                next=[Step("Roots and their dates", "meshctl connect ca roots", ["certificates"])],
            )
        )
    progress = proof.progress(trust, facts.reports, facts.now)
    if progress.phase != "steady":
        past = [root.past_since for root in trust.roots if root.standing == "past"]
        waiting = f" Waits for {listed(progress.waiting)}." if progress.waiting else ""
        word_ = progress.next.split()[0]
        command = "status" if progress.waiting else word_
        found.append(
            Finding(
                kind="rotation",
                severity="info",
                of="certificate",
                name="root of the mesh",
                since=max(past, default=0.0),
                detail=f"A rotation is {progress.phase}: next, {progress.next}.{waiting}",
                next=[
                    Step("The next step", f"meshctl connect ca rotate {command}", ["certificates"])
                ],
            )
        )
    return found


def snapshots(facts: Facts) -> list[Finding]:
    """Snapshots that nobody takes, or that are late."""
    timed = [one for one in facts.schedules if one.interval > 0]
    see = Step("See what is kept", "meshctl operator snapshots", ["servers", "snapshots"])
    if facts.schedules and not timed and not any(one.error for one in facts.schedules):
        return [
            Finding(
                kind="no snapshots",
                severity="info",
                of="cluster",
                name="snapshots",
                detail="No server takes snapshots by itself; set snapshots.interval.",
                next=[
                    Step("Take one now", "meshctl snapshot save backup.snap", see.path),
                ],
            )
        ]
    newest = max((failing.seconds(k.time) for one in timed for k in one.kept), default=0.0)
    interval = min((one.interval for one in timed), default=0.0)
    # A schedule that just began has none yet, and the check of the leader says when one failed.
    if not newest or facts.now - newest <= OVERDUE * interval:
        return []
    return [
        Finding(
            kind="overdue",
            severity="warning",
            of="cluster",
            name="snapshots",
            since=newest + interval,
            detail="The last good one is older than two intervals of the schedule.",
            next=[see, Step("Take one now", "meshctl snapshot save backup.snap")],
        )
    ]


def upgrade(facts: Facts) -> list[Finding]:
    """An upgrade that is not over."""
    found = []
    levels, at = facts.levels, ["servers", "upgrade"]
    if levels is not None and levels.present < levels.highest:
        if levels.waiting_for:
            detail = f"Level {levels.present + 1} waits for {listed(levels.waiting_for)}."
            step = Step("Upgrade these servers", "meshctl operator upgrade status", at)
        else:
            detail = (
                f"All servers speak level {levels.highest}; the cluster is at {levels.present}."
            )
            step = Step("When you are content", "meshctl operator upgrade finalize", at)
        found.append(
            Finding(
                kind="upgrade",
                severity="info",
                of="cluster",
                name="feature level",
                detail=detail,
                next=[step],
            )
        )
    versions = Counter(one.version for one in facts.members if one.version and not one.failed)
    if len(versions) > 1:
        said = ", ".join(f"{count} run {name}" for name, count in sorted(versions.items()))
        found.append(
            Finding(
                kind="upgrade",
                severity="info",
                of="cluster",
                name="versions",
                detail=f"The nodes run different versions: {said}.",
                next=[Step("Which node runs which", "meshctl members", ["members"])],
            )
        )
    return found


def ends(facts: Facts) -> list[Finding]:
    """TLS certificates of the node asked that end soon."""
    found = []
    for setting, end in facts.ends.items():
        left = end - facts.now
        if left > SOON_SECONDS:
            continue
        days = f"ends in {counted(int(left // 86400), 'day')}" if left > 0 else "has ended"
        found.append(
            Finding(
                kind="expiring",
                severity="critical" if left <= URGENT_SECONDS else "warning",
                of="certificate",
                name=f"{setting} of {facts.node}",
                detail=f"This node's TLS certificate {days}.",
                next=[
                    Step(
                        "Make another, and reload the agent",
                        f"meshctl tls cert create --node {word(facts.node)}",
                        ["certificates"],
                    )
                ],
            )
        )
    return found


def keyring(facts: Facts) -> list[Finding]:
    """A rotation of gossip's key that is not over."""
    if facts.keys < 2:
        return []
    return [
        Finding(
            kind="rotation",
            severity="info",
            of="cluster",
            name="gossip keys",
            detail=f"This node holds {facts.keys} keys: a rotation is not over.",
            next=[
                Step("Who uses which", "meshctl keyring --list"),
                Step(
                    "Take the old one away once nobody uses it", "meshctl keyring --remove OLD-KEY"
                ),
            ],
        )
    ]
