"""/v1/internal/ui: the catalog at a glance, as a web page shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from mesh.agent.operations import NodeOperations
from mesh.errors import Invalid
from mesh.http import params, respond, shapes
from mesh.http.defaults import default_allow
from mesh.http.request import Reply, Request
from mesh.http.route import FILTER, READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import overview
from mesh.registry import topology as topologies
from mesh.ui import topology as edges

KINDS = ("", "ingress-gateway", "api-gateway")
"""Of what the topology may be asked for: services that are called."""
VERSION_META = "consul-version"
PROTOCOL = "tcp"
"""What services speak as long as no config entry says otherwise."""
EXTERNAL = "external-source"
"""What of an intention's metadata says who made it."""


class DumpShape(Shape, frozen=True, kw_only=True):
    """A node with its instances and checks. `Meta` has the version of its program too."""

    id: str
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str]
    meta: dict[str, str]
    services: list[shapes.ServiceShape]
    checks: list[shapes.CheckShape]
    locality: shapes.LocalityShape | msgspec.UnsetType = msgspec.UNSET


class GatewayShape(Shape, frozen=True):
    """Which services a gateway serves: empty, since no config entries bind any."""


class HealthShape(Shape, frozen=True):
    """How many instances there are by health; those in maintenance are nothing else."""

    passing: int
    warning: int
    critical: int
    maintenance: int


class SummaryShape(Shape, frozen=True, kw_only=True):
    """A service at a glance."""

    kind: shapes.Maybe = msgspec.UNSET
    name: str
    datacenter: str
    tags: list[str]
    nodes: list[str]
    external_sources: list[str]
    instance_count: int
    checks_passing: int
    checks_warning: int
    checks_critical: int
    gateway_config: GatewayShape = GatewayShape()
    transparent_proxy: bool
    connect_native: bool
    instance_health: HealthShape
    """Instances by the worst of their checks."""
    proxy_for: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The services that it is a sidecar of."""


class ListedShape(SummaryShape, frozen=True, kw_only=True):
    """A service at a glance, and how the mesh reaches it."""

    connected_with_proxy: bool
    connected_with_gateway: bool


class TallyShape(Shape, frozen=True, kw_only=True):
    """How many there are, by the worst of their checks."""

    name: shapes.Maybe = msgspec.UNSET
    total: int
    passing: int
    warning: int
    critical: int


class OverviewShape(Shape, frozen=True):
    """Nodes, the instances of each service, and checks by their name, by health."""

    nodes: list[TallyShape]
    services: list[TallyShape]
    checks: list[TallyShape]


class DecisionShape(Shape, frozen=True):
    """Whether one service may call another: the evaluator's word about connections.

    `Verdict` is allow, deny, or requests when it depends on the request.
    """

    default_allow: bool
    allowed: bool
    has_permissions: bool
    external_source: str
    has_exact: bool
    verdict: str
    rule: str
    """What decides, for a person."""
    entry: str
    """Where that stands; empty when it is the default."""
    precedence: int
    source_name: str
    """Of the intention that decides; empty when it is the default."""
    destination_name: str
    permissions: list[str]
    """What requests are held against, in order."""


class NeighbourShape(SummaryShape, frozen=True, kw_only=True):
    """A service that calls or is called, and how that is known."""

    source: str
    intention: DecisionShape


class SettingsShape(Shape, frozen=True):
    """What the operator decided about the UI, and about calls that no intention is about."""

    dashboard_url_templates: dict[str, str] = msgspec.field(name="DashboardURLTemplates")
    default_intention_policy: str


class TopologyShape(Shape, frozen=True, kw_only=True):
    """Whom a service calls and who calls it."""

    protocol: str
    transparent_proxy: bool
    upstreams: list[NeighbourShape]
    downstreams: list[NeighbourShape]
    filtered_by_acls: bool = msgspec.field(name="FilteredByACLs")


async def nodes(request: Request) -> Reply:
    """Every node with its instances and checks."""
    options = params.discovery_options(request, DumpShape)
    found = await request.parts.registry.read(overview.Nodes(), options)
    versions = _versions(request)
    rows = [_dump(one, versions) for one in found.value]
    return respond.answered(found, await params.filtered(request, rows, DumpShape), options)


async def node(request: Request) -> Reply:
    """One node with its instances and checks; 404 when there is no such node."""
    name = params.required(request, "node name")
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(overview.Nodes(name), options)
    if not found.value:
        return Reply(status=404, headers=respond.read_headers(found, options))
    return respond.answered(found, _dump(found.value[0], _versions(request)), options)


def _dump(one: overview.NodeDump, versions: dict[str, str]) -> DumpShape:
    row = one.node
    version = versions.get(row.name.lower())
    return DumpShape(
        id=row.id,
        node=row.name,
        address=row.address,
        datacenter=row.datacenter,
        tagged_addresses=row.tagged_addresses,
        meta=row.meta | {VERSION_META: version} if version else row.meta,
        services=[shapes.service(service) for service in one.services],
        checks=[shapes.check(check) for check in one.checks],
        locality=shapes.locality(row),
    )


def _versions(request: Request) -> dict[str, str]:
    """The version that each member's program says it has, by name in lower case."""
    return {
        name: tags["build"].partition(":")[0]
        for name, tags in member_tags(request).items()
        if tags.get("build")
    }


