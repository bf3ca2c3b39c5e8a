"""A worker gives an answer again as long as its terms hold, and never one that is older."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from mesh.clock import SystemClock
from mesh.http.access import AccessLog
from tests.compat.conftest import until
from tests.compat.test_hits import Client, client, read_while_it_is_written
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
    checked = await read_while_it_is_written(api, 299)
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
    api = await serve(idle_seconds=1.0)
    one, other = await client(api), await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")

    async def read_on() -> None:
        while not other.reader.at_eof():
            assert (await one.get("/v1/kv/a?raw")).body == b"1"
            await asyncio.sleep(0.001)

    left, _ = await asyncio.gather(other.reader.read(), read_on())
    assert left == b""
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


async def test_clients_that_take_nothing_are_cut_off_and_counted_until_then(serve: Serve) -> None:
    """Whether what they do not take was kept or not, and however much of it is on its way."""
    api = await serve(write_stall_seconds=2.0, idle_seconds=1.0, kv_value_max_bytes=4 << 20)
    one = await client(api)
    await one.put("/v1/kv/kept", "x" * 100_000)
    await one.put("/v1/kv/long", "x" * 3_000_000)
    await warm(api, one, "/v1/kv/kept")
    one.writer.close()
    asked_by, open_at_once = 0, 0
    with ExitStack() as sockets:
        for key in ("kept", "long") * 3:
            await asks_and_takes_nothing(sockets.enter_context(socket.socket()), api.address, key)
            asked_by += 1
            # The first ones may have been cut off by now.
            await until(lambda: len(api.server.connections) + api.fronting.slow >= asked_by)  # noqa: B023
            open_at_once = max(open_at_once, len(api.server.connections))
        await until(lambda: not api.fronting.connections and not api.server.connections)
    assert open_at_once > 0
    assert api.fronting.slow == asked_by


async def asks_and_takes_nothing(made: socket.socket, address: Any, key: str) -> None:
    """Ask for a value so often that the answers do not fit on the way, and read none."""
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, address)
    asked = f"GET /v1/kv/{key} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with suppress(ConnectionError):
        for _ in range(60 if key == "kept" else 1):
            await loop.sock_sendall(made, asked)
            await asyncio.sleep(0.001)


async def test_a_client_one_too_many_hears_nothing_else(serve: Serve) -> None:
    """Not even an answer that is kept, after which the refusal would pass for the next one."""
    api = await serve(max_connections_per_client=1)
    one = await client(api)
    await one.put("/v1/kv/a", "1")
    await warm(api, one, "/v1/kv/a?raw")
    other = await client(api)
    other.writer.write(b"GET /v1/kv/a?raw HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await other.reader.read()).startswith(b"HTTP/1.1 429 ")
    for each in (one, other):
        each.writer.close()


async def test_a_client_for_whom_there_is_no_link_is_let_go(
    api: Fronted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_theirs: socket.socket) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(api.fronting, "hand_over", none_left)
    one = await client(api)
    one.writer.write(b"GET /v1/status/leader HTTP/1.1\r\n\r\n")
    with suppress(ConnectionResetError):
        assert await one.reader.read() == b""
    await until(lambda: not api.fronting.connections)
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


async def test_what_is_kept_is_not_told_to_a_browser_that_was_led_here(api: Fronted) -> None:
    one, path = await client(api), "/v1/kv/a?raw"
    await one.put("/v1/kv/a", "1")
    assert await warm(api, one, path) == b"1"
    asked = f"GET {path} HTTP/1.1\r\nHost: evil.example:8500\r\n"
    for _ in range(3):
        assert (await one.send(f"{asked}Accept-Language: en\r\n\r\n".encode())).status == 403
        assert (await one.send(f"{asked}\r\n".encode())).body == b"1"
    one.writer.close()
