"""Responses that are given again: the same as if they were made anew, and never older."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest

from mesh.http.hits import HITS_MAX
from mesh.http.route import Route
from mesh.http.routes import ROUTES
from mesh.registry.catalog import STATUSES
from mesh.registry.port import READ, Answer, ReadOptions
from tests.compat.conftest import Api, Got, parse, until

Serve = Callable[..., Awaitable[Api]]


class Client:
    """Sends requests over one connection, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def get(self, path: str, headers: str = "", method: str = "GET") -> Got:
        return await self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())

    async def put(self, path: str, body: str) -> Got:
        return await self.send(
            f"PUT {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )

    async def send(self, data: bytes) -> Got:
        self.writer.write(data)
        return await self.receive(empty=data.startswith(b"HEAD"))

    async def receive(self, *, empty: bool = False) -> Got:
        head = await self.reader.readuntil(b"\r\n\r\n")
        got = parse(head)
        length = 0 if empty else int(got.headers["content-length"])
        return Got(got.status, got.headers, await self.reader.readexactly(length))


async def client(api: Api) -> Client:
    return Client(*await asyncio.open_connection(*api.address))


def hits(api: Api) -> int:
    return api.server.counters["hits"]


async def test_the_same_bytes_get_the_same_answer_until_it_changes(api: Api) -> None:
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    first = await one.get("/v1/kv/a?raw")
    for _ in range(3):
        again = await one.get("/v1/kv/a?raw")
        assert (again.status, again.body, set(again.headers)) == (200, b"1", set(first.headers))
    assert (hits(api), api.server.counters["requests"]) == (3, 5)
    await one.put("/v1/kv/a", "2")
    assert (await one.get("/v1/kv/a?raw")).body == b"2"
    assert hits(api) == 3
    got = await one.get("/v1/kv/a?raw")
    assert (got.body, got.index, hits(api)) == (b"2", 2, 4)
    await api.delete("/v1/kv/a")
    assert (await one.get("/v1/kv/a?raw")).status == 404
    one.writer.close()


async def test_other_connections_are_answered_from_them_too_and_figures_tell(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    for _ in range(4):
        one = await client(api)
        assert (await one.get("/v1/kv/a?raw")).body == b"1"
        one.writer.close()
    assert hits(api) == 3
    assert api.server.timers.windows["GET /v1/kv/"].total == 4


async def test_what_the_headers_say_of_freshness_is_of_now(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    one = await client(api)
    assert (await one.get("/v1/kv/a")).headers["x-consul-lastcontact"] == "0"
    api.registry.last_contact, api.registry.known_leader = 1.5, False
    got = await one.get("/v1/kv/a")
    assert got.headers["x-consul-lastcontact"] == "1500"
    assert got.headers["x-consul-knownleader"] == "false"
    assert hits(api) == 1
    one.writer.close()


@pytest.mark.parametrize(
    "asked",
    [
        b"HEAD /v1/kv/a?raw HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/kv/a?raw HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
        b"GET /v1/kv/none HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/kv/a?raw&index=1&wait=1ms HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/health/service/web?near=_agent HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/health/checks/web?node-meta=a:b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/agent/self HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/kv/a?raw HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_what_is_not_kept(api: Api, asked: bytes) -> None:
    await api.put("/v1/kv/a", "1")
    one = await client(api)
    answers = [await one.send(asked) for _ in range(3)]
    assert len({(got.status, got.body) for got in answers}) == 1
    assert (hits(api), len(api.server.hits)) == (0, 0)
    one.writer.close()


async def test_a_body_that_comes_later_is_no_request(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    one = await client(api)
    head = b"GET /v1/kv/a?raw HTTP/1.1\r\nContent-Length: 27\r\n\r\n"
    for _ in range(2):
        one.writer.write(head)
        await asyncio.sleep(0)
        one.writer.write(b"DELETE /v1/kv/a HTTP/1.1\r\n\r")
        assert (await one.receive()).body == b"1"
    assert (await one.get("/v1/kv/a?raw")).body == b"1"
    one.writer.close()


async def test_connection_close_closes(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    for _ in range(3):
        said = b"GET /v1/kv/a?raw HTTP/1.1\r\nConnection: close\r\n\r\n"
        assert parse(await api.raw(said)).body == b"1"
    assert hits(api) == 0


async def test_split_and_joined_requests_are_answered_in_order(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    await api.put("/v1/kv/b", "2")
    one = await client(api)
    for key in "ab":
        await one.get(f"/v1/kv/{key}?raw")
    asked = b"".join(b"GET /v1/kv/%c?raw HTTP/1.1\r\nHost: x\r\n\r\n" % key for key in b"abba")
    for cuts in ([], [7], [len(asked) // 4], [50, 60, 61], range(1, len(asked), 9)):
        points = [0, *cuts, len(asked)]
        for start, end in pairwise(points):
            one.writer.write(asked[start:end])
            await one.writer.drain()
            await asyncio.sleep(0)
        assert [(await one.receive()).body for _ in range(4)] == [b"1", b"2", b"2", b"1"]
    one.writer.close()


async def test_compressed_and_indented_answers_are_kept_apart(serve: Serve) -> None:
    api = await serve(gzip_min_bytes=64)
    await api.put("/v1/kv/a", "x" * 1000)
    one = await client(api)
    for _ in range(2):
        plain = await one.get("/v1/kv/a")
        packed = await one.get("/v1/kv/a", "Accept-Encoding: gzip\r\n")
        pretty = await one.get("/v1/kv/a?pretty")
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body
        assert pretty.body != plain.body
        assert pretty.json == plain.json
    assert hits(api) == 3
    one.writer.close()


async def test_a_reload_forgets_them(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    one = await client(api)
    await one.get("/v1/kv/a")
    api.server.reload(api.server.options)
    assert len(api.server.hits) == 0
    await one.get("/v1/kv/a")
    assert hits(api) == 0
    one.writer.close()


async def test_an_error_is_told_though_an_answer_is_kept(api: Api) -> None:
    await api.put("/v1/kv/a", "1")
    one = await client(api)
    await one.get("/v1/kv/a")
    api.registry.error = RuntimeError("broken")
    assert (await one.get("/v1/kv/a")).status == 500
    one.writer.close()


async def test_very_many_different_requests_are_not_all_kept(api: Api) -> None:
    await api.put("/v1/kv/a", "x" * 100_000)
    one = await client(api)
    for number in range(HITS_MAX + 50):
        assert (await one.get(f"/v1/kv/a?keys&n={number}")).status == 200
    assert len(api.server.hits) <= HITS_MAX
    for number in range(300):
        await one.get(f"/v1/kv/a?n={number}")
    assert api.server.hits.bytes <= 32 * 1024 * 1024
    one.writer.close()


KEPT = [route for route in ROUTES if route.kept]
PARAMS = ["", "?stale", "?cached", "?passing", "?keys", "?recurse", "?raw", "?tag=v1", "?pretty"]


def paths(route: Route) -> list[str]:
    values = ["web", "n1", "a", "a/", "any", "passing"] if ":" in route.path else [""]
    return [f"{route.fixed}{value}{given}" for value in values for given in PARAMS]


@pytest.mark.parametrize("route", KEPT, ids=lambda route: route.path)
async def test_every_kept_answer_is_what_a_new_one_would_be(api: Api, route: Route) -> None:
    """A header that nobody has sent before makes a request of which nothing is kept."""
    dice, one = Random(route.path), await client(api)
    unheard = 0
    for _ in range(12):
        match dice.randrange(3):
            case 0:
                await api.put(f"/v1/kv/{dice.choice(['a', 'a/b', 'web'])}", str(dice.random()))
            case 1:
                instance = {"Tags": dice.sample(["v1", "v2"], 1), "Port": dice.randrange(9)}
                await api.register(f"n{dice.randrange(3)}", "web", Instance=instance)
            case _:
                check = {"CheckID": "c", "ServiceID": "web", "Status": dice.choice(STATUSES)}
                await api.register("n1", "web", Check=check)
        for path in paths(route):
            unheard += 1
            new = await one.get(path, f"X-Unheard: {unheard}\r\n")
            for _ in range(2):
                again = await one.get(path)
                assert (again.status, again.body) == (new.status, new.body), path
                assert again.index == new.index if "x-consul-index" in new.headers else True
                assert set(again.headers) == set(new.headers)
    assert hits(api) > 20
    one.writer.close()


async def read_while_it_is_written(api: Api, last: int) -> int:
    """Write a key so often while six clients read it; how many answers were new enough."""
    written, checked = 0, 0

    async def write() -> None:
        nonlocal written
        one = await client(api)
        for number in range(1, last + 1):
            assert (await one.put("/v1/kv/a", str(number))).body == b"true"
            written = number
            if number % 4 == 0:
                await asyncio.sleep(0.001)
        one.writer.close()

    async def read() -> None:
        nonlocal checked
        one = await client(api)
        while written < last:
            before = written
            got = await one.get("/v1/kv/a?raw")
            assert before <= int(got.body or b"0") if got.status == 200 else before == 0
            checked += 1
        one.writer.close()

    await asyncio.gather(write(), *(read() for _ in range(6)))
    return checked


async def test_no_answer_is_older_than_the_last_write_that_was_acknowledged(api: Api) -> None:
    checked = await read_while_it_is_written(api, 399)
    assert hits(api) > 100
    assert checked > hits(api)


async def test_a_reload_while_a_request_is_answered_keeps_nothing_of_it(serve: Serve) -> None:
    api = await serve()
    await api.put("/v1/kv/a", "1")
    one, registry = await client(api), api.registry
    read, there = registry.read, asyncio.Event()

    async def late(query: Any, options: ReadOptions = READ) -> Answer[Any]:
        await there.wait()
        return await read(query, options)

    registry.read = late  # type: ignore[method-assign]
    asked = asyncio.create_task(one.get("/v1/kv/a"))
    await until(lambda: api.server.counters["requests"] == 2)
    blocking = msgspec.structs.replace(api.server.options, block_endpoints=["/v1/kv/"])
    api.server.reload(blocking)
    there.set()
    assert (await asked).status == 200
    assert (await one.get("/v1/kv/a")).status == 403
    assert len(api.server.hits) == 0
    one.writer.close()


async def test_what_cannot_be_asked_for_at_once_is_not_kept(api: Api) -> None:
    """As on a follower by default: to keep it would only hold memory."""
    await api.put("/v1/kv/a", "1")
    api.registry.at_once = lambda *_: None  # type: ignore[method-assign]
    one = await client(api)
    for _ in range(3):
        assert (await one.get("/v1/kv/a?raw")).body == b"1"
    assert (hits(api), len(api.server.hits)) == (0, 0)
    one.writer.close()


async def test_of_one_read_only_the_newest_value_is_held(api: Api) -> None:
    one = await client(api)
    for number in range(20):
        await one.put("/v1/kv/a", str(number))
        for header in ("", f"X-Request-Id: {number}\r\n"):
            assert (await one.get("/v1/kv/a?raw", header)).body == str(number).encode()
        assert len(api.server.hits) == 2
    one.writer.close()


async def test_a_client_that_does_not_read_is_not_written_for_without_end(serve: Serve) -> None:
    api = await serve(write_stall_seconds=60)
    await api.put("/v1/kv/a", "x" * 2000)
    asked = (b"PUT /v1/kv/b HTTP/1.1\r\nContent-Length: 1\r\n\r\n1" * 500) + (
        b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n" * 500
    )
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, api.address)
        await until(lambda: len(api.server.connections) == 1)
        (connection,) = api.server.connections
        sent, transport = 0, connection._transport
        assert transport is not None
        for _ in range(2000):
            with suppress(BlockingIOError):
                sent += deaf.send(asked[sent % len(asked) :])
            await asyncio.sleep(0)
            assert transport.get_write_buffer_size() < 256 * 1024
            assert len(connection._pending) < 1024 * 1024
    assert sent > 1_000_000


async def test_a_slow_reader_of_kept_answers_is_cut_off_for_that(serve: Serve) -> None:
    api = await serve(write_stall_seconds=60, idle_seconds=1000)
    await api.put("/v1/kv/a", "x" * 400_000)
    one = await client(api)
    await one.get("/v1/kv/a")
    (connection,) = [each for each in api.server.connections if each._pending == b""]
    while connection._drained is None:
        one.writer.write(b"GET /v1/kv/a HTTP/1.1\r\nHost: x\r\n\r\n")
        await one.writer.drain()
        await asyncio.sleep(0.001)
    assert hits(api) > 0
    assert connection.deadline < api.server.now() + 61
    # What it asks next is no reason to wait for it without end.
    one.writer.write(b"GET /v1/status/leader HTTP/1.1\r\n\r\n")
    await until(lambda: connection._busy)
    assert connection._drained is not None
    assert connection.deadline < api.server.now() + 61
    one.writer.close()
