"""Clients that are slow, impatient or gone, on real connections."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TypeVar

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.errors import Conflict
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.server import HttpServer, Options, Parts
from mesh.registry.port import WRITE, Command, WriteOptions
from tests.compat.conftest import Api, parse, until
from tests.registry_memory import MemoryRegistry

T = TypeVar("T")
OPTIONS = Options(addresses=[("127.0.0.1", 0)], datacenter="dc1", node_name="n0")


class Jumping(SystemClock):
    """A clock that can be put forward; sleeping takes next to no time."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.005))


class Jumper(Api):
    """A client of a server whose clock can be put forward."""

    def __init__(self, server: HttpServer, registry: MemoryRegistry, clock: Jumping) -> None:
        super().__init__(server, registry)
        self.clock = clock

    async def after(self, seconds: float, sent: bytes) -> bytes:
        """What comes back when only these bytes were sent until then."""
        reader, writer = await asyncio.open_connection(*self.address)
        known = self.server.counters["connections"]
        await until(lambda: self.server.counters["connections"] > known or known > 0)
        writer.write(sent)
        await writer.drain()
        while not self.server.connections:
            await asyncio.sleep(0.001)
        if sent:
            (connection,) = self.server.connections
            await until(lambda: connection._pending != b"" or connection._body is not None)
        self.clock.ahead += seconds
        try:
            return await asyncio.wait_for(reader.read(), 5)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.fixture
async def api() -> AsyncIterator[Jumper]:
    registry, clock = MemoryRegistry(), Jumping()
    parts = Parts(registry, clock, SeededDice(1))
    server = HttpServer(parts, OPTIONS)
    await server.start()
    yield Jumper(server, registry, clock)
    await server.stop()


@pytest.mark.parametrize(
    ("seconds", "sent"),
    [
        (OPTIONS.body_stall_seconds + 1, b"PUT /v1/kv/x HTTP/1.1\r\nContent-Length: 9\r\n\r\n"),
        (OPTIONS.body_stall_seconds + 1, b"PUT /v1/kv/x HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"),
    ],
)
async def test_a_body_that_comes_too_slowly_is_408(
    api: Jumper, seconds: float, sent: bytes
) -> None:
    assert parse(await api.after(seconds, sent)).status == 408
    assert api.server.counters["slow"] == 1
    assert not api.registry.writes


async def test_an_idle_connection_ends_at_last(api: Jumper) -> None:
    for sent in (b"", b"GET /v1/kv/x HTTP/1.1\r\nHost"):
        assert await api.after(OPTIONS.idle_seconds + 1, sent) == b""


async def test_a_body_that_comes_at_a_fair_rate_may_be_long(api: Jumper) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"PUT /v1/kv/x HTTP/1.1\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n")
    for _ in range(4):
        writer.write(b"a" * 100_000)
        await writer.drain()
        known = api.server.counters["requests"]
        await until(lambda known=known: api.server.counters["requests"] >= max(known, 1))  # type: ignore[misc]
        api.clock.ahead += 5
    assert parse(await reader.read()).status == 200
    writer.close()


async def test_a_refusal_is_read_though_the_body_was_not(api: Jumper) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"PUT /v1/kv/x HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"a" * 300_000)
    assert parse(await reader.read()).status == 413
    writer.write(b"more")
    writer.close()


async def test_pieces_of_requests(api: Jumper) -> None:
    data = b"\r\nPUT /v1/kv/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    data += b"GET /v1/kv/x?raw HTTP/1.0\r\n\r\n"
    reader, writer = await asyncio.open_connection(*api.address)
    for number in range(len(data)):
        writer.write(data[number : number + 1])
        await writer.drain()
        if number % 10 == 0:
            await asyncio.sleep(0)
    answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.endswith(b"\r\n\r\nab")
    assert b"Connection: close" in answers
    writer.close()


async def test_old_clients_may_keep_the_connection(api: Jumper) -> None:
    ask = b"GET /v1/status/leader HTTP/1.0\r\n"
    answers = await api.raw(ask + b"Connection: keep-alive\r\n\r\n" + ask + b"\r\n")
    assert answers.count(b"Connection: keep-alive") == 1
    assert answers.count(b"Connection: close") == 1


async def test_head_has_no_body(api: Jumper) -> None:
    got = await api.ask("HEAD", "/v1/status/leader")
    assert (got.status, got.body) == (405, b"")
    assert int(got.headers["content-length"]) > 0


async def test_what_is_read_ahead_has_a_limit(api: Jumper) -> None:
    """A client that sends requests without reading answers is not read for ever."""
    await api.put("/v1/kv/x", "1")
    index = (await api.get("/v1/kv/x")).index
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(f"GET /v1/kv/x?index={index}&wait=30s HTTP/1.1\r\n\r\n".encode())
    await api.blocked()
    ask = b"GET /v1/status/leader HTTP/1.1\r\n\r\n"
    writer.write(ask * 10_000)
    (connection,) = api.server.connections
    await until(lambda: connection._paused)
    assert len(connection._pending) < 1_000_000
    await api.put("/v1/kv/x", "2")
    for _ in range(3):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        while (await reader.readline()) != b"\r\n":
            pass
        await reader.readuntil(b"]" if _ == 0 else b'"127.0.0.1:8300"')
    writer.close()


