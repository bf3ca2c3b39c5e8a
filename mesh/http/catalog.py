"""/v1/catalog: register and deregister nodes, instances and checks; list them."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.errors import Invalid
from mesh.http import near, params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import CACHED, FILTER, NEAR, NODE_META, READ, TAG, Route
from mesh.registry import catalog, orders
from mesh.registry.port import OrderOptions, ReadOptions, WriteOptions


class WriteRequest(shapes.Shape, frozen=True):
    """Where old clients put their token."""

    token: str = ""


class Locality(shapes.Shape, frozen=True):
    """A region and a zone."""

    region: str = ""
    zone: str = ""


class AddressBody(shapes.Shape, frozen=True):
    """A tagged address of an instance."""

    address: str = ""
    port: int = 0


class WeightsBody(shapes.Shape, frozen=True):
    """SRV weights."""

    passing: int = 0
    warning: int = 0


class ServiceBody(shapes.Shape, frozen=True, kw_only=True):
    """An instance, as `NodeService`. Its indexes are ignored: what was read can be sent."""

    kind: str = ""
    id: str = ""
    service: str = ""
    tags: list[str] = []
    address: str = ""
    tagged_addresses: dict[str, AddressBody] = {}
    meta: dict[str, str] = {}
    port: int = 0
    socket_path: str = ""
    weights: WeightsBody | None = None
    enable_tag_override: bool = False
    proxy: dict[str, Any] = {}
    connect: dict[str, Any] = {}
    locality: Locality = Locality()
    peer_name: str = ""
    create_index: int = 0
    modify_index: int = 0


class CheckBody(shapes.Shape, frozen=True, kw_only=True):
    """A check, as `HealthCheck`. The service's name and tags come from the instance."""

    node: str = ""
    check_id: str = ""
    name: str = ""
    status: str = ""
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] = []
    type: str = ""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = {}
    peer_name: str = ""
    create_index: int = 0
    modify_index: int = 0


class RegisterBody(shapes.Shape, frozen=True, kw_only=True):
    """The body of a registration."""

    datacenter: str = ""
    id: str = ""
    node: str = ""
    address: str = ""
    tagged_addresses: dict[str, str] = {}
    node_meta: dict[str, str] = {}
    service: ServiceBody | None = None
    check: CheckBody | None = None
    checks: list[CheckBody] = []
    skip_node_update: bool = False
    locality: Locality = Locality()
    peer_name: str = ""
    token: str = ""
    write_request: WriteRequest = WriteRequest()


class DeregisterBody(shapes.Shape, frozen=True, kw_only=True):
    """The body of a deregistration."""

    datacenter: str = ""
    node: str = ""
    address: str = ""
    service_id: str = ""
    check_id: str = ""
    peer_name: str = ""
    token: str = ""
    write_request: WriteRequest = WriteRequest()


async def register(request: Request) -> Reply:
    """Write a node, an instance on it and checks."""
    body = params.body(request, RegisterBody)
    refuse_peer("", body.peer_name)
    checks = [*([body.check] if body.check is not None else []), *body.checks]
    options = _write_options(request, body)
    command = catalog.Register(
        node=catalog.Node(
            name=body.node,
            id=body.id.lower(),
            address=body.address,
            datacenter=options.datacenter or request.options.datacenter,
            tagged_addresses=body.tagged_addresses,
            meta=body.node_meta,
            locality=locality(body.locality),
        ),
        service=service_row(body.service) if body.service is not None else None,
        checks=[check_row(check) for check in checks],
        skip_node_update=body.skip_node_update,
    )
    return respond.boolean(await request.parts.registry.write(command, options))


async def deregister(request: Request) -> Reply:
    """Delete an instance with its checks, or a check, or a node. Absent is fine."""
    body = params.body(request, DeregisterBody)
    refuse_peer("", body.peer_name)
    command = catalog.Deregister(body.node, body.service_id, body.check_id)
    options = _write_options(request, body)
    return respond.boolean(await request.parts.registry.write(command, options))


def _write_options(request: Request, body: RegisterBody | DeregisterBody) -> WriteOptions:
    options = params.write_options(request)
    return msgspec.structs.replace(
        options,
        datacenter=options.datacenter or body.datacenter,
        token=options.token or body.token or body.write_request.token,
    )


def locality(body: Locality) -> catalog.Locality | msgspec.UnsetType:
    """Where a node or an instance is; unset for an empty one."""
    if body == Locality():
        return msgspec.UNSET
    return catalog.Locality(body.region, body.zone)


def refuse_peer(where: str, peer: str) -> None:
    """Raise Invalid for what is a peer's."""
    if peer:
        raise Invalid(f"{where}PeerName: what a peer exports cannot be registered here")


def service_row(body: ServiceBody) -> catalog.Service:
    """The row of an instance, on a node still to be named. Raises Invalid."""
    refuse_peer("Service.", body.peer_name)
    weights = catalog.Weights()
    if body.weights is not None:
        weights = catalog.Weights(body.weights.passing, body.weights.warning)
    return catalog.Service(
        node="",
        id=body.id,
        name=body.service,
        kind=body.kind,
        tags=body.tags,
        address=body.address,
        port=body.port,
        tagged_addresses={
            name: catalog.TaggedAddress(one.address, one.port)
            for name, one in body.tagged_addresses.items()
        },
        meta=body.meta,
        weights=weights,
        enable_tag_override=body.enable_tag_override,
        socket_path=body.socket_path,
        proxy=body.proxy,
        connect=body.connect,
        locality=locality(body.locality),
    )


