"""Replies: values to JSON with the headers of reads, errors to a status and a line of text."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from mesh.errors import (
    Busy,
    Cancelled,
    Conflict,
    Cutoff,
    Denied,
    DiskFull,
    Internal,
    Invalid,
    MeshError,
    NoLeader,
    NoPath,
    NotFound,
    OutcomeUnknown,
    Outdated,
    TooLarge,
    Unreachable,
)
from mesh.http.request import TEXT, Reply, Request
from mesh.registry.filters import InvalidFilter
from mesh.registry.outcomes import CALLERS
from mesh.registry.port import Answer, ReadOptions

T = TypeVar("T")

NO_LEADER = "No cluster leader"
PRETTY_INDENT = 4
PIECE_ROWS = 1000
"""So many rows are made into JSON before others have their turn."""
NEVER_SECONDS = 10 * 365 * 86400.0

# As Consul: what has no row of its own there is a 500, many refusals of the server's included.
STATUS: dict[type[MeshError], int] = {
    Invalid: 400,
    InvalidFilter: 500,
    Denied: 403,
    NotFound: 404,
    TooLarge: 413,
    Busy: 429,
    Conflict: 500,
    NoLeader: 500,
    Unreachable: 500,
    NoPath: 500,
    Cutoff: 500,
    OutcomeUnknown: 500,
    Outdated: 500,
    Cancelled: 409,
    DiskFull: 507,  # Not 503, which tells clients to come back soon: this needs a person.
    Internal: 500,
}

_encode = msgspec.json.Encoder().encode
SHAPING = ("filter", "node-meta", "passing", "tag")
"""The parameters that decide which rows of an answer are shown."""
_TRUE = b"true"
_FALSE = b"false"
_EFFECTIVE = {"default": "leader", "consistent": "consistent", "stale": "stale"}


def json(value: object) -> Reply:
    """200 with the value as JSON; shapes bring their own field names."""
    return Reply(_encode(value))


def boolean(value: bool) -> Reply:
    """200 with `true` or `false`."""
    return Reply(_TRUE if value else _FALSE)


def nothing() -> Reply:
    """200 with an empty body."""
    return Reply()


def text(status: int, message: str) -> Reply:
    """The status with a line of text."""
    return Reply(message.encode(errors="replace"), status, TEXT)


def failure(error: MeshError, datacenter: str = "") -> Reply:
    """The status and the text of an error; the request named this datacenter, if any."""
    message = error.message
    if isinstance(error, NoLeader) and not message.startswith(NO_LEADER):
        message = f"{NO_LEADER}: {message}"
    if isinstance(error, Outdated):
        message = f"The outcome is unknown, and too old to tell: {message}"
    reply = text(STATUS.get(type(error), 500), message)
    if isinstance(error, OutcomeUnknown | Outdated) and error.request.startswith(CALLERS):
        _say_how_to_ask(reply, error, datacenter)
    return reply


def _say_how_to_ask(reply: Reply, error: OutcomeUnknown | Outdated, datacenter: str) -> None:
    key, since = error.request.removeprefix(CALLERS), error.since
    reply.headers = {"Idempotency-Key": key, "Idempotency-Since": str(since)}
    path, flags = f"/v1/operator/request/{quote(key, safe='')}?since={since}", ""
    if datacenter:
        path += f"&dc={quote(datacenter, safe='')}"
        flags = f"--datacenter {shlex.quote(datacenter)} "
    text = (
        f". What became of it: GET {path}, or meshctl operator request --since {since} "
        f"{flags}{shlex.quote(key)}"
    )
    if isinstance(error, OutcomeUnknown):
        text += (
            ". To repeat it safely send it again with the headers Idempotency-Key: "
            f"{key} and Idempotency-Since: {since}"
        )
    reply.body += text.encode(errors="replace")


def read_headers(answer: Answer[Any], options: ReadOptions | None = None) -> dict[str, str]:
    """The headers of a read; with options (catalog and health), the consistency it had."""
    headers = {
        "X-Consul-Index": str(answer.index or 1),
        "X-Consul-KnownLeader": "true" if answer.known_leader else "false",
        "X-Consul-LastContact": str(milliseconds(answer.last_contact)),
        "X-Consul-Query-Backend": "blocking-query",
    }
    if answer.age is not None:
        headers |= {"X-Cache": "HIT", "Age": str(int(answer.age))}
    elif options is not None and options.cached:
        headers["X-Cache"] = "MISS"
    if options is not None:
        had = options.consistency if answer.age is None else "stale"
        headers["X-Consul-Effective-Consistency"] = _EFFECTIVE[had]
    return headers


async def shaped(
    request: Request,
    answer: Answer[Any],
    options: ReadOptions | None,
    shape: Callable[[], Awaitable[object]],
) -> Reply:
    """As `answered`, with a shape that is made only if it is not kept since somebody else's read.

    It must follow from the answer's value, the path and the parameters of SHAPING alone.
    """
    headers = read_headers(answer, options)
    given = request.params
    if "near" in given:
        return Reply(_encode(await shape()), headers=headers)
    shaping = [(name, tuple(given[name])) for name in SHAPING if name in given]
    key = (request.path, *shaping)
    kept = request.bodies.find(answer.value, key)
    if kept is None:
        kept = request.bodies.keep(answer.value, key, _encode(await shape()))
    return Reply(kept.json, headers=headers, kept=kept)


def milliseconds(seconds: float) -> int:
    """As headers have them; never is ten years."""
    return int(min(seconds, NEVER_SECONDS) * 1000)


async def listed(
    request: Request,
    answer: Answer[Any],
    rows: Sequence[T],
    shape: Callable[[T], object],
    options: ReadOptions | None = None,
) -> Reply:
    """As `answered`, with a list of shapes: a long one piece by piece, with others in between."""
    headers = read_headers(answer, options)
    if len(rows) <= PIECE_ROWS:
        return Reply(_encode([shape(row) for row in rows]), headers=headers)
    pretty = "pretty" in request.params or request.options.pretty_always
    pieces = [b"["]
    for first in range(0, len(rows), PIECE_ROWS):
        piece = _encode([shape(row) for row in rows[first : first + PIECE_ROWS]])
        # Without its brackets, which are put around all pieces.
        piece = indented(piece)[1:-2] if pretty else piece[1:-1]
        pieces.append(b"," + piece if first else piece)
        await request.parts.clock.sleep(0)
    end = b"\n]" if pretty else b"]"
    pieces.append(end + b"\n" * ("pretty" in request.params))
    return Reply(headers=headers, pieces=pieces)


def indented(body: bytes) -> bytes:
    """The JSON as `pretty` has it, but for the line feed at the end."""
    return msgspec.json.format(body, indent=PRETTY_INDENT)


def answered(answer: Answer[Any], shape: object, options: ReadOptions | None = None) -> Reply:
    """200 with the shape of the answer as JSON and the headers of a read."""
    return Reply(_encode(shape), headers=read_headers(answer, options))
