"""Accepting connections by hand, seeing each through its handshake, and taking no more."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from mesh.tasks import Tasks, turn
from mesh.tls import SHUTDOWN_SECONDS

ACCEPTS_AT_ONCE = 16
EXHAUSTED_SECONDS = 1.0  # Until the next try when there are no file descriptors.

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What is done with a connection whose handshake is done; closing it is its business."""
Serving: TypeAlias = Callable[[], ssl.SSLContext | None]
"""What to show to the next client; None for plain TCP."""


class Hears:
    """Hears of connections; of nothing that it does not say."""

    def accepted(self) -> None:
        """Somebody has connected."""

    def crowded_out(self) -> None:
        """Somebody whose handshake was not done had to give way."""

    def welcomed(self) -> None:
        """A handshake is done."""

    def failed(self, address: tuple[object, ...], error: OSError) -> None:
        """A handshake came to nothing. So are errors of TLS."""

    def exhausted(self, error: OSError) -> None:
        """Nobody can be accepted for a while, most likely for want of file descriptors."""


class Accepting:
    """A listening socket, whose connections are served once their handshake is done.

    `asyncio.start_server` tells nobody of a handshake that failed, and keeps the certificates it
    began with. Of more handshakes than `handshakes_max` the oldest gives way: an honest one takes
    milliseconds, so it is most likely a silent one.
    """

    def __init__(
        self,
        name: str,
        serve: Serve,
        serving: Serving,
        hears: Hears,
        *,
        handshakes_max: int,
        handshake_seconds: float,
    ) -> None:
        """The name is that of its tasks."""
        self._name, self._serve, self._serving, self._hears = name, serve, serving, hears
        self.handshakes_max, self._handshake_seconds = handshakes_max, handshake_seconds
        self.tasks = Tasks()
        self.handshakes: dict[socket.socket, asyncio.Task[None]] = {}  # Oldest first.
        self._new: set[socket.socket] = set()  # Their tasks have not begun yet.
        self._socket: socket.socket | None = None

    def start(self, listening: socket.socket) -> None:
        """Accept from this socket, which listens, from now on; it is closed at the end."""
        listening.setblocking(False)
        self._socket = listening
        self._listen(listening)

    def shut(self) -> None:
        """Listen no more; what is served already goes on."""
        listening, self._socket = self._socket, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        self.shut()
        await self.tasks.stop()

    def _listen(self, listening: socket.socket) -> None:
        if self._socket is listening:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Take a few of those who wait, so that a flood of them does not stop everything else."""
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionError):
                return  # No more, or it went before it was accepted.
            except OSError as error:
                self._hears.exhausted(error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(EXHAUSTED_SECONDS, self._listen, listening)
                return
            connection.setblocking(False)
            self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        if len(self.handshakes) >= self.handshakes_max:
            self._hears.crowded_out()
            self.handshakes.pop(next(iter(self.handshakes))).cancel()
        self._hears.accepted()
        task = self.tasks.start(self._welcome(connection, address), name=self._name)
        self.handshakes[connection] = task
        self._new.add(connection)
        task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, _: asyncio.Task[None]) -> None:
        """Close what was cancelled before it began; all others close it themselves."""
        if connection in self._new:
            self._new.discard(connection)
            self.handshakes.pop(connection, None)
            connection.close()

    async def _welcome(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        self._new.discard(connection)
        try:
            reader, writer = await self._open(connection)
        except OSError as error:
            self._hears.failed(address, error)
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self.handshakes.pop(connection, None)
        self._hears.welcomed()
        await self._serve(reader, writer)

    async def _open(
        self, connection: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        context = self._serving()
        if context is None:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        else:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def leave(server: asyncio.Server) -> None:
    """Take no more clients there. Who has been accepted already is served.

    `close` alone leaves one open and unserved that is accepted in the same turn of the loop
    (github.com/python/cpython/issues/109564).
    """
    loop = server.get_loop()
    for one in server.sockets:
        loop.remove_reader(one.fileno())
    loop.call_soon(server.close)


async def arrived() -> None:
    """Wait, after `leave`, until who was accepted just before has become a connection."""
    for _ in range(2):
        await turn()
