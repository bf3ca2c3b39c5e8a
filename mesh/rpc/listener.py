"""Accepting connections on the server port, over mutual TLS where there are credentials."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

from mesh.errors import Conflict
from mesh.tasks import Tasks
from mesh.tls import HANDSHAKE_SECONDS, SHUTDOWN_SECONDS, Credentials, explain

log = logging.getLogger(__name__)

BACKLOG = 512
HANDSHAKES_MAX = 512
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
        self._stopping = asyncio.Event()
        self._socket: socket.socket | None = None
        self._shaking: dict[asyncio.Task[None], None] = {}  # Oldest first.
        self._warned = float("-inf")

    def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises Conflict, naming the address, when it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port} (server port): {error}") from error
        self._socket.setblocking(False)
        self._tasks.start(self._accept(self._socket), name="server port", fatal=True)
        bound: int = self._socket.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        self._stopping.set()
        await self._tasks.stop()
        if self._socket is not None:
            self._socket.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            try:
                connection, address = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # It went before it was accepted.
            except OSError as error:  # Out of file descriptors, most likely.
                log.warning("cannot accept connections on the server port: %s", error)
                await self._pause()
                continue
            if len(self._shaking) >= HANDSHAKES_MAX:
                # Who means it is done in milliseconds, and need not wait behind those who do not.
                self._counters["refused"] += 1
                oldest = next(iter(self._shaking))
                del self._shaking[oldest]
                oldest.cancel()
            self._counters["connections"] += 1
            task = self._tasks.start(self._welcome(connection, address), name="rpc connection")
            self._shaking[task] = None
            task.add_done_callback(self._shook)

    def _shook(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._shaking.pop(task, None)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(EXHAUSTED_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _welcome(self, connection: socket.socket, address: tuple[object, ...]) -> None:
        try:
            reader, writer = await self._open(connection)
        except OSError as error:
            connection.close()
            self._failed(address, error)
            return
        self._shook(asyncio.current_task())
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
