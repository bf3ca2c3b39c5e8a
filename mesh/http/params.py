"""Query parameters and bodies: parsed once where they enter, refused in words users know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin
from urllib.parse import unquote_plus

import msgspec

from mesh.codec import pack
from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.http.request import Request
from mesh.registry import filters
from mesh.registry.outcomes import CALLERS, request_of
from mesh.registry.port import OrderOptions, ReadOptions, Where, WriteOptions

T = TypeVar("T")

JITTER = 1 / 16
TURN_SECONDS = 0.005
"""A filter lets others run after so long: it may have very many rows to test."""
PARAMS_MAX = 1000
DEPTH_MAX = 64
RELAY_FACTOR_MAX = 5
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
_NONE: dict[str, list[str]] = {}
_NO_TEXT = re.compile("[\ud800-\udfff]")


def parse(query: str) -> Mapping[str, list[str]]:
    """The parameters of a query string: each name with its values, bare names with an empty one."""
    if not query:
        return _NONE
    pairs = query.split("&")
    if len(pairs) > PARAMS_MAX:
        raise Invalid(f"query: more than {PARAMS_MAX} parameters")
    params: dict[str, list[str]] = {}
    for pair in pairs:
        if not pair:
            continue
        name, _, value = pair.partition("=")
        params.setdefault(_decoded(name), []).append(_decoded(value))
    return params


def _decoded(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid(f'query: "{text}" is not UTF-8') from error


def whole(text: str, what: str) -> int:
    """An unsigned 64-bit number. Raises Invalid, naming what it was for."""
    if len(text) > 20 or not text.isascii() or not text.isdigit() or int(text) >= 2**64:
        raise Invalid(f'{what}: expected an unsigned 64-bit number, got "{text[:64]}"')
    return int(text)


def flag(request: Request, name: str) -> bool:
    """A switch: absent is off, bare is on, else a boolean. Raises Invalid on anything else."""
    values = request.params.get(name)
    if values is None:
        return False
    value = values[0]
    if not value or value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise Invalid(f"Invalid value for ?{name}: expected true or false")


def token(request: Request) -> str:
    """The secret in the request, or "": parameter, then header, then bearer. Raises Invalid."""
    if request.params and (given := request.param("token")):
        return given
    if not (given := request.headers.get("x-consul-token", "")):
        if not (authorization := request.headers.get("authorization", "")):
            return ""
        scheme, _, given = authorization.partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else ""
    if not given.isascii() and _NO_TEXT.search(given):
        raise Invalid("the token is not UTF-8")  # It could not be sent on to a server.
    return given


def datacenter(request: Request) -> str:
    """The datacenter asked for, or ""."""
    return request.param("datacenter") or request.param("dc")


def read_options(request: Request, *, discovery: bool = False) -> ReadOptions:
    """How to read, from the query. `discovery` reads may be stale by default [discovery_max_stale].

    The wait includes its jitter. Raises Invalid.
    """
    params = request.params
    if not params and not discovery:
        return ReadOptions(wait=request.options.default_query_seconds, token=token(request))
    consistent = "consistent" in params
    if consistent and "cached" in params:
        raise Invalid("Cannot specify ?cached with ?consistent, conflicting semantics.")
    max_stale = _max_stale(request)
    stale = "stale" in params or max_stale is not None
    if consistent and stale:
        raise Invalid("Cannot specify ?stale with ?consistent, conflicting semantics.")
    bound = request.options.discovery_max_stale_seconds
    if discovery and bound > 0 and not (stale or consistent or "leader" in params):
        stale, max_stale = True, bound
    index, seconds = blocking(request)
    cached = "cached" in params and request.options.use_cache
    max_age, stale_if_error = _cache_control(request) if cached else (None, 0.0)
    return ReadOptions(
        consistency="consistent" if consistent else "stale" if stale else "default",
        max_stale=max_stale,
        index=index,
        wait=seconds,
        datacenter=datacenter(request),
        token=token(request),
        cached=cached,
        max_age=max_age,
        stale_if_error=stale_if_error,
    )


def _cache_control(request: Request) -> tuple[float | None, float]:
    """How old an answer may be, and how old if no server answers. Raises Invalid."""
    max_age, stale_if_error = None, 0.0
    for directive in request.headers.get("cache-control", "").split(","):
        name, _, text = directive.strip().lower().partition("=")
        if name == "must-revalidate":
            max_age = 0.0
        elif name in {"max-age", "stale-if-error"}:
            seconds = whole(text.strip(' "'), f"Cache-Control: {name}")
            if name == "max-age":
                max_age = float(seconds) if max_age is None else max_age
            else:
                stale_if_error = float(seconds)
    return max_age, stale_if_error


def blocking(request: Request) -> tuple[int, float]:
    """From which index on to wait, and for how many seconds, jitter included. Raises Invalid."""
    index = _index(request)
    return index, wait(request, jitter=bool(index))


def _max_stale(request: Request) -> float | None:
    text = request.param("max_stale")
    if not text:
        return None
    try:
        seconds = parse_duration(text)
    except Invalid as error:
        raise Invalid(f"Invalid max_stale value: {error.message}") from error
    return seconds if seconds > 0 else None


def _index(request: Request) -> int:
    text = request.param("index")
    if not text:
        return 0
    try:
        return whole(text, "index")
    except Invalid as error:
        raise Invalid(f"Invalid index: {error.message}") from error


def wait(request: Request, *, jitter: bool) -> float:
    """For how many seconds to wait, with up to a sixteenth more as jitter. Raises Invalid."""
    options = request.options
    text = request.param("wait")
    try:
        seconds = parse_duration(text) if text else 0.0
    except Invalid as error:
        raise Invalid(f"Invalid wait time: {error.message}") from error
    if seconds <= 0:
        seconds = options.default_query_seconds
    seconds = min(seconds, options.max_query_seconds)
    if jitter:
        seconds += request.parts.dice.uniform(0.0, seconds * JITTER)
    return seconds


def write_options(request: Request) -> WriteOptions:
    """How to write, from the query and the headers.

    Idempotency-Key names the request; without one it gets a key here. Idempotency-Since is sent
    with a request that may have been sent before. Raises Invalid.
    """
    headers = request.headers
    key, since = headers.get("idempotency-key", ""), headers.get("idempotency-since", "")
    return WriteOptions(
        datacenter=datacenter(request) if request.params else "",
        token=token(request),
        request=request_of(_unquoted(key)) if key else CALLERS + request.parts.dice.uuid(),
        origin=_origin(request),
        attempt=1 if since else 0,
        since=whole(since, "Idempotency-Since") if since else None,
    )


def _origin(request: Request) -> str:
    """Where the request came in: here, over HTTP, from this address."""
    return _origin_at(request.options.node_name, request.remote)


@lru_cache(maxsize=1024)
def _origin_at(node: str, remote: str) -> str:
    return f"{node}/http/{remote}".rstrip("/")


def _unquoted(key: str) -> str:
    """A string in quotes, as the header's draft standard has it, or the bare text."""
    quoted = len(key) > 1 and key[0] == key[-1] == '"'
    return key[1:-1] if quoted else key


