"""The HTTP server: binds, limits, reads requests whole, writes replies, survives every error."""

from __future__ import annotations

import asyncio
import gzip
import logging
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from mesh.errors import Conflict, MeshError, TooLarge
from mesh.http import params, respond
from mesh.http.dispatch import Admitted, Dispatcher
from mesh.http.options import Options
from mesh.http.request import JSON, TEXT, Parts, Reply
from mesh.telemetry.timers import Timers

__all__ = ["HttpServer", "Options", "Parts"]

log = logging.getLogger(__name__)

HEAD_LINE_MAX_BYTES = 64 * 1024
HEADERS_MAX = 256
BACKLOG = 1024
STOP_SECONDS = 2.0
PRETTY_INDENT = 4
GZIP_LEVEL = 1
GZIP_BITS = 31  # What zlib calls a window of 32 KB with the head and tail of gzip.
GZIP_INLINE_MAX_BYTES = 256 * 1024
SERVER = "mesh"
_TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class HttpServer:
    """Serves the routes on some addresses.

    `counters` counts connections, refused ones, requests, malformed ones and failures since the
    start. A client that goes away cancels its request.
    """

    def __init__(self, parts: Parts, options: Options) -> None:
        self._parts = parts
        self._options = options
        self._dispatcher = Dispatcher(parts, options)
        self._common: CIMultiDict[str] = _common_headers(options)
        self._listeners: list[asyncio.Server] = []
        self._web: _Web | None = None
        self._blocked: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self.addresses: list[tuple[str, int]] = []
        self.counters: Counter[str] = Counter(
            dict.fromkeys(("connections", "failures", "malformed", "refused", "requests"), 0)
        )
        self.timers = Timers(parts.clock)
        """How long requests took, by `METHOD path`, the path without what it takes."""
        self.clients: Counter[str] = Counter()

    async def start(self) -> None:
        """Listen. Raises Conflict, having left nothing open, when an address cannot be had."""
        loop = asyncio.get_running_loop()
        self._stopping = False
        self._web = _Web(self)
        for host, port in self._options.addresses:
            try:
                listener = await loop.create_server(self._web, host, port, backlog=BACKLOG)
            except OSError as error:
                await self.stop()
                reason = error.strerror or str(error)
                raise Conflict(f"http: cannot listen on {host}:{port}: {reason}") from error
            self._listeners.append(listener)
            bound = listener.sockets[0].getsockname()
            self.addresses.append((bound[0], bound[1]))

    async def stop(self) -> None:
        """Stop listening and end: blocked queries at once, other requests within seconds."""
        self._stopping = True
        for listener in self._listeners:
            listener.close()
        for task in self._blocked:
            task.cancel()
        if self._web is not None:
            self._web.pre_shutdown()
            await self._web.shutdown(STOP_SECONDS)
        self._web = None
        self._listeners.clear()
        self.addresses.clear()

    def reload(self, options: Options) -> None:
        """Use other options from the next request on. The addresses stay as they are."""
        self._options = msgspec.structs.replace(options, addresses=self._options.addresses)
        self._dispatcher = Dispatcher(self._parts, self._options)
        self._common = _common_headers(self._options)

    def accept(self, client: str) -> bool:
        """Count a connection of this IP address; False when it has too many."""
        self.counters["connections"] += 1
        limit = self._options.max_connections_per_client
        if limit and self.clients[client] >= limit:
            self.counters["refused"] += 1
            return False
        self.clients[client] += 1
        return True

    def closed(self, client: str) -> None:
        """A connection that was accepted has ended."""
        self.clients[client] -= 1
        if not self.clients[client]:
            del self.clients[client]

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens to it but cancellation."""
        self.counters["requests"] += 1
        pretty, datacenter = False, ""
        try:
            admitted = self._dispatcher.admit(
                request.method, request.raw_path, request.headers, request.remote or ""
            )
            if isinstance(admitted, Reply):
                reply = admitted
            else:
                pretty = "pretty" in admitted.request.params
                datacenter = params.datacenter(admitted.request)
                reply = await self._timed(request, admitted)
        except MeshError as error:
            reply = respond.failure(error, datacenter)
        except (web.RequestPayloadError, HttpProcessingError, asyncio.IncompleteReadError):
            self.counters["malformed"] += 1
            reply = respond.text(400, "Bad Request: the body is malformed")
        except Exception:
            self.counters["failures"] += 1
            log.exception("%s %s failed", request.method, request.path)
            reply = respond.text(500, "Internal error; the agent's log says more")
        if reply.stream is not None:
            return await self._stream(request, reply.stream, reply)
        return await self._response(request, reply, pretty=pretty)

    async def ask(self, target: str) -> Reply:
        """Answer a GET of this process itself, as a client on this machine would have it."""
        try:
            admitted = self._dispatcher.admit("GET", target, {}, "127.0.0.1")
            if isinstance(admitted, Reply):
                return admitted
            return await admitted.route.handler(admitted.request)
        except MeshError as error:
            return respond.failure(error)

    async def _stream(
        self, request: web.BaseRequest, pieces: AsyncIterator[bytes], reply: Reply
    ) -> web.StreamResponse:
        headers = self._common.copy()
        headers["Content-Type"] = reply.content_type
        headers.update(reply.headers)
        if reply.content_type in {TEXT, JSON}:  # A snapshot is compressed as it is.
            headers["Vary"] = "Accept-Encoding"
            if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
                headers["Content-Encoding"] = "gzip"
                pieces = _compressed_pieces(pieces)
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._blocked.add(task)
        try:
            async for piece in pieces:
                await response.write(piece)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
        except ConnectionError:
            log.debug("%s: the client went away", request.path)
        except MeshError as error:
            # Too late for a status: without an end the client knows that something is missing.
            log.warning("%s %s ended half way: %s", request.method, request.path, error)
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._blocked.discard(task)
        return response

    async def _timed(self, request: web.BaseRequest, admitted: Admitted) -> Reply:
        began, route = self.timers.now(), admitted.route
        try:
            return await self._run(request, admitted)
        finally:
            self.timers.ended(f"{route.method} {route.fixed}{route.tail}", began)

    async def _run(self, request: web.BaseRequest, admitted: Admitted) -> Reply:
        route, asked = admitted.route, admitted.request
        limit: int = getattr(self._options, route.limit)
        if route.streams:
            asked.stream = _pieces(request, limit)
        elif request.can_read_body and asked.method != "GET":
            asked.body = b"".join([piece async for piece in _pieces(request, limit)])
        elif request.can_read_body:
            log.warning("GET %s has a body, which is ignored", asked.path)
        if "index" not in asked.params and "hash" not in asked.params:
            return await route.handler(asked)
        return await self._run_blocking(admitted)

    async def _run_blocking(self, admitted: Admitted) -> Reply:
        task = asyncio.current_task()
        assert task is not None
        self._blocked.add(task)
        try:
            return await admitted.route.handler(admitted.request)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
            return respond.text(500, "The agent is stopping")
        finally:
            self._blocked.discard(task)

    async def _response(
        self, request: web.BaseRequest, reply: Reply, *, pretty: bool
    ) -> web.Response:
        body = reply.body
        headers = self._common.copy()
        if body and reply.content_type is JSON and (pretty or self._options.pretty_always):
            body = msgspec.json.format(body, indent=PRETTY_INDENT) + (b"\n" if pretty else b"")
        if body or reply.content_type is not JSON:
            headers["Content-Type"] = reply.content_type
        headers.update(reply.headers)
        if len(body) >= self._options.gzip_min_bytes:
            headers["Vary"] = "Accept-Encoding"
            if _accepts_gzip(request.headers.get("Accept-Encoding", "")):
                headers["Content-Encoding"] = "gzip"
                body = await _compressed(body)
        return web.Response(body=body, status=reply.status, headers=headers)


def _common_headers(options: Options) -> CIMultiDict[str]:
    headers = CIMultiDict(options.response_headers)
    headers.setdefault("Server", SERVER)
    headers["X-Consul-Default-ACL-Policy"] = options.default_acl_policy
    return headers


def _accepts_gzip(accepted: str) -> bool:
    for offer in accepted.split(","):
        coding, _, weight = offer.partition(";")
        if coding.strip().lower() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


async def _compressed(body: bytes) -> bytes:
    if len(body) <= GZIP_INLINE_MAX_BYTES:
        return gzip.compress(body, GZIP_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL, mtime=0)


async def _compressed_pieces(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces as one gzip stream, in which each can be read as soon as it came."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_BITS)
    async for piece in pieces:
        yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


async def _pieces(request: web.BaseRequest, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises TooLarge."""
    if (request.content_length or 0) > limit:
        raise TooLarge(f"Request body too large, max size: {limit} bytes")
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    size = 0
    while piece := await request.content.readany():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"Request body too large, max size: {limit} bytes")
        yield piece


