"""/v1/query: prepared queries, and what they find."""

from __future__ import annotations

import ipaddress
from uuid import UUID, uuid5

import msgspec

from mesh.errors import Invalid
from mesh.http import params, respond, shapes
from mesh.http.request import Reply, Request
from mesh.http.route import BLOCKING, CACHED, CONSISTENCY, Param, Route
from mesh.registry import prepared
from mesh.registry.execution import Caller, Executor
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Target, Template

LIMIT_MAX = 2**31
_IDS = UUID("b9c6a4d2-5d0e-4b53-9a54-0d5a3f0e7a11")
"""Namespace of the ids of prepared queries."""


class TemplateBody(shapes.Shape, frozen=True, kw_only=True):
    """Makes it a query of every name that begins with its own; without a type it is none."""

    type: str = ""
    regexp: str = ""
    remove_empty_tags: bool = False


class TargetBody(shapes.Shape, frozen=True, kw_only=True):
    """Where to look when there is no instance here."""

    datacenter: str = ""
    peer: str = ""
    partition: str = ""


class FailoverBody(shapes.Shape, frozen=True, kw_only=True):
    """Which datacenters to ask when there is no instance here."""

    nearest_n: int = 0
    datacenters: list[str] = []
    targets: list[TargetBody] = []


class QueryServiceBody(shapes.Shape, frozen=True, kw_only=True):
    """Which instances of which service."""

    service: str = ""
    sameness_group: str = ""
    namespace: str = ""
    partition: str = ""
    peer: str = ""
    failover: FailoverBody = FailoverBody()
    only_passing: bool = False
    ignore_check_ids: list[str] = msgspec.field(name="IgnoreCheckIDs", default_factory=list)
    near: str = ""
    tags: list[str] = []
    node_meta: dict[str, str] = {}
    service_meta: dict[str, str] = {}
    connect: bool = False


class DnsBody(shapes.Shape, frozen=True, kw_only=True):
    """How DNS answers."""

    ttl: str = ""


class QueryBody(shapes.Shape, frozen=True, kw_only=True):
    """A prepared query. Its indexes are ignored: what was read can be sent."""

    id: str = ""
    name: str = ""
    session: str = ""
    token: str = ""
    template: TemplateBody = TemplateBody()
    service: QueryServiceBody = QueryServiceBody()
    dns: DnsBody = DnsBody()
    create_index: int = 0
    modify_index: int = 0


class IdShape(shapes.Shape, frozen=True):
    """The id of what was made."""

    id: str


class TargetShape(shapes.Shape, frozen=True):
    """Where to look when there is no instance here."""

    datacenter: str


class FailoverShape(shapes.Shape, frozen=True):
    """Which datacenters to ask when there is no instance here."""

    nearest_n: int
    datacenters: list[str]
    targets: list[TargetShape]


class QueryServiceShape(shapes.Shape, frozen=True):
    """Which instances of which service."""

    service: str
    failover: FailoverShape
    only_passing: bool
    ignore_check_ids: list[str] = msgspec.field(name="IgnoreCheckIDs")
    near: str
    tags: list[str]
    node_meta: dict[str, str]
    service_meta: dict[str, str]
    connect: bool


class QueryShape(shapes.Shape, frozen=True):
    """A prepared query; its token is not shown."""

    id: str
    name: str
    session: str
    token: str
    template: TemplateBody
    service: QueryServiceShape
    dns: DnsBody
    create_index: int
    modify_index: int


class ExecutionShape(shapes.Shape, frozen=True):
    """What a prepared query finds."""

    service: str
    nodes: list[shapes.InstanceShape]
    dns: DnsBody
    datacenter: str
    """Where the instances are."""
    failovers: int
    """How many other datacenters were asked."""


class ExplanationShape(shapes.Shape, frozen=True):
    """What a prepared query is for a name, templates rendered."""

    query: QueryShape