def order_options(request: Request) -> OrderOptions:
    """How to have an order carried out; with `stale` by any server, without a leader too."""
    return order_to(request, "here" if flag(request, "stale") else "leader")


def order_to(request: Request, where: Where) -> OrderOptions:
    """How to have an order carried out there."""
    return OrderOptions(
        where=where,
        datacenter=datacenter(request),
        token=token(request),
        origin=_origin(request),
    )


def relay_factor(request: Request) -> int:
    """How many members carry copies of each answer to a query. Raises Invalid."""
    text = request.param("relay-factor")
    factor = whole(text, "relay-factor") if text else 0
    if factor > RELAY_FACTOR_MAX:
        raise Invalid(f"relay-factor: expected 0 to {RELAY_FACTOR_MAX}, got {factor}")
    return factor


def required(request: Request, what: str) -> str:
    """What follows the route's path. Raises Invalid saying what is missing when it is empty."""
    if not request.rest:
        raise Invalid(f"Missing {what}")
    return request.rest


def node_meta(request: Request) -> tuple[tuple[str, str], ...]:
    """The pairs of every `node-meta=key:value`; one without a colon asks for an empty value."""
    found = []
    for text in request.params.get("node-meta", ()):
        key, _, value = text.partition(":")
        found.append((key, value))
    return tuple(found)


def has_meta(meta: Mapping[str, str], pairs: tuple[tuple[str, str], ...]) -> bool:
    """Whether the metadata has all these pairs."""
    return all(meta.get(key) == value for key, value in pairs)


def tags(request: Request) -> frozenset[str]:
    """The tags asked for, in lower case."""
    return frozenset(tag.lower() for tag in request.params.get("tag", ()) if tag)


