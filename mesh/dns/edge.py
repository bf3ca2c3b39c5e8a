"""The DNS edge: UDP, TCP and TLS in front of a resolver (RFC 1035, RFC 7766, RFC 7858)."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

from mesh.accepting import arrived, leave
from mesh.clock import Clock
from mesh.dns import message
from mesh.dns.allowance import Allowance
from mesh.dns.datagrams import Datagrams, Source
from mesh.dns.encrypted import Encrypted, Serving
from mesh.dns.lines import line
from mesh.dns.options import Options
from mesh.errors import Conflict, Invalid
from mesh.sockets import bind
from mesh.tasks import Tasks, turn

log = logging.getLogger(__name__)

BATCH_MAX = 64  # Datagrams taken from a socket before others have their turn.
TURN_SECONDS = 0.005  # Nor are others kept waiting longer, however large the answers are.
QUEUE_MAX = 4096  # Datagrams that wait to be answered; more are dropped.
WORKERS_MAX = 256  # Questions that wait for the registry at a time.
TURN_BYTES = 8192  # After an answer so large, which took a while, others have their turn.
RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
TCP_BACKLOG = 128
TCP_WAITING_MAX = 8  # Questions of one connection that wait for others; then it is read no further.
TCP_BUFFER_BYTES = 64 * 1024  # Questions read ahead on one connection.
SAME_PORT_TRIES = 16
SWEEP_SECONDS = 1.0

_LENGTH = struct.Struct("!H")


class _Datagram(NamedTuple):
    listener: Datagrams
    data: bytes
    peer: Any
    source: Source


class _Connection:
    """A TCP connection and when it last brought a question or took an answer."""

    def __init__(self, writer: asyncio.StreamWriter, now: float) -> None:
        self.writer = writer
        self.active_at = now
        self.waiting: set[asyncio.Task[None]] = set()
        """Questions whose answers need others; those behind them are answered meanwhile."""


class Questions(Protocol):
    """Who answers questions: bytes in, bytes out."""

    counters: dict[str, int]

    def turn(self) -> None:
        """Call it before messages that are answered at once, one after the other."""

    def at_once(self, data: bytes, *, tcp: bool) -> bytes | None:
        """The answer to one message if it can be had without waiting."""

    async def resolve_anew(self, data: bytes, *, tcp: bool, peer: str = "") -> bytes | None:
        """The answer to one message from this address; None when it is to be dropped."""


Pair = tuple[socket.socket, socket.socket]
"""A UDP and a TCP socket on one port."""
Listening = tuple[Datagrams, asyncio.Server]
"""The same while they are answered on."""


class DnsEdge:
    """Answers DNS on every address of the options, UDP and TCP on the same port.

    `counters` counts what happened since the start; `addresses` are those bound, `tls_addresses`
    those for TLS, for which `serving` has the certificate. `copies` has so many more pairs of
    sockets share each address with ours, for others to answer there: `shares` of each of them.
    """

    def __init__(
        self,
        resolver: Questions,
        options: Options,
        clock: Clock,
        serving: Serving | None = None,
        *,
        copies: int = 0,
    ) -> None:
        assert serving is not None or not options.tls_addresses, "TLS needs a certificate"
        self.addresses: list[tuple[str, int]] = []
        self.tls_addresses: list[tuple[str, int]] = []
        self.shares: list[list[Pair]] = [[] for _ in range(copies)]
        self._serving = serving
        self._encrypted: list[Encrypted] = []
        self._questions = resolver
        self.counters = resolver.counters
        self._options = options
        self._allowance = Allowance(options.udp_rate)
        self._clock = clock
        self._tasks = Tasks()
        self._listening: list[Listening] = []
        self._adopted: dict[int, list[Listening]] = {}
        self._queue: deque[_Datagram] = deque()
        self._workers = 0
        self._connections: set[_Connection] = set()
        self._logs = False
        """Whether every question is logged; looked up now and then, not each time."""

    async def start(self, given: Sequence[Pair] = ()) -> None:
        """Answer on the sockets given, else bind some.

        Raises Conflict when a port cannot be had, Invalid for a bad address.
        """
        self._logs = log.isEnabledFor(logging.DEBUG)
        try:
            for pair in given:
                self._listening.append(await self._answer_on(*pair))
            for host, port in () if given else self._options.addresses:
                first, *others = _bind(host, port, len(self.shares))
                for share, pair in zip(self.shares, others, strict=True):
                    share.append(pair)
                self._listening.append(await self._answer_on(*first))
                self.addresses.append(first[0].getsockname()[:2])
            for host, port in self._options.tls_addresses:
                self._listen_encrypted(host, port)
        except BaseException:
            await self.stop()
            raise
        _ = self._tasks.start(self._sweep(), name="dns sweep")

    async def stop(self) -> None:
        """Stop answering and close every socket."""
        for number in list(self._adopted):
            self.release(number)
        for listening in self._listening:
            self._leave(listening)
        await arrived()
        for connection in list(self._connections):
            connection.writer.transport.abort()
        for encrypted in self._encrypted:
            await encrypted.stop()
        for pair in itertools.chain(*self.shares):
            for one in pair:
                one.close()
        for share in self.shares:
            share.clear()
        await self._tasks.stop()
        self._listening.clear()
        self._encrypted.clear()
        self._queue.clear()
        self.addresses.clear()
        self.tls_addresses.clear()

    def reload(self, options: Options) -> None:
        """Answer by these options from now on; the addresses stay."""
        self._allowance.most = options.udp_rate
        self._options = options

    async def _answer_on(self, udp: socket.socket, tcp: socket.socket) -> Listening:
        listener = Datagrams(udp)
        stream = await asyncio.start_server(
            self._connected, sock=tcp, backlog=TCP_BACKLOG, limit=TCP_BUFFER_BYTES
        )
        asyncio.get_running_loop().add_reader(udp, self._readable, listener)
        return listener, stream

    def _leave(self, listening: Listening) -> None:
        listener, stream = listening
        asyncio.get_running_loop().remove_reader(listener.socket)
        listener.socket.close()
        leave(stream)

    async def adopt(self, number: int) -> None:
        """Answer at a share of the sockets here, until somebody else does."""
        self._adopted[number] = [
            await self._answer_on(udp.dup(), tcp.dup()) for udp, tcp in self.shares[number]
        ]

    def release(self, number: int) -> None:
        """Leave that share to somebody else."""
        for listening in self._adopted.pop(number, ()):
            self._leave(listening)

    def _listen_encrypted(self, host: str, port: int) -> None:
        assert self._serving is not None
        (listening,) = _open(_family(host), socket.SOCK_STREAM, host, port)
        listening.listen(TCP_BACKLOG)
        made = Encrypted(listening, self._serving, self._welcome, self.counters)
        made.start()
        self._encrypted.append(made)
        self.tls_addresses.append((host, listening.getsockname()[1]))

    def _readable(self, listener: Datagrams) -> None:
        self._questions.turn()
        until = self._clock.monotonic() + TURN_SECONDS
        for number in range(BATCH_MAX):
            if number % 8 == 7 and self._clock.monotonic() >= until:
                break  # What is left makes the socket readable again.
            try:
                data, peer, source = listener.receive()
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # What an earlier answer met: nobody listens there any more.
            if (response := self._questions.at_once(data, tcp=False)) is not None:
                self._send(listener, data, response, peer, source)
            elif len(self._queue) >= QUEUE_MAX:
                self.counters["dropped"] += 1
            else:
                self._queue.append(_Datagram(listener, data, peer, source))
        self._work()

    def _work(self) -> None:
        """Have a worker for what waits; one more each turn while those there are held up."""
        if self._queue and self._workers < WORKERS_MAX:
            self._workers += 1
            _ = self._tasks.start(self._answer_queue(), name="dns datagrams")
            asyncio.get_running_loop().call_soon(self._work)

    async def _answer_queue(self) -> None:
        try:
            while self._queue:
                asked = self._queue.popleft()
                response = await self._questions.resolve_anew(
                    asked.data, tcp=False, peer=_host(asked.peer)
                )
                if response is None:
                    self.counters["dropped"] += 1
                    continue
                self._send(asked.listener, asked.data, response, asked.peer, asked.source)
                if len(response) > TURN_BYTES:
                    await self._clock.sleep(0)
        finally:
            self._workers -= 1

    def _send(
        self, listener: Datagrams, data: bytes, response: bytes, peer: Any, source: Source
    ) -> None:
        more = len(response) - len(data)
        if more > 0 and not self._allowance.take(peer[0], more):
            self.counters["limited"] += 1
            response = message.curtailed(response)
        if self._logs:
            log.debug("%s", line(data, response, _host(peer), "udp"))
        try:
            listener.send(response, peer, source)
        except OSError:
            self.counters["dropped"] += 1  # The client asks again, as it does for a lost datagram.

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_full(writer):
            return
        self.counters["tcp_connections"] += 1
        _ = self._tasks.start(self._serve(reader, self._admitted(writer)), name="dns connection")

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection that speaks TLS, until it ends."""
        if self._is_full(writer):
            return
        await self._serve(reader, self._admitted(writer))

    def _is_full(self, writer: asyncio.StreamWriter) -> bool:
        """Whether there are too many connections; then this one is closed."""
        full = len(self._connections) >= self._options.tcp_connections
        if full:
            self.counters["tcp_refused"] += 1
            writer.transport.abort()
        return full

    def _admitted(self, writer: asyncio.StreamWriter) -> _Connection:
        connection = _Connection(writer, self._clock.monotonic())
        self._connections.add(connection)
        return connection

    async def _serve(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        writer = connection.writer
        peer = _host(writer.get_extra_info("peername"))
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(2))
                data = await reader.readexactly(length)
                connection.active_at = self._clock.monotonic()
                self._questions.turn()
                if (response := self._questions.at_once(data, tcp=True)) is not None:
                    await self._write(connection, data, response)
                    continue
                later = self._tasks.start(
                    self._answer_later(connection, data, peer), name="dns question"
                )
                connection.waiting.add(later)
                later.add_done_callback(connection.waiting.discard)
                await turn()  # Most need not wait after all, and keep their place.
                if len(connection.waiting) >= TCP_WAITING_MAX:
                    await asyncio.wait(connection.waiting, return_when=asyncio.FIRST_COMPLETED)
        except (asyncio.IncompleteReadError, OSError):
            # The client asks no more; what it asked before is still answered.
            if connection.waiting:
                await asyncio.wait(connection.waiting)
        finally:
            self._connections.discard(connection)
            for later in connection.waiting:
                later.cancel()
            writer.close()

    async def _answer_later(self, connection: _Connection, data: bytes, peer: str) -> None:
        response = await self._questions.resolve_anew(data, tcp=True, peer=peer)
        if response is None:
            self.counters["dropped"] += 1
            connection.writer.close()
        elif not connection.writer.is_closing():
            with suppress(OSError):
                await self._write(connection, data, response)

    async def _write(self, connection: _Connection, data: bytes, response: bytes) -> None:
        """Send the answer to a question. Raises OSError when the client is gone."""
        if self._logs:
            peer = _host(connection.writer.get_extra_info("peername"))
            log.debug("%s", line(data, response, peer, "tcp"))
        connection.writer.write(_LENGTH.pack(len(response)) + response)
        await connection.writer.drain()
        if len(response) > TURN_BYTES:
            await self._clock.sleep(0)
        connection.active_at = self._clock.monotonic()

    async def _sweep(self) -> None:
        """Each second give new allowances and close idle connections."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self._allowance.renew()
            self._logs = log.isEnabledFor(logging.DEBUG)
            oldest = self._clock.monotonic() - self._options.tcp_idle_seconds
            for connection in list(self._connections):
                if connection.active_at < oldest:
                    self.counters["tcp_idle_closed"] += 1
                    connection.writer.transport.abort()


def _host(peer: Any) -> str:
    """The IP address out of a socket's address."""
    return str(peer[0]).partition("%")[0] if peer else ""