def member_tags(request: Request) -> dict[str, dict[str, str]]:
    """The tags of each member by its name in lower case; none of another datacenter's."""
    agent = request.parts.agent
    asked = params.datacenter(request)
    if agent is None or (asked and asked != request.options.datacenter):
        return {}
    operations: NodeOperations = agent.operations
    return {one.name.lower(): one.tags for one in operations.members(False)}


async def services(request: Request) -> Reply:
    """Every service at a glance."""
    options = params.discovery_options(request, ListedShape)
    found = await request.parts.registry.read(overview.Services(), options)
    rows = [_listed(request, one) for one in found.value]
    return respond.answered(found, await params.filtered(request, rows, ListedShape), options)


def _summary(request: Request, one: overview.Summary) -> dict[str, Any]:
    return {
        "kind": one.kind or msgspec.UNSET,
        "name": one.name,
        "datacenter": params.datacenter(request) or request.options.datacenter,
        "tags": one.tags,
        "nodes": one.nodes,
        "external_sources": one.external_sources,
        "instance_count": one.instances,
        "checks_passing": one.checks.passing,
        "checks_warning": one.checks.warning,
        "checks_critical": one.checks.critical,
        "transparent_proxy": one.transparent,
        "connect_native": one.native,
        "instance_health": HealthShape(*msgspec.structs.astuple(one.health)),
        "proxy_for": one.serves or msgspec.UNSET,
    }


def _listed(request: Request, one: overview.Summary) -> ListedShape:
    return ListedShape(
        **_summary(request, one), connected_with_proxy=one.proxied, connected_with_gateway=False
    )


async def exported(request: Request) -> Reply:
    """The services exported to `peer`: none, since there are no peers."""
    request.param("peer")
    return respond.json(list[ListedShape]())


async def catalog_overview(request: Request) -> Reply:
    """How many nodes, instances and checks are well."""
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(overview.Overall(), options)
    every = found.value
    shape = OverviewShape([_tally(every.nodes)], _tallies(every.services), _tallies(every.checks))
    return respond.answered(found, shape, options)


def _tallies(rows: Iterable[overview.Tally]) -> list[TallyShape]:
    return [_tally(one) for one in rows]


def _tally(one: overview.Tally) -> TallyShape:
    return TallyShape(
        name=one.name or msgspec.UNSET,
        total=one.total,
        passing=one.passing,
        warning=one.warning,
        critical=one.critical,
    )


async def gateway_services(request: Request) -> Reply:
    """The services that a gateway serves: none, since no config entries bind any."""
    params.required(request, "gateway name")
    return respond.json(list[SummaryShape]())