def check_row(body: CheckBody) -> catalog.Check:
    """The row of a check. Raises Invalid."""
    refuse_peer("Check.", body.peer_name)
    return catalog.Check(
        node=body.node,
        id=body.check_id,
        name=body.name,
        status=body.status or "critical",
        notes=body.notes,
        output=body.output,
        service_id=body.service_id,
        kind=body.type,
        interval=body.interval,
        timeout=body.timeout,
        exposed_port=body.exposed_port,
        definition=body.definition,
    )


async def datacenters(request: Request) -> Reply:
    """The names of all datacenters, nearest first."""
    options = OrderOptions(where="here", token=params.token(request))
    found = await request.parts.registry.operate(orders.Datacenters(), options)
    reply = respond.json(found)
    if "cached" in request.params:
        reply.headers = {"X-Cache": "MISS"}  # The server's pool knows; asking costs little.
    return reply


async def nodes(request: Request) -> Reply:
    """Every node."""
    options = params.discovery_options(request, shapes.NodeShape)
    found = await request.read(catalog.Nodes(), options)

    async def shape() -> list[shapes.NodeShape]:
        pairs = params.node_meta(request)
        rows = [shapes.node(row) for row in found.value if params.has_meta(row.meta, pairs)]
        rows = await params.filtered(request, rows, shapes.NodeShape)
        return await near.first(request, options, rows, lambda row: row.node)

    return await respond.shaped(request, found, options, shape)


async def services(request: Request) -> Reply:
    """Every service name with its tags."""
    options = params.discovery_options(request, shapes.ServiceNodeShape)
    pairs = params.node_meta(request)
    if request.param("filter"):
        return await _filtered_services(request, pairs, options)
    found = await request.read(catalog.Services(pairs), options)
    return respond.answered(found, found.value, options)


async def _filtered_services(
    request: Request, pairs: tuple[tuple[str, str], ...], options: ReadOptions
) -> Reply:
    """The names and tags of the instances that pass."""
    found = await request.read(catalog.Everything(), options)
    rows = (
        shapes.service_node(row) for row in found.value if params.has_meta(row.node.meta, pairs)
    )
    tags: dict[str, set[str]] = {}
    for row in await params.filtered(request, rows, shapes.ServiceNodeShape):
        tags.setdefault(row.service_name, set()).update(row.service_tags)
    return respond.answered(found, {name: sorted(tags[name]) for name in sorted(tags)}, options)


async def service(request: Request) -> Reply:
    """The instances of a service, healthy or not."""
    name = params.required(request, "service name")
    options = params.discovery_options(request, shapes.ServiceNodeShape)
    found = await request.read(catalog.ServiceNodes(name), options)

    async def shape() -> list[shapes.ServiceNodeShape]:
        tags, pairs = params.tags(request), params.node_meta(request)
        rows = [
            shapes.service_node(row)
            for row in found.value
            if params.has_tags(row.service.tags, tags) and params.has_meta(row.node.meta, pairs)
        ]
        rows = await params.filtered(request, rows, shapes.ServiceNodeShape)
        return await near.first(request, options, rows, lambda row: row.node)

    return await respond.shaped(request, found, options, shape)


async def node(request: Request) -> Reply:
    """A node with its instances by id; `null` when there is no such node."""
    name = params.required(request, "node name")
    options = params.discovery_options(request, shapes.ServiceShape)
    found = await request.read(catalog.NodeNamed(name), options)
    shape = shapes.node_services(found.value)
    if shape is not None and shape.services is not None:
        rows = await params.filtered(request, shape.services.values(), shapes.ServiceShape)
        shape = msgspec.structs.replace(shape, services={row.id: row for row in rows})
    return respond.answered(found, shape, options)


async def node_services(request: Request) -> Reply:
    """A node with its instances as a list."""
    name = params.required(request, "node name")
    options = params.discovery_options(request, shapes.ServiceShape)
    found = await request.read(catalog.NodeNamed(name), options)
    shape = shapes.node_service_list(found.value)
    if shape.services is not None:
        rows = await params.filtered(request, shape.services, shapes.ServiceShape)
        shape = msgspec.structs.replace(shape, services=rows)
    return respond.answered(found, shape, options)


_DISCOVERY = READ + CACHED + FILTER

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/catalog/register",
        register,
        "Register a node, service or check",
        body=RegisterBody,
        answer=bool,
        statuses=((500, "The node's name is taken by a live node with another id"),),
    ),
    Route(
        "PUT",
        "/v1/catalog/deregister",
        deregister,
        "Remove a node, service or check",
        body=DeregisterBody,
        answer=bool,
    ),
    Route(
        "GET",
        "/v1/catalog/datacenters",
        datacenters,
        "Names of the datacenters, nearest first",
        params=CACHED,
        answer=list[str],
    ),
    Route(
        "GET",
        "/v1/catalog/nodes",
        nodes,
        "Every node",
        kept=True,
        params=(*_DISCOVERY, NODE_META, *NEAR),
        answer=list[shapes.NodeShape],
    ),
    Route(
        "GET",
        "/v1/catalog/services",
        services,
        "Every service name with its tags",
        kept=True,
        params=(*_DISCOVERY, NODE_META),
        answer=dict[str, list[str]],
    ),
    Route(
        "GET",
        "/v1/catalog/service/:name",
        service,
        "Instances of a service, healthy or not",
        kept=True,
        params=(*_DISCOVERY, TAG, NODE_META, *NEAR),
        answer=list[shapes.ServiceNodeShape],
    ),
    Route(
        "GET",
        "/v1/catalog/node/:node",
        node,
        "A node and its instances, by id",
        kept=True,
        params=_DISCOVERY,
        answer=shapes.NodeServicesShape | None,
    ),
    Route(
        "GET",
        "/v1/catalog/node-services/:node",
        node_services,
        "A node and its instances, as a list",
        kept=True,
        params=_DISCOVERY,
        answer=shapes.NodeServiceListShape,
    ),
)
