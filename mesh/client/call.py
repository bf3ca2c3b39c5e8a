"""One request to the HTTP API as a value: what to send, and how to read what comes back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from mesh import codec
from mesh.errors import (
    Busy,
    Conflict,
    Denied,
    Internal,
    Invalid,
    MeshError,
    NoLeader,
    NotFound,
    OutcomeUnknown,
    TooLarge,
    Unreachable,
)

T = TypeVar("T")

DEFAULT_WAIT_SECONDS = 300.0
Params = tuple[tuple[str, str], ...]
BY_STATUS: dict[int, type[MeshError]] = {
    400: Invalid,
    401: Denied,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Invalid,
    429: Busy,
    503: Busy,
}


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read. The defaults read the present value from the leader."""

    index: int = 0
    """Block until the answer is newer than this index; 0 answers at once."""
    wait_seconds: float = 0.0
    """How long to block at most; 0 means the server's default, five minutes."""
    consistency: Literal["default", "stale", "consistent"] = "default"
    max_stale_seconds: float = 0.0
    """Read from any server whose data is at most this old; 0 for no such limit."""
    cached: bool = False
    datacenter: str = ""
    filter: str = ""
    """An expression of Consul's filter language."""
    near: str = ""
    """Nearest to this node first; `_agent` is the agent asked."""
    node_meta: dict[str, str] = {}

    def params(self) -> Params:
        """As the query string of a request."""
        found = [
            ("index", str(self.index) if self.index else ""),
            ("wait", f"{self.wait_seconds * 1000:.0f}ms" if self.wait_seconds else ""),
            ("max_stale", f"{self.max_stale_seconds:g}s" if self.max_stale_seconds else ""),
            ("dc", self.datacenter),
            ("filter", self.filter),
            ("near", self.near),
        ]
        params = [(name, value) for name, value in found if value]
        if self.consistency != "default":
            params.append((self.consistency, ""))
        if self.cached:
            params.append(("cached", ""))
        params += [("node-meta", f"{key}:{value}") for key, value in self.node_meta.items()]
        return tuple(params)


class Response(msgspec.Struct, frozen=True):
    """What came back: header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Answer(msgspec.Struct, Generic[T], frozen=True):
    """What was read, and what is known about it."""

    value: T
    index: int = 0
    """Pass it in `ReadOptions.index` to wait for something newer."""
    known_leader: bool = True
    last_contact_ms: int = 0
    """How long ago the server that answered heard from the leader; 0 on the leader."""
    filtered: bool = False
    """True when the token may not see everything there is."""


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A request, and how to make a `T` of its response. A client's `run` sends it."""

    method: str
    path: str
    decode: Callable[[Response], T]
    params: Params = ()
    body: bytes | None = None
    accepts: tuple[int, ...] = (200,)
    """The statuses `decode` understands. Every other one becomes an error."""
    wait_seconds: float = 0.0
    """How much longer than usual the answer may take."""
    key: str = ""
    """Names a write, so that sent again it is applied once; a client makes one up when empty."""
    since: int | None = None
    """A log index known before the write was first sent; only for one sent again."""

    def once(self, key: str, since: int | None = None) -> Call[T]:
        """The same write under this key: however often it is sent, it is applied once.

        To repeat one whose outcome is unknown, give the `request` and `since` of that error. With
        `since` a repetition is never applied twice, however late; without it only as long as the
        servers remember the key.
        """
        return msgspec.structs.replace(self, key=key, since=since)

    def headers(self) -> dict[str, str]:
        """What this request carries beside what every one does."""
        if not self.key:
            return {}
        since = {} if self.since is None else {"Idempotency-Since": str(self.since)}
        return {"Idempotency-Key": self.key, **since}

    @property
    def datacenter(self) -> str:
        """The datacenter it names; empty for the agent's own."""
        return dict(self.params).get("dc", "")

    @property
    def target(self) -> str:
        """Path and query string, as the request line has them."""
        query = urlencode(self.params).replace("=&", "&").removesuffix("=")
        return f"{self.path}?{query}" if query else self.path

    def finish(self, response: Response) -> T:
        """The value of the response. Raises the error that it stands for."""
        if response.status not in self.accepts:
            raise failure(response)
        return self.decode(response)

    def newer_than(self, index: int) -> Call[T]:
        """The same read, blocking until there is something newer."""
        params = tuple(pair for pair in self.params if pair[0] != "index")
        wait = self.wait_seconds or DEFAULT_WAIT_SECONDS
        return msgspec.structs.replace(
            self, params=(*params, ("index", str(index))), wait_seconds=wait
        )


