"""Watches: what somebody wants to be told of, as a read of the HTTP API, and when it is news.

A watch is followed with blocking reads. An answer is news when both its index and its content
differ from the last one's: time that is out never is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from mesh.codec import from_json, to_json
from mesh.durations import parse_duration
from mesh.errors import Invalid

HTTP_TIMEOUT_SECONDS = 10.0
SCRIPT_TIMEOUT_SECONDS = 600.0


class HttpHandler(msgspec.Struct, frozen=True):
    """A request that is sent with the news as its body."""

    path: str
    method: str = "POST"
    header: dict[str, list[str]] = {}
    seconds: float = HTTP_TIMEOUT_SECONDS
    tls_skip_verify: bool = False


class ScriptHandler(msgspec.Struct, frozen=True):
    """A program that is started with the news on its standard input."""

    args: tuple[str, ...]
    seconds: float = SCRIPT_TIMEOUT_SECONDS


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched, and who is told. Without a handler somebody else takes the news."""

    type: str
    path: str
    params: tuple[tuple[str, str], ...] = ()
    handler: HttpHandler | ScriptHandler | None = None

    @property
    def target(self) -> str:
        """The path with its query, that reads it without waiting."""
        return f"{self.path}?{urlencode(self.params)}" if self.params else self.path

    def blocking(self, index: int) -> str:
        """The same, once there is something else than at this index."""
        return f"{self.path}?{urlencode([*self.params, ('index', str(index))])}"

    def __str__(self) -> str:
        return f"{self.type} {self.path}"


Target = tuple[str, list[tuple[str, str]]]


class _Fields:
    """The keys of a block, each checked when it is read."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._known: set[str] = set()

    def text(self, name: str, *, required: bool = False) -> str:
        """A text; empty when it is not there."""
        self._known.add(name)
        value = self._given.get(name, "")
        if not isinstance(value, str):
            raise Invalid(f"{name}: expected a text")
        if required and not value:
            raise Invalid(f"{name}: is missing")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts, or one alone."""
        self._known.add(name)
        value = self._given.get(name, [])
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise Invalid(f"{name}: expected a text or a list of texts")
        return list(value)

    def flag(self, name: str) -> bool:
        """True or false; false when it is not there."""
        self._known.add(name)
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            raise Invalid(f"{name}: expected true or false")
        return value

    def seconds(self, name: str, default: float) -> float:
        """A duration as text."""
        text = self.text(name)
        try:
            seconds = parse_duration(text) if text else default
        except Invalid as error:
            raise Invalid(f"{name}: {error.message}") from error
        if seconds <= 0:
            raise Invalid(f"{name}: expected more than 0")
        return seconds

    def table(self, name: str) -> dict[str, Any]:
        """A block of keys; HCL may give it as a list of one."""
        self._known.add(name)
        value = self._given.get(name, {})
        if isinstance(value, list | tuple) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            raise Invalid(f"{name}: expected a block of keys")
        return value

    def finish(self, what: str) -> None:
        """Refuse keys that nobody read."""
        for name in self._given:
            if name not in self._known:
                raise Invalid(f"{name}: {what} has no such key")


def _key(fields: _Fields) -> Target:
    return f"/v1/kv/{quote(fields.text('key', required=True))}", []


def _prefix(fields: _Fields) -> Target:
    return f"/v1/kv/{quote(fields.text('prefix', required=True))}", [("recurse", "")]


def _services(_: _Fields) -> Target:
    return "/v1/catalog/services", []


def _nodes(_: _Fields) -> Target:
    return "/v1/catalog/nodes", []


def _service(fields: _Fields) -> Target:
    params = [("tag", tag) for tag in fields.texts("tag")]
    if fields.flag("passingonly"):
        params.append(("passing", "true"))
    return f"/v1/health/service/{quote(fields.text('service', required=True), safe='')}", params


def _checks(fields: _Fields) -> Target:
    service, state = fields.text("service"), fields.text("state")
    if service and state:
        raise Invalid("state: give either it or service")
    if service:
        return f"/v1/health/checks/{quote(service, safe='')}", []
    return f"/v1/health/state/{quote(state or 'any', safe='')}", []


def _event(fields: _Fields) -> Target:
    name = fields.text("name")
    return "/v1/event/list", [("name", name)] if name else []


def _connect_roots(_: _Fields) -> Target:
    return "/v1/agent/connect/ca/roots", []


