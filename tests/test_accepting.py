"""Servers that take no more clients."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mesh.accepting import arrived, leave
from mesh.tasks import turn

SECONDS = 10.0


class Greeter(asyncio.Protocol):
    """Says one word to each client and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.mark.parametrize("turns", range(6))
async def test_who_comes_as_a_server_is_left_is_served_or_refused(turns: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Greeter, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    with socket.create_connection(address) as client:
        client.setblocking(False)
        # After how many turns the connection is half made, is the business of asyncio.
        for _ in range(turns):
            await turn()
        leave(server)
        await arrived()
        try:
            async with asyncio.timeout(SECONDS):
                assert await loop.sock_recv(client, 10) == b"hello"
        except ConnectionResetError:
            assert turns < 2
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
