"""/v1/operator/usage: how much is registered."""

from __future__ import annotations

import msgspec

from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import STALE, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import orders, overview
from mesh.registry.port import ReadOptions


class AmountsShape(Shape, frozen=True, kw_only=True):
    """How much a datacenter has registered."""

    services: int
    """Names of services."""
    service_instances: int
    connect_service_instances: dict[str, int]
    """Instances in the mesh, by kind."""
    billable_service_instances: int
    """Instances that are no proxies, no gateways and no servers."""
    nodes: int


class UsageShape(Shape, frozen=True):
    """How much each datacenter has registered."""

    usage: dict[str, AmountsShape]


async def usage(request: Request) -> Reply:
    """How much this datacenter has registered, or with `global` each one."""
    registry, order = request.parts.registry, params.order_options(request)
    options = ReadOptions("stale" if order.where == "here" else "default", token=order.token)
    here = params.datacenter(request) or request.options.datacenter
    names = [here]
    if params.flag(request, "global"):
        names = await registry.operate(orders.Datacenters(), params.order_to(request, "here"))
    found = {}
    for name in names:
        asked = msgspec.structs.replace(options, datacenter=name)
        answer = await registry.read(overview.Usage(), asked)
        found[name] = _shape(answer.value)
    return respond.json(UsageShape(found))


def _shape(one: overview.Amounts) -> AmountsShape:
    return AmountsShape(
        services=one.services,
        service_instances=one.instances,
        connect_service_instances=one.connect,
        billable_service_instances=one.billable,
        nodes=one.nodes,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/usage",
        usage,
        "How much is registered",
        params=(STALE, Param("global", "Of every datacenter", "boolean")),
        answer=UsageShape,
    ),
)