def path_of(noun: str, name: str, *, folders: bool = False) -> str:
    """The path of something with a name. With folders the slashes in the name stay as they are."""
    return f"/v1/{noun}/{quote(name, safe='/' if folders else '')}"


def reading(
    path: str,
    kind: type[T],
    options: ReadOptions,
    params: Iterable[tuple[str, str]] = (),
) -> Call[Answer[T]]:
    """A read whose JSON body is a `kind`."""
    return Call(
        method="GET",
        path=path,
        decode=lambda response: answer(response, decode_json(response.body, kind)),
        params=(*params, *options.params()),
        wait_seconds=blocking_seconds(options),
    )


def keyed(call: Call[T]) -> Call[T]:
    """The call; a write that has no key gets one, so that its outcome can be asked for."""
    if call.key or call.method == "GET":
        return call
    return msgspec.structs.replace(call, key=str(uuid.uuid4()))


class Newest:
    """The newest log index that responses showed to be applied; each datacenter has its own log."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def before(self, call: Call[T]) -> int:
        """What was known of the log that a call is for; 0 for nothing."""
        return self._known.get(call.datacenter, 0)

    def hear(self, call: Call[T], response: Response) -> None:
        """Take note of a response."""
        index = _number(response.headers.get("x-consul-index", ""))
        if index > self.before(call):
            self._known[call.datacenter] = index


def writing(
    path: str, params: Iterable[tuple[str, str]] = (), body: bytes | None = None
) -> Call[None]:
    """A write whose response says no more than that it was done."""
    return Call(
        method="PUT", path=path, decode=lambda _: None, params=tuple(params), body=body or b""
    )


def deciding(
    method: str, path: str, params: Iterable[tuple[str, str]] = (), body: bytes | None = None
) -> Call[bool]:
    """A write that answers `true` when it was done, `false` when its condition did not hold."""
    return Call(
        method=method,
        path=path,
        decode=lambda response: decode_json(response.body, bool),
        params=tuple(params),
        body=body,
    )


def blocking_seconds(options: ReadOptions) -> float:
    """How long the read may block: the wait and the sixteenth that servers add to it."""
    if not options.index:
        return 0.0
    wait = options.wait_seconds or DEFAULT_WAIT_SECONDS
    return wait + wait / 16


def answer(response: Response, value: T) -> Answer[T]:
    """The value with what the headers say about it."""
    headers = response.headers
    return Answer(
        value,
        index=_number(headers.get("x-consul-index", "")),
        known_leader=headers.get("x-consul-knownleader", "true") == "true",
        last_contact_ms=_number(headers.get("x-consul-lastcontact", "")),
        filtered=headers.get("x-consul-results-filtered-by-acls", "") == "true",
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def decode_json(data: bytes, kind: type[T]) -> T:
    """Decode a body. A null counts as absent, since Go programs write empty lists that way."""
    try:
        return codec.from_json(data, kind)
    except Invalid:
        pass
    try:
        return codec.convert(_without_nulls(codec.from_json(data, object)), kind)
    except Invalid as error:
        raise Internal(f"the answer is not what was expected: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def failure(response: Response) -> MeshError:
    """The error a response stands for, with the words of the server."""
    words = response.body.decode("utf-8", "replace").strip()
    text = words or f"the server answered with status {response.status} and no explanation"
    if key := response.headers.get("idempotency-key", ""):
        return OutcomeUnknown(text, key, _number(response.headers.get("idempotency-since", "")))
    if text.startswith("Invalid filter"):
        return Invalid(text)
    if response.status >= 500 and "leader" in text.lower():
        return NoLeader(text)
    if response.status in {502, 504}:
        return Unreachable(text)
    return BY_STATUS.get(response.status, Internal)(text)