def _connect_leaf(fields: _Fields) -> Target:
    service = quote(fields.text("service", required=True), safe="")
    return f"/v1/agent/connect/ca/leaf/{service}", []


TYPES: dict[str, Callable[[_Fields], Target]] = {
    "key": _key,
    "keyprefix": _prefix,
    "services": _services,
    "nodes": _nodes,
    "service": _service,
    "checks": _checks,
    "event": _event,
    "connect_roots": _connect_roots,
    "connect_leaf": _connect_leaf,
}

FILTERED = {"services", "nodes", "service", "checks"}
"""Types whose answers are lists that `filter` cuts down."""


def read_watch(given: Mapping[str, Any]) -> Watch:
    """A watch from its keys, named as in Consul's configuration. Raises Invalid, naming the key."""
    fields = _Fields(given)
    kind = fields.text("type", required=True)
    if kind not in TYPES:
        raise Invalid(f'type: expected one of {", ".join(TYPES)}, got "{kind}"')
    path, params = TYPES[kind](fields)
    if fields.flag("stale"):
        params.append(("stale", ""))
    if kind in FILTERED and (expression := fields.text("filter")):
        params.append(("filter", expression))
    params += [
        (short, value)
        for name, short in (("datacenter", "dc"), ("token", "token"))
        if (value := fields.text(name))
    ]
    handler = _handler(fields)
    fields.finish(f"a watch of type {kind}")
    return Watch(type=kind, path=path, params=tuple(params), handler=handler)


def _handler(fields: _Fields) -> HttpHandler | ScriptHandler | None:
    kind = fields.text("handler_type") or "script"
    command, args = fields.text("handler"), fields.texts("args")
    seconds = fields.seconds("timeout", SCRIPT_TIMEOUT_SECONDS)
    request = fields.table("http_handler_config")
    if kind not in {"script", "http"}:
        raise Invalid(f'handler_type: expected script or http, got "{kind}"')
    if kind == "http" and (command or args):
        raise Invalid("args: a watch with handler_type http has none")
    if kind == "script" and request:
        raise Invalid("http_handler_config: needs handler_type http")
    if command and args:
        raise Invalid("handler: give either it or args")
    if kind == "http":
        return _http(request)
    if command:
        args = ["/bin/sh", "-c", command]
    return ScriptHandler(tuple(args), seconds) if args else None


def _http(given: dict[str, Any]) -> HttpHandler:
    try:
        fields = _Fields(given)
        made = HttpHandler(
            _url(fields.text("path", required=True)),
            fields.text("method") or "POST",
            _headers(fields.table("header")),
            fields.seconds("timeout", HTTP_TIMEOUT_SECONDS),
            fields.flag("tls_skip_verify"),
        )
        fields.finish("such a handler")
    except Invalid as error:
        raise Invalid(f"http_handler_config.{error.message}") from error
    return made


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise Invalid("path: expected a URL with http:// or https://")
    return text


def _headers(table: dict[str, Any]) -> dict[str, list[str]]:
    fields = _Fields(table)
    try:
        return {name: fields.texts(name) for name in table}
    except Invalid as error:
        raise Invalid(f"header.{error.message}") from error


class News:
    """What of the answers to one watch is news."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last: bytes | None = None
        self._newest = ""
        self.index = 0
        """Read with `blocking` from here on; 0 reads at once."""

    def take(self, status: int, index: int, body: bytes) -> bytes | None:
        """What to tell, as JSON, or None when there is nothing new. Raises Invalid for no answer.

        A key that does not exist is null.
        """
        absent = status == 404 and self._watch.type in {"key", "keyprefix"}
        if status != 200 and not absent:
            raise Invalid(f"{status}: {body.decode(errors='replace')[:200]}")
        known, self.index = self.index, index
        if known and index == known:
            return None
        if self._watch.type == "event":
            return self._events(body)
        told = body if status == 200 else b"[]"
        if self._watch.type == "key":
            pairs = from_json(told, list[msgspec.Raw])
            told = bytes(pairs[0]) if pairs else b"null"
        if told == self._last:
            return None
        self._last = told
        return told

    def _events(self, body: bytes) -> bytes | None:
        """Only those after the last one told: the list has older ones too."""
        events: Sequence[dict[str, Any]] = from_json(body, list[dict[str, Any]])
        ids = [str(event.get("ID", "")) for event in events]
        fresh = events[ids.index(self._newest) + 1 :] if self._newest in ids else events
        if not fresh:
            return None
        self._newest = ids[-1]
        return to_json(fresh)