async def test_streams_end_when_the_server_stops(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"one"
        await asyncio.Event().wait()

    async def handler(request: Request) -> Reply:
        return Reply(content_type="text/plain", stream=endless())

    route = Route("GET", "/v1/status/leader", handler, "Endless")
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "GET", route)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/status/leader HTTP/1.1\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(8) == b"3\r\none\r\n"
    await asyncio.wait_for(api.server.stop(), 5)
    assert await reader.read() == b"0\r\n\r\n"
    writer.close()


def _operations(api: Jumper, path: str) -> dict[str, Route]:
    found = api.server._dispatcher._paths.find(path)
    assert found is not None
    return found.operations


async def test_a_body_that_is_read_piece_by_piece(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader slows the client; what is bad half way is told; the rest is not awaited."""
    heard: list[bytes] = []
    gate = asyncio.Event()

    async def handler(request: Request) -> Reply:
        assert request.stream is not None
        async for piece in request.stream:
            heard.append(piece)
            if piece.startswith(b"stop"):
                return Reply(b"enough", content_type="text/plain")
            await gate.wait()
        return Reply(b"all", content_type="text/plain")

    route = Route("PUT", "/v1/status/leader", handler, "Reads", streams=True)
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "PUT", route)
    head = b"PUT /v1/status/leader HTTP/1.1\r\nConnection: close\r\n"
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(head + b"Content-Length: 400000\r\n\r\n" + b"a" * 400_000)
    await until(lambda: any(one._paused for one in api.server.connections))
    gate.set()
    assert (await reader.read()).endswith(b"\r\n\r\nall")
    assert sum(map(len, heard)) == 400_000
    writer.close()
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert b"400 Bad Request" in await api.raw(chunked + b"3\r\nabc\r\nzz\r\n")
    assert b"413 " in await api.raw(head + b"Content-Length: 99999999\r\n\r\nabc")
    assert (await api.raw(chunked + b"4\r\nstop\r\n")).endswith(b"enough")
    assert (await api.raw(head + b"\r\n")).endswith(b"all")


async def test_a_client_that_only_stops_sending_gets_its_answers(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def handler(request: Request) -> Reply:
        await gate.wait()
        return Reply(b"at last", content_type="text/plain")

    route = Route("GET", "/v1/status/leader", handler, "Waits")
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "GET", route)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/status/leader HTTP/1.1\r\n\r\n" * 2)
    writer.write_eof()
    await until(lambda: any(one._ended for one in api.server.connections))
    gate.set()
    assert (await asyncio.wait_for(reader.read(), 5)).count(b"at last") == 2
    await until(lambda: not api.server.connections)
    writer.close()


async def test_a_client_that_stops_sending_half_way_is_told(api: Jumper) -> None:
    ask = b"GET /v1/status/leader HTTP/1.1\r\n\r\n"
    for half in (b"GET /v1/kv", b"PUT /v1/kv/x HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
        reader, writer = await asyncio.open_connection(*api.address)
        writer.write(ask + half)
        writer.write_eof()
        answers = await asyncio.wait_for(reader.read(), 5)
        assert answers.startswith(b"HTTP/1.1 200")
        assert answers.count(b"HTTP/1.1 400") == 1
        writer.close()
    assert not api.registry.writes


async def test_a_body_that_ends_early_is_told_who_reads_it(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: Request) -> Reply:
        assert request.stream is not None
        return Reply(b"".join([piece async for piece in request.stream]))

    route = Route("PUT", "/v1/status/leader", handler, "Reads", streams=True)
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "PUT", route)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"PUT /v1/status/leader HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
    writer.write_eof()
    got = parse(await asyncio.wait_for(reader.read(), 5))
    assert (got.status, got.text) == (400, "Bad Request: it ends early")
    writer.close()


async def test_a_wait_for_a_client_that_sends_no_more_is_short(api: Jumper) -> None:
    await api.put("/v1/kv/x", "1")
    index = (await api.get("/v1/kv/x")).index
    ask = f"GET /v1/kv/x?index={index} HTTP/1.1\r\n\r\n".encode()
    for soon in (True, False):
        reader, writer = await asyncio.open_connection(*api.address)
        writer.write(ask)
        await api.blocked()
        writer.write_eof()
        await until(lambda: any(one._ended for one in api.server.connections))
        if soon:
            await api.put("/v1/kv/x", "2")
            got = parse(await asyncio.wait_for(reader.read(), 5))
            assert got.index > index
            ask = f"GET /v1/kv/x?index={got.index} HTTP/1.1\r\n\r\n".encode()
        else:
            api.clock.ahead += 2
            await api.blocked(0)
        writer.close()
    await until(lambda: not api.server.clients)
    assert api.server.counters["slow"] == 0


@pytest.mark.parametrize("packed", [b"", b"Accept-Encoding: gzip\r\n"])
async def test_a_stream_that_fails_ends_its_connection(
    api: Jumper, monkeypatch: pytest.MonkeyPatch, packed: bytes
) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError

    async def handler(request: Request) -> Reply:
        return Reply(content_type="text/plain", stream=failing())

    route = Route("GET", "/v1/status/leader", handler, "Fails")
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "GET", route)
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/status/leader HTTP/1.1\r\n" + packed + b"\r\n")
    with suppress(ConnectionResetError):
        assert not (await asyncio.wait_for(reader.read(), 5)).endswith(b"0\r\n\r\n")
    writer.close()
    await until(lambda: not api.server.clients)
    assert api.server.counters["failures"] == 1


async def test_a_reply_that_cannot_be_sent_is_500(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def handler(request: Request) -> Reply:
        return Reply(status=599)

    route = Route("GET", "/v1/status/leader", handler, "Makes no sense")
    monkeypatch.setitem(_operations(api, "/v1/status/leader"), "GET", route)
    answers = await api.raw(
        b"GET /v1/status/leader HTTP/1.1\r\n\r\nGET /v1/kv/x HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    assert parse(answers).status == 500
    assert answers.count(b"HTTP/1.1 404") == 1
    assert api.server.counters["failures"] == 1


PUT = b"PUT /v1/kv/%b HTTP/1.1\r\nContent-Length: 1\r\n\r\n1"


class Held(MemoryRegistry):
    """Its writes end only when they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.ended = 0

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        await self.go.wait()
        self.ended += 1
        return await super().write(command, options)


@pytest.fixture
async def held() -> AsyncIterator[tuple[Held, HttpServer, tuple[str, int]]]:
    registry = Held()
    server = HttpServer(Parts(registry, SystemClock(), SeededDice(1)), OPTIONS)
    await server.start()
    yield registry, server, server.addresses[0]
    await server.stop()


async def test_writes_sent_at_once_are_answered_in_order(api: Jumper) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(
        PUT % b"a" + PUT % b"b" + b"GET /v1/kv/b?raw HTTP/1.1\r\nConnection: close\r\n\r\n"
    )
    whole = await reader.read()
    assert whole.count(b"\r\n\r\ntrue") == 2
    assert whole.endswith(b"\r\n\r\n1")
    assert [str(command.key) for command, _ in api.registry.writes] == ["a", "b"]  # type: ignore[attr-defined]
    writer.close()


async def test_a_write_that_is_refused_later_says_why(
    api: Jumper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise Conflict("not now")

    monkeypatch.setattr(api.registry, "apply", refuse)
    response = await api.put("/v1/kv/a", b"1")
    assert (response.status, response.body) == (500, b"not now")


async def test_who_goes_before_the_write_ends_harms_nobody(
    held: tuple[Held, HttpServer, tuple[str, int]],
) -> None:
    registry, server, address = held
    _, writer = await asyncio.open_connection(*address)
    writer.write(PUT % b"a")
    await until(lambda: server.counters["requests"] == 1)
    at_once = struct.pack("ii", 1, 0)  # Without a word of goodbye, which leaves half of it open.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    writer.transport.abort()
    await until(lambda: not server.connections)
    registry.go.set()
    await until(lambda: registry.ended == 1)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(PUT % b"b")
    assert b"200 OK" in await reader.readline()
    writer.close()


async def test_a_write_is_answered_though_the_server_stops(
    held: tuple[Held, HttpServer, tuple[str, int]],
) -> None:
    registry, server, address = held
    reader, writer = await asyncio.open_connection(*address)
    writer.write(PUT % b"a")
    await until(lambda: server.counters["requests"] == 1)
    stopping = asyncio.ensure_future(server.stop())
    await asyncio.sleep(0)
    registry.go.set()
    response = await reader.read()
    assert b"\r\nConnection: close\r\n" in response
    assert response.endswith(b"true")
    await stopping
    writer.close()


async def test_after_a_write_a_client_that_does_not_read_is_waited_for(
    held: tuple[Held, HttpServer, tuple[str, int]],
) -> None:
    registry, server, address = held
    registry.go.set()
    reader, writer = await asyncio.open_connection(*address)
    await until(lambda: bool(server.connections))
    (connection,) = server.connections
    connection.pause_writing()
    writer.write(PUT % b"a" + PUT % b"b")
    await until(lambda: registry.ended == 1)
    assert b"200 OK" in await reader.readline()
    assert registry.ended == 1
    connection.resume_writing()
    await until(lambda: registry.ended == 2)
    writer.close()
