"""Bytes that are no HTTP, or hardly: answered with 400 or dropped, counted, and nothing stops."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.compat.conftest import Api, until

HEAD = b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    b"\r\n\r\n\r\n\x00\x00\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / FTP/1.1\r\n\r\n",
    b"GET /v1/kv/x HTTP/1.1\r\nBad Header: 1\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefghij\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_400_and_counted(api: Api, data: bytes) -> None:
    async with asyncio.timeout(30):
        got = await api.raw(data)
    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), got[:200]
    assert api.server.counters["malformed"] == 1
    assert api.server.counters["failures"] == 0
    assert (await api.get("/v1/status/leader")).status == 200
    assert not api.registry.writes


async def test_random_bytes_never_stop_it(api: Api) -> None:
    dice = random.Random(7)
    for _ in range(200):
        reader, writer = await asyncio.open_connection(*api.address)
        seed = dice.choice([b"", b"GET /v1/kv/", HEAD, HEAD + b"Content-Length: 99\r\n\r\n"])
        writer.write(seed + dice.randbytes(dice.randrange(200)))
        writer.write_eof()
        await reader.read()
        writer.close()
    assert (await api.get("/v1/status/leader")).status == 200
    assert api.server.counters["failures"] == 0
    assert api.server.counters["malformed"] > 0


async def test_a_client_that_leaves_mid_body_is_dropped(api: Api) -> None:
    _, writer = await asyncio.open_connection(*api.address)
    writer.write(HEAD + b"Content-Length: 100\r\n\r\nabc")
    await writer.drain()
    writer.close()
    await until(lambda: api.server.counters["connections"] == 1 and not api.server.clients)
    assert (await api.get("/v1/kv/x")).status == 404
    assert api.server.counters["failures"] == 0
