"""Dispatch: what every endpoint has in common, decided before a handler sees the request."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import quote, unquote

import msgspec

from mesh.errors import Invalid, MeshError
from mesh.http import origins, pages, params, respond
from mesh.http.hosts import Hosts, is_browser
from mesh.http.kept import Bodies
from mesh.http.options import Options
from mesh.http.request import Parts, Reply, Request
from mesh.http.route import Route
from mesh.http.routes import Paths

log = logging.getLogger(__name__)

READING = {"GET", "HEAD", "OPTIONS"}
READING_POSTS = {"/v1/internal/ui/watch"}
TENANCY_PARAMS = ("ns", "partition", "authmethod-ns")
TENANCY_HEADERS = {name.lower(): name for name in ("X-Consul-Namespace", "X-Consul-Partition")}
_NOTHING: dict[str, list[str]] = {}
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ALL_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_UNKNOWN_API = "Invalid URL path: not a recognized HTTP API endpoint"
_UNKNOWN = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'"
_HOW = "send the header X-Consul-Token instead (said once, whoever else does it)"
_ROBOTS = "User-agent: *\nDisallow: /"
_ROOT = "This is a mesh agent; its web UI is off. The HTTP API is under /v1/."
_FOREIGN = (
    "A page of {} may change nothing here: the request's Origin is another than its Host. "
    "A proxy before this agent has to pass the header Host on; for pages of others, "
    "name them in http_config.response_headers as Access-Control-Allow-Origin."
)
_UNKNOWN_HOST = (
    'A browser asks for "{}", which this agent does not know as a name of its own: a website may '
    "have its name lead here, to read and change what only you should (DNS rebinding). If the name "
    'is yours, add http_config {{ allowed_hosts = ["{}"] }} to the configuration and run '
    "meshctl reload. An IP address or localhost needs no such thing."
)
_FOUND = 307


class Admitted(msgspec.Struct):
    """A request that has a handler. Its body is still to be read."""

    route: Route
    request: Request


class Dispatcher:
    """Finds the route of a request, or answers it here: moved, unknown, blocked, not allowed.

    Raises Invalid when the options name a network that is none.
    """

    def __init__(self, parts: Parts, options: Options, paths: Paths | None = None) -> None:
        self._parts = parts
        self._options = options
        self._paths = paths or Paths()
        self._bodies = Bodies()
        self._warned = self._refused = False
        self._writers = [_network(text) for text in options.allow_write_from]
        self._hosts = Hosts(options)
        self._blocks = bool(self._writers or options.block_endpoints)
        self._pages = Paths(pages.routes(options))
        self._inner = self._answer_inner

    def admit(
        self, method: str, target: str, headers: Mapping[str, str], remote: str
    ) -> Admitted | Reply:
        """Decide on the head of a request. The target is as sent. Raises Invalid."""
        if target[:1] != "/" or not target.isascii():
            target = _origin(target)
        raw, _, query = target.partition("?")
        path = raw if raw.isprintable() and "%" not in raw else self._path(raw)
        if self._blocks and (refused := self._blocked(method, path, remote)) is not None:
            return refused
        if is_browser(headers) and (refused := self._foreign(method, path, headers)) is not None:
            return refused
        cleaned = clean(raw) if "//" in raw or "/." in raw else raw
        if cleaned != raw or self._paths.moved(raw):
            location = cleaned if cleaned != raw else f"{raw}/"
            return _moved(location, query)
        found = self._paths.find(raw)
        if found is None and (found := self._pages.find(raw)) is None:
            return self._unknown(path)
        route = found.operations.get(method)
        if route is None:
            return _no_handler(method, found.allow)
        given = params.parse(query) if query else _NOTHING
        _refuse_tenancy(given, headers)
        if "token" in given and not self._warned:
            self._warned = True
            log.warning(
                "%s %s: ?token is deprecated, since URLs get into logs; %s", method, path, _HOW
            )
        rest = found.rest(raw)
        if "%" in rest:
            rest = unquote(rest)
        return Admitted(
            route,
            Request(
                self._parts,
                self._options,
                method,
                path,
                rest,
                given,
                headers,
                remote=remote,
                bodies=self._bodies,
                inner=self._inner,
            ),
        )

    async def _answer_inner(self, asker: Request, target: str) -> Reply:
        try:
            admitted = self.admit("GET", target, asker.headers, asker.remote)
            if isinstance(admitted, Reply):
                return admitted
            reply = await admitted.route.handler(admitted.request)
        except MeshError as error:
            return respond.failure(error)
        except Exception:
            log.exception("GET %s failed", target)
            return respond.text(500, "Internal error; the agent's log says more")
        if reply.stream is not None:
            return respond.text(400, f"{admitted.route.path}: its answer is a stream")
        reply.body = reply.body or b"".join(reply.pieces)
        return reply

    def _path(self, raw: str) -> str:
        """The path decoded. Raises Invalid when it is no text or has unprintable characters."""
        path = raw
        if "%" in raw:
            if _BAD_ESCAPE.search(raw):
                raise Invalid("Bad Request: invalid URL escape in the path")
            try:
                path = unquote(raw, errors="strict")
            except UnicodeDecodeError as error:
                raise Invalid("Bad Request: the path is not UTF-8") from error
        if not path.isprintable() and not self._options.allow_unprintable_paths:
            raise Invalid("Bad Request: unprintable characters in the path")
        return path

    def _blocked(self, method: str, path: str, remote: str) -> Reply | None:
        for prefix in self._options.block_endpoints:
            if path.startswith(prefix):
                return respond.text(403, "Endpoint is blocked by agent configuration")
        reads = method in READING or path in READING_POSTS
        if self._writers and not reads and not self._may_write(remote):
            return respond.text(403, "Endpoint is blocked by agent configuration")
        return None

    def _foreign(self, method: str, path: str, headers: Mapping[str, str]) -> Reply | None:
        if host := self._hosts.foreign(headers):
            return self._unknown_host(host)
        if method in READING or path in READING_POSTS:
            return None
        origin = origins.foreign(headers, self._options.response_headers)
        return respond.text(403, _FOREIGN.format(origin[:100])) if origin else None

    def _unknown_host(self, host: str) -> Reply:
        text = _UNKNOWN_HOST.format(host[:100], origins.name_of(host)[:100])
        if not self._refused:
            self._refused = True
            log.warning("%s (said once, whatever other names are asked for)", text)
        return respond.text(403, text)

    def _unknown(self, path: str) -> Reply:
        ui = self._options.ui_path
        if ui and path in {"/", ui.rstrip("/")}:
            reply = respond.text(_FOUND, f"The web UI is at {ui}")
            reply.headers = {"Location": ui}
            return reply
        if path == "/":
            return respond.text(200, _ROOT)
        if path == "/robots.txt":
            return respond.text(200, _ROBOTS)
        return respond.text(404, _UNKNOWN_API if "/v1/" in path else _UNKNOWN)

    def _may_write(self, remote: str) -> bool:
        try:
            address = ip_address(remote.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self._writers)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text, strict=False)
    except ValueError as error:
        raise Invalid(f'allow_write_http_from: expected a CIDR network, got "{text}"') from error


def clean(path: str) -> str:
    """The path without empty, `.` and `..` parts; a slash at its end stays."""
    if "//" not in path and "/." not in path:
        return path
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith(("/", "/.", "/..")) and cleaned != "/" else cleaned


def _origin(target: str) -> str:
    """The target without the scheme and host that a proxy's client sends, in ASCII."""
    if not target.startswith("/") and "://" in target:
        target = "/" + target.partition("://")[2].partition("/")[2]
    if not target.isascii():
        target = quote(target.encode("utf-8", "surrogateescape"), safe=_ALL_ASCII)
    return target


def _moved(location: str, query: str) -> Reply:
    reply = respond.text(301, "Moved Permanently")
    reply.headers = {"Location": f"{location}?{query}" if query else location}
    return reply


def _no_handler(method: str, allow: str) -> Reply:
    reply = respond.nothing()
    if method != "OPTIONS":
        reply = respond.text(405, f"method {method} not allowed")
    reply.headers = {"Allow": allow}
    return reply


def _refuse_tenancy(given: Mapping[str, list[str]], headers: Mapping[str, str]) -> None:
    if not given and TENANCY_HEADERS.keys().isdisjoint(headers):
        return
    for name in TENANCY_PARAMS:
        if any(given.get(name, ())):
            raise Invalid(
                f'Invalid query parameter: "{name}": mesh has no namespaces or partitions'
            )
    for lower, name in TENANCY_HEADERS.items():
        if headers.get(lower):
            raise Invalid(f'Invalid header: "{name}": mesh has no namespaces or partitions')
