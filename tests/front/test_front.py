"""A worker gives an answer again as long as its terms hold, and never one that is older."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from pathlib import Path

from mesh.clock import SystemClock
from mesh.http.access import AccessLog
from tests.compat.conftest import until
from tests.compat.test_hits import Client, client
from tests.front.conftest import Fronted

Serve = Callable[..., Awaitable[Fronted]]


async def warm(api: Fronted, one: Client, path: str, headers: str = "") -> bytes:
    """Ask until the worker answers by itself; what it says."""
    before = api.hits
    for _ in range(100):
        got = await one.get(path, headers)
        if api.hits > before:
            return got.body
    raise AssertionError("never kept")


async def test_no_answer_is_older_than_the_last_write_that_was_acknowledged(api: Fronted) -> None:
    written, checked = 0, 0

    async def write() -> None:
        nonlocal written
        one = await client(api)
        for number in range(1, 300):
            assert (await one.put("/v1/kv/a", str(number))).body == b"true"
            written = number
            if number % 4 == 0:
                await asyncio.sleep(0.001)
        one.writer.close()

    async def read() -> None:
        nonlocal checked
        one = await client(api)
        while written < 299:
            before = written
            got = await one.get("/v1/kv/a?raw")
            assert before <= int(got.body or b"0") if got.status == 200 else before == 0
            checked += 1
        one.writer.close()

    await asyncio.gather(write(), *(read() for _ in range(6)))
    assert api.hits > 100
    assert checked > api.hits


async def test_a_commit_takes_back_what_it_changes_and_nothing_else(api: Fronted) -> None:
    one = await client(api)
    for key in "ab":
        await one.put(f"/v1/kv/{key}", "1")
        assert await warm(api, one, f"/v1/kv/{key}?raw") == b"1"
    await one.put("/v1/kv/a", "2")
    before = api.hits
    assert (await one.get("/v1/kv/b?raw")).body == b"1"
    assert api.hits == before + 1
    assert (await one.get("/v1/kv/a?raw")).body == b"2"
    assert api.hits == before + 1
    one.writer.close()


async def test_without_a_lease_every_default_read_is_asked_of_the_main_process(
    api: Fronted,
) -> None:
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")
    await warm(api, one, "/v1/kv/a?raw&stale")
    before, api.board.leased_until = api.hits, 0.0
    assert (await one.get("/v1/kv/a?raw")).body == b"1"
    assert api.hits == before
    assert (await one.get("/v1/kv/a?raw&stale")).body == b"1"
    assert api.hits == before + 1
    api.board.alive_until = 0.0
    assert (await one.get("/v1/kv/a?raw&stale")).body == b"1"
    assert api.hits == before + 1
    one.writer.close()


async def test_an_error_is_never_kept_for_an_answer(api: Fronted) -> None:
    """It comes for the same bytes as a response that the main process still has."""
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")
    api.board.leased_until = 0.0
    api.registry.error = RuntimeError("broken")
    assert (await one.get("/v1/kv/a?raw")).status == 500
    api.registry.error = None
    api.board.leased_until = float("inf")
    for _ in range(3):
        assert (await one.get("/v1/kv/a?raw")).body == b"1"
    one.writer.close()


async def test_compressed_answers_are_kept_apart_and_date_is_of_now(serve: Serve) -> None:
    api = await serve(gzip_min_bytes=64)
    one = await client(api)
    await one.put("/v1/kv/a", "x" * 1000)
    plain = await warm(api, one, "/v1/kv/a")
    packed = await warm(api, one, "/v1/kv/a", "Accept-Encoding: gzip\r\n")
    assert gzip.decompress(packed) == plain
    first = (await one.get("/v1/kv/a")).headers["date"]

    async def later() -> bool:
        return (await one.get("/v1/kv/a")).headers["date"] != first

    before = api.hits
    while not await later():
        await asyncio.sleep(0.01)
    second = (await one.get("/v1/kv/a")).headers["date"]
    assert parsedate_to_datetime(second) > parsedate_to_datetime(first)
    assert (await one.get("/v1/kv/a")).body == plain
    assert api.hits > before
    one.writer.close()


async def test_a_connection_outlives_its_link_while_nothing_is_asked(api: Fronted) -> None:
    """The main process may let go of what asks it nothing; for the client nothing changes."""
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")
    for connection in list(api.server.connections):
        connection.expire()
    await until(lambda: not api.server.connections)
    assert (await one.get("/v1/kv/a?raw")).body == b"1"
    assert (await one.put("/v1/kv/a", "2")).body == b"true"
    assert (await one.get("/v1/kv/a?raw")).body == b"2"
    one.writer.close()


async def test_a_connection_that_only_reads_what_is_kept_is_not_idle(serve: Serve) -> None:
    api = await serve(idle_seconds=0.2)
    one, other = await client(api), await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")

    async def read_on() -> None:
        while not other.reader.at_eof():
            assert (await one.get("/v1/kv/a?raw")).body == b"1"
            await asyncio.sleep(0.001)

    assert await asyncio.gather(other.reader.read(), read_on()) == [b"", None]
    assert len(api.server.connections) == 1
    for each in (one, other):
        each.writer.close()


async def test_large_bodies_pass_both_ways(serve: Serve) -> None:
    api = await serve(kv_value_max_bytes=4 << 20)
    one, value = await client(api), "0123456789" * 300_000
    assert (await one.put("/v1/kv/a", value)).body == b"true"
    for _ in range(3):
        assert (await one.get("/v1/kv/a?raw")).body == value.encode()
    one.writer.close()


async def test_when_the_server_stops_its_clients_are_let_go(api: Fronted) -> None:
    idle = await client(api)
    await idle.put("/v1/kv/a", "1")
    waiting = await client(api)
    wait = asyncio.create_task(waiting.get("/v1/kv/a?index=1000000000"))
    await until(lambda: api.registry.blocked == 1)
    api.fronting.halt()
    assert await idle.reader.read() == b""
    await api.server.stop()
    assert (await wait).status == 500
    assert await waiting.reader.read() == b""
    for one in (idle, waiting):
        one.writer.close()


async def test_a_client_that_goes_takes_its_link_along(api: Fronted) -> None:
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    assert len(api.server.connections) == 1
    one.writer.transport.abort()
    await until(lambda: not api.server.connections and not api.fronting.connections)
    assert not api.server.clients


async def test_the_access_log_has_what_a_worker_answers(api: Fronted, tmp_path: Path) -> None:
    log = AccessLog(str(tmp_path / "log"), SystemClock(), Counter())
    api.responses.access = log
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw&token=secret")
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    shown = [(line["client"], line["path"], line["status"], line["kept"]) for line in lines]
    assert shown == [("127.0.0.1", "/v1/kv/a?raw&token=<hidden>", 200, True)] * api.hits
    one.writer.close()
