"""Who may call whom as a matrix: what holds for each pair of services, and by which rule.

It is told without a cell for each pair. Destinations without an entry of their own have one row in
common, and in a row all sources that nothing names have one cell in common.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

from mesh.connect.intentions import Decision, decide, deciding
from mesh.registry.intentions import ANY, Intention, Policy
from mesh.registry.policies import Governed, Known
from mesh.registry.settings import HTTP_LIKE

Says = Literal["allow", "deny", "requests"]
"""`requests`: it depends on the request."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for calls of one service to another."""

    says: Says
    by: Literal["exact", "wildcard", "default"]
    """What decides: an intention between just these two, one with `*`, or none."""
    rule: str
    """The same, for a person."""
    source: str = ""
    destination: str = ""
    """The ends of the intention that decides; empty for the default."""
    permissions: int = 0
    token: bool = False
    """Whether every request needs a token."""
    trial: Says | Literal[""] = ""
    """What would hold if dry runs were enforced; empty when none is about this."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the callers of a destination."""

    destination: str
    """`*`: every destination that has no row of its own."""
    others: Cell
    """For every source that `sources` does not name."""
    sources: dict[str, Cell]
    """By name in lower case."""


def rows(known: Known, default_allow: bool) -> list[Row]:
    """The row of all destinations without an entry, then those of the others by name."""
    every = Governed(policy=known.every)
    return [_row(one, default_allow) for one in (every, *known.own)]


def _row(governed: Governed, default_allow: bool) -> Row:
    policy = governed.policy
    named = {one.source.lower() for one in policy.intentions} - {ANY}
    return Row(
        destination=policy.destination,
        others=cell(governed, ANY, default_allow),
        sources={name: cell(governed, name, default_allow) for name in sorted(named)},
    )


def cell(governed: Governed, source: str, default_allow: bool) -> Cell:
    """What holds for a source; `*`: for one that no intention names."""
    policy = governed.policy
    # Of a token it is said apart: it decides beside the intention, not in its place.
    plain = replace(policy, jwt=[]) if policy.jwt else policy
    one = deciding(plain, source)
    found = decide(plain, source, None, default_allow)
    return Cell(
        says=_says(governed, found),
        by=_by(one),
        rule=found.rule,
        source=one.source if one is not None else "",
        destination=one.destination if one is not None else "",
        permissions=len(one.permissions) if one is not None else 0,
        token=bool(policy.jwt),
        trial=_trial(governed, plain, source, default_allow),
    )


def _trial(
    governed: Governed, plain: Policy, source: str, default_allow: bool
) -> Says | Literal[""]:
    if not any(one.dry_run for one in plain.intentions):
        return ""
    found = decide(plain, source, None, default_allow, shadow=True)
    return _says(governed, found) if found.dry_run else ""


def _says(governed: Governed, found: Decision) -> Says:
    if found.why == "permission" or (governed.policy.jwt and found.allowed):
        # Where nobody sees requests, what asks for them denies.
        return "requests" if governed.protocol in HTTP_LIKE else "deny"
    return "allow" if found.allowed else "deny"


def _by(one: Intention | None) -> Literal["exact", "wildcard", "default"]:
    if one is None:
        return "default"
    return "wildcard" if ANY in {one.source, one.destination} else "exact"
