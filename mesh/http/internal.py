"""/v1/internal and /v1/peering: what has to be there for clients, as far as mesh has it."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

import msgspec

from mesh.errors import Invalid
from mesh.http import params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Route
from mesh.http.shapes import Shape
from mesh.registry import health
from mesh.registry.port import Answer, ReadOptions

NO_PEERING = "peering must be enabled to use this endpoint; mesh has no peering yet"
NO_ACLS = "ACL support disabled"
MESH_GATEWAY = "mesh-gateway"
ASKED_MAX = 64
NEVER = datetime(1, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z")
"""Go's zero time: when a state was replicated that never was."""


class FederationShape(Shape, frozen=True):
    """The mesh gateways of a datacenter."""

    datacenter: str
    mesh_gateways: list[shapes.InstanceShape]
    updated_at: str
    primary_modify_index: int


class FoundFederation(Shape, frozen=True):
    """The state of one datacenter."""

    state: FederationShape


class VirtualIpBody(Shape, frozen=True):
    """Addresses by which a service is to be called."""

    service: str = ""
    manual_vips: list[str] = msgspec.field(name="ManualVIPs", default_factory=list)


class VirtualIpShape(Shape, frozen=True):
    """Whether the service has virtual addresses, and which services lost one of these."""

    service_found: bool
    unassigned_from: list[str]


class AuthorizeBody(Shape, frozen=True):
    """What a token may or may not do."""

    resource: str = ""
    segment: str = ""
    access: str = ""


class AuthorizedShape(Shape, frozen=True):
    """Whether it may."""

    resource: str
    segment: str
    access: str
    allow: bool


class TokenBody(Shape, frozen=True):
    """For whom a peering token is."""

    peer_name: str = ""
    server_external_addresses: list[str] = []
    meta: dict[str, str] = {}


class EstablishBody(Shape, frozen=True):
    """With whom to peer."""

    peer_name: str = ""
    peering_token: str = ""
    meta: dict[str, str] = {}


async def federation_states(request: Request) -> Reply:
    """The mesh gateways of each datacenter: of this one, as the catalog has them."""
    found, options = await _gateways(request)
    return respond.answered(found, [_state(request, found)], options)


async def mesh_gateways(request: Request) -> Reply:
    """The mesh gateways by datacenter."""
    found, options = await _gateways(request)
    state = _state(request, found)
    return respond.answered(found, {state.datacenter: state.mesh_gateways}, options)


async def federation_state(request: Request) -> Reply:
    """The mesh gateways of one datacenter; 404 when none has this name."""
    name = params.required(request, "datacenter")
    found, options = await _gateways(request)
    state = _state(request, found)
    if name != state.datacenter:
        return Reply(status=404, headers=respond.read_headers(found, options))
    return respond.answered(found, FoundFederation(state), options)


async def _gateways(request: Request) -> tuple[Answer[list[health.Instance]], ReadOptions]:
    options = params.read_options(request)
    return await request.parts.registry.read(health.OfKind(MESH_GATEWAY), options), options


def _state(request: Request, found: Answer[list[health.Instance]]) -> FederationShape:
    datacenter = params.datacenter(request) or request.options.datacenter
    return FederationShape(datacenter, [shapes.instance(one) for one in found.value], NEVER, 0)


async def virtual_ip(request: Request) -> Reply:
    """Say that the service has no virtual address of its own: none has yet."""
    body = params.body(request, VirtualIpBody)
    if not body.service:
        raise Invalid("Service: must not be empty")
    for address in body.manual_vips:
        try:
            IPv4Address(address)
        except ValueError as error:
            raise Invalid(f'ManualVIPs: expected IPv4 addresses, got "{address}"') from error
    return respond.json(VirtualIpShape(False, []))


async def authorize(request: Request) -> Reply:
    """Say what the token may do: 401, since there are no ACLs."""
    asked = params.body(request, list[AuthorizeBody])
    if len(asked) > ASKED_MAX:
        raise Invalid(f"Refusing to process more than {ASKED_MAX} authorizations at once")
    return respond.text(401, NO_ACLS)


async def peering_token(request: Request) -> Reply:
    """Refuse to make a token: there is no peering."""
    params.body(request, TokenBody)
    return _no_peering()


async def peering_establish(request: Request) -> Reply:
    """Refuse to peer."""
    params.body(request, EstablishBody)
    return _no_peering()


async def peering(request: Request) -> Reply:
    """Refuse to show a peering."""
    params.required(request, "peering name")
    return _no_peering()


async def peerings(_: Request) -> Reply:
    """Refuse to list peerings."""
    return _no_peering()


def _no_peering() -> Reply:
    return respond.text(500, NO_PEERING)


_REFUSED = ((500, "Always: there is no peering"),)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/federation-states",
        federation_states,
        "Mesh gateways of each datacenter",
        params=READ,
        answer=list[FederationShape],
    ),
    Route(
        "GET",
        "/v1/internal/federation-states/mesh-gateways",
        mesh_gateways,
        "Mesh gateways by datacenter",
        params=READ,
        answer=dict[str, list[shapes.InstanceShape]],
    ),
    Route(
        "GET",
        "/v1/internal/federation-state/:datacenter",
        federation_state,
        "Mesh gateways of one datacenter",
        params=READ,
        answer=FoundFederation,
        statuses=((404, "No such datacenter; the body is empty"),),
    ),
    Route(
        "PUT",
        "/v1/internal/service-virtual-ip",
        virtual_ip,
        "Give a service virtual addresses: none has any yet",
        body=VirtualIpBody,
        answer=VirtualIpShape,
    ),
    Route(
        "POST",
        "/v1/internal/acl/authorize",
        authorize,
        "What a token may do; 401 without ACLs",
        body=list[AuthorizeBody],
        answer=list[AuthorizedShape],
        statuses=((401, "Always: there are no ACLs"),),
    ),
    Route(
        "POST",
        "/v1/peering/token",
        peering_token,
        "Make a peering token: refused",
        body=TokenBody,
        statuses=_REFUSED,
    ),
    Route(
        "POST",
        "/v1/peering/establish",
        peering_establish,
        "Peer with a cluster: refused",
        body=EstablishBody,
        statuses=_REFUSED,
    ),
    Route("GET", "/v1/peering/:name", peering, "Show a peering: refused", statuses=_REFUSED),
    Route("DELETE", "/v1/peering/:name", peering, "End a peering: refused", statuses=_REFUSED),
    Route("GET", "/v1/peerings", peerings, "List peerings: refused", statuses=_REFUSED),
)
