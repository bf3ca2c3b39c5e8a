"""What intentions refused, or would by dry runs: /v1/connect/intentions/report. Ours."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec.structs import replace

from mesh.agent.operations import NodeOperations
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import CONSISTENCY, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import intentions, refusals
from mesh.registry.refusals import Refusal


class SeenShape(Shape, frozen=True, kw_only=True):
    """What the sidecars of a node saw."""

    node: str
    count: int
    first: str
    last: str


class RefusalShape(Shape, frozen=True, kw_only=True):
    """What was seen of calls between two services that one rule decided about."""

    kind: str
    """denied; would-deny, would-allow: what a dry run would change."""
    source: str
    destination: str
    rule: str
    """What decided, for people."""
    entry: str
    """Where that stands; empty for the default."""
    count: int
    """Requests, or connections where nobody looks into them: at least so many."""
    first: str
    last: str
    examples: list[str]
    """Methods and paths of some, without queries."""
    nodes: list[SeenShape]
    """Where it was seen."""


async def everywhere(request: Request) -> Reply:
    """What all nodes saw: what they told the servers, and of this node what it knows now."""
    registry = request.parts.registry
    options = replace(params.read_options(request), index=0)
    found = await registry.read(refusals.All(), options)
    rows = {row.node.lower(): (row.node, row.found) for row in found.value}
    node, mesh = request.options.node_name, request.parts.agent.operations.mesh
    elsewhere = options.datacenter not in {"", request.options.datacenter}
    if mesh is not None and not elsewhere:
        told = rows.get(node.lower(), (node, []))[1]
        rows[node.lower()] = (node, mesh.refusals(told))
    known = (await registry.read(intentions.All(), options)).value
    reply = respond.answered(found, _shapes(request, rows.values(), known))
    # What this agent knows by itself comes and goes without an index to wait by.
    reply.headers.pop("X-Consul-Index", None)
    return reply


async def here(request: Request) -> Reply:
    """What this agent's sidecars saw."""
    operations: NodeOperations = request.parts.agent.operations
    mesh = await operations.meshed()
    return respond.json(_shapes(request, [(request.options.node_name, mesh.refusals())], None))


def _shapes(
    request: Request,
    rows: Iterable[tuple[str, list[Refusal]]],
    known: list[intentions.Intention] | None,
) -> list[RefusalShape]:
    denied, service = params.flag(request, "denied"), request.param("service")
    sums: dict[tuple[str, ...], Refusal] = {}
    places: dict[tuple[str, ...], list[SeenShape]] = {}
    for node, found in rows:
        for one in found:
            if (one.kind == "denied") != denied:
                continue
            if service and service not in {one.source, one.destination}:
                continue
            if known is not None and not refusals.is_tried(one, known):
                continue
            old = sums.get(one.key)
            sums[one.key] = one if old is None else old.and_then(one)
            place = SeenShape(
                node=node, count=one.count, first=_time(one.first), last=_time(one.last)
            )
            places.setdefault(one.key, []).append(place)
    return [_shape(sums[key], places[key]) for key in sorted(sums)]


def _shape(one: Refusal, nodes: list[SeenShape]) -> RefusalShape:
    return RefusalShape(
        kind=one.kind,
        source=one.source,
        destination=one.destination,
        rule=one.rule,
        entry=one.entry,
        count=one.count,
        first=_time(one.first),
        last=_time(one.last),
        examples=one.examples,
        nodes=sorted(nodes, key=lambda each: each.node),
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


_WHAT = (
    Param("denied", "What was really denied, instead of what dry runs would change", "boolean"),
    Param("service", "Only what is from or to this service"),
)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/connect/intentions/report",
        everywhere,
        "What dry runs would deny or allow, or what was denied, in the whole cluster",
        params=(*_WHAT, *CONSISTENCY),
        answer=list[RefusalShape],
    ),
    Route(
        "GET",
        "/v1/agent/connect/report",
        here,
        "The same, as this agent's sidecars saw it since it began",
        params=_WHAT,
        answer=list[RefusalShape],
        statuses=((400, "The mesh is off on this agent"),),
    ),
)
