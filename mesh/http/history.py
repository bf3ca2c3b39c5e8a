"""/v1/history: who changed what and when, what differs, and how it is made again what it was."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.codec import to_json, unpack
from mesh.durations import parse_duration
from mesh.errors import Conflict, Invalid, NotFound
from mesh.http import params, respond
from mesh.http.differences import compare
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Param, Route
from mesh.http.shapes import Shape, api_name
from mesh.registry import history, kv
from mesh.registry.outcomes import CALLERS
from mesh.registry.port import Answer
from mesh.registry.prepared_rows import Prepared
from mesh.registry.requests import TABLES
from mesh.store.table import Row

KINDS = {table.history: table for table in TABLES if table.history}
HIDDEN = "<hidden>"
"""Stands for a token's secret."""
LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
BYTES_MAX = 8 << 20
"""An answer is not longer than about this; who wants more asks for what follows."""


class ChangeShape(Shape, frozen=True, kw_only=True):
    """A change. `Before` and `After` are the rows, null where there was none."""

    id: int
    index: int
    time: str
    kind: str
    key: str
    op: str
    author: str
    origin: str
    request: str
    reverts: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class SideShape(Shape, frozen=True):
    """A row as it was at a log index; null where it was not there."""

    index: int
    modify_index: int
    row: dict[str, Any] | None


class DifferenceShape(Shape, frozen=True, kw_only=True):
    """What differs. `Format` is none, text, json, binary or large; the last two have no text."""

    kind: str
    key: str
    before: SideShape = msgspec.field(name="From")
    after: SideShape = msgspec.field(name="To")
    format: str
    diff: str


class RevertBody(Shape, frozen=True, kw_only=True):
    """What to make again what it was at a log index."""

    kind: str = "kv"
    key: str = ""
    index: int = 0
    cas: int | None = msgspec.field(name="CAS", default=None)


class RevertedShape(Shape, frozen=True):
    """What was done; not `Changed` when it was so already."""

    kind: str
    key: str
    index: int
    changed: bool


async def listed(request: Request) -> Reply:
    """Changes, the latest first."""
    query, most = _asked(request)
    options = params.read_options(request)
    registry, found = request.parts.registry, list[history.Told]()
    size = 0
    first: Answer[history.Page] | None = None
    while True:
        page = await registry.read(query, options)
        first = first or page
        found += page.value.changes
        size += sum(len(one.before or b"") + len(one.after or b"") for one in page.value.changes)
        following, left = page.value.following, most - len(found)
        if not following or left <= 0 or size >= BYTES_MAX:
            break
        query = msgspec.structs.replace(query, before=following, limit=left)
        options = msgspec.structs.replace(options, index=0)
    reply = respond.answered(first, [_change(one) for one in found])
    reply.headers["X-Mesh-History-Floor"] = str(first.value.floor)
    if following:
        reply.headers["X-Mesh-History-Next"] = str(following)
    return reply


def _asked(request: Request) -> tuple[history.Of, int]:
    key, prefix = request.param("key"), request.param("prefix")
    if key and "prefix" in request.params:
        raise Invalid("Conflicting parameters: key and prefix; give only one")
    kind = request.param("kind")
    if not kind and (key or "prefix" in request.params):
        kind = "kv"
    if kind:
        _check_kind(kind)
    if key:
        history.check_key(kind, key)
    text = request.param("limit")
    most = params.whole(text, "limit") if text else LIMIT_DEFAULT
    if not 1 <= most <= LIMIT_MAX:
        raise Invalid(f"limit: expected 1 to {LIMIT_MAX}, got {most}")
    before = request.param("before")
    query = history.Of(
        kind=kind,
        key=key or prefix,
        prefix=not key,
        author=request.param("author"),
        since=_since(request),
        limit=most,
        before=params.whole(before, "before") if before else 0,
    )
    return query, most


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise Invalid(f'kind: expected one of {", ".join(sorted(KINDS))}, got "{kind}"')


def _since(request: Request) -> float:
    """Unix seconds of `since`: a time, or a duration before now."""
    text = request.param("since")
    if not text:
        return 0.0
    try:
        return request.parts.clock.wall() - parse_duration(text)
    except Invalid:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        example = "a duration such as 2h, or a time such as 2026-01-31T12:00:00Z"
        raise Invalid(f'since: expected {example}, got "{text[:64]}"') from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _change(told: history.Told) -> ChangeShape:
    return ChangeShape(
        id=told.number,
        index=told.index,
        time=time_text(told.time),
        kind=told.kind,
        key=told.key,
        op=told.op,
        author=told.author,
        origin=told.origin,
        request=told.request.removeprefix(CALLERS),
        reverts=told.reverts,
        before=_row(told.kind, told.before),
        after=_row(told.kind, told.after),
    )


