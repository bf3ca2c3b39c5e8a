"""/v1/kv as clients see it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Awaitable, Callable

import pytest

from mesh.registry import kv
from tests.compat.conftest import Api

Serve = Callable[..., Awaitable[Api]]


async def test_a_key_is_written_and_read(api: Api) -> None:
    got = await api.put("/v1/kv/a/b?flags=18446744073709551615", b"\x00\xff")
    assert (got.status, got.body) == (200, b"true")
    assert "x-consul-index" not in got.headers
    got = await api.get("/v1/kv/a/b")
    assert got.json == [
        {
            "LockIndex": 0,
            "Key": "a/b",
            "Flags": 18446744073709551615,
            "Value": "AP8=",
            "CreateIndex": 1,
            "ModifyIndex": 1,
        }
    ]
    assert got.headers["x-consul-index"] == "1"
    assert got.headers["x-consul-knownleader"] == "true"
    assert got.headers["x-consul-lastcontact"] == "0"
    assert got.headers["x-consul-query-backend"] == "blocking-query"
    assert "x-consul-effective-consistency" not in got.headers


async def test_an_empty_value_is_null(api: Api) -> None:
    await api.put("/v1/kv/dir/")
    assert (await api.get("/v1/kv/dir/")).json[0]["Value"] is None


async def test_a_missing_key_is_404_with_an_index(api: Api) -> None:
    for path in (
        "/v1/kv/x",
        "/v1/kv/x?raw",
        "/v1/kv/x?recurse",
        "/v1/kv/x?keys",
        "/v1/kv/?recurse",
    ):
        got = await api.get(path)
        assert (got.status, got.body, got.index) == (404, b"", 1), path


async def test_raw_is_bytes_no_browser_runs(api: Api) -> None:
    await api.put("/v1/kv/page", b"<script>")
    got = await api.get("/v1/kv/page?raw&pretty")
    assert got.body == b"<script>"
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "sandbox"
    assert got.index == 1
    await api.put("/v1/kv/empty")
    assert (await api.get("/v1/kv/empty?raw")).body == b""


async def test_cas(api: Api) -> None:
    assert (await api.put("/v1/kv/x?cas=0", "1")).body == b"true"
    got = await api.put("/v1/kv/x?cas=0", "2")
    assert (got.status, got.body) == (200, b"false")
    index = (await api.get("/v1/kv/x")).json[0]["ModifyIndex"]
    assert (await api.put(f"/v1/kv/x?cas={index + 1}", "2")).body == b"false"
    assert (await api.put(f"/v1/kv/x?cas={index}", "2")).body == b"true"
    assert (await api.delete(f"/v1/kv/x?cas={index}")).body == b"false"
    assert (await api.delete("/v1/kv/none?cas=7")).body == b"true"
    now = (await api.get("/v1/kv/x")).json[0]["ModifyIndex"]
    assert (await api.delete(f"/v1/kv/x?cas={now}")).body == b"true"
    assert (await api.get("/v1/kv/x")).status == 404


async def test_an_equal_write_moves_nothing(api: Api) -> None:
    await api.put("/v1/kv/x?flags=1", "1")
    before = (await api.get("/v1/kv/x")).json
    await api.put("/v1/kv/y", "1")
    assert (await api.put("/v1/kv/x?flags=1", "1")).body == b"true"
    assert (await api.get("/v1/kv/x")).json == before


async def test_recurse(api: Api) -> None:
    for key in ("a/2", "a/1", "ab", "b"):
        await api.put(f"/v1/kv/{key}", key)
    got = await api.get("/v1/kv/a?recurse")
    assert [pair["Key"] for pair in got.json] == ["a/1", "a/2", "ab"]
    assert [pair["Key"] for pair in (await api.get("/v1/kv/a/?recurse")).json] == ["a/1", "a/2"]
    assert len((await api.get("/v1/kv/?recurse")).json) == 4
    assert (await api.delete("/v1/kv/a/?recurse")).body == b"true"
    assert (await api.get("/v1/kv/?keys")).json == ["ab", "b"]


async def test_keys_are_cut_after_the_separator(api: Api) -> None:
    for key in ("foo/a", "foo/b/1", "foo/b/2", "foo", "zip"):
        await api.put(f"/v1/kv/{key}", "1")
    assert (await api.get("/v1/kv/?keys")).json == ["foo", "foo/a", "foo/b/1", "foo/b/2", "zip"]
    assert (await api.get("/v1/kv/?keys&separator=/")).json == ["foo", "foo/", "zip"]
    assert (await api.get("/v1/kv/foo/?keys&seperator=/")).json == ["foo/a", "foo/b/"]
    assert (await api.get("/v1/kv/foo/?keys&separator=%2F")).json == ["foo/a", "foo/b/"]
    assert (await api.get("/v1/kv/none?keys&separator=/")).status == 404


async def test_keys_of_an_empty_root_is_an_empty_list(api: Api) -> None:
    got = await api.get("/v1/kv/?keys")
    assert (got.status, got.json, got.index) == (200, [], 1)


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/", 400, "Missing key name"),
        ("DELETE", "/v1/kv/", 400, "Missing key name"),
        ("PUT", "/v1/kv/x?cas=1&acquire=s", 400, "Conflicting flags"),
        ("PUT", "/v1/kv/x?acquire=s&release=s", 400, "Conflicting flags"),
        ("DELETE", "/v1/kv/x?recurse&cas=1", 400, "Conflicting flags"),
        ("PUT", "/v1/kv/x?cas=abc", 500, "cas"),
        ("PUT", "/v1/kv/x?cas", 500, "cas"),
        ("PUT", "/v1/kv/x?flags=-1", 500, "flags"),
        ("PUT", "/v1/kv/x?flags=18446744073709551616", 500, "flags"),
        ("DELETE", "/v1/kv/x?cas=1.5", 500, "cas"),
    ],
)
async def test_refusals(api: Api, method: str, path: str, status: int, text: str) -> None:
    got = await api.ask(method, path, b"1" if method == "PUT" else b"")
    assert got.status == status
    assert text in got.text
    assert not api.registry.writes


async def test_a_value_over_the_limit_is_413(api: Api) -> None:
    limit = 512 * 1024
    assert (await api.put("/v1/kv/x", b"a" * limit)).body == b"true"
    assert (await api.put("/v1/kv/x", b"a" * (limit + 1))).status == 413
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    data = await api.raw(
        b"PUT /v1/kv/y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 33 + b"0\r\n\r\n"
    )
    assert data.startswith(b"HTTP/1.1 413")
    assert (await api.get("/v1/kv/y")).status == 404


async def test_keys_are_what_the_path_says(api: Api) -> None:
    await api.put("/v1/kv/a%20b%2Fc+d", "1")
    await api.put("/v1/kv/%2Fslash", "2")
    await api.put("/v1/kv/gr%C3%BCn", "3")
    assert (await api.get("/v1/kv/?keys")).json == ["/slash", "a b/c+d", "grün"]


async def test_a_key_over_its_limit_is_400(api: Api) -> None:
    assert (await api.put("/v1/kv/" + "a" * 2049, "1")).status == 400


async def test_many_keys_come_in_pieces_that_are_one_list(serve: Serve) -> None:
    api = await serve()
    many = [f"many/{number:04}" for number in range(2500)]
    for key in many:
        api.registry.apply(kv.Set(key, b"v"))
    api.registry.apply(kv.Set("other", b""))
    plain = await api.get("/v1/kv/many?recurse")
    assert [row["Key"] for row in plain.json] == many
    assert plain.index == 2500
    pretty = await api.get("/v1/kv/many?recurse&pretty")
    assert pretty.body == json.dumps(plain.json, indent=4).encode() + b"\n"
    packed = await api.ask("GET", "/v1/kv/many?recurse", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == plain.body
    assert len((await api.get("/v1/kv/?recurse")).json) == 2501
    assert (await api.get("/v1/kv/many/1?keys")).json == many[1000:2000]
    assert (await api.server.ask("/v1/kv/many?recurse")).body == plain.body


async def test_indented_bodies_are_kept_too(serve: Serve) -> None:
    api = await serve(pretty_always=True)
    await api.register("n1", "web", Instance={"Tags": ["v" * 2000]})
    path = "/v1/health/service/web"
    for _ in range(2):
        got = await api.get(path)
        assert got.body == json.dumps(got.json, indent=4).encode()
        assert (await api.get(f"{path}?pretty")).body == got.body + b"\n"
        packed = await api.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.body) == got.body
    await api.register("n1", "web", Instance={"Tags": ["w"]})
    assert (await api.get(path)).json[0]["Service"]["Tags"] == ["w"]
    assert (await api.get(f"{path}?tag=none")).json == []
    assert (await api.get(f"{path}?passing")).json != []
