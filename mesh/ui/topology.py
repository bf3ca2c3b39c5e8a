"""What decides each edge of a service's topology: an intention, a permission, or the default."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from mesh.connect.intentions import decide, deciding, describe
from mesh.registry.intentions import ANY, Intention, Policy
from mesh.registry.overview import Summary
from mesh.registry.topology import Neighbours, speaks_http

Verdict = Literal["allow", "deny", "requests"]
"""`requests`: it depends on the request."""
Source = Literal["proxy-registration", "specific-intention", "wildcard-intention", "default-allow"]


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one service may call another, and what decides it."""

    source: str
    destination: str
    verdict: Verdict
    allowed: bool
    """Whether every connection is, whatever is sent on it."""
    default_allow: bool
    intention: Intention | None
    """The one that decides; None when it is the default."""
    rule: str
    """What decides, for a person."""
    entry: str
    """Where that stands; empty for the default."""
    permissions: list[str]
    """What requests are held against, in order, a line each."""

    @property
    def exact(self) -> bool:
        """Whether the intention that decides names both services."""
        one = self.intention
        return one is not None and ANY not in {one.source, one.destination}


class Neighbour(msgspec.Struct, frozen=True):
    """A service that calls or is called, and how that is known."""

    summary: Summary
    source: Source
    edge: Edge


def edge(policy: Policy, source: str, destination: str, *, http: bool, default_allow: bool) -> Edge:
    """What the evaluator says; `http`: the destination's sidecars look at requests."""
    decision = decide(policy, source, None, default_allow)
    intention = deciding(policy, source)
    permissions = intention.permissions if intention is not None else []
    verdict: Verdict = "allow" if decision.allowed else "deny"
    if http and (permissions or (policy.jwt and _may_with_token(policy, source, default_allow))):
        verdict = "requests"
    return Edge(
        source=source,
        destination=destination,
        verdict=verdict,
        allowed=decision.allowed,
        default_allow=default_allow,
        intention=intention,
        rule=decision.rule,
        entry=decision.entry,
        permissions=[f"{one.action} {describe(one)}" for one in permissions],
    )


def _may_with_token(policy: Policy, source: str, default_allow: bool) -> bool:
    return decide(msgspec.structs.replace(policy, jwt=[]), source, None, default_allow).allowed


def upstreams(found: Neighbours, service: str, *, default_allow: bool) -> list[Neighbour]:
    """Whom the service calls, or may call without an upstream."""

    def judged(one: Summary) -> Edge:
        return _edge(found, service, one.name, default_allow)

    return _neighbours(found.upstreams, found.reachable, judged)


def downstreams(found: Neighbours, service: str, *, default_allow: bool) -> list[Neighbour]:
    """Who calls the service, or may call it without an upstream."""

    def judged(one: Summary) -> Edge:
        return _edge(found, one.name, service, default_allow)

    return _neighbours(found.downstreams, found.reaching, judged)


def _edge(found: Neighbours, source: str, destination: str, default_allow: bool) -> Edge:
    folded = destination.lower()
    policy = found.policies.get(folded) or Policy(destination=destination)
    http = speaks_http(found.protocols.get(folded, "tcp"))
    return edge(policy, source, destination, http=http, default_allow=default_allow)


def _neighbours(
    registered: Iterable[Summary], others: Iterable[Summary], judged: Callable[[Summary], Edge]
) -> list[Neighbour]:
    """Those registered, whatever is decided, and of the others those that are not denied."""
    known = [Neighbour(one, "proxy-registration", judged(one)) for one in registered]
    for one in others:
        found = judged(one)
        if found.verdict != "deny":
            known.append(Neighbour(one, _source(found), found))
    return known


def _source(one: Edge) -> Source:
    if one.exact:
        return "specific-intention"
    return "wildcard-intention" if one.intention is not None else "default-allow"
