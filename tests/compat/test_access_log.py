"""The access log: a line for every request, kept answers among them, and no token in any."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.http.access import shown
from mesh.http.options import Options
from tests.compat.conftest import Api, until
from tests.compat.test_hits import client, hits

Serve = Callable[..., Awaitable[Api]]
Asked = tuple[str, str, int, bool]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def brief(path: Path) -> list[Asked]:
    return [(one["method"], one["path"], one["status"], one["kept"]) for one in lines(path)]


async def test_every_request_has_a_line(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access"
    api = await serve(access_log=str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    asker = await client(api)
    await asker.put("/v1/kv/a", "1")
    whole = [await asker.get("/v1/kv/a") for _ in range(3)]
    assert hits(api) == 2
    await asker.get("/v1/kv/a", method="HEAD")
    await asker.get("/v1/kv/none?raw")
    await asker.get("/v1/nothing")
    await asker.get("/v1/kv/a", method="BREW")
    await until(lambda: len(brief(file)) == 8)
    assert brief(file) == [
        ("PUT", "/v1/kv/a", 200, False),
        ("GET", "/v1/kv/a", 200, False),
        ("GET", "/v1/kv/a", 200, True),
        ("GET", "/v1/kv/a", 200, True),
        ("HEAD", "/v1/kv/a", 405, False),
        ("GET", "/v1/kv/none?raw", 404, False),
        ("GET", "/v1/nothing", 404, False),
        ("BREW", "/v1/kv/a", 405, False),
    ]
    asker.writer.close()
    _, first, second, _, head, *_ = lines(file)
    assert first["client"] == second["client"] == "127.0.0.1"
    assert first["bytes"] == second["bytes"] > len(whole[0].body)
    assert head["bytes"] > 0
    assert first["time"].endswith("+00:00")
    assert all(one["ms"] >= 0 for one in lines(file))
    assert list(first) == ["time", "client", "method", "path", "status", "bytes", "ms", "kept"]


async def test_requests_that_end_otherwise_have_one_too(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access"
    api = await serve(access_log=str(file), txn_max_bytes=10)
    await api.raw(b"nonsense\r\n\r\n")
    await api.raw(b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n")
    await api.raw(b"PUT /v1/txn HTTP/1.1\r\nContent-Length: 5000000\r\n\r\nx")
    asker = await client(api)
    asker.writer.write(b"GET /v1/kv/a?index=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await api.put("/v1/kv/b", b"1")
    await api.blocked()
    asker.writer.transport.abort()
    await until(lambda: len(brief(file)) == 5)
    malformed, long, large, put, gone = brief(file)
    assert malformed == ("", "", 400, False)
    assert long[2] in {400, 431}
    assert large == ("PUT", "/v1/txn", 413, False)
    assert put == ("PUT", "/v1/kv/b", 200, False)
    assert gone == ("GET", "/v1/kv/a?index=1", 499, False)
    assert lines(file)[4]["bytes"] == 0


async def test_a_stream_has_a_line_at_its_end(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access"
    api = await serve(access_log=str(file))
    await api.put("/v1/kv/a", b"x" * 1000)
    got = await api.raw(
        b"GET /v1/kv/a?raw HTTP/1.0\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    await until(lambda: len(brief(file)) == 2)
    assert lines(file)[1]["bytes"] == len(got)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/kv/a", "/v1/kv/a"),
        ("/v1/kv/a?token=secret", "/v1/kv/a?token=<hidden>"),
        ("/v1/kv/a?raw&token=secret&dc=dc1", "/v1/kv/a?raw&token=<hidden>&dc=dc1"),
        ("/v1/kv/a?%74oken=secret", "/v1/kv/a?token=<hidden>"),
        ("/v1/kv/a?tokens=5&dc=%20", "/v1/kv/a?tokens=5&dc=%20"),
        ("http://x/v1/kv/token?token=a?token=b", "http://x/v1/kv/token?token=<hidden>"),
        ("/v1/kv/\udcff", "/v1/kv/\\xff"),
        ("/v1/kv/ü", "/v1/kv/ü"),
    ],
)
def test_no_token_is_shown(target: str, expected: str) -> None:
    assert shown(target).replace("%74oken", "token") == expected


async def test_no_token_of_a_kept_answer_is_written(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access"
    api = await serve(access_log=str(file))
    asker = await client(api)
    await asker.put("/v1/kv/a", "1")
    for _ in range(2):
        await asker.get("/v1/kv/a?token=hush", headers="X-Consul-Token: quiet\r\n")
    assert hits(api) == 1
    await until(lambda: len(brief(file)) == 3)
    asker.writer.close()
    assert "hush" not in file.read_text()
    assert "quiet" not in file.read_text()


async def test_a_reload_begins_ends_and_reopens_it(serve: Serve, tmp_path: Path) -> None:
    file, moved = tmp_path / "access", tmp_path / "access.1"
    api = await serve()
    with_log = Options(addresses=[], datacenter="dc1", node_name="n0", access_log=str(file))
    without = Options(addresses=[], datacenter="dc1", node_name="n0")
    await api.get("/v1/status/leader")
    api.server.reload(with_log)
    await api.get("/v1/kv/a")
    await until(lambda: len(brief(file)) == 1)
    file.rename(moved)
    await api.get("/v1/kv/b")
    api.server.reload(with_log)
    await api.get("/v1/kv/c")
    await until(lambda: len(brief(file)) == 1)
    assert [one[1] for one in brief(moved)] == ["/v1/kv/a", "/v1/kv/b"]
    api.server.reload(without)
    await api.get("/v1/kv/d")
    await asyncio.sleep(0)
    assert [one[1] for one in brief(file)] == ["/v1/kv/c"]


async def test_a_file_that_cannot_be_written_is_said(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Invalid, match=r"http_config\.access_log: cannot write to .*/none/access"):
        await serve(access_log=str(tmp_path / "none" / "access"))
    api = await serve(access_log=str(tmp_path / "access"))
    bad = Options(addresses=[], datacenter="dc1", node_name="n0", access_log=str(tmp_path))
    api.server.reload(bad)
    assert "the access log stays as it was" in caplog.text
    await api.get("/v1/kv/a")
    await until(lambda: len(brief(tmp_path / "access")) == 1)


async def test_a_full_disk_stops_nobody(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    api = await serve(access_log="/dev/full")
    for number in range(3):
        assert (await api.get(f"/v1/kv/{number}")).status == 404
    await until(lambda: api.server.counters["access_lost"] == 3)
    assert caplog.text.count("lines of the access log are lost") == 1
