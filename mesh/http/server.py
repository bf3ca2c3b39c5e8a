"""The HTTP server: binds, limits, has requests answered, survives every error."""

from __future__ import annotations

import asyncio
import errno
import gzip
import itertools
import logging
import math
import os
import socket
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from mesh.accepting import arrived, leave
from mesh.errors import Conflict, Invalid, MeshError
from mesh.http import params, respond, wire
from mesh.http.access import AccessLog
from mesh.http.connection import Connection
from mesh.http.dispatch import Admitted, Dispatcher
from mesh.http.hits import Hits, Kept, Source
from mesh.http.openings import Openings
from mesh.http.options import Options
from mesh.http.owner import Asker
from mesh.http.request import JSON, Parts, Reply
from mesh.http.wire import Head, Heads
from mesh.http.writing import begin
from mesh.registry.port import Answer
from mesh.sockets import bind
from mesh.tasks import Tasks
from mesh.telemetry.timers import Timers

__all__ = ["HttpServer", "Options", "Parts"]

log = logging.getLogger(__name__)

BACKLOG = 1024
STOP_SECONDS = 2.0
SWEEP_SECONDS = (0.02, 2.0)
"""How often slow clients are looked for: some times within the shortest patience with them."""
GZIP_LEVEL = 1
GZIP_BITS = 31  # What zlib calls a window of 32 KB with the head and tail of gzip.
GZIP_INLINE_MAX_BYTES = 256 * 1024