async def create(request: Request) -> Reply:
    """Write a new one; its id is made up here."""
    body = params.body(request, QueryBody)
    if body.id:
        raise Invalid("ID: must be empty: it is made up when a prepared query is created")
    options = params.write_options(request)
    # Of the request's id, so that a repetition of the request is the same command.
    command = prepared.Create(_row(body, str(uuid5(_IDS, options.request))))
    command.validate()
    made = await request.parts.registry.write(command, options)
    return respond.json(IdShape(made))


async def listed(request: Request) -> Reply:
    """Every prepared query."""
    found = await request.parts.registry.read(prepared.All(), params.read_options(request))
    return respond.answered(found, [_shape(row) for row in found.value])


async def get(request: Request) -> Reply:
    """One by its id, in a list."""
    query = prepared.Get(_id(request))
    found = await request.parts.registry.read(query, params.read_options(request))
    if found.value is None:
        reply = respond.text(404, "Query not found")
        reply.headers = respond.read_headers(found)
        return reply
    return respond.answered(found, [_shape(found.value)])


async def update(request: Request) -> Reply:
    """Replace one that exists."""
    command = prepared.Update(_row(params.body(request, QueryBody), _id(request)))
    command.validate()
    await request.parts.registry.write(command, params.write_options(request))
    return respond.nothing()


async def delete(request: Request) -> Reply:
    """Delete one that exists."""
    command = prepared.Delete(_id(request))
    await request.parts.registry.write(command, params.write_options(request))
    return respond.nothing()


async def execute(request: Request) -> Reply:
    """The instances that the query means, nearest first if it says so."""
    name = params.required(request, "query ID or name")
    limit = request.param("limit")
    caller = Caller(
        node=request.options.node_name,
        datacenter=request.options.datacenter,
        address=_address(request),
        near=request.param("near"),
        connect=params.flag(request, "connect"),
        limit=min(params.whole(limit, "limit"), LIMIT_MAX) if limit else 0,
        distances=not request.options.disable_coordinates,
    )
    options = msgspec.structs.replace(params.read_options(request), index=0)
    answer = await _executor(request).execute(name, caller, options)
    found = answer.value
    shape = ExecutionShape(
        service=found.query.service.service,
        nodes=[shapes.instance(one) for one in found.instances],
        dns=DnsBody(ttl=found.query.ttl),
        datacenter=found.datacenter,
        failovers=found.failovers,
    )
    reply = respond.answered(answer, shape, options)
    del reply.headers["X-Consul-Index"]  # It follows nothing.
    return reply


async def explain(request: Request) -> Reply:
    """What the query is for this name, without executing it."""
    name = params.required(request, "query ID or name")
    options = msgspec.structs.replace(params.read_options(request), index=0)
    answer = await _executor(request).resolve(name, options)
    reply = respond.answered(answer, ExplanationShape(_shape(answer.value)))
    del reply.headers["X-Consul-Index"]
    return reply


def _executor(request: Request) -> Executor:
    return Executor(request.parts.registry, request.parts.dice)


def _id(request: Request) -> str:
    identity = request.rest.lower()
    if not prepared.is_id(identity):
        raise Invalid(f'query ID: expected a UUID, got "{request.rest[:64]}"')
    return identity


def _address(request: Request) -> str:
    """Who asks: as the first proxy tells, or whoever is connected."""
    told = request.headers.get("x-forwarded-for", "").partition(",")[0].strip()
    try:
        return str(ipaddress.ip_address(told or request.remote))
    except ValueError:
        return request.remote


def _row(body: QueryBody, identity: str) -> Prepared:
    template = None
    if body.template.type:
        one = body.template
        template = Template(one.type, one.regexp, one.remove_empty_tags)
    elif body.template.regexp or body.template.remove_empty_tags:
        raise Invalid("Template.Type: must be name_prefix_match, for what else the template has")
    return Prepared(
        id=identity,
        name=body.name,
        session=body.session.lower(),
        token=body.token,
        template=template,
        service=_service(body.service),
        ttl=body.dns.ttl,
    )