def time_text(seconds: float) -> str:
    """RFC 3339 with milliseconds; empty for what is no time."""
    try:
        time = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _row(kind: str, packed: bytes | None) -> dict[str, Any] | None:
    if packed is None:
        return None
    row: Row = unpack(packed, KINDS[kind].kind)
    if isinstance(row, Prepared) and row.token:
        row = msgspec.structs.replace(row, token=HIDDEN)
    return _fields(row)


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    """The fields that are set, as the API names them; the log indexes last."""
    given = ((name, getattr(value, name)) for name in value.__struct_fields__)
    found = {name: _plain(one) for name, one in given if one is not msgspec.UNSET}
    indexes = {name: found.pop(name) for name in ("create_index", "modify_index") if name in found}
    return {api_name(name): one for name, one in (found | indexes).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _fields(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


async def diff(request: Request) -> Reply:
    """What differs in a row between two log indexes."""
    kind, key = request.param("kind") or "kv", request.param("key")
    _check_kind(kind)
    history.check_key(kind, key)
    query = history.Compare(kind, key, _index(request, "from"), _index(request, "to"))
    answer = await request.parts.registry.read(query, params.read_options(request))
    found = answer.value
    sides = [
        _side(kind, key, found.before_index, found.before),
        _side(kind, key, found.after_index, found.after),
    ]
    names = (f"{key} at index {sides[0].index}", f"{key} at index {sides[1].index}")
    values = [_value(kind, then.row) for then in (found.before, found.after)]
    # Comparing long texts takes a while.
    differs = await asyncio.to_thread(compare, values[0], values[1], names)
    shape = DifferenceShape(
        kind=kind,
        key=key,
        before=sides[0],
        after=sides[1],
        format=differs.form,
        diff=differs.text,
    )
    return respond.answered(answer, shape)


def _index(request: Request, name: str) -> int:
    text = request.param(name)
    return params.whole(text, name) if text else 0


def _side(kind: str, key: str, index: int, then: history.Then) -> SideShape:
    if not then.known:
        raise NotFound(f"what {key} was at index {index} is not known (any more)")
    return SideShape(index, then.modify_index, _row(kind, then.row))


def _value(kind: str, packed: bytes | None) -> bytes | None:
    """What is compared: the value of a key, and all but the log indexes of anything else."""
    if packed is None:
        return None
    if kind == "kv":
        return unpack(packed, kv.Pair).value
    row = _row(kind, packed) or {}
    return to_json({name: one for name, one in row.items() if not name.endswith("eIndex")})


async def revert(request: Request) -> Reply:
    """Make a row again what it was."""
    asked = params.body(request, RevertBody)
    command = history.Revert(asked.kind, asked.key, asked.index, asked.cas)
    command.validate()
    try:
        changed = await request.parts.registry.write(command, params.write_options(request))
    except Conflict as error:
        return respond.text(409, error.message)
    return respond.json(RevertedShape(asked.kind, asked.key, asked.index, changed))


_KIND = Param("kind", f"What it is: {', '.join(sorted(KINDS))}; kv unless told")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/history",
        listed,
        "Who changed what, and when, the latest change first",
        params=(
            Param("kind", f"Only {', '.join(sorted(KINDS))}; kv when a key or prefix is given"),
            Param("key", "Only this key; NODE/ID for a service, KIND/NAME for a config entry"),
            Param("prefix", "Only keys that begin so"),
            Param("author", "Only changes by the token with this accessor, or anonymous"),
            Param("since", "Only later ones: a duration before now such as 2h, or a time"),
            Param("limit", "How many at most (100 if not given, 1000 at most)", "integer"),
            Param("before", "Go on before the change with this ID", "integer"),
            *READ,
        ),
        answer=list[ChangeShape],
    ),
    Route(
        "GET",
        "/v1/history/diff",
        diff,
        "What differs in a key between two log indexes",
        params=(
            _KIND,
            Param("key", "The key", required=True),
            Param("from", "A log index; that before the last change if not given", "integer"),
            Param("to", "A log index; now if not given", "integer"),
            *READ,
        ),
        answer=DifferenceShape,
        statuses=((404, "What it was then is not known (any more)"),),
    ),
    Route(
        "POST",
        "/v1/history/revert",
        revert,
        "Make a key again what it was at a log index",
        body=RevertBody,
        answer=RevertedShape,
        statuses=(
            (404, "What it was then is not known (any more)"),
            (409, "Somebody changed it since, or an agent owns it"),
        ),
    ),
)