def _bind(host: str, port: int, copies: int) -> list[Pair]:
    """UDP and TCP sockets on the same port. Raises Conflict naming what cannot be had."""
    family = _family(host)
    for attempt in range(SAME_PORT_TRIES):
        udp = _open(family, socket.SOCK_DGRAM, host, port, copies)
        try:
            tcp = _open(family, socket.SOCK_STREAM, host, udp[0].getsockname()[1], copies)
        except BaseException as error:
            for one in udp:
                one.close()
            if isinstance(error, Conflict) and not port and attempt < SAME_PORT_TRIES - 1:
                continue
            raise
        return list(zip(udp, tcp, strict=True))
    raise AssertionError("the last try returns or raises")


def _family(host: str) -> int:
    try:
        return socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
    except ValueError as error:
        raise Invalid(f'DNS address: "{host}" is not an IP address') from error


def _open(family: int, kind: int, host: str, port: int, copies: int = 0) -> list[socket.socket]:
    try:
        listeners = bind((family, kind), host, port, copies)
    except OSError as error:
        protocol = "TCP" if kind == socket.SOCK_STREAM else "UDP"
        reason = os.strerror(error.errno or errno.EIO)
        raise Conflict(f"cannot answer DNS on {host} port {port} ({protocol}): {reason}") from error
    if kind == socket.SOCK_DGRAM:
        for one in listeners:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return listeners
