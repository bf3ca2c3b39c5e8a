"""Accepting connections on the server port, over mutual TLS where there are credentials."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from mesh.errors import Conflict
from mesh.tasks import Tasks
from mesh.tls import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, Credentials, explain

log = logging.getLogger(__name__)

BACKLOG = 512
HANDSHAKES_MAX = 512
ACCEPTS_AT_ONCE = 16
WARN_SECONDS = 60.0
EXHAUSTED_SECONDS = 1.0

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Hands each connection to `serve` once its handshake is done; the others are counted.

    It accepts by hand because `asyncio.start_server` tells nobody of a handshake that failed, and
    keeps the certificates it began with.
    """

    def __init__(
        self,
        serve: Serve,
        credentials: Credentials | None,
        counters: Counter[str],
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._serve, self._credentials, self._counters = serve, credentials, counters
        self._handshake_seconds = handshake_seconds
        self._tasks = Tasks()
        self._socket: socket.socket | None = None
        self._handshakes: dict[socket.socket, asyncio.Task[None]] = {}  # Oldest first.
        self._new: set[socket.socket] = set()  # Their tasks have not begun yet.
        self._warned = float("-inf")

    def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises Conflict, naming the address, when it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port} (server port): {error}") from error
        self._socket.setblocking(False)
        self._listen(self._socket)
        bound: int = self._socket.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        listening, self._socket = self._socket, None
        if listening is not None:
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        await self._tasks.stop()

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
            except OSError as error:  # Out of file descriptors, most likely.
                log.warning("cannot accept connections on the server port: %s", error)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening)
                loop.call_later(EXHAUSTED_SECONDS, self._listen, listening)
                return
            connection.setblocking(False)
            self._admit(connection, address)

    def _admit(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        if len(self._handshakes) >= HANDSHAKES_MAX:
            # An honest handshake takes milliseconds: the oldest is most likely a silent one.
            self._counters["refused"] += 1
            self._handshakes.pop(next(iter(self._handshakes))).cancel()
        self._counters["connections"] += 1
        task = self._tasks.start(self._welcome(connection, address), name="rpc connection")
        self._handshakes[connection] = task
        self._new.add(connection)
        task.add_done_callback(partial(self._ended, connection))

    def _ended(self, connection: socket.socket, _: asyncio.Task[None]) -> None:
        """Close what was cancelled before it began; all others close it themselves."""
        if connection in self._new:
            self._new.discard(connection)
            self._handshakes.pop(connection, None)
            connection.close()

    async def _welcome(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        self._new.discard(connection)
        try:
            reader, writer = await self._open(connection)
        except OSError as error:
            self._failed(address, error)
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._handshakes.pop(connection, None)
        await self._serve(reader, writer)

    async def _open(
        self, connection: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        if self._credentials is None:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection)
        else:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._credentials.listening,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _failed(self, address: tuple[object, ...], error: OSError) -> None:
        self._counters["handshakes_failed"] += 1
        now, level = asyncio.get_running_loop().time(), logging.DEBUG
        if now - self._warned >= WARN_SECONDS:
            self._warned, level = now, logging.WARNING
        count = self._counters["handshakes_failed"]
        log.log(
            level,
            "TLS handshake with %s:%s failed: %s (%d so far)",
            *address[:2],
            explain(error),
            count,
        )
