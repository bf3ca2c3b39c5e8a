"""/v1/txn: several reads and writes, all or none of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, get_args

import msgspec
from msgspec import UNSET, UnsetType

from mesh.errors import Invalid, TooLarge
from mesh.http import params, respond, shapes
from mesh.http.catalog import (
    CheckBody,
    Locality,
    ServiceBody,
    check_row,
    locality,
    refuse_peer,
    service_row,
)
from mesh.http.request import Reply, Request
from mesh.http.route import CONSISTENCY, Route
from mesh.registry import catalog, txn

T = TypeVar("T")


class KvBody(shapes.Shape, frozen=True, kw_only=True):
    """An op on keys."""

    verb: str = ""
    key: str = ""
    value: bytes = b""
    flags: int = 0
    index: int = 0
    """The modify index expected, for `cas`, `delete-cas` and `check-index`."""
    session: str = ""
    namespace: str = ""
    partition: str = ""


class NodeRowBody(shapes.Shape, frozen=True, kw_only=True):
    """A node; of its indexes ModifyIndex is the one that `cas` and `delete-cas` expect."""

    id: str = ""
    node: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = {}
    meta: dict[str, str] = {}
    locality: Locality = Locality()
    partition: str = ""
    peer_name: str = ""
    create_index: int = 0
    modify_index: int = 0


class NodeBody(shapes.Shape, frozen=True, kw_only=True):
    """An op on a node."""

    verb: str = ""
    node: NodeRowBody = NodeRowBody()


class ServiceRowBody(ServiceBody, frozen=True, kw_only=True):
    """An instance, as agents and the catalog show it."""

    datacenter: str = ""
    content_hash: str = ""
    namespace: str = ""
    partition: str = ""


class ServiceOpBody(shapes.Shape, frozen=True, kw_only=True):
    """An op on an instance of a service."""

    verb: str = ""
    node: str = ""
    service: ServiceRowBody = ServiceRowBody()


class CheckRowBody(CheckBody, frozen=True, kw_only=True):
    """A check, as the catalog shows it."""

    namespace: str = ""
    partition: str = ""


class CheckOpBody(shapes.Shape, frozen=True, kw_only=True):
    """An op on a check."""

    verb: str = ""
    check: CheckRowBody = CheckRowBody()


class SessionRowBody(shapes.Shape, frozen=True, kw_only=True):
    """A session, by its id."""

    id: str = ""


class SessionOpBody(shapes.Shape, frozen=True, kw_only=True):
    """An op on a session: `delete`."""

    verb: str = ""
    session: SessionRowBody = SessionRowBody()


class OpBody(shapes.Shape, frozen=True, kw_only=True):
    """One op: one of these."""

    kv: KvBody | None = None
    node: NodeBody | None = None
    service: ServiceOpBody | None = None
    check: CheckOpBody | None = None
    session: SessionOpBody | None = None


class FailureShape(shapes.Shape, frozen=True):
    """An op that failed, counted from 0, and why."""

    op_index: int
    what: str


class ResultShape(shapes.Shape, frozen=True, kw_only=True):
    """What an op shows: one of these."""

    kv: shapes.PairShape | UnsetType = UNSET
    node: shapes.NodeShape | UnsetType = UNSET
    service: shapes.ServiceShape | UnsetType = UNSET
    check: shapes.CheckShape | UnsetType = UNSET


class OutcomeShape(shapes.Shape, frozen=True):
    """What a transaction came to: results, or what failed; the other is null."""

    results: list[ResultShape] | None
    errors: list[FailureShape] | None


async def put(request: Request) -> Reply:
    """Do all ops, or tell of every one that fails."""
    body = params.body(request, list[OpBody], wide=True)  # Each op is told what is wrong with it.
    txn.check_count(len(body))
    ops: dict[int, txn.AnyOp] = {}
    failures = []
    for number, one in enumerate(body):
        try:
            ops[number] = _op(one, request)
        except Invalid as error:
            failures.append(txn.Failure(number, error.message))
    failures += [
        msgspec.structs.replace(one, op=list(ops)[one.op]) for one in txn.problems(ops.values())
    ]
    if failures:
        return _reply(txn.Outcome(failures=sorted(failures, key=lambda one: one.op)))
    asked = txn.request_of(list(ops.values()))
    if isinstance(asked, txn.Read):
        return await _read(request, asked)
    asked.validate()
    outcome = await request.parts.registry.write(asked, params.write_options(request))
    if outcome.forgotten:
        text = "the transaction was applied before; what it showed is known no more: read it again"
        return respond.text(500, text)
    return _reply(outcome)


async def _read(request: Request, query: txn.Read) -> Reply:
    options = msgspec.structs.replace(params.read_options(request), index=0)
    found = await request.parts.registry.read(query, options)
    reply = _reply(found.value)
    # It follows nothing, so it has no index to wait for.
    reply.headers = respond.read_headers(found)
    del reply.headers["X-Consul-Index"]
    return reply


def _op(body: OpBody, request: Request) -> txn.AnyOp:
    """The op of a body. Raises Invalid for what cannot be one, TooLarge for too large a value."""
    if body.kv is not None:
        return _kv(body.kv, request.options.kv_value_max_bytes)
    if body.node is not None:
        return _node(body.node, params.datacenter(request) or request.options.datacenter)
    if body.service is not None:
        return _service(body.service)
    if body.check is not None:
        return _check(body.check)
    if body.session is not None:
        _verb("Session", body.session.verb, {"delete": None}, ())
        return txn.SessionDelete(body.session.session.id)
    raise Invalid("expected one of KV, Node, Service, Check and Session")


def _kv(body: KvBody, value_max_bytes: int) -> txn.AnyOp:
    if len(body.value) > value_max_bytes:
        raise TooLarge(
            f'Value for key "{body.key}" is too large ({len(body.value)} > {value_max_bytes} bytes)'
        )
    if body.verb in _KV_READS:
        return txn.KvRead(_KV_READS[body.verb], body.key, body.index, body.session.lower())
    verb = _verb("KV", body.verb, _KV_WRITES, _KV_READS)
    session = body.session.lower()
    return txn.KvWrite(verb, body.key, body.value, body.flags, body.index, session)


def _node(body: NodeBody, datacenter: str) -> txn.AnyOp:
    one = body.node
    refuse_peer("Node.", one.peer_name)
    if body.verb == "get":
        return txn.RowRead(one.node, node_id=one.id)
    row = catalog.Node(
        name=one.node,
        id=one.id.lower(),
        address=one.address,
        datacenter=one.datacenter or datacenter,
        tagged_addresses=one.tagged_addresses,
        meta=one.meta,
        locality=locality(one.locality),
    )
    return txn.NodeWrite(_verb("Node", body.verb, _WRITES), row, one.modify_index)


def _service(body: ServiceOpBody) -> txn.AnyOp:
    if body.verb == "get":
        return txn.RowRead(
            body.node, service=_id(body.service.id or body.service.service, "Service.ID")
        )
    row = service_row(body.service)
    verb = _verb("Service", body.verb, _WRITES)
    return txn.ServiceWrite(verb, body.node, row, body.service.modify_index)


def _check(body: CheckOpBody) -> txn.AnyOp:
    if body.verb == "get":
        return txn.RowRead(
            body.check.node, check_id=_id(body.check.check_id or body.check.name, "Check.CheckID")
        )
    verb = _verb("Check", body.verb, _WRITES)
    return txn.CheckWrite(verb, check_row(body.check), body.check.modify_index)


def _id(given: str, name: str) -> str:
    if not given:
        raise Invalid(f"{name}: must not be empty")
    return given


def _verb(what: str, given: str, known: dict[str, T], others: Iterable[str] = ("get",)) -> T:
    """The verb as a value. Raises Invalid, listing those there are."""
    if given not in known:
        verbs = ", ".join(sorted([*known, *others]))
        raise Invalid(f'{what}.Verb: expected one of {verbs}, got "{given}"')
    return known[given]


def _reply(outcome: txn.Outcome) -> Reply:
    if outcome.failures:
        errors = [FailureShape(one.op, one.what) for one in outcome.failures]
        reply = respond.json(OutcomeShape(None, errors))
        reply.status = 409
        return reply
    return respond.json(OutcomeShape([_result(one) for one in outcome.results], None))


def _result(one: txn.Result) -> ResultShape:
    if one.kv is not None:
        return ResultShape(kv=shapes.pair(one.kv))
    if one.node is not None:
        return ResultShape(node=shapes.node(one.node))
    if one.service is not None:
        return ResultShape(service=shapes.service(one.service))
    return ResultShape(check=shapes.check(one.check) if one.check is not None else UNSET)


_KV_READS: dict[str, txn.KvReadVerb] = {verb: verb for verb in get_args(txn.KvReadVerb)}
_KV_WRITES: dict[str, txn.KvWriteVerb] = {verb: verb for verb in get_args(txn.KvWriteVerb)}
_WRITES: dict[str, txn.RowVerb] = {verb: verb for verb in get_args(txn.RowVerb)}

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/v1/txn",
        put,
        "Do several reads and writes, all or none of them",
        limit="txn_max_bytes",
        params=CONSISTENCY,
        body=list[OpBody],
        answer=OutcomeShape,
        answered=(409,),
        statuses=(
            (409, "Some ops failed, and nothing was done; the body has Errors instead of Results"),
            (413, "More than 128 operations, or too large [limits.txn_max_req_len]"),
        ),
    ),
)
