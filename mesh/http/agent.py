"""/v1/agent: the services and checks of this node, their health, and maintenance."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import msgspec

from mesh.agent.local import Agent, LocalService
from mesh.agent.reading import check_definition, service_definition
from mesh.codec import from_json, to_json
from mesh.errors import Denied, Invalid, NotFound
from mesh.http import params, respond, shapes
from mesh.http.request import TEXT, Reply, Request
from mesh.http.route import FILTER, Param, Route
from mesh.http.shapes import Shape
from mesh.http.shapes_agent import CheckRegistration, ServiceRegistration
from mesh.registry.catalog import STATUSES, Check
from mesh.registry.health import worst

_STATUS = {"passing": 200, "warning": 429, "critical": 503, "maintenance": 503}
_RANK = ("passing", "warning", "critical", "maintenance")


class AgentServiceShape(Shape, frozen=True, kw_only=True):
    """A service of this agent, as `AgentService`."""

    kind: shapes.Maybe = msgspec.UNSET
    id: str
    service: str
    tags: list[str]
    meta: dict[str, str]
    port: int
    address: str
    socket_path: shapes.Maybe = msgspec.UNSET
    tagged_addresses: dict[str, shapes.AddressShape] | msgspec.UnsetType = msgspec.UNSET
    weights: shapes.WeightsShape
    enable_tag_override: bool
    datacenter: str
    proxy: Any = msgspec.UNSET
    connect: Any = msgspec.UNSET
    locality: shapes.LocalityShape | msgspec.UnsetType = msgspec.UNSET
    content_hash: shapes.Maybe = msgspec.UNSET


class LocalHealth(Shape, frozen=True):
    """The health of one local instance."""

    aggregated_status: str
    checks: list[shapes.CheckShape]
    service: AgentServiceShape


class Update(Shape, frozen=True):
    """The body of check/update."""

    status: str
    output: str = ""


def _agent(request: Request) -> Agent:
    agent: Agent = request.parts.agent
    return agent


def _shape(agent: Agent, local: LocalService) -> AgentServiceShape:
    row = local.row
    whole = shapes.service(row)
    return AgentServiceShape(
        kind=row.kind or msgspec.UNSET,
        id=row.id,
        service=row.name,
        tags=row.tags,
        meta=row.meta,
        port=row.port,
        address=row.address,
        socket_path=row.socket_path or msgspec.UNSET,
        tagged_addresses=whole.tagged_addresses,
        weights=whole.weights,
        enable_tag_override=row.enable_tag_override,
        datacenter=agent.options.datacenter,
        proxy=row.proxy or msgspec.UNSET,
        connect=row.connect or msgspec.UNSET,
        locality=shapes.locality(row),
    )


def _object(request: Request) -> dict[str, Any]:
    try:
        return from_json(request.body, dict[str, Any])
    except Invalid as error:
        raise Invalid(f"Request decode failed: {error.message}") from error


async def services(request: Request) -> Reply:
    """Every service of this agent, by id."""
    params.check_filter(request, AgentServiceShape)
    agent = _agent(request)
    found = agent.services()
    rows = [_shape(agent, found[name]) for name in sorted(found)]
    rows = await params.filtered(request, rows, AgentServiceShape)
    return respond.json({row.id: row for row in rows})


async def checks(request: Request) -> Reply:
    """Every check of this agent, by id."""
    params.check_filter(request, shapes.CheckShape)
    found = _agent(request).checks()
    rows = [shapes.check(found[name].row) for name in sorted(found)]
    rows = await params.filtered(request, rows, shapes.CheckShape)
    return respond.json({row.check_id: row for row in rows})


async def service(request: Request) -> Reply:
    """One service; with `hash`, once its content differs from what that hash stands for."""
    agent, name = _agent(request), params.required(request, "service ID")
    changed = asyncio.Event()
    end = agent.listen(changed.set)
    known = request.param("hash")
    wait = params.wait(request, jitter=True)
    try:
        async with asyncio.timeout(wait if known else None):
            while True:
                changed.clear()
                reply = _service(agent, name)
                if reply.headers["X-Consul-ContentHash"] != known:
                    return reply
                await changed.wait()
    except TimeoutError:
        return _service(agent, name)
    finally:
        end()


def _service(agent: Agent, name: str) -> Reply:
    local = agent.services().get(name)
    if local is None:
        raise NotFound(f'Unknown service ID "{name}"; give the id of the service, not its name')
    shape = _shape(agent, local)
    digest = hashlib.blake2b(to_json(shape), digest_size=8).hexdigest()
    reply = respond.json(msgspec.structs.replace(shape, content_hash=digest))
    reply.headers["X-Consul-ContentHash"] = digest
    return reply


async def register_service(request: Request) -> Reply:
    """Register a service with its checks, or change it."""
    replace = params.flag(request, "replace-existing-checks")
    definition = service_definition(_object(request))
    try:
        _agent(request).register_service(definition, source="api", replace_existing_checks=replace)
    except Denied as error:
        return respond.text(500, error.message)
    return respond.nothing()


async def deregister_service(request: Request) -> Reply:
    """Remove a service with its checks."""
    _agent(request).deregister_service(params.required(request, "service ID"))
    return respond.nothing()


async def register_check(request: Request) -> Reply:
    """Register a check of the node or of a service."""
    definition = check_definition(_object(request))
    try:
        _agent(request).register_check(definition, source="api")
    except Denied as error:
        return respond.text(500, error.message)
    return respond.nothing()


async def deregister_check(request: Request) -> Reply:
    """Remove a check."""
    _agent(request).deregister_check(params.required(request, "check ID"))
    return respond.nothing()


async def pass_check(request: Request) -> Reply:
    """Set a TTL check passing."""
    return _set(request, "passing", request.param("note"))


async def warn_check(request: Request) -> Reply:
    """Set a TTL check to warning."""
    return _set(request, "warning", request.param("note"))


async def fail_check(request: Request) -> Reply:
    """Set a TTL check critical."""
    return _set(request, "critical", request.param("note"))


async def update_check(request: Request) -> Reply:
    """Set the status and output of a TTL check."""
    update = params.body(request, Update)
    if update.status not in STATUSES:
        raise Invalid(f"Invalid check status: '{update.status}'")
    return _set(request, update.status, update.output)


def _set(request: Request, status: str, output: str) -> Reply:
    try:
        _agent(request).update_ttl(params.required(request, "check ID"), status, output)
    except Invalid as error:
        return respond.text(500, error.message)
    return respond.nothing()


def _enable(request: Request) -> bool:
    if "enable" not in request.params:
        raise Invalid("Missing value for enable")
    if not request.param("enable"):
        raise Invalid("Invalid value for enable: expected true or false")
    return params.flag(request, "enable")


async def maintain_service(request: Request) -> Reply:
    """Put a service into maintenance, or end it."""
    name = params.required(request, "service ID")
    reason = request.param("reason") if _enable(request) else None
    _agent(request).set_service_maintenance(name, reason)
    return respond.nothing()


async def maintain_node(request: Request) -> Reply:
    """Put the node into maintenance, or end it."""
    reason = request.param("reason") if _enable(request) else None
    _agent(request).set_node_maintenance(reason)
    return respond.nothing()


async def health_by_id(request: Request) -> Reply:
    """The health of one local instance, told by the status code too."""
    agent, name = _agent(request), params.required(request, "serviceID")
    local = agent.services().get(name)
    if local is None:
        return respond.text(404, f"ServiceId {name} not found")
    status, shape = _health(agent, local)
    return _healthy(request, status, shape, status)


async def health_by_name(request: Request) -> Reply:
    """The health of the local instances of a service; the worst decides the status code."""
    agent, name = _agent(request), params.required(request, "serviceName")
    found = [
        _health(agent, local)
        for _, local in sorted(agent.services().items())
        if local.row.name == name
    ]
    if not found:
        reply = respond.json([])
        reply.status = 404
        return reply
    status = max((status for status, _ in found), key=_RANK.index)
    return _healthy(request, status, [shape for _, shape in found], status)


def _health(agent: Agent, local: LocalService) -> tuple[str, LocalHealth]:
    rows: list[Check] = [
        check.row
        for _, check in sorted(agent.checks().items())
        if check.row.service_id in {"", local.row.id}
    ]
    rows += agent.maintained("") + agent.maintained(local.row.id)
    status = worst(rows)
    shown = [shapes.check(row) for row in rows]
    return status, LocalHealth(status, shown, _shape(agent, local))


def _healthy(request: Request, status: str, shape: object, reason: str) -> Reply:
    accepted = request.headers.get("accept", "")
    if request.param("format") == "text" or accepted.startswith("text/plain"):
        reply = respond.text(200, status)
    else:
        reply = respond.json(shape)
    reply.status = _STATUS[status]
    if reply.status != 200:
        reply.headers["X-Consul-Reason"] = reason
    return reply


_REASON = Param("reason", "Why, for people")
_ENABLE = Param("enable", "true: begin; false: end", "boolean", required=True)
_NOTE = Param("note", "The output of the check, for people")
_UNKNOWN_CHECK = (404, "This agent has no check with that id")
_UNKNOWN_SERVICE = (404, "This agent has no service with that id")
_NO_TTL = (500, "The check is none that is told its status")
_FORMAT = Param("format", "text: only the status, as a word")
_UNWELL = ((429, "Warning"), (503, "Critical, or in maintenance"))

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/agent/maintenance",
        maintain_node,
        "Node maintenance on or off",
        params=(_ENABLE, _REASON),
    ),
    Route(
        "GET",
        "/v1/agent/services",
        services,
        "Services of this agent, by id",
        params=FILTER,
        answer=dict[str, AgentServiceShape],
    ),
    Route(
        "GET",
        "/v1/agent/service/:id",
        service,
        "One service of this agent",
        params=(
            Param("hash", "Wait until the content's hash is not this"),
            Param("wait", "How long to wait at most (5m if not given, 10m at most)", "duration"),
        ),
        answer=AgentServiceShape,
        statuses=(_UNKNOWN_SERVICE,),
    ),
    Route(
        "PUT",
        "/v1/agent/service/register",
        register_service,
        "Register a service",
        params=(
            Param("replace-existing-checks", "Remove checks that are not in the body", "boolean"),
        ),
        body=ServiceRegistration,
        statuses=((500, "Script checks are not enabled"),),
    ),
    Route(
        "PUT",
        "/v1/agent/service/deregister/:id",
        deregister_service,
        "Remove a service",
        statuses=(_UNKNOWN_SERVICE,),
    ),
    Route(
        "PUT",
        "/v1/agent/service/maintenance/:id",
        maintain_service,
        "Service maintenance on or off",
        params=(_ENABLE, _REASON),
        statuses=(_UNKNOWN_SERVICE,),
    ),
    Route(
        "GET",
        "/v1/agent/checks",
        checks,
        "Checks of this agent, by id",
        params=FILTER,
        answer=dict[str, shapes.CheckShape],
    ),
    Route(
        "PUT",
        "/v1/agent/check/register",
        register_check,
        "Register a check",
        body=CheckRegistration,
        statuses=(_UNKNOWN_SERVICE, (500, "Script checks are not enabled")),
    ),
    Route(
        "PUT",
        "/v1/agent/check/deregister/:id",
        deregister_check,
        "Remove a check",
        statuses=(_UNKNOWN_CHECK,),
    ),
    *(
        Route(
            "PUT",
            f"/v1/agent/check/{verb}/:id",
            handler,
            f"Set a TTL check {status}",
            params=(_NOTE,),
            statuses=(_UNKNOWN_CHECK, _NO_TTL),
        )
        for verb, handler, status in (
            ("pass", pass_check, "passing"),
            ("warn", warn_check, "to warning"),
            ("fail", fail_check, "critical"),
        )
    ),
    Route(
        "PUT",
        "/v1/agent/check/update/:id",
        update_check,
        "Set a TTL check's status and output",
        body=Update,
        statuses=(_UNKNOWN_CHECK, _NO_TTL),
    ),
    Route(
        "GET",
        "/v1/agent/health/service/id/:id",
        health_by_id,
        "Health of a local instance, as status code too",
        params=(_FORMAT,),
        answer=LocalHealth,
        statuses=(*_UNWELL, _UNKNOWN_SERVICE),
        answered=(429, 503),
        media=(TEXT,),
    ),
    Route(
        "GET",
        "/v1/agent/health/service/name/:name",
        health_by_name,
        "Health of the local instances of a service",
        params=(_FORMAT,),
        answer=list[LocalHealth],
        statuses=(*_UNWELL, (404, "There is none here; the list is empty")),
        answered=(404, 429, 503),
        media=(TEXT,),
    ),
)
