"""Registering many instances quickly: many connections, each with one request under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator

from bench.node import Node

CONNECTIONS = 64
SETTLING_SECONDS_MAX = 30.0
IDLE_SHARE = 0.03


class _Client(asyncio.Protocol):
    """Sends the next request when the last was answered."""

    def __init__(self, requests: Iterator[tuple[str, bytes]], over: asyncio.Future[None]) -> None:
        self._requests, self.over = requests, over
        self._transport: asyncio.Transport | None = None
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, end, body = self._came.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._fail(f"a registration was refused: {self._came!r}")
            return
        self._came = b""
        self._next()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._fail("the connection was closed")

    def _fail(self, reason: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(reason))

    def _next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            if not self.over.done():
                self.over.set_result(None)
            self._transport.close()
            return
        path, body = request
        head = f"PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)


def put_all(node: Node, requests: Iterable[tuple[str, bytes]]) -> None:
    """Send all these requests, each a path and a body, and wait for their answers."""
    asyncio.run(_put_all(node, iter(requests)))


async def _put_all(node: Node, requests: Iterator[tuple[str, bytes]]) -> None:
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(CONNECTIONS):
        _, client = await loop.create_connection(
            lambda: _Client(requests, loop.create_future()), "127.0.0.1", node.http
        )
        clients.append(client)
    await asyncio.gather(*(client.over for client in clients))


def settle(server: Node) -> None:
    """Wait until what was registered is packed away: snapshots of the log are made meanwhile."""
    until = time.monotonic() + SETTLING_SECONDS_MAX
    while time.monotonic() < until:
        before = server.cpu_seconds()
        time.sleep(1.0)
        if server.cpu_seconds() - before < IDLE_SHARE:
            return
