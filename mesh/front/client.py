"""A worker's HTTP: answers what is kept, and hands everything else to the main process."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import msgspec

from mesh.accepting import leave
from mesh.clock import Clock
from mesh.front import frames
from mesh.front.frames import Done, Frames, Kind, frame
from mesh.front.keep import RESPONSE_MAX_BYTES, Responses
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

HEAD_MAX_BYTES = 2048
"""Longer heads are never kept."""
BUFFER_MAX_BYTES = 256 * 1024
"""So much may wait for the main process before its client is read no further."""
WARN_SECONDS = 60.0
SWEEP_SECONDS = (0.02, 2.0)
"""How often idle clients are looked for: some times within the patience with them."""


class Fronting:
    """The clients' connections of one worker. `hand_over` gives the main process a socket."""

    def __init__(
        self, responses: Responses, clock: Clock, hand_over: Callable[[socket.socket], None]
    ) -> None:
        self.responses, self.clock = responses, clock
        self.hand_over = hand_over
        self.idle_seconds, self.write_stall_seconds = 180.0, 60.0
        self.halted = False
        self.slow = 0
        """Clients that were cut off because they took nothing."""
        self._warned = -math.inf
        self.connections: set[Client] = set()
        self.tasks = Tasks()
        self._servers: list[asyncio.Server] = []

    async def start(self, listeners: list[socket.socket]) -> None:
        """Take the clients that come to these sockets."""
        if self.halted:
            return
        loop = asyncio.get_running_loop()
        for one in listeners:
            server = await loop.create_server(lambda: Client(self), sock=one, backlog=1024)
            self._servers.append(server)
        _ = self.tasks.start(self._sweep(), name="front sweep")

    def halt(self) -> None:
        """Take no more clients, and let go of those that ask nothing."""
        self.halted = True
        for server in self._servers:
            leave(server)
        for connection in list(self.connections):
            connection.end()

    async def _sweep(self) -> None:
        while True:
            shortest = min(self.idle_seconds, self.write_stall_seconds)
            await self.clock.sleep(min(max(shortest / 4, SWEEP_SECONDS[0]), SWEEP_SECONDS[1]))
            now = self.clock.monotonic()
            for connection in list(self.connections):
                connection.sweep(now)

    def warn(self, error: OSError) -> None:
        """Say, now and then, that clients cannot be served."""
        if (now := self.clock.monotonic()) >= self._warned + WARN_SECONDS:
            self._warned = now
            log.warning("connections are refused: %s", error.strerror or error)


