"""UDP checks against real sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from mesh.agent.checks import Result
from mesh.agent.probes import udp
from tests.agent.probes.conftest import check


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert data == b""
        self.transport.sendto(b"here", addr)


async def test_an_answer_passes() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    address = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    assert await udp.run(check(UDP=address)) == Result("passing", f"UDP connect {address}: Success")
    transport.close()


async def test_silence_passes() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        result = await udp.run(check(UDP=address, Timeout="20ms"))
    assert result.status == "passing"
    assert "nobody answered" in result.output


async def test_a_refusal_is_critical() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    result = await udp.run(check(UDP=address))
    assert result.status == "critical"
    assert "refused" in result.output


async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    found = [
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port))
        for address in ("127.0.0.2", "127.0.0.1")
    ]

    async def resolve(*_: object, **__: object) -> list[Any]:
        return found

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    assert (await udp.run(check(UDP=f"two.example:{port}"))).status == "passing"
    transport.close()


async def test_an_address_without_a_route_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    # Without SO_BROADCAST nobody may send there: an error, but no ConnectionError.
    found = [
        (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port))
        for address in ("255.255.255.255", "127.0.0.1")
    ]

    async def resolve(*_: object, **__: object) -> list[Any]:
        return found

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    assert (await udp.run(check(UDP=f"two.example:{port}"))).status == "passing"
    transport.close()


async def test_a_resolver_that_hangs_is_critical_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with asyncio.timeout(20):
        result = await udp.run(check(UDP="slow.example:1", Timeout="20ms"))
    assert result.status == "critical"
    assert result.output == "UDP connect slow.example:1: slow.example was not resolved in time"


async def test_a_name_nobody_has_is_critical() -> None:
    result = await udp.run(check(UDP="nobody.invalid:1"))
    assert result.status == "critical"
    assert result.output.startswith("UDP connect nobody.invalid:1: ")
