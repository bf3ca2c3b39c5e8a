"""A real HTTP server on loopback over a registry in memory, and a client that hides nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.http.server import HttpServer, Options, Parts
from tests.compat import contract
from tests.registry_memory import MemoryRegistry


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds, at the latest in five seconds."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("waited in vain")


class Got(msgspec.Struct):
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def plain(self) -> bytes:
        """The body, decompressed."""
        packed = self.headers.get("content-encoding") == "gzip"
        return gzip.decompress(self.body) if packed else self.body

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def text(self) -> str:
        assert self.headers["content-type"] == "text/plain; charset=utf-8"
        return self.body.decode()

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


def parse(data: bytes) -> Got:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return Got(int(first.split()[1]), headers, body)


class Api:
    """Asks one server, a connection a request."""

    def __init__(self, server: HttpServer, registry: MemoryRegistry) -> None:
        self.server = server
        self.registry = registry

    @property
    def address(self) -> tuple[str, int]:
        return self.server.addresses[0]

    async def raw(self, data: bytes) -> bytes:
        """Send these bytes; everything that comes back until the server closes."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(data)
            return await reader.read()
        finally:
            writer.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Got:
        lines = {"Host": "mesh", "Connection": "close", **(headers or {})}
        if body:
            lines["Content-Length"] = str(len(body))
        head = f"{method} {path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        got = parse(await self.raw(head.encode() + b"\r\n" + body))
        # What a test makes the registry raise is no answer of the operation.
        route = contract.operation(method, path) if self.registry.error is None else None
        if route is not None:
            contract.verify(route, got.status, got.headers.get("content-type", ""), got.plain)
        return got

    async def get(self, path: str, **params: object) -> Got:
        return await self.ask("GET", f"{path}?{urlencode(params)}" if params else path)

    async def put(self, path: str, body: bytes | str | dict[str, Any] = b"") -> Got:
        if isinstance(body, dict):
            body = json.dumps(body)
        return await self.ask("PUT", path, body if isinstance(body, bytes) else body.encode())

    async def delete(self, path: str) -> Got:
        return await self.ask("DELETE", path)

    async def register(self, node: str, service: str = "", **more: Any) -> None:
        body: dict[str, Any] = {"Node": node, "Address": "10.0.0.1"}
        if service:
            body["Service"] = {"Service": service, **more.pop("Instance", {})}
        got = await self.put("/v1/catalog/register", body | more)
        assert (got.status, got.body) == (200, b"true"), got

    async def blocked(self, count: int = 1) -> None:
        """Return when so many queries wait in the registry."""
        await until(lambda: self.registry.blocked == count)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Api]]]:
    servers = []

    async def start(**options: Any) -> Api:
        registry = MemoryRegistry()
        parts = Parts(registry, SystemClock(), SeededDice(1))
        options.setdefault("addresses", [("127.0.0.1", 0)])
        server = HttpServer(parts, Options(datacenter="dc1", node_name="n0", **options))
        await server.start()
        servers.append(server)
        return Api(server, registry)

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def api(serve: Callable[..., Awaitable[Api]]) -> Api:
    return await serve()
