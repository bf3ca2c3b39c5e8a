"""Connections to servers: many requests at once over one stream each."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import msgspec

from mesh.codec import unpack
from mesh.errors import (
    Busy,
    Denied,
    Internal,
    MeshError,
    OutcomeUnknown,
    Outdated,
    TooLarge,
    Unreachable,
    from_code,
)
from mesh.registry.port import (
    Answer,
    Command,
    Order,
    OrderOptions,
    Query,
    ReadOptions,
    ServerStatus,
    WriteOptions,
)
from mesh.rpc import wire
from mesh.tasks import Tasks
from mesh.tls import Credentials, explain

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_SECONDS = 3.0
CALL_SECONDS = 60.0
REQUESTS_MAX = 8192
WATCH_QUEUE_MAX = 16
UNSENT_MAX_BYTES = 64 * 1024 * 1024
WARN_SECONDS = 60.0
GONE = "gone"
"""As the code of a reply: none came, and none is waited for any more."""


class Options(msgspec.Struct, frozen=True):
    """Who connects, and how long it waits."""

    node: str
    datacenter: str
    connect_seconds: float = CONNECT_SECONDS
    call_seconds: float = CALL_SECONDS
    """How long a request may take beyond the time it asked to wait."""
    credentials: Credentials | None = None
    """For mutual TLS; without them connections are plain."""
    abroad: str = ""
    """The other datacenter whose servers it speaks to; empty for its own."""


class Connection:
    """One open stream to a server. Ends as a whole: every request on it then fails."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[wire.Reply]] = {}
        self._bound: set[int] = set()
        self.closed = False
        self.applied_index = 0
        """Highest log index that this server said it had applied."""
        self.refused: MeshError | None = None
        """Why this client cannot speak with the server."""
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has introduced itself, or the stream has ended."""
        self.reason = "the connection to the server broke"
        self.turned_away = False
        """Whether the server said that it does not want this node."""

    async def run(self) -> None:
        """Read replies until the stream ends."""
        frames = wire.Frames(wire.REPLY_MAX_BYTES)
        try:
            while data := await self._reader.read(65536):
                for body in frames.feed(data):
                    self._deliver(wire.reply(body))
        except Denied as error:
            self.turned_away, self.reason = True, f"the server refuses this node: {error}"
        except (OSError, MeshError) as error:
            why = explain(error) if isinstance(error, OSError) else error.message
            self.reason = f"the connection to the server broke: {why}"
            log.debug("%s", self.reason)
        finally:
            self.close()

    def _deliver(self, message: wire.Reply) -> None:
        if isinstance(message, wire.Hello):
            self._greet(message)
            return
        if isinstance(message, wire.Failed) and message.id == wire.TURNED_AWAY:
            raise Denied(message.message)
        if not isinstance(message, wire.Status):
            self.applied_index = max(self.applied_index, message.applied)
        queue = self._waiting.get(message.id)
        if queue is not None:
            if queue.full():
                # Who follows more slowly than it changes wants the newest answers.
                queue.get_nowait()
            queue.put_nowait(message)

    def _greet(self, hello: wire.Hello) -> None:
        self.applied_index = max(self.applied_index, hello.applied)
        try:
            wire.check_version(hello)
        except MeshError as error:
            self.refused = error
            raise
        if not self.greeted.done():
            self.greeted.set_result(None)

    def close(self) -> None:
        """Close the stream and fail what waits on it."""
        if self.closed:
            return
        self.closed = True
        if not self.greeted.done():
            self.greeted.set_result(None)
        # Not closed in good order: a server that reads no more would keep what is unsent for ever.
        self._writer.transport.abort()
        for number in self._waiting:
            self._fail(number, self.reason)

    def _fail(self, number: int, reason: str) -> None:
        queue = self._waiting[number]
        while queue.full():
            queue.get_nowait()
        queue.put_nowait(wire.Failed(number, GONE, reason))

    def let_go(self) -> None:
        """Fail what another server can do as well; close the stream when nothing else waits."""
        if not self._bound:
            self.close()
            return
        for number in self._waiting.keys() - self._bound:
            self._fail(number, "the server leads no more")
            self.send(wire.Cancel(number))

    def open_request(self, most: int = 1) -> tuple[int, asyncio.Queue[wire.Reply]]:
        """An id and the queue on which its replies arrive. Raises Busy or Unreachable."""
        if self.closed:
            raise Unreachable("the connection to the server is closed")
        if len(self._waiting) >= REQUESTS_MAX:
            raise Busy(f"{REQUESTS_MAX} requests wait on one connection to a server")
        if self._writer.transport.get_write_buffer_size() > UNSENT_MAX_BYTES:
            raise Busy("the server reads requests more slowly than they are made")
        number = next(self._ids)
        queue = self._waiting[number] = asyncio.Queue(most)
        return number, queue

    def send(self, message: wire.Request) -> None:
        """Send a request. Raises TooLarge, sending nothing, when the server would refuse it."""
        data = wire.frame(message)
        if len(data) > wire.REQUEST_MAX_BYTES:
            raise TooLarge(
                f"the request takes {len(data)} bytes; the limit is {wire.REQUEST_MAX_BYTES}"
            )
        self._writer.write(data)

    def end_request(self, number: int, *, answered: bool) -> None:
        """Forget a request; tells the server when it still works on it."""
        self._waiting.pop(number, None)
        self._bound.discard(number)
        if not answered and not self.closed:
            self.send(wire.Cancel(number))

    async def call(
        self, make: Callable[[int], wire.Request], seconds: float, *, bound: bool = False
    ) -> wire.Reply:
        """Send and wait for the one reply. Raises Unreachable when it does not come in time.

        `bound` is for what only this server can answer, whoever leads.
        """
        number, queue = self.open_request()
        if bound:
            self._bound.add(number)
        sent, reply = False, None
        try:
            self.send(make(number))
            sent = True
            async with asyncio.timeout(seconds):
                reply = await queue.get()
        except TimeoutError:
            raise Unreachable(f"the server did not answer within {seconds:.0f} s") from None
        finally:
            self.end_request(number, answered=reply is not None or not sent)
        return reply


class Client:
    """Speaks to servers by address, with one connection to each that is kept open."""

    def __init__(self, options: Options) -> None:
        self._options, self._abroad = options, bool(options.abroad)
        self._connections: dict[str, Connection] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._tasks = Tasks()
        self._stopped: bool = False
        self._told = float("-inf")

    async def stop(self) -> None:
        """Close every connection; requests raise Unreachable from then on."""
        self._stopped = True
        for connection in list(self._connections.values()):
            connection.close()
        await self._tasks.stop()
        self._connections.clear()

    def forget(self, address: str) -> None:
        """Drop the connection to a server that is known to be gone."""
        if (connection := self._connections.pop(address, None)) is not None:
            connection.close()

    def let_go(self, address: str) -> None:
        """Another server leads now: what this one may never answer is to be asked there.

        An act is not given twice, and one such as handing leadership over is answered only after
        that; so acts, and what is asked of that very server, are waited for.
        """
        if (connection := self._connections.get(address)) is not None:
            connection.let_go()

    @property
    def applied_index(self) -> int:
        """Highest log index that a server now connected said it had applied.

        Who is gone does not count: its cluster may have begun anew since.
        """
        if not self._connections:
            return 0
        open_ones = (one for one in self._connections.values() if not one.closed)
        return max((one.applied_index for one in open_ones), default=0)

    async def _connection(self, address: str) -> Connection:
        connection = self._connections.get(address)
        if connection is not None and not connection.closed:
            return connection
        opening = self._opening.setdefault(address, asyncio.Lock())
        try:
            async with opening:
                connection = self._connections.get(address)
                if connection is None or connection.closed:
                    connection = self._connections[address] = await self._open(address)
                return connection
        finally:
            if not opening.locked() and self._opening.get(address) is opening:
                del self._opening[address]

    async def _open(self, address: str) -> Connection:
        host, _, port = address.rpartition(":")
        try:
            async with asyncio.timeout(self._options.connect_seconds):
                streams = await self._dial(host.strip("[]"), int(port))
            return await self._greet(address, *streams)
        except TimeoutError:
            seconds = self._options.connect_seconds
            raise Unreachable(
                f"cannot connect to the server at {address}: no answer in {seconds:.0f} s"
            ) from None
        except (OSError, Unreachable) as error:
            raise Unreachable(f"cannot connect to the server at {address}: {error}") from error

    async def _dial(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        options = self._options
        if options.credentials is not None:
            return await options.credentials.connect(host, port, datacenter=options.abroad)
        return await asyncio.open_connection(host, port)

    async def _greet(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Connection:
        if self._stopped:
            writer.transport.abort()
            raise Unreachable("this node stops")
        keep_alive(writer.get_extra_info("socket"))
        writer.write(wire.RPC_BYTE)
        connection = Connection(reader, writer)
        connection.send(wire.Hello(wire.VERSION, self._options.node, self._options.datacenter))
        self._tasks.start(self._run(address, connection), name=f"rpc to {address}")
        try:
            async with asyncio.timeout(self._options.connect_seconds):
                await asyncio.shield(connection.greeted)
        except TimeoutError:
            connection.close()
            raise Unreachable("it does not introduce itself") from None
        except asyncio.CancelledError:
            connection.close()
            raise
        if connection.refused is not None:
            raise connection.refused
        if connection.closed:
            # A server looks at our certificate after we believe the handshake to be over.
            guess = self._options.credentials is not None and not connection.turned_away
            asks = "; does it refuse our certificate?" if guess else ""
            raise Unreachable(f"{connection.reason}{asks}")
        return connection

    async def _run(self, address: str, connection: Connection) -> None:
        try:
            await connection.run()
            self._tell(address, connection)
        finally:
            if self._connections.get(address) is connection:
                del self._connections[address]

    def _tell(self, address: str, connection: Connection) -> None:
        """Say in the log, not too often, that a server does not want this node."""
        now = asyncio.get_running_loop().time()
        if connection.turned_away and now - self._told >= WARN_SECONDS:
            self._told = now
            log.warning("%s: %s", address, connection.reason)

    async def read(
        self, address: str, query: Query[T], options: ReadOptions, *, forwarded: bool = False
    ) -> Answer[T]:
        """Read from that server. Raises what the server raised, or Unreachable."""
        connection = await self._connection(address)
        seconds = self._options.call_seconds + (options.wait if options.index else 0.0)
        reply = await connection.call(
            lambda number: wire.Read(number, query, options, forwarded, self._abroad),  # type: ignore[arg-type]  # AnyQuery lists every Query.
            seconds,
        )
        return _answer(query, reply)

    async def write(
        self, address: str, command: Command[T], options: WriteOptions, *, forwarded: bool = False
    ) -> T:
        """Write through that server. Raises OutcomeUnknown when the connection breaks meanwhile."""
        wrote = await self._act(
            address,
            lambda number: wire.Write(number, command, options, forwarded, self._abroad),  # type: ignore[arg-type]  # AnyCommand lists every Command.
        )
        result: T = unpack(bytes(wrote.value), command.result)
        return result

    async def operate(
        self, address: str, order: Order[T], options: OrderOptions, *, forwarded: bool = False
    ) -> T:
        """Have that server carry out an order, or the leader through it.

        Raises OutcomeUnknown when the connection breaks meanwhile; Unreachable instead when the
        order may be repeated.
        """
        try:
            wrote = await self._act(
                address,
                lambda number: wire.Operate(number, order, options, forwarded, self._abroad),  # type: ignore[arg-type]  # AnyOrder lists every Order.
                bound=options.where == "here" or not order.repeatable,
            )
        except OutcomeUnknown as error:
            if order.repeatable:
                raise Unreachable(error.message) from error
            raise
        result: T = unpack(bytes(wrote.value), order.outcome)
        return result

    async def _act(
        self, address: str, make: Callable[[int], wire.Request], *, bound: bool = False
    ) -> wire.Wrote:
        connection = await self._connection(address)
        try:
            reply = await connection.call(make, self._options.call_seconds, bound=bound)
        except Unreachable as error:
            raise OutcomeUnknown(error.message) from error
        if isinstance(reply, wire.Failed) and reply.code == GONE:
            raise OutcomeUnknown(reply.message)
        if not isinstance(reply, wire.Wrote):
            raise _failure(reply)
        return reply

    async def status(self, address: str, datacenter: str = "") -> ServerStatus:
        """Ask that server who leads and who votes."""
        connection = await self._connection(address)
        reply = await connection.call(
            lambda number: wire.AskStatus(number, datacenter, self._abroad),
            self._options.call_seconds,
        )
        if not isinstance(reply, wire.Status):
            raise _failure(reply)
        return reply.status

    async def watch(
        self, address: str, query: Query[T], options: ReadOptions
    ) -> AsyncGenerator[Answer[T], None]:
        """The answers that server sends. Raises Unreachable when the connection breaks."""
        connection = await self._connection(address)
        number, queue = connection.open_request(WATCH_QUEUE_MAX)
        try:
            connection.send(wire.Watch(number, query, options))  # type: ignore[arg-type]  # AnyQuery lists every Query.
            while True:
                yield _answer(query, await queue.get())
        finally:
            connection.end_request(number, answered=False)


def keep_alive(stream: socket.socket) -> None:
    """Notice within seconds an other side whose machine vanished without a word."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)


def _answer(query: Query[T], reply: wire.Reply) -> Answer[T]:
    if not isinstance(reply, wire.Answered):
        raise _failure(reply)
    value: T = unpack(bytes(reply.value), query.answer)
    return Answer(value, reply.index, reply.known_leader, reply.last_contact)


def _failure(reply: wire.Reply) -> MeshError:
    if isinstance(reply, wire.Failed):
        if reply.code == GONE:
            return Unreachable(reply.message)
        if reply.code == Outdated.code:
            return Outdated(reply.message, reply.index or reply.applied)
        return from_code(reply.code, reply.message)
    return Internal(f"the server answered with an unexpected {type(reply).__name__}")
