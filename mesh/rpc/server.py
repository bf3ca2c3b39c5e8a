"""The listener on the server port: the first byte says whether Raft or a request follows."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import msgspec

from mesh.codec import pack
from mesh.errors import Busy, Conflict, Internal, Invalid, MeshError, TooLarge
from mesh.registry.port import Answer, Query, Registry
from mesh.rpc import wire
from mesh.rpc.client import keep_alive
from mesh.rpc.router import Forwarded
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

REQUESTS_MAX = 8192
FIRST_BYTE_SECONDS = 5.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_Work: TypeAlias = wire.Read | wire.Write | wire.Watch | wire.Operate | wire.AskStatus


class Options(msgspec.Struct, frozen=True):
    """Where to listen and who answers."""

    host: str
    port: int
    node: str
    datacenter: str


class RpcServer:
    """Accepts connections on the server port and answers requests through the registry.

    `others` maps a first byte to whoever serves connections that start with it.
    """

    def __init__(
        self,
        options: Options,
        registry: Registry,
        forwarded: Forwarded,
        others: dict[bytes, Serve],
    ) -> None:
        self._options, self._registry, self._forwarded = options, registry, forwarded
        self._others = others
        self._tasks = Tasks()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._stopping = False
        self.port = options.port
        self.counters: Counter[str] = Counter()

    async def start(self) -> None:
        """Listen. Raises Conflict, naming the address, when it cannot."""
        host, port = self._options.host, self._options.port
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port} (server port): {error}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._tasks.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopping:
            writer.close()
            return
        # A client that vanished without a word would hold its connection and its waits for ever.
        keep_alive(writer.get_extra_info("socket"))
        self._tasks.start(self._serve(reader, writer), name="rpc connection")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                first = await reader.readexactly(1)
            if first == wire.RPC_BYTE:
                await _Session(self, reader, writer).run()
            elif first in self._others:
                await self._others[first](reader, writer)
            else:
                self.counters["unknown_protocol"] += 1
        except MeshError as error:
            self.counters["malformed"] += 1
            log.debug("dropping a connection: %s", error)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.counters["broken"] += 1
        finally:
            self._writers.discard(writer)
            writer.close()

    def hello(self) -> wire.Hello:
        """How this server introduces itself."""
        return wire.Hello(wire.VERSION, self._options.node, self._options.datacenter)

    async def answer(self, message: wire.Read) -> wire.Answered:
        """Answer a read, here or, unless a server sent it here as to the leader, elsewhere."""
        reader = self._forwarded if message.forwarded else self._registry
        answer: Answer[Any] = await reader.read(message.query, message.options)
        return _answered(message.id, answer)

    async def apply(self, message: wire.Write) -> wire.Wrote:
        """Apply a write, here or on the leader."""
        writer = self._forwarded if message.forwarded else self._registry
        result: Any = await writer.write(message.command, message.options)
        return wire.Wrote(message.id, msgspec.Raw(pack(result)))

    async def operate(self, message: wire.Operate) -> wire.Wrote:
        """Have an order carried out, here or by the leader."""
        operator = self._forwarded if message.forwarded else self._registry
        result: Any = await operator.operate(message.order, message.options)
        return wire.Wrote(message.id, msgspec.Raw(pack(result)))

    @property
    def registry(self) -> Registry:
        """Who answers."""
        return self._registry


class _Session:
    """One client's connection."""

    def __init__(
        self, server: RpcServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._tasks = Tasks()
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        frames = wire.Frames(wire.REQUEST_MAX_BYTES)
        self._send(self._server.hello())
        try:
            while data := await self._reader.read(65536):
                for body in frames.feed(data):
                    self._receive(wire.request(body))
                # Whoever does not read replies is not read either.
                await self._writer.drain()
        finally:
            await self._tasks.stop()

    def _receive(self, message: wire.Request) -> None:
        if isinstance(message, wire.Hello):
            return
        if isinstance(message, wire.Cancel):
            if (task := self._running.get(message.id)) is not None:
                task.cancel()
            return
        if message.id in self._running:
            raise Invalid(f"request {message.id} is still being answered")
        if len(self._running) >= REQUESTS_MAX:
            busy = Busy(f"more than {REQUESTS_MAX} requests at once on one connection")
            self._send(wire.Failed(message.id, busy.code, busy.message))
            return
        self._server.counters[type(message).__name__.lower()] += 1
        task = self._tasks.start(self._work(message), name=f"rpc {type(message).__name__}")
        self._running[message.id] = task
        task.add_done_callback(lambda _: self._running.pop(message.id, None))

    async def _work(self, message: _Work) -> None:
        try:
            if isinstance(message, wire.Watch):
                await self._watch(message)
            else:
                await self._send_and_drain(await self._reply(message))
        except MeshError as error:
            self._send(wire.Failed(message.id, error.code, error.message))
        except OSError:
            return
        except Exception as error:
            log.exception("request %s failed", type(message).__name__)
            self._send(wire.Failed(message.id, Internal.code, repr(error)))

    async def _reply(
        self, message: wire.Read | wire.Write | wire.Operate | wire.AskStatus
    ) -> wire.Reply:
        if isinstance(message, wire.Read):
            return await self._server.answer(message)
        if isinstance(message, wire.Write):
            return await self._server.apply(message)
        if isinstance(message, wire.Operate):
            return await self._server.operate(message)
        return wire.Status(message.id, await self._server.registry.status())

    async def _watch(self, message: wire.Watch) -> None:
        query: Query[Any] = message.query
        async for answer in self._server.registry.watch(query, message.options):
            await self._send_and_drain(_answered(message.id, answer))

    def _send(self, reply: wire.Reply) -> None:
        if self._writer.is_closing():
            return
        data = wire.frame(reply)
        if len(data) > wire.REPLY_MAX_BYTES and not isinstance(reply, wire.Hello):
            text = f"the answer takes {len(data)} bytes; the limit is {wire.REPLY_MAX_BYTES}"
            data = wire.frame(wire.Failed(reply.id, TooLarge.code, text))
        self._writer.write(data)

    async def _send_and_drain(self, reply: wire.Reply) -> None:
        self._send(reply)
        await self._writer.drain()


def _answered(number: int, answer: Answer[Any]) -> wire.Answered:
    value = msgspec.Raw(pack(answer.value))
    return wire.Answered(number, value, answer.index, answer.known_leader, answer.last_contact)
