"""Floods and slow clients: each is stopped where it says, and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from mesh.http.route import Route
from mesh.http.routes import ROUTES
from mesh.registry import kv
from tests.compat.conftest import Api, parse, until

Serve = Callable[..., Awaitable[Api]]


async def test_no_limit_of_connections_is_none(serve: Serve) -> None:
    api = await serve(max_connections_per_client=0)
    writers = [(await asyncio.open_connection(*api.address))[1] for _ in range(250)]
    assert (await api.get("/v1/status/leader")).status == 200
    for writer in writers:
        writer.close()


async def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    api = await serve(idle_seconds=0.05)
    for said in (b"", b"GET /v1/sta", b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nX: "):
        assert await api.raw(said) == b""
    whole = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await api.raw(whole + b"GET ")).count(b"HTTP/1.1 200") == 1


async def test_a_waiting_query_is_not_idle(serve: Serve) -> None:
    api = await serve(idle_seconds=0.05)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/kv/x?index=1&wait=250ms HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
    writer.close()


async def test_a_body_that_does_not_come_is_told_408(serve: Serve) -> None:
    api = await serve(body_stall_seconds=0.05)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    writer.close()
    assert api.server.counters["slow"] == 1
    assert (await api.get("/v1/kv/x")).status == 404


async def test_a_client_that_takes_nothing_is_cut_off(serve: Serve) -> None:
    api = await serve(write_stall_seconds=0.05)
    for number in range(4000):
        api.registry.apply(kv.Set(f"k/{number}", b"x" * 2000))
    asker = socket.socket()
    asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asker.connect(api.address)
    asker.sendall(b"GET /v1/kv/k/?recurse HTTP/1.1\r\nHost: x\r\n\r\n")
    await until(lambda: api.server.counters["slow"] == 1)
    await until(lambda: not api.server.clients)
    asker.close()
    # What fits into the socket stalls nobody, however busy the machine is.
    assert (await api.get("/v1/kv/k/0")).status == 200
    assert api.server.counters["failures"] == 0


async def test_a_head_has_a_limit(serve: Serve) -> None:
    api = await serve(head_max_bytes=20_000)
    line = b"X-Filler: " + b"x" * 5000 + b"\r\n"
    head = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    assert parse(await api.raw(head + 3 * line + b"\r\n")).status == 200
    reader, writer = await asyncio.open_connection(*api.address)
    for part in (head, *[line] * 5):
        writer.write(part)
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 431")
    writer.close()
    await until(lambda: not api.server.clients)
    assert api.server.counters["malformed"] == 1


@pytest.mark.parametrize(
    "route", [one for one in ROUTES if one.method != "GET"], ids=lambda one: one.path
)
async def test_a_body_over_the_limit_is_413_on_every_route(serve: Serve, route: Route) -> None:
    method, path = route.method, route.path.replace(":", "")
    api = await serve(
        body_max_bytes=100, kv_value_max_bytes=100, txn_max_bytes=100, snapshot_max_bytes=100
    )
    sized = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n".encode()
    chunked = f"{method} {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for request in (sized + b"x" * 101, chunked + b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"):
        reader, writer = await asyncio.open_connection(*api.address)
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()
    assert api.server.counters["failures"] == 0


async def test_many_watchers_are_woken_by_their_change_and_nothing_else(serve: Serve) -> None:
    api = await serve(max_connections_per_client=0)
    await api.register("n1", "web")
    index = (await api.get("/v1/health/service/web")).index
    path = f"/v1/health/service/web?index={index}"
    tasks = [asyncio.create_task(api.get(path)) for _ in range(300)]
    await api.blocked(300)
    for number in range(20):
        await api.put(f"/v1/kv/other-{number}", "1")
        await api.register(f"m{number}", "db")
        await api.register("n1", "web")
    assert api.registry.reader.woken == 0
    await api.register("n1", "web", Instance={"Port": 1})
    answers = await asyncio.gather(*tasks)
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].index > index
    assert api.registry.reader.woken == 300
