"""/v1/connect/ca and /v1/agent/connect/ca: the mesh's roots, leaves, and the authority itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.connect import ca_config, spiffe
from mesh.connect.credentials import Leaf
from mesh.connect.leaves import Leaves
from mesh.errors import Conflict, Invalid, NotFound
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import BLOCKING, CACHED, CONSISTENCY, READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import authority
from mesh.registry.authority import Root, Roots, Settings, Trust
from mesh.registry.port import Answer

PEM_CHAIN = "application/pem-certificate-chain"


class RootShape(Shape, frozen=True, kw_only=True):
    """A root, and what leads from leaves to it."""

    id: str
    name: str
    serial_number: int
    signing_key_id: str
    external_trust_domain: str
    not_before: str
    not_after: str
    root_cert: str
    intermediate_certs: list[str]
    active: bool
    private_key_type: str
    private_key_bits: int
    create_index: int
    modify_index: int


class RootsShape(Shape, frozen=True):
    """The roots that workloads believe."""

    active_root_id: str
    trust_domain: str
    roots: list[RootShape]


class LeafShape(Shape, frozen=True):
    """A service's certificate, and its private key."""

    serial_number: str
    cert_pem: str
    private_key_pem: str
    service: str
    service_uri: str
    valid_after: str
    valid_before: str
    create_index: int
    modify_index: int


class ConfigurationShape(Shape, frozen=True, kw_only=True):
    """How the authority is set up; private keys are never shown."""

    provider: str
    config: dict[str, Any]
    state: dict[str, str]
    force_without_cross_signing: bool
    create_index: int
    modify_index: int


class ConfigurationBody(Shape, frozen=True):
    """How the authority is to be set up."""

    provider: str = ca_config.PROVIDER
    config: dict[str, Any] = {}
    state: dict[str, str] = {}
    force_without_cross_signing: bool = False
    create_index: int = 0
    modify_index: int = 0


def time_text(seconds: float) -> str:
    """A time as the API has it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shape(trust: Trust) -> RootsShape:
    return RootsShape(trust.active, trust.trust_domain, [_root(root) for root in trust.roots])


def _root(root: Root) -> RootShape:
    between = [pem for pem in (root.intermediate, root.crossed) if pem]
    return RootShape(
        id=root.id,
        name=root.name,
        serial_number=int(root.serial.replace(":", ""), 16) & (2**64 - 1),
        signing_key_id=root.signing_key,
        external_trust_domain="",
        not_before=time_text(root.not_before),
        not_after=time_text(root.not_after),
        root_cert=root.certificate,
        intermediate_certs=between,
        active=root.standing == "active",
        private_key_type=root.key_type,
        private_key_bits=root.key_bits,
        create_index=root.create_index,
        modify_index=root.modify_index,
    )


async def roots(request: Request) -> Reply:
    """The roots, as the servers have them."""
    answer = await request.read(Roots(), params.read_options(request))
    if params.flag(request, "pem"):
        return _pem(answer)
    return respond.answered(answer, _shape(answer.value))


def _pem(answer: Answer[Trust]) -> Reply:
    body = "".join(root.certificate for root in answer.value.roots).encode()
    return Reply(body, content_type=PEM_CHAIN, headers=respond.read_headers(answer))


async def agent_roots(request: Request) -> Reply:
    """The roots, as this agent holds them."""
    options = params.read_options(request)
    options = msgspec.structs.replace(options, cached=request.options.use_cache)
    answer = await request.read(Roots(), options)
    if not answer.value.trust_domain:
        raise Conflict("there is no certificate authority yet")
    return respond.answered(answer, _shape(answer.value), options)


async def bundle(request: Request) -> Reply:
    """The roots as SPIFFE has them, for other trust domains."""
    answer = await request.read(Roots(), params.read_options(request))
    return respond.answered(answer, spiffe.bundle(answer.value))


async def configuration(request: Request) -> Reply:
    """How the authority is set up."""
    options = params.read_options(request)
    answer = await request.parts.registry.read(authority.Configured(), options)
    settings = answer.value
    if settings is None:
        raise Conflict("there is no certificate authority; see connect.enabled")
    trust = await request.parts.registry.read(Roots(), options)
    return respond.answered(answer, _configuration(settings, trust.value))


def _configuration(settings: Settings, trust: Trust) -> ConfigurationShape:
    brought = [root.certificate for root in trust.roots if root.brought and root.id == trust.active]
    return ConfigurationShape(
        provider=settings.provider,
        config=ca_config.shown(settings.rules, brought[0] if brought else ""),
        state={},
        force_without_cross_signing=settings.force_without_cross_signing,
        create_index=settings.create_index,
        modify_index=settings.modify_index,
    )


async def configure(request: Request) -> Reply:
    """Set the authority up differently; may rotate the root."""
    body = params.body(request, ConfigurationBody)
    if body.state:
        raise Invalid("State: is read-only, and mesh's own provider has none")
    cas = request.param("cas")
    order = authority.Configure(
        provider=body.provider,
        config=body.config,
        force_without_cross_signing=body.force_without_cross_signing,
        check_index=params.whole(cas, "cas") if cas else None,
    )
    options = params.order_to(request, "leader")
    done = await request.parts.registry.operate(order, options)
    return respond.boolean(done) if cas else respond.nothing()


def _leaves(request: Request) -> Leaves:
    leaves: Leaves = request.parts.agent.operations.leaves
    return leaves


async def leaf(request: Request) -> Reply:
    """The certificate of a service here; the first one is made, and later ones in time."""
    service = params.required(request, "service name")
    index, seconds = params.blocking(request)
    leaves = _leaves(request)
    if index:
        found = await leaves.after(service, index, seconds)
    else:
        found = await leaves.get(service)
    return _leaf(found)


def _leaf(found: Leaf) -> Reply:
    shape = LeafShape(
        found.serial,
        found.certificate,
        found.key,
        found.service,
        found.uri,
        time_text(found.valid_after),
        time_text(found.valid_before),
        found.index,
        found.index,
    )
    reply = respond.json(shape)
    reply.headers = {"X-Consul-Index": str(found.index)}
    return reply


async def reissue(request: Request) -> Reply:
    """Have a service's certificate renewed now."""
    service = params.required(request, "service name")
    leaves = _leaves(request)
    before = leaves.held().get(service)
    if before is None or not leaves.reissue(service):
        raise NotFound(f'this agent holds no certificate of "{service}"')
    found = await leaves.after(service, before.index, REISSUE_SECONDS)
    if found.index == before.index:
        raise Conflict(f'no new certificate of "{service}" within {REISSUE_SECONDS:.0f} s')
    return _leaf(found)


