"""/v1/internal/ui: services, nodes, sessions and dates in few words, as a web page shows them."""

from __future__ import annotations

import msgspec

from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.history import time_text
from mesh.http.request import Reply, Request
from mesh.http.route import FILTER, READ, Param, Route
from mesh.http.session import SessionShape, session_shape
from mesh.http.shapes import Shape
from mesh.http.ui import member_tags
from mesh.registry import checks, glance, health, overview


class ListedServiceShape(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """A service at a glance, in as few words as can be: what is empty or 0 is left out.

    Instances are counted by the worst of their checks, checks by themselves. `Mesh` is `native`,
    `proxy` for one with sidecars, or empty. `ProxyFor` are the services that it is a sidecar of.
    """

    name: str
    kind: str = ""
    tags: list[str] = []
    external_sources: list[str] = []
    instances: int = 0
    passing: int = 0
    warning: int = 0
    critical: int = 0
    maintenance: int = 0
    checks_passing: int = 0
    checks_warning: int = 0
    checks_critical: int = 0
    mesh: str = ""
    proxy_for: list[str] = []


class ListedNodeShape(Shape, frozen=True, kw_only=True):
    """A node at a glance. `Instances` counts sidecars too, `Meshed` those of them in the mesh."""

    node: str
    id: str
    address: str
    meta: dict[str, str]
    status: str
    checks_passing: int
    checks_warning: int
    checks_critical: int
    checks_maintenance: int
    services: list[str]
    instances: int
    meshed: int
    version: str
    server: bool


class HeldShape(SessionShape, frozen=True, kw_only=True):
    """A session with the first of the keys that it holds, and about when it began."""

    held: int
    keys: list[str]
    begun_after: str
    begun_before: str


class DatedCheckShape(Shape, frozen=True):
    """Since when a check has its status; empty when the catalog learned it below level 6."""

    node: str
    check_id: str
    status: str
    since: str


async def services(request: Request) -> Reply:
    """Every service at a glance, in few words."""
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(overview.Services(), options)
    return respond.answered(found, [_service(one) for one in found.value], options)


def _service(one: overview.Summary) -> ListedServiceShape:
    return ListedServiceShape(
        name=one.name,
        kind=one.kind,
        tags=one.tags,
        external_sources=one.external_sources,
        instances=one.instances,
        passing=one.health.passing,
        warning=one.health.warning,
        critical=one.health.critical,
        maintenance=one.health.maintenance,
        checks_passing=one.checks.passing,
        checks_warning=one.checks.warning,
        checks_critical=one.checks.critical,
        mesh="native" if one.native else "proxy" if one.proxied else "",
        proxy_for=one.serves,
    )


async def nodes(request: Request) -> Reply:
    """Every node at a glance."""
    options = params.discovery_options(request, ListedNodeShape)
    found = await request.parts.registry.read(glance.Nodes(), options)
    members = member_tags(request)
    rows = [_node(one, members.get(one.node.name.lower(), {})) for one in found.value]
    return respond.answered(found, await params.filtered(request, rows, ListedNodeShape), options)


def _node(one: glance.NodeGlance, tags: dict[str, str]) -> ListedNodeShape:
    return ListedNodeShape(
        node=one.node.name,
        id=one.node.id,
        address=one.node.address,
        meta=one.node.meta,
        status=one.status,
        checks_passing=one.checks.get("passing", 0),
        checks_warning=one.checks.get("warning", 0),
        checks_critical=one.checks.get("critical", 0),
        checks_maintenance=one.checks.get("maintenance", 0),
        services=one.services,
        instances=one.instances,
        meshed=one.meshed,
        version=tags.get("build", "").partition(":")[0],
        server=tags.get("role") == "consul",
    )


async def sessions(request: Request) -> Reply:
    """Every session with some of what it holds."""
    return await _sessions(request, glance.Sessions())


async def session(request: Request) -> Reply:
    """One session with what it holds, as a list; an empty one when there is none."""
    return await _sessions(request, glance.Sessions(params.required(request, "session")))


async def _sessions(request: Request, query: glance.Sessions) -> Reply:
    found = await request.parts.registry.read(query, params.read_options(request))
    return respond.answered(found, [_held(one) for one in found.value])


def _held(one: glance.Held) -> HeldShape:
    return HeldShape(
        **msgspec.structs.asdict(session_shape(one.session)),
        held=one.held,
        keys=one.keys,
        begun_after=time_text(one.begun_after) if one.begun_after else "",
        begun_before=time_text(one.begun_before) if one.begun_before else "",
    )


async def dates(request: Request) -> Reply:
    """Since when the checks of a node, or of a service's instances, have their status."""
    options = params.read_options(request, discovery=True)
    node, service = request.param("node"), request.param("service")
    if bool(node) == bool(service):
        raise Invalid("node: give either it or service")
    query = health.NodeChecks(node) if node else health.ServiceChecks(service)
    found = await request.parts.registry.read(query, options)
    return respond.answered(found, [_dated(one) for one in found.value], options)


def _dated(one: checks.Check) -> DatedCheckShape:
    since = "" if one.since is msgspec.UNSET else time_text(one.since)
    return DatedCheckShape(one.node, one.id, one.status, since)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/service-list",
        services,
        "Every service at a glance, in few words",
        params=READ,
        answer=list[ListedServiceShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/node-list",
        nodes,
        "Every node at a glance",
        params=READ + FILTER,
        answer=list[ListedNodeShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/check-dates",
        dates,
        "Since when checks have their status",
        params=(
            *READ,
            Param("node", "Of all checks on this node"),
            Param("service", "Of the checks of this service's instances"),
        ),
        answer=list[DatedCheckShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/sessions",
        sessions,
        "Every session with some of the keys that it holds",
        params=READ,
        answer=list[HeldShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/session/:session",
        session,
        "One session with the keys that it holds",
        params=READ,
        answer=list[HeldShape],
    ),
)
