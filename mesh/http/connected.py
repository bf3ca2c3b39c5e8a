"""The instances by which the mesh reaches services: /v1/catalog/connect, /v1/health/connect ..."""

from __future__ import annotations

from mesh.http import near, params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import CACHED, FILTER, NEAR, NODE_META, READ, TAG, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import health
from mesh.registry.catalog import ServiceNode, ServiceNodes


class GatewayServiceShape(Shape, frozen=True, kw_only=True):
    """A service that a gateway serves."""

    gateway: str
    service: str
    gateway_kind: str
    port: int = 0
    protocol: str = ""
    hosts: list[str] = []
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    sni: str = ""
    from_wildcard: bool = False


async def catalog_connect(request: Request) -> Reply:
    """The sidecars of a service, and its instances that need none."""
    name = params.required(request, "service name")
    options = params.discovery_options(request, shapes.ServiceNodeShape)
    found = await request.parts.registry.read(health.Connected(name), options)
    rows = [
        shapes.service_node(ServiceNode(one.node, one.service))
        for one in _chosen(request, found.value)
    ]
    rows = await params.filtered(request, rows, shapes.ServiceNodeShape)
    rows = await near.first(request, options, rows, lambda row: row.node)
    return respond.answered(found, rows, options)


async def health_connect(request: Request) -> Reply:
    """The sidecars of a service, and its instances that need none, with nodes and checks."""
    name = params.required(request, "service name")
    passing = params.flag(request, "passing")
    options = params.discovery_options(request, shapes.InstanceShape)
    found = await request.parts.registry.read(health.Connected(name), options)
    rows = [
        shapes.instance(one)
        for one in _chosen(request, found.value)
        if not passing or one.status == "passing"
    ]
    rows = await params.filtered(request, rows, shapes.InstanceShape)
    rows = await near.first(request, options, rows, lambda row: row.node.node)
    return respond.answered(found, rows, options)


def _chosen(request: Request, rows: list[health.Instance]) -> list[health.Instance]:
    tags, pairs = params.tags(request), params.node_meta(request)
    return [
        row
        for row in rows
        if params.has_tags(row.service.tags, tags) and params.has_meta(row.node.meta, pairs)
    ]


async def health_ingress(request: Request) -> Reply:
    """The ingress gateways that serve a service: none, since no config entries bind any."""
    name = params.required(request, "service name")
    params.flag(request, "passing")
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(ServiceNodes(name), options)
    return respond.answered(found, list[shapes.InstanceShape](), options)


async def gateway_services(request: Request) -> Reply:
    """The services that a gateway serves: none, since no config entries bind any."""
    name = params.required(request, "gateway name")
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(ServiceNodes(name), options)
    return respond.answered(found, list[GatewayServiceShape](), options)


_DISCOVERY = (*READ, *CACHED, *FILTER, TAG, NODE_META, *NEAR)
_PASSING = Param("passing", "Only instances whose checks all pass", "boolean")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/catalog/connect/:name",
        catalog_connect,
        "Instances by which the mesh reaches a service",
        params=_DISCOVERY,
        answer=list[shapes.ServiceNodeShape],
    ),
    Route(
        "GET",
        "/v1/catalog/gateway-services/:gateway",
        gateway_services,
        "Services that a gateway serves: none",
        params=READ,
        answer=list[GatewayServiceShape],
    ),
    Route(
        "GET",
        "/v1/health/connect/:service",
        health_connect,
        "The same with nodes and checks",
        params=(*_DISCOVERY, _PASSING),
        answer=list[shapes.InstanceShape],
    ),
    Route(
        "GET",
        "/v1/health/ingress/:service",
        health_ingress,
        "Ingress gateways that serve a service: none",
        params=(*READ, *CACHED, _PASSING),
        answer=list[shapes.InstanceShape],
    ),
)