REISSUE_SECONDS = 10.0
_PEM = Param("pem", "The certificates as PEM, and no JSON", "boolean")
_CAS = Param("cas", "Only if ModifyIndex is this; answers true or false", "integer")
_NONE_YET = (500, "There is no certificate authority")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/connect/ca/roots",
        roots,
        "Roots of the mesh's certificate authority",
        params=(*READ, _PEM),
        answer=RootsShape,
        media=(PEM_CHAIN,),
    ),
    Route(
        "GET",
        "/v1/connect/ca/bundle",
        bundle,
        "Roots as a SPIFFE trust bundle",
        params=READ,
        answer=dict[str, Any],
    ),
    Route(
        "GET",
        "/v1/connect/ca/configuration",
        configuration,
        "How the certificate authority is set up",
        params=READ,
        answer=ConfigurationShape,
        statuses=(_NONE_YET,),
    ),
    Route(
        "PUT",
        "/v1/connect/ca/configuration",
        configure,
        "Set the certificate authority up; other keys rotate the root",
        params=(_CAS,),
        body=ConfigurationBody,
        answer=bool,
        statuses=((404, "There is no certificate authority"),),
    ),
    Route(
        "GET",
        "/v1/agent/connect/ca/roots",
        agent_roots,
        "Roots, as the agent holds them",
        params=(*BLOCKING, *CONSISTENCY, *CACHED),
        answer=RootsShape,
        statuses=(_NONE_YET,),
    ),
    Route(
        "GET",
        "/v1/agent/connect/ca/leaf/:service",
        leaf,
        "Certificate and private key of a service here",
        params=BLOCKING,
        answer=LeafShape,
    ),
    Route(
        "POST",
        "/v1/agent/connect/ca/leaf/:service/reissue",
        reissue,
        "Renew the certificate of a service now",
        answer=LeafShape,
        statuses=((404, "This agent holds none of that service"),),
    ),
)
