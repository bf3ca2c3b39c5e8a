"""The listener on the server port: the first byte says whether Raft or a request follows."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from mesh.accepting import Serve
from mesh.codec import pack
from mesh.errors import Busy, Denied, Internal, Invalid, MeshError, NoPath, Outdated, TooLarge
from mesh.registry.port import Answer, Query, Registry
from mesh.revocation import Revoked
from mesh.rpc import wire
from mesh.rpc.abroad import no_path
from mesh.rpc.client import keep_alive
from mesh.rpc.forwarded import Forwarded
from mesh.rpc.listener import Listener
from mesh.tasks import Tasks, turn
from mesh.tls import HANDSHAKE_SECONDS, Credentials

log = logging.getLogger(__name__)

REQUESTS_MAX = 8192
PACKED_ROWS = 2000
"""So many rows of an answer are packed before others have their turn."""
FIRST_BYTE_SECONDS = 5.0

Standing: TypeAlias = Literal["client", "server", "abroad"]
"""Who is at the other end: an agent or a server of this datacenter, or a server of another."""


class _Open:
    """A connection that is served."""

    __slots__ = ("asks", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.asks = False
        """Whether it is a client's, which understands our replies."""


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "connections are served by tasks"
    return task


_Work: TypeAlias = wire.Read | wire.Write | wire.Watch | wire.Operate | wire.AskStatus


class Options(msgspec.Struct, frozen=True):
    """Where to listen and who answers."""

    host: str
    port: int
    node: str
    datacenter: str
    credentials: Credentials | None = None
    """For mutual TLS; without them connections are plain, and everybody is trusted."""
    handshake_seconds: float = HANDSHAKE_SECONDS
    federated: bool = True
    """Servers of other datacenters may send on requests for this one."""


