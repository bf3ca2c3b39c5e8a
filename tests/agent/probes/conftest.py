"""What probes need to run, and gRPC servers made by others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import pytest

from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.target import Contexts
from mesh.agent.reading import check_definition

STATES = {b"": b"\x08\x01", b"\x0a\x06orders": b"\x08\x02", b"\x0a\x04zero": b""}
Serve = Callable[..., str]


def check(**fields: Any) -> CheckDefinition:
    return check_definition({"Name": "c", "Interval": "1s", "Timeout": "5s"} | fields)


@pytest.fixture
def contexts() -> Contexts:
    return Contexts(None)


class Health(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types.
    """The standard health service: the server serves, `orders` does not."""

    def service(self, details: Any) -> Any:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self.check)

    def check(self, request: bytes, context: Any) -> bytes:
        if request not in STATES:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service, señor")
        return STATES[request]


@pytest.fixture
def grpc_server() -> Iterator[Serve]:
    """Starts servers with these credentials; tells the address."""
    made = []
    pool = ThreadPoolExecutor(2)

    def serve(credentials: Any = None, *, healthy: bool = True) -> str:
        server = grpc.server(pool)
        if healthy:
            server.add_generic_rpc_handlers((Health(),))
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        made.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in made:
        server.stop(None).wait()
    pool.shutdown()


@asynccontextmanager
async def saying(answer: bytes | None, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says this and hangs up, or with None says nothing; gives its address."""
    open_ones: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(writer)
        with suppress(OSError):
            if answer is None:
                await reader.read()
            else:
                await reader.read(10)
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in open_ones:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()