def _service(body: QueryServiceBody) -> ServiceQuery:
    later = {"Peer": body.peer, "SamenessGroup": body.sameness_group}
    for name, given in later.items():
        if given:
            raise Invalid(f"Service.{name}: not available yet")
    if body.namespace or body.partition:
        raise Invalid("Service: mesh has no namespaces or partitions")
    failover = body.failover
    if any(target.peer or target.partition for target in failover.targets):
        raise Invalid("Service.Failover.Targets: only a Datacenter can be given, no Peer yet")
    return ServiceQuery(
        service=body.service,
        failover=Failover(
            failover.nearest_n,
            failover.datacenters,
            [Target(target.datacenter) for target in failover.targets],
        ),
        only_passing=body.only_passing,
        ignore_check_ids=body.ignore_check_ids,
        near=body.near,
        tags=body.tags,
        node_meta=body.node_meta,
        service_meta=body.service_meta,
        connect=body.connect,
    )


def _shape(row: Prepared) -> QueryShape:
    template = TemplateBody()
    if (one := row.template) is not None:
        template = TemplateBody(
            type=one.kind, regexp=one.regexp, remove_empty_tags=one.remove_empty_tags
        )
    service, failover = row.service, row.service.failover
    return QueryShape(
        id=row.id,
        name=row.name,
        session=row.session,
        token=prepared.HIDDEN if row.token else "",
        template=template,
        service=QueryServiceShape(
            service=service.service,
            failover=FailoverShape(
                failover.nearest_n,
                failover.datacenters,
                [TargetShape(target.datacenter) for target in failover.targets],
            ),
            only_passing=service.only_passing,
            ignore_check_ids=service.ignore_check_ids,
            near=service.near,
            tags=service.tags,
            node_meta=service.node_meta,
            service_meta=service.service_meta,
            connect=service.connect,
        ),
        dns=DnsBody(ttl=row.ttl),
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


_UNKNOWN = (404, "There is no such prepared query")
_BAD = (400, "What was sent is no prepared query, or the id no UUID; the text names the field")

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/query",
        create,
        "Create a prepared query",
        body=QueryBody,
        answer=IdShape,
        statuses=(_BAD, (500, "The name is taken, or there is no such session")),
    ),
    Route(
        "GET",
        "/v1/query",
        listed,
        "All prepared queries",
        params=BLOCKING + CONSISTENCY,
        answer=list[QueryShape],
    ),
    Route(
        "GET",
        "/v1/query/:id",
        get,
        "A prepared query by its id",
        params=BLOCKING + CONSISTENCY,
        answer=list[QueryShape],
        statuses=(_BAD, _UNKNOWN),
    ),
    Route(
        "PUT",
        "/v1/query/:id",
        update,
        "Replace a prepared query",
        body=QueryBody,
        statuses=(
            _BAD,
            (500, "There is no such prepared query or session, or the name is taken"),
        ),
    ),
    Route(
        "DELETE",
        "/v1/query/:id",
        delete,
        "Delete a prepared query",
        statuses=(_BAD, (500, "There is no such prepared query")),
    ),
    Route(
        "GET",
        "/v1/query/:idOrName/execute",
        execute,
        "The instances that a prepared query means",
        params=(
            Param("near", "The nearest to this node first; _agent: the agent; _ip: who asks"),
            Param("limit", "So many instances at most", "integer"),
            Param("connect", "Sidecars, and instances that need none", "boolean"),
            *CONSISTENCY,
            *CACHED,
        ),
        answer=ExecutionShape,
        statuses=(_UNKNOWN,),
    ),
    Route(
        "GET",
        "/v1/query/:idOrName/explain",
        explain,
        "What a prepared query is for a name, templates rendered",
        params=CONSISTENCY,
        answer=ExplanationShape,
        statuses=(_UNKNOWN,),
    ),
)
