"""/v1/health: the checks of nodes and services, and which instances pass theirs."""

from __future__ import annotations

from mesh.errors import Invalid
from mesh.http import near, params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import CACHED, FILTER, NEAR, NODE_META, READ, TAG, Param, Route
from mesh.registry import catalog, health
from mesh.registry.port import ReadOptions

STATES = ("any", *catalog.STATUSES)


async def node(request: Request) -> Reply:
    """The checks of a node and of the instances on it."""
    name = params.required(request, "node name")
    options = params.discovery_options(request, shapes.CheckShape)
    found = await request.read(health.NodeChecks(name), options)
    rows = [shapes.check(row) for row in found.value]
    rows = await params.filtered(request, rows, shapes.CheckShape)
    return respond.answered(found, rows, options)


async def checks(request: Request) -> Reply:
    """The checks of a service's instances, without those of their nodes."""
    name = params.required(request, "service name")
    options = params.discovery_options(request, shapes.CheckShape)
    found = await request.read(health.ServiceChecks(name), options)
    return respond.answered(found, await _chosen(request, found.value, options), options)


async def state(request: Request) -> Reply:
    """The checks that have a status, or all."""
    status = params.required(request, "check state")
    if status not in STATES:
        raise Invalid(f'Invalid check state "{status}": expected one of {", ".join(STATES)}')
    options = params.discovery_options(request, shapes.CheckShape)
    found = await request.read(health.ChecksInState(status), options)
    return respond.answered(found, await _chosen(request, found.value, options), options)


async def service(request: Request) -> Reply:
    """The instances of a service with their nodes and checks."""
    name = params.required(request, "service name")
    passing = params.flag(request, "passing")
    options = params.discovery_options(request, shapes.InstanceShape)
    found = await request.read(health.Instances(name), options)

    async def shape() -> list[shapes.InstanceShape]:
        tags, pairs = params.tags(request), params.node_meta(request)
        shown = [
            shapes.instance(row)
            for row in found.value
            if (not tags or params.has_tags(row.service.tags, tags))
            and (not pairs or params.has_meta(row.node.meta, pairs))
            and (not passing or row.status == "passing")
        ]
        shown = await params.filtered(request, shown, shapes.InstanceShape)
        return await near.first(request, options, shown, lambda row: row.node.node)

    return await respond.shaped(request, found, options, shape)


async def _chosen(
    request: Request, rows: list[catalog.Check], options: ReadOptions
) -> list[shapes.CheckShape]:
    """The checks that pass `filter` on nodes that have the pairs of `node-meta`, the near first."""
    pairs = params.node_meta(request)
    if pairs:
        now = ReadOptions(
            options.consistency,
            datacenter=options.datacenter,
            token=options.token,
            cached=options.cached,
        )
        nodes = await request.read(catalog.Nodes(), now)
        names = {node.name.lower() for node in nodes.value if params.has_meta(node.meta, pairs)}
        rows = [row for row in rows if row.node.lower() in names]
    shown = [shapes.check(row) for row in rows]
    shown = await params.filtered(request, shown, shapes.CheckShape)
    return await near.first(request, options, shown, lambda row: row.node)


_DISCOVERY = READ + CACHED + FILTER
_OF_NODES = (NODE_META, *NEAR)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/health/node/:node",
        node,
        "Checks of a node and its instances",
        kept=True,
        params=_DISCOVERY,
        answer=list[shapes.CheckShape],
    ),
    Route(
        "GET",
        "/v1/health/checks/:service",
        checks,
        "Checks of a service's instances",
        kept=True,
        params=_DISCOVERY + _OF_NODES,
        answer=list[shapes.CheckShape],
    ),
    Route(
        "GET",
        "/v1/health/state/:state",
        state,
        "Checks that have a status, or all with `any`",
        kept=True,
        params=_DISCOVERY + _OF_NODES,
        answer=list[shapes.CheckShape],
    ),
    Route(
        "GET",
        "/v1/health/service/:service",
        service,
        "Instances of a service with nodes and checks",
        kept=True,
        params=(
            *_DISCOVERY,
            Param("passing", "Only instances whose checks all pass", "boolean"),
            TAG,
            *_OF_NODES,
        ),
        answer=list[shapes.InstanceShape],
    ),
)
