"""/v1/connect/intentions: the older API, as a view of service-intentions entries."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec import UNSET, UnsetType

from mesh.connect.intentions import Request as Call
from mesh.connect.intentions import decide
from mesh.connect.paths import normalization_of
from mesh.errors import Invalid
from mesh.http import params, respond
from mesh.http.config import FORCE, OWNER
from mesh.http.defaults import default_allow
from mesh.http.intention_shapes import IntentionBody, IntentionShape, shape, source_of
from mesh.http.lasting import lasting
from mesh.http.request import Reply, Request
from mesh.http.route import CACHED, CAS, CONSISTENCY, FILTER, READ, Param, Route
from mesh.http.shapes import Shape
from mesh.registry import intention_writes, intentions, settings
from mesh.registry.intentions import Intention

_IDS = UUID("5a0d1c0e-3f0c-4b0a-9a44-6a4f2f2f6f10")
"""Namespace of the ids of intentions."""


class IntentionIdShape(Shape, frozen=True):
    """The id of what was made."""

    id: str


class CheckShape(Shape, frozen=True):
    """Whether a call is allowed, why, and by which rule."""

    allowed: bool
    reason: str
    rule: str
    """Where what decided stands; empty when it is the default."""
    stale: bool | UnsetType = UNSET
    """No server answered, so it follows from what this agent last knew."""


async def listed(request: Request) -> Reply:
    """All, by precedence."""
    params.check_filter(request, IntentionShape)
    found = await request.parts.registry.read(intentions.All(), params.read_options(request))
    shapes = [shape(one) for one in found.value if _is_shown(request, one)]
    return respond.answered(found, await params.filtered(request, shapes, IntentionShape))


def _is_shown(request: Request, one: Intention) -> bool:
    return not one.dry_run or params.flag(request, "dry-run")


async def create(request: Request) -> Reply:
    """Make a new one; its id is made up here."""
    body = params.body(request, IntentionBody)
    if body.id:
        raise Invalid("ID: must be empty when an intention is created")
    options = params.write_options(request)
    # Of the request's id, so that a repetition of the request is the same command.
    made = str(uuid5(_IDS, options.request))
    command = intention_writes.Put(
        destination=_destination(body.destination_name),
        source=source_of(body, body.source_name, body.meta),
        how="create",
        id=made,
    )
    command.validate()
    await request.parts.registry.write(command, options)
    return respond.json(IntentionIdShape(made))


async def get(request: Request) -> Reply:
    """One by its id."""
    query = intentions.Get(_id(request))
    found = await request.parts.registry.read(query, params.read_options(request))
    if found.value is None:
        reply = respond.text(404, "Intention not found")
        reply.headers = respond.read_headers(found)
        return reply
    return respond.answered(found, shape(found.value))


async def update(request: Request) -> Reply:
    """Change one by its id; where it begins and ends stays."""
    body, identity = params.body(request, IntentionBody), _id(request)
    if body.id and body.id.lower() != identity:
        raise Invalid("ID: is not that of the path")
    command = intention_writes.Put(
        destination=_destination(body.destination_name),
        source=source_of(body, body.source_name, body.meta),
        how="update",
        id=identity,
        owner=body.owner or request.param("owner"),
        force=params.flag(request, "force"),
    )
    command.validate()
    await request.parts.registry.write(command, params.write_options(request))
    return respond.json(IntentionIdShape(identity))


async def delete(request: Request) -> Reply:
    """Delete one by its id."""
    command = intention_writes.Drop(
        id=_id(request), owner=request.param("owner"), force=params.flag(request, "force")
    )
    return respond.boolean(
        await request.parts.registry.write(command, params.write_options(request))
    )


async def exact_get(request: Request) -> Reply:
    """The one between two services."""
    ends = _ends(request)
    if isinstance(ends, Reply):
        return ends
    query = intentions.Exact(*ends, params.flag(request, "dry-run"))
    found = await request.parts.registry.read(query, params.read_options(request))
    if found.value is None:
        reply = respond.text(404, "Intention not found")
        reply.headers = respond.read_headers(found)
        return reply
    return respond.answered(found, shape(found.value))


async def exact_put(request: Request) -> Reply:
    """Make the one between two services what the body says."""
    body, ends = params.body(request, IntentionBody), _ends(request)
    if isinstance(ends, Reply):
        return ends
    if body.meta:
        raise Invalid("Meta: intentions without an ID have that of their config entry")
    for given, wanted, name in zip(
        (body.source_name, body.destination_name), ends, ("Source", "Destination"), strict=True
    ):
        if given and given.lower() != wanted.lower():
            raise Invalid(f'{name}Name: is "{given[:64]}", and the query says "{wanted[:64]}"')
    cas = request.param("cas")
    command = intention_writes.Put(
        destination=ends[1],
        source=source_of(body, ends[0]),
        owner=request.param("owner") or body.owner,
        force=params.flag(request, "force"),
        check_index=params.whole(cas, "cas") if cas else None,
    )
    command.validate()
    return respond.boolean(
        await request.parts.registry.write(command, params.write_options(request))
    )


async def exact_delete(request: Request) -> Reply:
    """Delete the one between two services; true when there is none either."""
    ends = _ends(request)
    if isinstance(ends, Reply):
        return ends
    command = intention_writes.Drop(
        *ends,
        dry_run=params.flag(request, "dry-run"),
        owner=request.param("owner"),
        force=params.flag(request, "force"),
    )
    return respond.boolean(
        await request.parts.registry.write(command, params.write_options(request))
    )


async def promote(request: Request) -> Reply:
    """Enforce the dry run between two services from now on."""
    ends = _ends(request)
    if isinstance(ends, Reply):
        return ends
    command = intention_writes.Promote(
        *ends, owner=request.param("owner"), force=params.flag(request, "force")
    )
    return respond.boolean(
        await request.parts.registry.write(command, params.write_options(request))
    )


async def match(request: Request) -> Reply:
    """Those that are about a service, by precedence, for each name asked."""
    by, names = request.param("by"), request.params.get("name", [])
    if not by:
        return respond.text(500, "required query parameter 'by' not set")
    if by not in {"source", "destination"}:
        return respond.text(500, "'by' parameter must be one of 'source' or 'destination'")
    if not names or not all(names):
        return respond.text(500, "required query parameter 'name' not set")
    registry, options = request.parts.registry, params.read_options(request)
    found: dict[str, list[IntentionShape]] = {}
    answer: Any = None
    for name in names:
        service = _name(name)
        if by == "source":
            answer = await registry.read(intentions.OfSource(service), options)
            rows = answer.value
        else:
            answer = await registry.read(intentions.Matching(service), options)
            rows = answer.value.intentions
        found[name] = [shape(one) for one in rows if _is_shown(request, one)]
        # Only of a single name it can be waited for something newer.
        options = msgspec.structs.replace(options, index=0)
    return respond.answered(answer, found)


async def check(request: Request) -> Reply:
    """Whether one service may call another, or make a certain request of it."""
    ends = _ends(request)
    if isinstance(ends, Reply):
        return ends
    if request.param("source-type") not in {"", "consul"}:
        raise Invalid("source-type: only consul is known")
    source, destination = ends
    asking = lasting(request, params.read_options(request))
    policy = await asking.read(intentions.Matching(destination))
    call = _call(request)
    note = ""
    if call is not None:
        protocol = (await asking.read(settings.Service(destination))).value.protocol
        if protocol not in settings.HTTP_LIKE:
            call, note = None, f' ("{destination}" speaks {protocol}: requests are not looked at)'
    mesh = (await asking.read(settings.Mesh())).value
    decision = decide(
        policy.value,
        source,
        call,
        await default_allow(request),
        shadow=params.flag(request, "dry-run"),
        normalization=normalization_of(mesh),
    )
    shape = CheckShape(
        decision.allowed, decision.rule + note, decision.entry, asking.stale or UNSET
    )
    return respond.answered(policy, shape)


def _call(request: Request) -> Call | None:
    """The request that is asked about; None when it is only the connection."""
    method, path = request.param("method"), request.param("path")
    headers = []
    for given in request.params.get("header", []):
        name, colon, value = given.partition(":")
        if not colon or not name.strip():
            raise Invalid(f'header: expected Name: value, got "{given[:64]}"')
        headers.append((name.strip(), value.strip()))
    if not method and not path and not headers:
        return None
    if path and not path.startswith("/"):
        raise Invalid(f'path: must begin with /, got "{path[:64]}"')
    return Call(method=method.upper() or "GET", path=path or "/", headers=headers)


def _destination(name: str) -> str:
    if not name:
        raise Invalid("DestinationName: must not be empty")
    return name


def _ends(request: Request) -> tuple[str, str] | Reply:
    """The source and the destination asked about."""
    for name in ("source", "destination"):
        if not request.param(name):
            return respond.text(500, f"required query parameter '{name}' not set")
    return _name(request.param("source")), _name(request.param("destination"))


def _name(given: str) -> str:
    """A service as intentions name it: `name`, or `default/name`. Raises Invalid."""
    if given.startswith("peer:"):
        raise Invalid("peers are not available yet")
    namespace, slash, name = given.rpartition("/")
    if slash and namespace not in {"default", "default/default"}:
        raise Invalid(f'"{given[:64]}": mesh has no namespaces or partitions')
    return name


def _id(request: Request) -> str:
    try:
        return str(UUID(request.rest))
    except ValueError:
        raise Invalid(f'intention ID: expected a UUID, got "{request.rest[:64]}"') from None


_BAD = (400, "It makes no sense; the text names the field, or the id is no UUID")
_UNKNOWN = (404, "There is no such intention")
_MISSING = (500, "The source or the destination is not given")
_OWNED = (500, "It belongs to another owner")
_ENDS = (
    Param("source", "The service that calls, or * for all", required=True),
    Param("destination", "The service that is called, or * for all", required=True),
)
_DRY_RUN = Param("dry-run", "The one that is not enforced", "boolean")
_WITH_DRY_RUNS = Param("dry-run", "Show those that are not enforced too", "boolean")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/connect/intentions",
        listed,
        "All intentions, by precedence",
        params=(_WITH_DRY_RUNS, *FILTER, *READ),
        answer=list[IntentionShape],
    ),
    Route(
        "POST",
        "/v1/connect/intentions",
        create,
        "Create an intention with an id",
        body=IntentionBody,
        answer=IntentionIdShape,
        statuses=(_BAD, (500, "There is one between the two already")),
    ),
    Route(
        "GET",
        "/v1/connect/intentions/exact",
        exact_get,
        "The intention between two services",
        params=(*_ENDS, _DRY_RUN, *READ),
        answer=IntentionShape,
        statuses=(_UNKNOWN, _MISSING),
    ),
    Route(
        "PUT",
        "/v1/connect/intentions/exact",
        exact_put,
        "Write the intention between two services",
        params=(*_ENDS, CAS, OWNER, FORCE),
        body=IntentionBody,
        answer=bool,
        statuses=(_BAD, (500, f"{_OWNED[1]}, or an end is not given")),
    ),
    Route(
        "DELETE",
        "/v1/connect/intentions/exact",
        exact_delete,
        "Delete the intention between two services",
        params=(*_ENDS, _DRY_RUN, OWNER, FORCE),
        answer=bool,
        statuses=((500, f"{_OWNED[1]}, or an end is not given"),),
    ),
    Route(
        "PUT",
        "/v1/connect/intentions/promote",
        promote,
        "Enforce the dry run between two services",
        params=(*_ENDS, OWNER, FORCE),
        answer=bool,
        statuses=(
            (404, "There is no dry run between the two"),
            (500, f"{_OWNED[1]}, or an end is not given"),
        ),
    ),
    Route(
        "GET",
        "/v1/connect/intentions/match",
        match,
        "The intentions about services, by precedence",
        params=(
            Param("by", "What the services are: source or destination", required=True),
            Param("name", "A service", required=True, repeats=True),
            _WITH_DRY_RUNS,
            *READ,
        ),
        answer=dict[str, list[IntentionShape]],
        statuses=((500, "The parameter by or name is missing"),),
    ),
    Route(
        "GET",
        "/v1/connect/intentions/check",
        check,
        "Whether a service may call another, and by which rule",
        params=(
            *_ENDS,
            Param("source-type", "consul, if given"),
            Param("method", "Of a request; with none of these three only the connection counts"),
            Param("path", "Of a request, with its query"),
            Param("header", "Of a request, as Name: value", repeats=True),
            Param("dry-run", "As if those that are not enforced were", "boolean"),
            *CONSISTENCY,
            *CACHED,
        ),
        answer=CheckShape,
        statuses=(_MISSING,),
    ),
    Route(
        "GET",
        "/v1/connect/intentions/:id",
        get,
        "An intention by its id",
        params=READ,
        answer=IntentionShape,
        statuses=(_BAD, _UNKNOWN),
    ),
    Route(
        "PUT",
        "/v1/connect/intentions/:id",
        update,
        "Change an intention by its id",
        params=(OWNER, FORCE),
        body=IntentionBody,
        answer=IntentionIdShape,
        statuses=(_BAD, (500, "There is no such intention, or it belongs to another owner")),
    ),
    Route(
        "DELETE",
        "/v1/connect/intentions/:id",
        delete,
        "Delete an intention by its id",
        params=(OWNER, FORCE),
        answer=bool,
        statuses=(_BAD, (500, "There is no such intention, or it belongs to another owner")),
    ),
)