def has_tags(given: Iterable[str], wanted: frozenset[str]) -> bool:
    """Whether all the wanted tags are there, whatever their case."""
    return wanted <= {tag.lower() for tag in given}


def discovery_options(request: Request, kind: Any = None) -> ReadOptions:
    """How to read the catalog or health, whose rows, if they can be filtered, have this shape.

    Raises Invalid for options no release can serve yet, InvalidFilter.
    """
    refuse(request, "peer", "sg")
    if kind is not None:
        check_filter(request, kind)
    return read_options(request, discovery=True)


def check_filter(request: Request, kind: Any) -> None:
    """Raise InvalidFilter unless `filter` fits rows of this shape: before waiting for any."""
    if expression := request.param("filter"):
        filters.compiled(expression, kind)


async def filtered(request: Request, rows: Iterable[T], kind: type[T]) -> list[T]:
    """The rows that pass `filter`, all if there is none. Raises InvalidFilter.

    It comes after all else that leaves rows out: nobody may learn of rows by what a filter says.
    """
    expression = request.param("filter")
    if not expression:
        return rows if isinstance(rows, list) else list(rows)
    shape: Any = kind
    passes, clock = filters.compiled(expression, shape), request.parts.clock
    kept, turn = [], clock.monotonic() + TURN_SECONDS
    for row in rows:
        if passes(row):
            kept.append(row)
        if clock.monotonic() > turn:
            await clock.sleep(0)
            turn = clock.monotonic() + TURN_SECONDS
    return kept


def refuse(request: Request, *names: str) -> None:
    """Raise Invalid if the query has one of these options, which no release can serve yet."""
    for name in names:
        if request.param(name):
            raise Invalid(f"?{name} is not available yet")


def body(
    request: Request,
    kind: type[T],
    aliases: Mapping[str, str] = {},
    *,
    lenient: bool = False,
    wide: bool = False,
) -> T:
    """The body as `kind`, strictly: names match in any case, an unknown one raises Invalid.

    As Go does, null leaves a field at its default. `aliases` gives other names (lower case) of
    fields, at any depth. Lenient, unknown fields are left out instead. Numbers of more than
    64 bits, which no log can hold, are refused unless `wide`: then the caller does that.
    """
    try:
        value = msgspec.json.decode(request.body)
        if not wide:
            pack(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise Invalid(f"Request decode failed: {error}") from error
    try:
        named = _named(value, kind, _Names(aliases, lenient), DEPTH_MAX)
        return msgspec.convert(named, type=kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"Request decode failed: {error}") from error


@lru_cache(maxsize=256)
def _fields(kind: Any) -> dict[str, tuple[str, Any]]:
    hints = {field.name: field for field in msgspec.structs.fields(kind)}
    return {field.encode_name.lower(): (field.encode_name, field.type) for field in hints.values()}


class _Names(msgspec.Struct, frozen=True):
    """Which names there are beside the fields' own."""

    aliases: Mapping[str, str]
    lenient: bool


def _named(value: Any, kind: Any, names: _Names, depth: int) -> Any:
    """The value with the exact names of the fields of `kind`."""
    if depth <= 0:
        raise Invalid("Request decode failed: nested too deeply")
    if isinstance(value, list):
        inner = _argument(kind, list, 0)
        return value if inner is None else [_named(v, inner, names, depth - 1) for v in value]
    if not isinstance(value, dict):
        return value
    struct = _struct(kind)
    if struct is None:
        inner = _argument(kind, dict, 1)
        if inner is None:
            return value
        return {key: _named(v, inner, names, depth - 1) for key, v in value.items()}
    fields = _fields(struct)
    named = {}
    for key, inside in value.items():
        lower = key.lower()
        field = fields.get(lower) or fields.get(names.aliases.get(lower, "").lower())
        if field is None:
            if names.lenient:
                continue
            raise Invalid(f'Request decode failed: json: unknown field "{key}"')
        if inside is not None:
            named[field[0]] = _named(inside, field[1], names, depth - 1)
    return named


def _choices(kind: Any) -> tuple[Any, ...]:
    """The members of a union, or the type alone."""
    return get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)


def _struct(kind: Any) -> Any:
    for choice in _choices(kind):
        if isinstance(choice, type) and issubclass(choice, msgspec.Struct):
            return choice
    return None


def _argument(kind: Any, container: type, position: int) -> Any:
    for choice in _choices(kind):
        if get_origin(choice) is container:
            return get_args(choice)[position]
    return None