class _Web(web.Server):
    """aiohttp's factory of connections, making ours."""

    def __init__(self, owner: HttpServer) -> None:
        super().__init__(owner.serve, handler_cancellation=True)
        self.owner = owner

    def __call__(self) -> RequestHandler:
        return _Connection(self)


class _Connection(RequestHandler):
    """One client connection: counted by address, and malformed bytes are counted too."""

    def __init__(self, manager: _Web) -> None:
        super().__init__(
            manager,
            loop=asyncio.get_running_loop(),
            logger=log,
            max_line_size=HEAD_LINE_MAX_BYTES,
            max_field_size=HEAD_LINE_MAX_BYTES,
            max_headers=HEADERS_MAX,
            auto_decompress=False,
        )
        self._logging_enabled = False  # No access log: it would cost more than the answer.
        self._owner = manager.owner
        self._client: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse the connection if its client has too many."""
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        client = peer[0] if isinstance(peer, tuple) else ""
        if self._owner.accept(client):
            self._client = client
            super().connection_made(transport)
            return
        self._force_close = True
        transport.write(_TOO_MANY)
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Uncount the connection."""
        if self._client is not None:
            self._owner.closed(self._client)
            self._client = None
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Bytes that are no HTTP: 400 with a line, and the connection ends."""
        self._owner.counters["malformed"] += 1
        log.debug("malformed request from %s: %s", request.remote, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("part of a response was sent already")
        line = (message or "malformed request").splitlines()[0]
        response = web.Response(status=status, text=f"Bad Request: {line}")
        response.force_close()
        return response
