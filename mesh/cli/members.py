"""meshctl members: the nodes that gossip knows."""

from __future__ import annotations

import re

import msgspec

from mesh.cli.command import OK, WRONG_USE, Command, Example
from mesh.cli.flags import Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client.shapes import Figures, Guard, Member

COLUMNS = ("Node", "Address", "Status", "Type", "Build", "Protocol", "DC")
DETAILED_COLUMNS = (
    *("Node", "Address", "Status", "Since", "Incarnation", "RTT", "Suspected by", "Calm", "Tags"),
)
NOTHING_MATCHES = WRONG_USE
PENALTY_SHOWN = 0.05


def members(invocation: Invocation) -> int:
    """List them, ordered by name."""
    parsed = invocation.parsed
    if parsed.text("segment") not in {"", "_all"}:
        raise Usage("--segment: mesh has no network segments; leave it out, or give _all")
    try:
        wanted = re.compile(parsed.text("status") or ".*")
    except re.error as error:
        raise Usage(f"--status: not a regular expression: {error}") from error
    known = invocation.client.agent.members(
        wan=parsed.switch("wan"),
        expression=parsed.text("filter"),
        detailed=parsed.switch("detailed"),
    )
    found = sorted(
        (member for member in known if wanted.fullmatch(member.state)),
        key=lambda member: member.name,
    )
    if not found:
        invocation.out.note(f"None of the {len(known)} members matches.")
        if invocation.out.as_json:
            invocation.out.json([])
        return NOTHING_MATCHES
    if any(member.frozen for member in known):
        invocation.out.note(frozen_in_words(invocation.client.agent.guard()))
    if parsed.switch("detailed"):
        invocation.out.table(found, DETAILED_COLUMNS, [_detailed_row(one) for one in found])
        if said := "".join(_score(member) for member in known):
            invocation.out.note(said)
    else:
        invocation.out.table(found, COLUMNS, [_row(one) for one in found])
    return OK


def frozen_in_words(guard: Guard) -> str:
    """A freeze: what is held, since when, why, and when it ends."""
    return (
        f"FROZEN since {guard.since}: {guard.vanished} of {guard.pool} members seemed to vanish "
        f"at once (rule: {guard.rule}).\nFailed, but kept in discovery: {len(guard.members)}. "
        f"This ends by {guard.ends_by} at the latest: {guard.ends}."
    )


def _row(member: Member) -> tuple[str, ...]:
    return (
        member.name,
        _address(member),
        member.state,
        "server" if member.is_server else "client",
        member.tags.get("build", "").partition(":")[0] or "-",
        str(member.protocol_cur),
        member.tags.get("dc", ""),
    )


def _detailed_row(member: Member) -> tuple[str, ...]:
    tags = ",".join(f"{key}={member.tags[key]}" for key in sorted(member.tags))
    figures = _figures(member)
    return (
        member.name,
        _address(member),
        member.state,
        "-" if figures.state_seconds is None else _duration(figures.state_seconds),
        str(figures.incarnation),
        "-" if figures.rtt_seconds is None else f"{figures.rtt_seconds * 1000:.2f} ms",
        _accusers(figures),
        _calm(member),
        tags,
    )


def _figures(member: Member) -> Figures:
    return Figures() if isinstance(member.gossip, msgspec.UnsetType) else member.gossip


def _duration(seconds: float) -> str:
    """Coarse: what matters is whether it was just now."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:.0f}s"


def _accusers(figures: Figures) -> str:
    if figures.verdict_seconds is None:
        return "-"
    return f"{', '.join(figures.accusers)} ({figures.verdict_seconds:.0f}s left)"


def _score(member: Member) -> str:
    score = _figures(member).score
    if score is None:
        return ""
    meaning = "it hears well" if score == 0 else "it hears badly, and is slow to judge others"
    return f"As {member.name} sees it. Its health score is {score} of 7: {meaning}."


def _calm(member: Member) -> str:
    """What the mass-failure guard and flap damping make of it."""
    if member.frozen:
        return "frozen"
    if member.damped:
        return f"damped ({member.penalty:.1f})"
    return f"{member.penalty:.1f}" if member.penalty >= PENALTY_SHOWN else "-"


def _address(member: Member) -> str:
    host = f"[{member.address}]" if ":" in member.address else member.address
    return f"{host}:{member.port}"


COMMANDS = {
    "members": Command(
        members,
        about="List the members of the cluster as the agent sees them: alive, leaving, left or\n"
        "failed. The list comes from gossip, so it needs no leader.",
        examples=(
            Example("members", "Who is there"),
            Example("members --status failed", "Who has failed; exit code 2 when nobody has"),
            Example("members --detailed --format json", "Everything, for a script"),
        ),
        flags=(
            Flag("detailed", "show why the agent thinks so, and the tags of each member", "switch"),
            Flag("status", "only members whose status matches", value="REGEX"),
            Flag("segment", "for scripts of Consul: empty or _all, which is everybody"),
            Flag("wan", "the servers of all datacenters", "switch"),
            Flag("filter", "only members that match this filter expression", value="EXPRESSION"),
        ),
        exits=("2: no member matches, or wrong usage",),
    ),
}
