"""/v1/session: create, renew, read and destroy sessions, which hold locks."""

from __future__ import annotations

from uuid import UUID, uuid5

from msgspec import UNSET, UnsetType

from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Route
from mesh.http.shapes import Shape
from mesh.registry import sessions
from mesh.registry.checks import SERF_HEALTH
from mesh.registry.port import OrderOptions

_IDS = UUID("5e551075-0000-4000-8000-000000000000")
SECONDS_BELOW = 1000
"""A lock-delay that is a number below this is in seconds, any other in nanoseconds."""


class ServiceCheck(Shape, frozen=True):
    """A check of a service on the session's node."""

    id: str = ""
    namespace: str = ""


class SessionShape(Shape, frozen=True, kw_only=True):
    """A session. LockDelay is in nanoseconds."""

    id: str
    name: str
    node: str
    lock_delay: int
    behavior: str
    ttl: str
    node_checks: list[str]
    service_checks: list[ServiceCheck] | None
    create_index: int
    modify_index: int


class CreateBody(Shape, frozen=True, kw_only=True):
    """What is asked of a new session; everything has a default."""

    name: str = ""
    node: str = ""
    lock_delay: int | float | str | UnsetType = UNSET
    """`15s`, or a number: of seconds below 1000, else of nanoseconds."""
    behavior: str = ""
    """`release` or `delete`: what becomes at its end of the keys that it holds."""
    ttl: str = ""
    """`10s` to `24h`; empty for a session that ends only with its checks."""
    node_checks: list[str] | UnsetType = UNSET
    """Ids of checks; `[serfHealth]` when absent, none when empty."""
    service_checks: list[ServiceCheck] = []
    checks: list[str] | UnsetType = UNSET
    """The former name of NodeChecks."""


class CreatedShape(Shape, frozen=True):
    """The id of a session."""

    id: str


async def create(request: Request) -> Reply:
    """Begin a session under a new id. Without a body every field has its default."""
    body = CreateBody()
    if request.body.strip():
        body = params.body(request, CreateBody, lenient=True)
    options = params.write_options(request)
    command = sessions.Create(
        # Of the request's id, so that a repetition of the request is the same command.
        id=str(uuid5(_IDS, options.request)),
        node=body.node or request.options.node_name,
        name=body.name,
        lock_delay=_lock_delay(body.lock_delay),
        behavior=body.behavior or sessions.RELEASE,
        ttl=body.ttl,
        node_checks=_node_checks(body),
        service_checks=tuple(check.id for check in body.service_checks),
    )
    try:
        identity = await request.parts.registry.write(command, options)
    except Invalid as error:
        return respond.text(500, error.message)
    return respond.json(CreatedShape(identity))


def _node_checks(body: CreateBody) -> tuple[str, ...]:
    if body.node_checks is UNSET and body.checks is UNSET:
        return (SERF_HEALTH,)
    given = [one for one in (body.node_checks, body.checks) if one is not UNSET]
    return tuple(dict.fromkeys(check for checks in given for check in checks))


def _lock_delay(given: float | str | UnsetType) -> int:
    """Nanoseconds; more than a minute is a minute. Raises Invalid."""
    if given is UNSET:
        return sessions.LOCK_DELAY
    if isinstance(given, str):
        try:
            nanoseconds = parse_duration(given) * sessions.NANOSECONDS
        except Invalid as error:
            raise Invalid(f"Request decode failed: LockDelay: {error.message}") from error
    else:
        nanoseconds = given * sessions.NANOSECONDS if given < SECONDS_BELOW else given
    if nanoseconds < 0:
        raise Invalid("Request decode failed: LockDelay: must not be negative")
    return int(min(nanoseconds, sessions.LOCK_DELAY_MAX))


async def destroy(request: Request) -> Reply:
    """End a session; `true` also when there is none with this id."""
    command = sessions.Destroy(params.required(request, "session"))
    options = params.write_options(request)
    return respond.boolean(await request.parts.registry.write(command, options))


async def renew(request: Request) -> Reply:
    """Begin the TTL of a session anew; 404 when the session is gone."""
    order = sessions.Renew(params.required(request, "session").lower())
    options = OrderOptions(
        datacenter=params.datacenter(request),
        token=params.token(request),
        origin=f"{request.options.node_name}/http",
    )
    found = await request.parts.registry.operate(order, options)
    if found is None:
        return respond.text(404, f"Session id '{order.id}' not found")
    return respond.json([session_shape(found)])


async def info(request: Request) -> Reply:
    """One session, as a list; an empty one when there is none."""
    query = sessions.Info(params.required(request, "session"))
    found = await request.parts.registry.read(query, params.read_options(request))
    rows = [found.value] if found.value is not None else []
    return respond.answered(found, [session_shape(row) for row in rows])


async def of_node(request: Request) -> Reply:
    """The sessions of a node."""
    query = sessions.OfNode(params.required(request, "node name"))
    found = await request.parts.registry.read(query, params.read_options(request))
    return respond.answered(found, [session_shape(row) for row in found.value])


async def every(request: Request) -> Reply:
    """All sessions."""
    found = await request.parts.registry.read(sessions.All(), params.read_options(request))
    return respond.answered(found, [session_shape(row) for row in found.value])


def session_shape(row: sessions.Session) -> SessionShape:
    """A session as the API shows it."""
    return SessionShape(
        id=row.id,
        name=row.name,
        node=row.node,
        lock_delay=row.lock_delay,
        behavior=row.behavior,
        ttl=row.ttl,
        node_checks=row.node_checks,
        service_checks=[ServiceCheck(check) for check in row.service_checks] or None,
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


_LIST = list[SessionShape]

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/session/create",
        create,
        "Begin a session",
        body=CreateBody,
        answer=CreatedShape,
        statuses=((500, "A check is missing or critical, or the TTL out of range"),),
    ),
    Route(
        "PUT",
        "/v1/session/destroy/:session",
        destroy,
        "End a session",
        answer=bool,
    ),
    Route(
        "PUT",
        "/v1/session/renew/:session",
        renew,
        "Begin a session's TTL anew",
        answer=_LIST,
        statuses=((404, "The session is gone"),),
    ),
    Route("GET", "/v1/session/info/:session", info, "One session", params=READ, answer=_LIST),
    Route(
        "GET", "/v1/session/node/:node", of_node, "Sessions of a node", params=READ, answer=_LIST
    ),
    Route("GET", "/v1/session/list", every, "All sessions", params=READ, answer=_LIST),
)