class HttpServer:
    """Serves the routes on some addresses.

    `counters` counts connections, refused and slow ones, requests, malformed ones and failures
    since the start. A client that goes away cancels its request, half a minute later at the latest.
    """

    def __init__(self, parts: Parts, options: Options, *, copies: int = 0) -> None:
        """`copies` has so many more sockets share each address, for others to answer there."""
        self.shares: list[list[socket.socket]] = [[] for _ in range(copies)]
        self._parts = parts
        self._options = options
        self._dispatcher = Dispatcher(parts, options)
        self._common = Openings(options)
        self._listeners: list[asyncio.Server] = []
        self._adopted: dict[int, list[asyncio.Server]] = {}
        self._tasks = Tasks()
        self._stopping = False
        self.addresses: list[tuple[str, int]] = []
        self._hits = 0  # Those not yet in the counters: two steps less for each.
        self._counters: Counter[str] = Counter(
            dict.fromkeys(
                (
                    "access_lost",
                    "connections",
                    "failures",
                    "hits",
                    "malformed",
                    "refused",
                    "requests",
                ),
                0,
            )
        )
        self.now = parts.clock.monotonic
        """Seconds, as deadlines count them."""
        self.timers = Timers(parts.clock)
        """How long requests took, by `METHOD path`, the path without what it takes."""
        self.clients: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.blocked: set[asyncio.Task[Any]] = set()
        self.heads = Heads()
        self.hits = Hits()
        self.idle_until = math.inf
        self.loop: asyncio.AbstractEventLoop | None = None
        self.access: AccessLog | None = None

    async def start(self) -> None:
        """Listen. Raises Conflict, having left nothing open, when an address cannot be had.

        Raises Invalid when the access log cannot be written to.
        """
        self.access = self._access_log()
        self.loop = loop = asyncio.get_running_loop()
        self._stopping = False
        for host, port in self._options.addresses:
            kind = (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            try:
                own, *others = bind(kind, host, port, len(self.shares))
                for share, one in zip(self.shares, others, strict=True):
                    share.append(one)
                listener = await loop.create_server(
                    lambda: Connection(self), sock=own, backlog=BACKLOG
                )
            except OSError as error:
                await self.stop()
                reason = os.strerror(error.errno or errno.EIO)
                raise Conflict(f"http: cannot listen on {host}:{port}: {reason}") from error
            self._listeners.append(listener)
            bound = own.getsockname()
            self.addresses.append((bound[0], bound[1]))
        self._tasks.start(self._sweep(), name="http sweep")

    async def adopt(self, number: int) -> None:
        """Answer at a share of the sockets here, until somebody else does."""
        loop = asyncio.get_running_loop()
        self._adopted[number] = [
            await loop.create_server(lambda: Connection(self), sock=one.dup(), backlog=BACKLOG)
            for one in self.shares[number]
        ]

    def release(self, number: int) -> None:
        """Leave that share to somebody else; who has connected stays."""
        for listener in self._adopted.pop(number, ()):
            leave(listener)

    async def stop(self) -> None:
        """Stop listening and end: blocked queries at once, other requests within seconds."""
        self._stopping = True
        for listener in self._listeners:
            leave(listener)
        for number in list(self._adopted):
            self.release(number)
        for one in itertools.chain(*self.shares):
            one.close()
        for share in self.shares:
            share.clear()
        await arrived()
        for task in self.blocked:
            task.cancel()
        for connection in [*self.connections]:
            connection.end()
        until = self.now() + STOP_SECONDS
        while self.connections and self.now() < until:
            await self._parts.clock.sleep(0.01)
        left = [connection.abort() for connection in [*self.connections]]
        if working := [task for task in left if task is not None]:
            await asyncio.wait(working)
        await self._parts.flights.stop()
        await self._tasks.stop()
        self._listeners.clear()
        self.addresses.clear()
        self._replace_access_log(None)

    def _access_log(self) -> AccessLog | None:
        path = self._options.access_log
        return AccessLog(path, self._parts.clock, self.counters) if path else None

    def _replace_access_log(self, made: AccessLog | None) -> None:
        before, self.access = self.access, made
        if before is not None:
            before.close()

    def reload(self, options: Options) -> None:
        """Use other options from the next request on. The addresses stay as they are.

        The access log is opened anew, so that a program may have moved it away.
        """
        self._options = msgspec.structs.replace(options, addresses=self._options.addresses)
        self._dispatcher = Dispatcher(self._parts, self._options)
        self._common = Openings(options)
        self.hits.clear()
        try:
            self._replace_access_log(self._access_log())
        except Invalid as error:
            log.error("reload: the access log stays as it was: %s", error)  # noqa: TRY400 - no traceback for people.

    async def _sweep(self) -> None:
        """Close the connections of clients that are too slow."""
        while True:
            one = self._options
            shortest = min(one.idle_seconds, one.body_stall_seconds, one.write_stall_seconds)
            await self._parts.clock.sleep(
                min(max(shortest / 4, SWEEP_SECONDS[0]), SWEEP_SECONDS[1])
            )
            now = self.now()
            for connection in [one for one in self.connections if one.deadline < now]:
                connection.expire()

    @property
    def counters(self) -> Counter[str]:
        """What happened so far."""
        self._counters["requests"] += self._hits
        self._counters["hits"] += self._hits
        self._hits = 0
        return self._counters

    @property
    def options(self) -> Options:
        """The present options."""
        return self._options

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

    def slow(self) -> None:
        """Count a client that was cut off for being slow."""
        self.counters["slow"] += 1

    def malformed(self, reason: str, client: str) -> Reply:
        """Count bytes that are no HTTP; what to say to them."""
        self.counters["malformed"] += 1
        log.debug("malformed request from %s: %s", client, reason)
        return respond.text(400, f"Bad Request: {reason}")

    def failed(self) -> Reply:
        """Count an error of our own, which was logged; what to say about it."""
        self.counters["failures"] += 1
        return respond.text(500, "Internal error; the agent's log says more")

    def admit(self, head: Head, client: str) -> Admitted | Reply:
        """Decide on the head of a request: who answers it, or the answer."""
        self.counters["requests"] += 1
        try:
            admitted = self._dispatcher.admit(head.method, head.target, head.headers, client)
        except MeshError as error:
            return respond.failure(error)
        if head.method == "GET" and (head.length or head.chunked):
            log.warning("GET %s has a body, which is ignored", head.target.partition("?")[0])
        return admitted

    def limit(self, admitted: Admitted) -> int:
        """How large the body may be."""
        found: int = getattr(self._options, admitted.route.limit)
        return found

    async def answer(self, admitted: Admitted) -> Reply:
        """Answer one request, whatever happens to it but cancellation."""
        asked, route, began = admitted.request, admitted.route, self.timers.now()
        try:
            if not (route.waits or "index" in asked.params or "hash" in asked.params):
                reply = await route.handler(asked)
                if route.kept and len(asked.reads) == 1 and "near" not in asked.params:
                    reply.source = Source(*asked.reads[0], route.label, asked.options)
            else:
                reply = await self._answer_later(admitted)
        except MeshError as error:
            return respond.failure(error, params.datacenter(asked))
        except Exception:
            log.exception("%s %s failed", asked.method, asked.path)
            return self.failed()
        finally:
            self.timers.ended(route.label, began)
        return reply

    def begin(self, admitted: Admitted, asker: Asker) -> bool:
        """Begin a write that needs no task, and tell the asker later; False for all other work."""
        return begin(self, self._parts.registry, admitted, asker)

    async def _answer_later(self, admitted: Admitted) -> Reply:
        """Answer a request that may wait for news: it ends when the server stops."""
        task = asyncio.current_task()
        assert task is not None
        self.blocked.add(task)
        try:
            return await admitted.route.handler(admitted.request)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
            return respond.text(500, "The agent is stopping")
        finally:
            self.blocked.discard(task)

    async def ask(self, target: str) -> Reply:
        """Answer a GET of this process itself, as a client on this machine would have it."""
        try:
            admitted = self._dispatcher.admit("GET", target, {}, "127.0.0.1")
            if isinstance(admitted, Reply):
                return admitted
            reply = await admitted.route.handler(admitted.request)
        except MeshError as error:
            return respond.failure(error)
        reply.body = reply.body or b"".join(reply.pieces)
        return reply

    def _keep(self, head: Head, reply: Reply, body: bytes, framing: bytes) -> bytes:
        """Keep a response for who asks the same, if the registry would say the same at once.

        The response; empty if it is not the one for who asked now. What is not there is not kept:
        of that is no end. Nor what was made by other options.
        """
        source: Source = reply.source
        if reply.status != 200 or head.old or source.by is not self._options:
            return b""
        now = self._at_once(source)
        if now is None or now.value is not source.answer.value:
            return b""
        sent = msgspec.structs.replace(reply, body=body, kept=None)
        ask = self._parts.registry.asking(source.query, source.options)
        kept = Kept(source, sent, framing, ask, self.timers.window(source.label))
        self._tell(kept, now, self.now())
        self.hits.keep(head.raw, kept)
        return kept.response if kept.tells(source.answer) else b""

    def kept(self, head: bytes, response: object) -> Source | None:
        """What the response kept under this head was made of, if it is this very one."""
        found = self.hits.find(head)
        return found.source if found is not None and found.response is response else None

    def _at_once(self, source: Source) -> Answer[Any] | None:
        try:
            return self._parts.registry.at_once(source.query, source.options)
        except MeshError:
            return None  # Who asks the long way is told why.

    def hit(self, data: bytes, client: str | None) -> bytes:
        """The response to these bytes of a client, if it is kept and right; else empty."""
        kept = self.hits.find(data)
        if kept is None:
            return b""
        began = self.now()
        try:
            answer = kept.ask()
        except MeshError:
            return b""  # Who asks the long way is told why.
        if answer is not kept.told or began >= kept.until:
            if answer is None or not kept.is_of(answer):
                return b""
            if began >= kept.until or not kept.tells(answer):
                self._tell(kept, answer, began)
        self._hits += 1
        ended = self.now()
        kept.window.add(ended - began, ended)
        self.idle_until = ended + self._options.idle_seconds
        if self.access is not None:
            self.access.hit(client or "", data, kept.response, ended - began)
        return kept.response

    def _tell(self, kept: Kept, answer: Answer[Any], now: float) -> None:
        """Make the response of now."""
        reply = msgspec.structs.replace(kept.reply, headers=kept.headers(answer))
        opening = self._opening(reply, close=False, old=False, framing=kept.framing)
        kept.response, kept.told = opening + reply.body, answer
        kept.until = now + 1.0 - self._parts.clock.wall() % 1.0

    def boolean(self, result: bool, head: Head) -> bytes:
        """The whole response of a write to a keep-alive client, if no option changes it."""
        options = self._options
        if head.old or options.pretty_always or options.gzip_min_bytes <= len(b"false"):
            return b""
        return self._common.boolean(result, self._parts.clock.wall())

    def small(self, reply: Reply, head: Head) -> bytes:
        """A whole response to a keep-alive client, when that takes next to no time; else empty."""
        body = reply.body
        if (
            reply.source
            or reply.headers
            or reply.pieces
            or not body
            or len(body) >= self._options.gzip_min_bytes
            or reply.content_type is not JSON
            or self._options.pretty_always
            or head.old
            or head.method == "HEAD"
        ):
            return b""
        return self._common.opening(reply.status, len(body), self._parts.clock.wall()) + body

    async def render(
        self, reply: Reply, head: Head, *, pretty: bool, close: bool
    ) -> Sequence[bytes]:
        """A reply without a stream as bytes, to be sent one after the other."""
        accepted, framing = head.headers.get("accept-encoding", ""), b""
        pieces: Sequence[bytes] = reply.pieces
        if not pieces:
            forms = {} if reply.kept is None else reply.kept.forms
            body, form = self._indented(reply, forms, pretty=pretty)
            if len(body) >= self._options.gzip_min_bytes:
                framing = b"Vary: Accept-Encoding\r\n"
                if accepted and _accepts_gzip(accepted):
                    framing += b"Content-Encoding: gzip\r\n"
                    form += "gzip"
                    if (small := forms.get(form)) is None:
                        small = forms[form] = await _compressed(body)
                    body = small
            framing += b"Content-Length: %d\r\n" % len(body)
            keeps = reply.source is not None and not close and head.raw
            if keeps and head.method == "GET" and (kept := self._keep(head, reply, body, framing)):
                return (kept,)
            opening = self.render_head(reply, head, close=close, framing=framing)
            return (opening if head.method == "HEAD" else opening + body,)
        framing = b"Vary: Accept-Encoding\r\n"
        if accepted and _accepts_gzip(accepted):
            framing += b"Content-Encoding: gzip\r\n"
            pieces = await asyncio.to_thread(_compressed_list, pieces)
        framing += b"Content-Length: %d\r\n" % sum(map(len, pieces))
        return self.render_head(reply, head, close=close, framing=framing), *pieces

    def _indented(
        self, reply: Reply, forms: dict[str, bytes], *, pretty: bool
    ) -> tuple[bytes, str]:
        """The body as asked for, and the name of its form."""
        if not reply.body or reply.content_type is not JSON:
            return reply.body, ""
        if not (pretty or self._options.pretty_always):
            return reply.body, ""
        form = "pretty" if pretty else "indented"
        body = forms.get(form)
        if body is None:
            body = forms[form] = respond.indented(reply.body) + (b"\n" if pretty else b"")
        return body, form

    def render_stream(
        self, reply: Reply, head: Head, pieces: AsyncIterator[bytes], *, close: bool
    ) -> tuple[bytes, AsyncIterator[bytes]]:
        """What precedes the stream of a reply, and the pieces as they are sent."""
        more = b""
        if "gzip" not in reply.content_type:
            more = b"Vary: Accept-Encoding\r\n"
            if _accepts_gzip(head.headers.get("accept-encoding", "")):
                more += b"Content-Encoding: gzip\r\n"
                pieces = _compressed_pieces(pieces)
        if not head.old:
            more += b"Transfer-Encoding: chunked\r\n"
        return self.render_head(reply, head, close=close, framing=more), pieces

    def render_head(self, reply: Reply, head: Head, *, close: bool, framing: bytes) -> bytes:
        """What precedes the body of a reply; `framing` says how the body comes."""
        return self._opening(reply, close=close, old=head.old, framing=framing)

    def _opening(self, reply: Reply, *, close: bool, old: bool, framing: bytes) -> bytes:
        parts = [wire.STATUS_LINES[reply.status], self._common.lines(self._parts.clock.wall())]
        if reply.body or reply.content_type is not JSON or reply.pieces or reply.stream:
            parts.append(wire.field("Content-Type", reply.content_type))
        parts += [wire.field(name, reply.headers[name]) for name in reply.headers]
        parts.append(framing)
        if close:
            parts.append(b"Connection: close\r\n")
        elif old:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


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


def _compressed_list(pieces: Sequence[bytes]) -> list[bytes]:
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_BITS)
    return [*map(packer.compress, pieces), packer.flush()]