async def gateway_intentions(request: Request) -> Reply:
    """The intentions about what a gateway serves: none, since it serves nothing."""
    params.required(request, "gateway name")
    return respond.json(list[dict[str, Any]]())


async def topology(request: Request) -> Reply:
    """Whom a service calls and who calls it, as the sidecars of both are registered."""
    name = params.required(request, "service name")
    if "kind" not in request.params:
        raise Invalid("Missing service kind; give kind, empty for a plain service")
    if request.param("kind") not in KINDS:
        raise Invalid(f'Unsupported service kind "{request.param("kind")}"')
    options = params.read_options(request, discovery=True)
    found = await request.parts.registry.read(topologies.Topology(name), options)
    allow = await default_allow(request)
    up = edges.upstreams(found.value, name, default_allow=allow)
    down = edges.downstreams(found.value, name, default_allow=allow)
    shape = TopologyShape(
        protocol=found.value.protocols.get(name.lower(), PROTOCOL),
        transparent_proxy=found.value.transparent,
        upstreams=[_neighbour(request, one) for one in up],
        downstreams=[_neighbour(request, one) for one in down],
        filtered_by_acls=False,
    )
    return respond.answered(found, shape, options)


def _neighbour(request: Request, one: edges.Neighbour) -> NeighbourShape:
    return NeighbourShape(
        **_summary(request, one.summary), source=one.source, intention=_decision(one.edge)
    )


def _decision(edge: edges.Edge) -> DecisionShape:
    one = edge.intention
    return DecisionShape(
        default_allow=edge.default_allow,
        allowed=edge.allowed,
        has_permissions=bool(edge.permissions),
        external_source=one.meta.get(EXTERNAL, "") if one is not None else "",
        has_exact=edge.exact,
        verdict=edge.verdict,
        rule=edge.rule,
        entry=edge.entry,
        precedence=one.precedence if one is not None else 0,
        source_name=one.source if one is not None else "",
        destination_name=one.destination if one is not None else "",
        permissions=edge.permissions,
    )


async def ui_settings(request: Request) -> Reply:
    """What the operator of this node decided about the UI; the policy is the datacenter's."""
    policy = "allow" if await default_allow(request) else "deny"
    return respond.json(SettingsShape(request.options.dashboard_urls, policy))


_PEER = Param("peer", "The name of a peer")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/nodes",
        nodes,
        "Every node with its instances and checks",
        params=READ + FILTER,
        answer=list[DumpShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/node/:node",
        node,
        "One node with its instances and checks",
        params=READ,
        answer=DumpShape,
        statuses=((404, "No such node; the body is empty"),),
    ),
    Route(
        "GET",
        "/v1/internal/ui/services",
        services,
        "Every service at a glance",
        params=READ + FILTER,
        answer=list[ListedShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/exported-services",
        exported,
        "Services exported to a peer: none",
        params=(_PEER,),
        answer=list[ListedShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/catalog-overview",
        catalog_overview,
        "How many nodes, instances and checks are well",
        params=READ,
        answer=OverviewShape,
    ),
    Route(
        "GET",
        "/v1/internal/ui/gateway-services-nodes/:gateway",
        gateway_services,
        "Services that a gateway serves: none",
        answer=list[SummaryShape],
    ),
    Route(
        "GET",
        "/v1/internal/ui/gateway-intentions/:gateway",
        gateway_intentions,
        "Intentions about what a gateway serves: none",
        answer=list[dict[str, Any]],
    ),
    Route(
        "GET",
        "/v1/internal/ui/service-topology/:service",
        topology,
        "Whom a service calls and who calls it",
        params=(
            *READ,
            Param("kind", "Empty, ingress-gateway or api-gateway", required=True),
        ),
        answer=TopologyShape,
    ),
    Route(
        "GET",
        "/v1/internal/ui/settings",
        ui_settings,
        "What the operator decided about the UI",
        answer=SettingsShape,
    ),
)
