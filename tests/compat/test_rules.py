"""What holds for every endpoint (behaviour reference, section 1.0)."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable

import pytest

from mesh import errors
from mesh.clock import SeededDice, SystemClock
from mesh.http.server import HttpServer, Options, Parts
from tests.compat.conftest import Api, parse, until
from tests.registry_memory import MemoryRegistry

Serve = Callable[..., Awaitable[Api]]


async def test_undeclared_methods_are_405_with_allow(api: Api) -> None:
    for method in ("POST", "PATCH", "HEAD"):
        got = await api.ask(method, "/v1/kv/x")
        assert (got.status, got.headers["allow"]) == (405, "OPTIONS,GET,PUT,DELETE")
    assert (await api.ask("POST", "/v1/catalog/nodes")).text == "method POST not allowed"
    got = await api.ask("HEAD", "/v1/health/service/web")
    assert (got.status, got.headers["allow"], got.body) == (405, "OPTIONS,GET", b"")


async def test_options_lists_methods(api: Api) -> None:
    got = await api.ask("OPTIONS", "/v1/catalog/register")
    assert (got.status, got.headers["allow"], got.body) == (200, "OPTIONS,PUT", b"")


async def test_unknown_paths(api: Api) -> None:
    got = await api.get("/v1/nothing")
    assert got.status == 404
    assert got.text == "Invalid URL path: not a recognized HTTP API endpoint"
    got = await api.get("/nothing")
    assert got.status == 404
    assert "ensure the path starts with '/v1/'" in got.text
    got = await api.get("/")
    assert got.status == 200
    assert "/v1/" in got.text


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/v1/kv", "/v1/kv/"),
        ("/v1/kv?recurse", "/v1/kv/?recurse"),
        ("/v1/kv//a", "/v1/kv/a"),
        ("//evil.example/x", "/evil.example/x"),
        ("/v1/kv/a//b/?raw", "/v1/kv/a/b/?raw"),
        ("/v1/kv/a/../b", "/v1/kv/b"),
        ("/v1/../../v1/status/leader", "/v1/status/leader"),
        ("/v1/health/service", "/v1/health/service/"),
    ],
)
async def test_unclean_paths_are_moved(api: Api, path: str, location: str) -> None:
    got = await api.ask("GET", path)
    assert (got.status, got.headers["location"]) == (301, location)


async def test_unprintable_path(api: Api, serve: Serve) -> None:
    for path in ("/v1/kv/a%00b", "/v1/kv/a%0Ab", "/v1/kv/%E2%80%A8", "/v1/kv/%FF", "/v1/kv/%zz"):
        assert (await api.ask("GET", path)).status == 400, path
    free = await serve(allow_unprintable_paths=True)
    assert (await free.put("/v1/kv/a%0Ab", "1")).body == b"true"
    assert (await free.get("/v1/kv/a%0Ab")).json[0]["Key"] == "a\nb"


async def test_namespaces_and_partitions_are_refused(api: Api) -> None:
    for path in ("/v1/kv/x", "/v1/catalog/nodes", "/v1/health/service/web"):
        for name in ("ns", "partition"):
            got = await api.get(path, **{name: "other"})
            assert got.status == 400, path
            assert f'"{name}"' in got.text
    for header in ("X-Consul-Namespace", "X-Consul-Partition"):
        got = await api.ask("GET", "/v1/catalog/nodes", headers={header: "other"})
        assert got.status == 400
    assert (await api.ask("GET", "/v1/catalog/nodes?ns=&partition")).status == 200


async def test_json_bodies_are_strict_but_of_any_case(api: Api) -> None:
    body = {"node": "n1", "ADDRESS": "10.0.0.1", "service": {"SERVICE": "web", "tags": None}}
    assert (await api.put("/v1/catalog/register", body)).body == b"true"
    for path, wrong in (
        ("Namespace", {"Node": "n", "Address": "a", "Namespace": "x"}),
        ("Bogus", {"Node": "n", "Address": "a", "Service": {"Service": "x", "Bogus": 1}}),
    ):
        got = await api.put("/v1/catalog/register", wrong)
        assert got.status == 400
        assert got.text == f'Request decode failed: json: unknown field "{path}"'
    for broken in (b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"Node": 5}'):
        got = await api.put("/v1/catalog/register", broken)
        assert (got.status, got.text[:22]) == (400, "Request decode failed:"), broken


async def test_pretty(api: Api, serve: Serve) -> None:
    assert (await api.get("/v1/catalog/datacenters")).body == b'["dc1"]'
    got = await api.get("/v1/catalog/datacenters", pretty="")
    assert got.body == b'[\n    "dc1"\n]\n'
    dev = await serve(pretty_always=True)
    assert (await dev.get("/v1/catalog/datacenters")).body == b'[\n    "dc1"\n]'


async def test_headers_of_every_response(serve: Serve) -> None:
    api = await serve(response_headers={"X-Frame-Options": "DENY"}, default_acl_policy="deny")
    for path in ("/v1/catalog/nodes", "/v1/nothing", "/v1/kv/x?index=x", "/"):
        got = await api.ask("GET", path)
        assert got.headers["x-consul-default-acl-policy"] == "deny"
        assert got.headers["x-frame-options"] == "DENY"


async def test_blocked_endpoints(serve: Serve) -> None:
    api = await serve(block_endpoints=["/v1/kv", "/v1/status/leader"])
    for path in ("/v1/kv/x", "/v1/status/leader", "/v1/%6bv/x"):
        got = await api.get(path)
        assert got.status == 403
        assert got.text == "Endpoint is blocked by agent configuration"
    assert (await api.get("/v1/status/peers")).status == 200


async def test_writes_only_from_allowed_networks(serve: Serve) -> None:
    api = await serve(allow_write_from=["10.0.0.0/8", "::1/128"])
    assert (await api.put("/v1/kv/x", "1")).status == 403
    assert (await api.delete("/v1/kv/x")).status == 403
    assert (await api.get("/v1/kv/x")).status == 404
    assert (await api.ask("OPTIONS", "/v1/kv/x")).status == 200
    api = await serve(allow_write_from=["127.0.0.0/8"])
    assert (await api.put("/v1/kv/x", "1")).status == 200


async def test_gzip(api: Api) -> None:
    await api.put("/v1/kv/big", b"a" * 5000)
    await api.put("/v1/kv/small", b"a")
    accepting = {"Accept-Encoding": "br, gzip;q=0.8"}
    got = await api.ask("GET", "/v1/kv/big?raw", headers=accepting)
    assert (got.headers["content-encoding"], gzip.decompress(got.body)) == ("gzip", b"a" * 5000)
    assert got.headers["vary"] == "Accept-Encoding"
    refusing = {"Accept-Encoding": "gzip;q=0"}
    for path, headers in (("small", accepting), ("big", refusing), ("big", {})):
        got = await api.ask("GET", f"/v1/kv/{path}?raw", headers=headers)
        assert "content-encoding" not in got.headers


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (errors.Denied("rule key foo denies"), 403, "rule key foo denies"),
        (errors.NotFound("gone"), 404, "gone"),
        (errors.Conflict("taken"), 500, "taken"),
        (errors.Busy("slow down"), 429, "slow down"),
        (errors.NoLeader("election"), 500, "No cluster leader: election"),
        (errors.NoLeader("No cluster leader"), 500, "No cluster leader"),
        (errors.Unreachable("No path to datacenter"), 500, "No path to datacenter"),
        (errors.OutcomeUnknown("it may be written"), 500, "it may be written"),
    ],
)
async def test_errors_have_a_status_and_text(
    api: Api, error: errors.MeshError, status: int, text: str
) -> None:
    api.registry.error = error
    got = await api.get("/v1/kv/x")
    assert (got.status, got.text) == (status, text)
    got = await api.put("/v1/kv/x", "1")
    assert (got.status, got.text) == (status, text)


async def test_an_unforeseen_error_is_500_and_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.registry.error = ZeroDivisionError("secret detail")
    got = await api.get("/v1/kv/x")
    assert got.status == 500
    assert "secret" not in got.text
    assert "ZeroDivisionError" in caplog.text
    assert api.server.counters["failures"] == 1
    api.registry.error = None
    assert (await api.get("/v1/kv/x")).status == 404


async def test_token_sources_in_order(api: Api) -> None:
    every = {"X-Consul-Token": "header", "Authorization": "Bearer bearer"}
    await api.ask("GET", "/v1/kv/x?token=query", headers=every)
    await api.ask("GET", "/v1/kv/x", headers=every)
    await api.ask("GET", "/v1/kv/x", headers={"Authorization": "bearer bearer"})
    await api.ask("GET", "/v1/kv/x", headers={"Authorization": "Basic bearer"})
    assert [options.token for _, options in api.registry.reads] == ["query", "header", "bearer", ""]


async def test_a_token_in_the_url_is_warned_of_once(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("x", "y"):
        await api.get(f"/v1/kv/{key}", token="secret")
    found = [one.getMessage() for one in caplog.records if "deprecated" in one.getMessage()]
    assert len(found) == 1
    assert "X-Consul-Token" in found[0]
    assert "secret" not in caplog.text


async def test_datacenter_wins_over_dc(api: Api) -> None:
    await api.get("/v1/kv/x", dc="dc2")
    await api.get("/v1/kv/x", dc="dc2", datacenter="dc3")
    assert [options.datacenter for _, options in api.registry.reads] == ["dc2", "dc3"]
    await api.put("/v1/kv/x?dc=dc2", "1")
    assert api.registry.writes[0][1].datacenter == "dc2"
    assert api.registry.writes[0][1].origin == "n0/http/127.0.0.1"


async def test_many_connections_of_one_client_are_told_429(serve: Serve) -> None:
    api = await serve(max_connections_per_client=2)
    open_ones = [await asyncio.open_connection(*api.address) for _ in range(2)]
    for _, writer in open_ones:
        writer.write(b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n\r\n")
    for reader, _ in open_ones:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    reader, writer = await asyncio.open_connection(*api.address)
    assert parse(await reader.read()).status == 429
    writer.close()
    assert api.server.counters["refused"] == 1
    for _, writer in open_ones:
        writer.close()
    await until(lambda: not api.server.clients)
    assert (await api.get("/v1/status/leader")).status == 200


async def test_a_get_with_a_body_ignores_it(api: Api) -> None:
    assert (await api.ask("GET", "/v1/status/leader", b"x" * 10)).status == 200


async def test_keep_alive_and_pipelining(api: Api) -> None:
    ask = b"GET /v1/status/leader HTTP/1.1\r\nHost: x\r\n"
    data = await api.raw((ask + b"\r\n") * 2 + ask + b"Connection: close\r\n\r\n")
    assert data.count(b"HTTP/1.1 200 OK") == 3


async def test_expect_continue(api: Api) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"1")
    got = parse(await reader.read())
    assert (got.status, got.body) == (200, b"true")
    writer.close()


async def test_a_taken_port_is_one_clear_line(api: Api) -> None:
    parts = Parts(MemoryRegistry(), SystemClock(), SeededDice())
    addresses = [("127.0.0.1", 0), api.address]
    server = HttpServer(parts, Options(addresses=addresses, datacenter="dc1", node_name="n1"))
    with pytest.raises(errors.Conflict, match=r"cannot listen on 127.0.0.1:.*in use"):
        await server.start()
    assert server.addresses == []


async def test_several_addresses_and_reload(serve: Serve) -> None:
    api = await serve(addresses=[("127.0.0.1", 0), ("127.0.0.2", 0)])
    assert [host for host, _ in api.server.addresses] == ["127.0.0.1", "127.0.0.2"]
    options = Options(addresses=[], datacenter="dc1", node_name="n0", pretty_always=True)
    api.server.reload(options)
    assert json.loads((await api.get("/v1/status/peers")).body) == ["127.0.0.1:8300"]
    assert b"\n" in (await api.get("/v1/status/peers")).body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/catalog/service/none", b"[]"),
        ("/v1/catalog/connect/none", b"[]"),
        ("/v1/catalog/node/none", b"null"),
        ("/v1/catalog/node-services/none", b'{"Node":null,"Services":null}'),
        ("/v1/catalog/nodes?node-meta=a:b", b"[]"),
        ("/v1/catalog/services", b"{}"),
        ("/v1/catalog/datacenters?cached", b'["dc1"]'),
        ("/v1/health/node/none", b"[]"),
        ("/v1/health/checks/none", b"[]"),
        ("/v1/health/service/none", b"[]"),
        ("/v1/health/connect/none", b"[]"),
        ("/v1/health/state/passing", b"[]"),
        ("/v1/session/info/adf4238a-882b-9ddc-4a9d-5b6758e4159e", b"[]"),
        ("/v1/session/node/none", b"[]"),
        ("/v1/session/list", b"[]"),
        ("/v1/kv/?keys", b"[]"),
        ("/v1/coordinate/nodes", b"[]"),
        ("/v1/query", b"[]"),
    ],
)
async def test_unknown_things_are_rarely_404(api: Api, path: str, body: bytes) -> None:
    got = await api.get(path)
    assert (got.status, got.body) == (200, body)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/kv/none",
        "/v1/kv/none?recurse",
        "/v1/kv/none?keys",
        "/v1/coordinate/node/none",
        "/v1/query/adf4238a-882b-9ddc-4a9d-5b6758e4159e",
        "/v1/query/none/execute",
        "/v1/internal/ui/node/none",
        "/v1/internal/federation-state/none",
    ],
)
async def test_but_some_are(api: Api, path: str) -> None:
    assert (await api.get(path)).status == 404


async def test_pages_of_other_websites_change_nothing(api: Api) -> None:
    evil = {"Origin": "https://evil.example"}
    got = await api.ask("PUT", "/v1/kv/x", b"1", headers=evil | {"Content-Type": "text/plain"})
    assert (got.status, "https://evil.example" in got.text) == (403, True)
    assert (await api.get("/v1/kv/x")).status == 404
    assert (await api.ask("GET", "/v1/kv/", headers=evil)).status != 403
    got = await api.ask("PUT", "/v1/kv/x", b"1", headers={"Origin": "http://mesh"})
    assert (got.status, got.json) == (200, True)