class RpcServer:
    """Accepts connections on the server port and answers requests through the registry.

    `others` maps a first byte to whoever serves connections that start with it; over TLS they are
    for servers of this datacenter only, and so are forwarded requests.
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
        self._open: dict[asyncio.StreamWriter, _Open] = {}
        self.port = options.port
        self.counters: Counter[str] = Counter()
        self._listener = Listener(
            self._serve, options.credentials, self.counters, options.handshake_seconds
        )

    async def start(self) -> None:
        """Listen. Raises Conflict, naming the address, when it cannot."""
        self.port = self._listener.start(self._options.host, self._options.port)

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        for writer in list(self._open):
            writer.close()
        await self._listener.stop()

    @property
    def turned_away(self) -> Mapping[str, int]:
        """How many connections were refused, by the reason."""
        return self._listener.turned.counts

    def look_again(self) -> None:
        """Close the connections of those whose certificates are revoked by now."""
        if (credentials := self._options.credentials) is None:
            return
        for writer, opened in list(self._open.items()):
            try:
                credentials.check(writer)
            except Revoked as error:
                self._refuse(writer, opened, error)
                # What it asked for and what still waits to be read is not done any more.
                opened.task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client that vanished without a word would hold its connection and its waits for ever.
        keep_alive(writer.get_extra_info("socket"))
        opened = self._open[writer] = _Open(_current_task())
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                first = await reader.readexactly(1)
            opened.asks = first == wire.RPC_BYTE
            standing = self._standing(writer)
            if opened.asks:
                await _Session(self, reader, writer, standing).run()
            elif first not in self._others:
                self.counters["unknown_protocol"] += 1
            elif standing == "server":
                await self._others[first](reader, writer)
            else:
                raise Denied("only servers speak Raft")  # noqa: TRY301 - handled like all others.
        except Denied as error:
            self._refuse(writer, opened, error)
        except MeshError as error:
            self.counters["malformed"] += 1
            log.debug("closing a connection from %s: %s", _peer(writer), error)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            self.counters["broken"] += 1
        finally:
            self._open.pop(writer, None)
            writer.close()

    def _refuse(self, writer: asyncio.StreamWriter, opened: _Open, error: Denied) -> None:
        """Count it, and say why: to whoever reads our log, and to a client that can tell."""
        self.counters["denied"] += 1
        reason, who = "denied", error.message
        if isinstance(error, Revoked):
            reason, who = "revoked", error.serial
            if opened.asks and not writer.is_closing():
                writer.write(wire.frame(wire.Failed(wire.TURNED_AWAY, error.code, error.message)))
        text = f"closing a connection from {_peer(writer)}: {error}"
        self._listener.turned.note(reason, text, who)

    def _standing(self, writer: asyncio.StreamWriter) -> Standing:
        """Who called, as far as anybody can tell. Raises Denied for strangers."""
        if self._options.credentials is None:
            return "server"
        caller = self._options.credentials.caller(writer)
        if not caller.abroad:
            return "server" if caller.server else "client"
        if not self._options.federated:
            raise Denied(f"a server of {caller.abroad}, and there is no WAN pool [ports.serf_wan]")
        return "abroad"

    def admit(self, message: wire.Request, standing: Standing) -> None:
        """Raise Denied for what this caller may not send."""
        forwarded = getattr(message, "forwarded", False)
        abroad = getattr(message, "abroad", False)
        if standing == "client" and (forwarded or abroad):
            raise Denied("only servers send requests on")
        if standing == "abroad" and (forwarded or not abroad):
            raise Denied("servers of other datacenters only send on requests for this one")

    def check_arrived(self, message: wire.Request) -> None:
        """Raise NoPath when a request that was sent on to its datacenter is not there yet.

        Sent on again, it could go round for ever.
        """
        to, here = wire.destination(message), self._options.datacenter
        if getattr(message, "abroad", False) and to != here:
            raise NoPath(f"{no_path(to).message}: it was sent to {here}")

    def hello(self) -> wire.Hello:
        """How this server introduces itself."""
        return wire.Hello(
            wire.VERSION, self._options.node, self._options.datacenter, self.applied_index
        )

    @property
    def applied_index(self) -> int:
        """Highest log index applied here."""
        return self._forwarded.applied_index

    def failure(self, message: wire.Request, number: int, error: MeshError) -> wire.Failed:
        """An error as a reply."""
        # Where it was refused as too old is a log index too, and the newest that matters then; but
        # that of another datacenter counts in another log.
        refused = error.index if isinstance(error, Outdated) else 0
        here = wire.destination(message) in {"", self._options.datacenter}
        applied = max(self.applied_index, refused if here else 0)
        return wire.Failed(number, error.code, error.message, applied, refused)

    async def answer(self, message: wire.Read) -> wire.Answered:
        """Answer a read, here or, unless a server sent it here as to the leader, elsewhere."""
        reader = self._forwarded if message.forwarded else self._registry
        answer: Answer[Any] = await reader.read(message.query, message.options)
        value: Any = answer.value
        if isinstance(value, list) and len(value) >= 2 * PACKED_ROWS:
            answer = msgspec.structs.replace(answer, value=await _packed(value))
        return answered(message.id, answer, self.applied_index)

    async def apply(self, message: wire.Write) -> wire.Wrote:
        """Apply a write, here or on the leader."""
        if message.command.internal:
            raise Denied("only the leader itself writes that")
        writer = self._forwarded if message.forwarded else self._registry
        result: Any = await writer.write(message.command, message.options)
        return wire.Wrote(message.id, msgspec.Raw(pack(result)), self.applied_index)

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
        self,
        server: RpcServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        standing: Standing,
    ) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._standing = standing
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
            wire.check_version(message)
            return
        if isinstance(message, wire.Cancel):
            if (task := self._running.get(message.id)) is not None:
                task.cancel()
            return
        self._server.admit(message, self._standing)
        if message.id in self._running:
            raise Invalid(f"request {message.id} is still being answered")
        if len(self._running) >= REQUESTS_MAX:
            busy = Busy(f"more than {REQUESTS_MAX} requests at once on one connection")
            self._send(self._server.failure(message, message.id, busy))
            return
        self._server.counters[type(message).__name__.lower()] += 1
        task = self._tasks.start(self._work(message), name=f"rpc {type(message).__name__}")
        self._running[message.id] = task
        task.add_done_callback(lambda _: self._running.pop(message.id, None))

    async def _work(self, message: _Work) -> None:
        try:
            self._server.check_arrived(message)
            if isinstance(message, wire.Watch):
                await self._watch(message)
            else:
                await self._send_and_drain(await self._reply(message))
        except MeshError as error:
            self._send(self._server.failure(message, message.id, error))
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
        return wire.Status(message.id, await self._server.registry.status(message.datacenter))

    async def _watch(self, message: wire.Watch) -> None:
        query: Query[Any] = message.query
        async for answer in self._server.registry.watch(query, message.options):
            applied = self._server.applied_index
            await self._send_and_drain(answered(message.id, answer, applied))

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


async def _packed(rows: list[Any]) -> msgspec.Raw:
    """A long list packed piece by piece, and others have their turn in between."""
    pieces = [b"\xdd", len(rows).to_bytes(4, "big")]  # The head of an array, as MessagePack has it.
    for first in range(0, len(rows), PACKED_ROWS):
        await turn()
        piece = rows[first : first + PACKED_ROWS]
        head = 1 if len(piece) < 16 else 3
        pieces.append(pack(piece)[head:])
    await turn()
    packed = b"".join(pieces)
    await turn()
    return msgspec.Raw(packed)


def _peer(writer: asyncio.StreamWriter) -> str:
    host, port, *_ = writer.get_extra_info("peername") or ("somebody", 0)
    return f"{host}:{port}"


def answered(number: int, answer: Answer[Any], applied: int) -> wire.Answered:
    """An answer as a reply."""
    value = msgspec.Raw(pack(answer.value))
    known, contact = answer.known_leader, answer.last_contact
    return wire.Answered(number, value, answer.index, known, contact, applied)
