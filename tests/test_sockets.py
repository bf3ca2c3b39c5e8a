"""Sockets at paths, and listening ones that are given up."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest

from mesh.sockets import arrived, bind_path, leave
from mesh.tasks import turn

SECONDS = 10.0


def reached(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True


def test_it_listens_with_the_permissions_that_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind_path(str(path), 0o640):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert reached(path)
        assert [one.name for one in tmp_path.iterdir()] == ["socket"]


def test_what_a_former_life_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bind_path(str(path), 0o600).close()
    assert path.is_socket()
    assert not reached(path)
    with bind_path(str(path), 0o600):
        assert reached(path)


def test_nobody_is_pushed_aside(tmp_path: Path) -> None:
    path, file = tmp_path / "socket", tmp_path / "file"
    with bind_path(str(path), 0o600):
        with pytest.raises(OSError, match="in use"):
            bind_path(str(path), 0o600)
        assert reached(path)
    file.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        bind_path(str(file), 0o600)
    assert file.read_text() == "precious"
    with pytest.raises(OSError, match="long"):
        bind_path(str(tmp_path / ("x" * 200)), 0o600)


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
