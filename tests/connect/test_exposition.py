"""Figures of the built-in proxy as Prometheus reads them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mesh.clock import SystemClock
from mesh.connect.exposition import HEAD_MAX_BYTES, Page
from mesh.connect.traffic import Traffic
from mesh.sockets import bind
from mesh.telemetry.metrics import Metrics
from tests.connect.workloads import settled

ADDRESS = "127.0.0.1"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    traffic, metrics = Traffic("public", "payments"), Metrics(SystemClock())
    traffic.opened, traffic.closed = 3, 1
    traffic.heard(10)
    traffic.said(20)
    traffic.refuse("expired")
    metrics.add(traffic.readings)
    page, listening = (
        Page(metrics.exposition),
        bind((socket.AF_INET, socket.SOCK_STREAM), ADDRESS, 0),
    )
    page.start(listening[0], "here")
    yield int(listening[0].getsockname()[1])
    await page.stop()
    await settled()


async def answer(port: int, *parts: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(ADDRESS, port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_all_that_was_counted_is_there(port: int) -> None:
    found = await answer(port, b"GET /metrics?x HT", b"TP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = found.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "text/plain; version=0.0.4" in head
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    labels = 'listener="public",service="payments"'
    assert lines == [
        f"mesh_proxy_active{{{labels}}} 2",
        f"mesh_proxy_closed{{{labels}}} 1",
        f"mesh_proxy_opened{{{labels}}} 3",
        f"mesh_proxy_received_bytes{{{labels}}} 10",
        'mesh_proxy_refused{listener="public",reason="expired",service="payments"} 1',
        f"mesh_proxy_sent_bytes{{{labels}}} 20",
    ]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /other HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"\xff\x00\r\n\r\n", b"405"),
    ],
)
async def test_there_is_nothing_else(port: int, request_: bytes, status: bytes) -> None:
    found = await answer(port, request_)
    assert found.split(b" ")[1] == status
    assert b"mesh_proxy" not in found


async def test_a_head_without_end_gets_no_answer(port: int) -> None:
    assert await answer(port, b"x" * (4 * HEAD_MAX_BYTES)) == b""