class Client(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, owner: Fronting) -> None:
        self._owner, self._responses = owner, owner.responses
        self._transport: asyncio.Transport
        self._peer: tuple[str, int]
        self._link: _Link | None = None
        self._sent = self._done = 0  # Bytes handed over, and those of them that are answered.
        self._head = b""
        self._response: list[bytes] | None = None  # To what is handed over, if it may be kept.
        self._size = 0
        self._stalled = self._ending = self._hit = self._ended = False
        self._early: bytes | None = b""  # What came before the main process took the client.
        self._unsent = 0
        self._active = self._moved = owner.clock.monotonic()

    # The client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The main process counts the connection, and may refuse it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer: tuple[Any, ...] = transport.get_extra_info("peername") or ("", 0)
        self._peer = (peer[0], peer[1])
        self._owner.connections.add(self)
        self._link = _Link(self, self._owner)
        if self._owner.halted:
            self.end()

    @property
    def peer(self) -> tuple[str, int]:
        """The client's address."""
        return self._peer

    def data_received(self, data: bytes) -> None:
        """Answer it, or hand it over."""
        if self._early is not None:
            self._early += data
            if len(self._early) > BUFFER_MAX_BYTES:
                self._transport.pause_reading()
            return
        if self._sent == self._done:
            if not self._stalled and (response := self._responses.take(data, self._peer[0])):
                self._transport.write(response)
                self._hit = True
                return
            keeps = len(data) <= HEAD_MAX_BYTES and data.endswith(b"\r\n\r\n")
            self._head, self._response, self._size = data, [] if keeps else None, 0
        else:
            self._response = None
        if self._link is None:  # It was idle, so everything is answered.
            self._link, self._sent, self._done = _Link(self, self._owner), 0, 0
        self._sent += len(data)
        self._link.write(frames.data(data))

    def eof_received(self) -> bool:
        """The client sends no more; what it asked is answered."""
        if self._early:
            self._ended = True
            return True
        if self._link is None or self._sent == self._done:
            return False
        self._link.write(frame(Kind.END))
        return True

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """What it asked is not wanted any more."""
        self._owner.connections.discard(self)
        if self._link is not None:
            self._link.abort()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is answered."""
        self._stalled = True
        if self._link is not None:
            self._link.pause(paused=True)

    def resume_writing(self) -> None:
        """It read enough."""
        self._stalled = False
        if self._link is not None:
            self._link.pause(paused=False)

    def read_on(self, on: bool) -> None:
        """Take more from the client, or no more for now."""
        if not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def end(self) -> None:
        """Close it once nothing is under way."""
        self._ending = True
        if self._sent == self._done:
            self._transport.close()

    def sweep(self, now: float) -> None:
        """Close it if it was idle for long; say that it is not, if it was at work."""
        owner, unsent = self._owner, self._transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._moved = now
        self._unsent = unsent
        if now - self._moved > owner.write_stall_seconds:
            owner.slow += 1
            self._transport.abort()  # To close it would wait for the client.
        elif self._hit or unsent:
            self._hit, self._active = False, now
            if self._link is not None:
                self._link.write(frame(Kind.STAY))
        elif self._sent == self._done and now - self._active > owner.idle_seconds:
            self._transport.close()

    # The main process

    def answered(self, kind: int, body: bytes) -> None:
        """The main process says something."""
        if kind == Kind.DATA:
            self._transport.write(body)
            if self._response is not None:
                self._response.append(body)
                self._size += len(body)
                if self._size > RESPONSE_MAX_BYTES:
                    self._response = None
        elif kind == Kind.DONE:
            self._finished(msgspec.msgpack.decode(body, type=Done))
        elif kind == Kind.END:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        elif kind == Kind.CLOSE and self._sent != self._done:
            self._ending = True
            self._transport.close()

    def _finished(self, done: Done) -> None:
        if self._early is not None:
            self._accepted(self._early)
            return
        self._done = done.received
        if self._sent != self._done:
            return
        self._active = self._owner.clock.monotonic()
        if done.terms is not None and self._response:
            self._responses.keep(self._head, b"".join(self._response), done.terms)
        self._response = None
        if self._ending:
            self._transport.close()

    def _accepted(self, early: bytes) -> None:
        """The main process took the client: now it is answered."""
        self._early = None
        if early:
            self.data_received(early)
            self.read_on(on=True)
        if self._ended and not self.eof_received():
            self._transport.close()

    def unlinked(self, *, refused: bool) -> None:
        """The main process has let go of the connection."""
        self._link = None
        if self._sent == self._done and not refused:
            return  # It was idle for long there; here it goes on.
        if self._ending or refused:
            self._transport.close()
        else:
            self._transport.abort()


class _Link(asyncio.Protocol):
    """The connection to the main process for one client."""

    def __init__(self, client: Client, owner: Fronting) -> None:
        self._client: Client | None = client
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._waiting = [frame(Kind.OPEN, msgspec.msgpack.encode(client.peer))]
        self._paused = self._refused = False
        owner.tasks.start(self._connect(owner), name="front link")

    async def _connect(self, owner: Fronting) -> None:
        with ExitStack() as opened:
            try:
                ours, theirs = map(opened.enter_context, socket.socketpair())
                ours.setblocking(False)
                owner.hand_over(theirs)
                opened.pop_all()  # Theirs is closed once it is sent.
                await asyncio.get_running_loop().create_connection(lambda: self, sock=ours)
            except OSError as error:
                owner.warn(error)
                self._refused = True
                self.connection_lost(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what has waited."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._client is None:
            transport.abort()
            return
        transport.write(b"".join(self._waiting))
        self._waiting.clear()
        self._client.read_on(on=True)
        if self._paused:
            transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send frames."""
        if self._transport is None:
            self._waiting.append(data)
            if self._client is not None and sum(map(len, self._waiting)) > BUFFER_MAX_BYTES:
                self._client.read_on(on=False)
        else:
            self._transport.write(data)

    def pause(self, *, paused: bool) -> None:
        """Take no more of what is said, or go on."""
        self._paused = paused
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def abort(self) -> None:
        """The client is gone."""
        self._client = None
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what the main process says."""
        for kind, body in self._frames.feed(data):
            if self._client is None:
                return
            self._refused = kind == Kind.CLOSE
            self._client.answered(kind, body)

    def eof_received(self) -> bool:
        """The main process closes it."""
        return False

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002
        """It is closed."""
        client, self._client = self._client, None
        if client is not None:
            client.unlinked(refused=self._refused)

    def pause_writing(self) -> None:
        """The main process does not read as fast as the client sends."""
        if self._client is not None:
            self._client.read_on(on=False)

    def resume_writing(self) -> None:
        """It read enough."""
        if self._client is not None:
            self._client.read_on(on=True)
