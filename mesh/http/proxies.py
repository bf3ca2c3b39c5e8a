"""/v1/agent/proxies: the proxies of this agent, what they were told, and how they fare. Ours."""

from __future__ import annotations

from typing import Any

from mesh.agent.operations import MeshOperations, NodeOperations, ProxyInfo
from mesh.errors import Invalid, NotFound
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape


class RefusedShape(Shape, frozen=True, kw_only=True):
    """A resource that the proxy refused: it goes on with the one before, if it had one."""

    name: str
    origin: str
    """What it follows from: an entry, an upstream, an option."""
    error: str
    seconds_ago: float


class KindShape(Shape, frozen=True, kw_only=True):
    """How it stands with the resources of one kind."""

    kind: str
    accepted: int
    wanted: int
    current: bool
    waiting_seconds: float | None
    accepted_seconds_ago: float | None
    refused: list[RefusedShape]


class StreamShape(Shape, frozen=True, kw_only=True):
    """A stream on which a proxy takes its configuration."""

    form: str
    connected_seconds: float
    current: bool
    """It has all that it is to have."""
    responses: int
    refusals: int
    resources_sent: int
    kinds: list[KindShape]


class EnvoyShape(Shape, frozen=True, kw_only=True):
    """The Envoy that the agent runs for a proxy."""

    state: str
    pid: int
    version: str
    restarts: int
    why: str
    admin: str
    """The socket of its admin interface."""
    log: str


class ProxyShape(Shape, frozen=True, kw_only=True):
    """A proxy of this agent, or the gRPC programs of a service that have none."""

    id: str
    service: str
    port: int
    managed: bool
    """The agent runs its Envoy itself."""
    envoy: EnvoyShape | None
    problems: list[str]
    """Why it has not been told what is wanted of it."""
    streams: list[StreamShape]


BOOTSTRAP = (
    Param("admin-bind", "Where its admin interface listens: ip:port, or unix:///path"),
    Param("grpc-addr", "Where the agent serves xDS; its own socket unless told"),
    Param("ready-bind", "Where /ready is answered too: ip:port"),
    Param("prometheus-backend-port", "The port of what answers the scrapes of metrics", "integer"),
    Param("prometheus-scrape-path", "Where metrics are; /metrics unless told"),
)


async def _mesh(request: Request) -> MeshOperations:
    operations: NodeOperations = request.parts.agent.operations
    return await operations.meshed()


async def every(request: Request) -> Reply:
    """The proxies of this agent, by id."""
    return respond.json([_shape(one) for one in (await _mesh(request)).proxies()])


async def one(request: Request) -> Reply:
    """One proxy of this agent."""
    name = params.required(request, "proxy id")
    return respond.json(_shape(await _found(request, name)))


async def bootstrap(request: Request) -> Reply:
    """The bootstrap that an Envoy is started with to be this proxy."""
    name = params.required(request, "proxy id")
    made = (await _mesh(request)).bootstrap(
        name,
        admin_bind=request.param("admin-bind"),
        grpc_addr=request.param("grpc-addr"),
        ready_bind=request.param("ready-bind"),
        prometheus_backend_port=request.param("prometheus-backend-port"),
        prometheus_scrape_path=request.param("prometheus-scrape-path"),
    )
    return respond.json(made)


async def grpc_bootstrap(request: Request) -> Reply:
    """The bootstrap of a gRPC program that is in the mesh without a sidecar."""
    service = request.param("service")
    if not service:
        raise Invalid("service: which service is the program of?")
    made = await (await _mesh(request)).grpc_bootstrap(service, request.param("grpc-addr"))
    return respond.json(made)


async def manage(request: Request) -> Reply:
    """Have the agent run its Envoy itself, or leave that to whoever asks."""
    name = params.required(request, "proxy id")
    if not request.param("enable"):
        raise Invalid("enable: say true or false")
    await (await _mesh(request)).manage(name, enable=params.flag(request, "enable"))
    return respond.json(_shape(await _found(request, name)))


async def _found(request: Request, name: str) -> ProxyInfo:
    for info in (await _mesh(request)).proxies():
        if info.id == name:
            return info
    raise NotFound(f'Unknown proxy ID "{name}"; give the id of a proxy that is registered here')


def _shape(info: ProxyInfo) -> ProxyShape:
    return ProxyShape(
        id=info.id,
        service=info.service,
        port=info.port,
        managed=info.managed,
        envoy=_copied(info.envoy, EnvoyShape) if info.envoy is not None else None,
        problems=info.problems,
        streams=[_copied(stream, StreamShape) for stream in info.streams],
    )


def _copied(value: Any, kind: Any) -> Any:
    """A struct as a shape of the same fields."""
    found = {name: getattr(value, name) for name in kind.__struct_fields__}
    if "kinds" in found:
        found["kinds"] = [_copied(each, KindShape) for each in found["kinds"]]
    if "refused" in found:
        found["refused"] = [_copied(each, RefusedShape) for each in found["refused"]]
    return kind(**found)


_UNKNOWN = (404, "No such proxy is registered with this agent")
_OFF = (400, "The mesh is off on this agent")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/agent/proxies",
        every,
        "The proxies of this agent, what they were told and how they fare",
        answer=list[ProxyShape],
        statuses=(_OFF,),
    ),
    Route(
        "GET",
        "/v1/agent/proxy/:id",
        one,
        "One of them",
        answer=ProxyShape,
        statuses=(_UNKNOWN, _OFF),
    ),
    Route(
        "GET",
        "/v1/agent/proxy/:id/bootstrap",
        bootstrap,
        "What an Envoy is started with to be this proxy",
        params=BOOTSTRAP,
        answer=dict[str, Any],
        statuses=(_UNKNOWN, (400, "A parameter or an option of the proxy makes no sense")),
    ),
    Route(
        "PUT",
        "/v1/agent/proxy/:id/manage",
        manage,
        "Have the agent run its Envoy, or leave that to others",
        params=(Param("enable", "Whether the agent does", "boolean", required=True),),
        answer=ProxyShape,
        statuses=(_UNKNOWN, (400, "enable is missing, or the mesh is off on this agent")),
    ),
    Route(
        "GET",
        "/v1/agent/connect/grpc-bootstrap",
        grpc_bootstrap,
        "What a gRPC program is started with to be in the mesh without a sidecar",
        params=(
            Param("service", "The service whose program it is, registered here", required=True),
            Param("grpc-addr", "Where the agent serves xDS; its own socket unless told"),
        ),
        answer=dict[str, Any],
        statuses=(
            (404, "No such service is registered with this agent"),
            (400, "service is missing, or the mesh is off on this agent"),
        ),
    ),
)
