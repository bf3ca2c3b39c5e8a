"""The rules that hold for every operation, tried on each row of the table."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, get_origin

import msgspec
import pytest

from mesh.errors import Unreachable
from mesh.http.dispatch import READING_POSTS
from mesh.http.options import Options
from mesh.http.route import Route
from mesh.http.routes import ROUTES, Paths
from tests.compat.agent import AgentApi, serving
from tests.registry_memory import MemoryRegistry

PATHS = sorted({route.path for route in ROUTES})
STREAMS = {"/v1/agent/monitor", "/v1/agent/metrics/stream"}
"""Answers that end only when the client goes."""
REPLICATED = ("/v1/catalog", "/v1/health", "/v1/kv", "/v1/coordinate", "/v1/operator/raft")
"""What lies in the registry, so that nothing can be done without asking it."""
NEVER_ELSEWHERE = {"/v1/catalog/datacenters"}
BODIES = {
    "/v1/catalog/register": b'{"Node": "n", "Address": "10.0.0.1"}',
    "/v1/catalog/deregister": b'{"Node": "n"}',
    "/v1/coordinate/update": b'{"Node": "n", "Coord": {"Vec": [0, 0, 0, 0, 0, 0, 0, 0]}}',
    "/v1/operator/autopilot/configuration": b"{}",
}
"""Bodies that can be carried out."""


def target(route: Route) -> str:
    """A path of this route."""
    value = "any" if route.parameter == "state" else "x"
    return f"{route.fixed}{value}{route.tail}" if route.parameter else route.path


def each(routes: tuple[Route, ...] = ROUTES) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "route", [pytest.param(one, id=f"{one.method} {one.path}") for one in routes]
    )


reading = each(tuple(one for one in ROUTES if one.method == "GET" and one.path not in STREAMS))
writing = each(
    tuple(one for one in ROUTES if one.method != "GET" and one.path not in READING_POSTS)
)
with_body = each(tuple(one for one in ROUTES if one.body is not None))
with_json = each(tuple(one for one in ROUTES if one.body not in {None, bytes}))
LENIENT = {"/v1/session/create"}
"""What ignores unknown fields and a missing body, as in Consul."""
strict = each(
    tuple(one for one in ROUTES if one.body not in {None, bytes} and one.path not in LENIENT)
)


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    # The agent writes to a registry of its own: what is in the other one came over HTTP.
    async with serving(MemoryRegistry()) as found:
        found.registry.outcomes = defaultdict(lambda: Unreachable("no server here"))
        yield found


def reload(api: AgentApi, **options: Any) -> None:
    api.server.reload(Options(addresses=[], datacenter="dc1", node_name="n0", **options))


@pytest.mark.parametrize("path", PATHS)
async def test_methods(api: AgentApi, path: str) -> None:
    found = Paths().find(target(next(route for route in ROUTES if route.path == path)))
    assert found is not None
    allow = ",".join(["OPTIONS", *(route.method for route in ROUTES if route.path == path)])
    example = target(next(iter(found.operations.values())))
    for method in ("GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"):
        if method not in found.operations:
            got = await api.ask(method, example)
            assert (got.status, got.headers["allow"]) == (405, allow)
    got = await api.ask("OPTIONS", example)
    assert (got.status, got.headers["allow"], got.body) == (200, allow, b"")


@each()
async def test_tenancy_is_refused(api: AgentApi, route: Route) -> None:
    for name in ("ns", "partition", "authmethod-ns"):
        got = await api.ask(route.method, f"{target(route)}?{name}=other")
        assert (got.status, f'"{name}"' in got.text) == (400, True)
    for header in ("X-Consul-Namespace", "X-Consul-Partition"):
        got = await api.ask(route.method, target(route), headers={header: "other"})
        assert (got.status, header in got.text) == (400, True)
    assert not api.registry.writes


@each()
async def test_block_lists_and_headers(api: AgentApi, route: Route) -> None:
    reload(api, block_endpoints=["/"], response_headers={"X-Own": "1"}, default_acl_policy="deny")
    got = await api.ask(route.method, target(route))
    assert (got.status, got.text) == (403, "Endpoint is blocked by agent configuration")
    assert got.headers["x-own"] == "1"
    assert got.headers["x-consul-default-acl-policy"] == "deny"


@writing
async def test_writes_only_from_allowed_networks(api: AgentApi, route: Route) -> None:
    reload(api, allow_write_from=["10.0.0.0/8"])
    assert (await api.ask(route.method, target(route))).status == 403
    assert (await api.ask("OPTIONS", target(route))).status == 200


@each(tuple(one for one in ROUTES if one.parameter))
async def test_paths(api: AgentApi, route: Route) -> None:
    unprintable = f"{route.fixed}a%00b{route.tail}"
    got = await api.ask(route.method, unprintable)
    assert (got.status, "unprintable" in got.text) == (400, True)
    got = await api.ask(route.method, f"{route.fixed}/a/../b{route.tail}?dc=x")
    location = f"{route.fixed}b{route.tail}?dc=x"
    assert (got.status, got.headers["location"]) == (301, location)
    if not route.tail:
        short = route.fixed.removesuffix("/")
        if Paths().find(short) is None:
            got = await api.ask(route.method, short)
            assert (got.status, got.headers["location"]) == (301, route.fixed)


@with_body
async def test_bodies_have_a_limit(api: AgentApi, route: Route) -> None:
    reload(api, **{route.limit: 10})
    got = await api.ask(route.method, target(route), b" " * 11)
    assert (got.status, "too large" in got.text) == (413, True)


@strict
async def test_bodies_are_strict(api: AgentApi, route: Route) -> None:
    for body, why in (
        (b'{"Bogus": 1}', "unknown field"),
        (b'{"Namespace": "x"}', "unknown field"),
        (b"{", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[" * 5000, ""),
        (b"5", ""),
    ):
        in_list = why and get_origin(route.body) is list
        sent = b"[" + body + b"]" if in_list else body
        got = await api.ask(route.method, target(route), sent)
        assert got.status == 400, (body[:9], got)
        # Which names a config entry has depends on its kind, which these do not say.
        assert why in got.text or route.path == "/v1/config"
    assert not api.registry.writes


@with_json
async def test_names_in_bodies_may_be_of_any_case(api: AgentApi, route: Route) -> None:
    kind: Any = route.body
    if not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
        return
    for field in msgspec.structs.fields(kind):
        for name in (field.encode_name.lower(), field.encode_name.upper()):
            got = await api.ask(route.method, target(route), json.dumps({name: None}).encode())
            assert b"unknown field" not in got.body, name


@reading
async def test_pretty(api: AgentApi, route: Route) -> None:
    plain = await api.ask("GET", target(route))
    got = await api.ask("GET", f"{target(route)}?pretty")
    if got.headers.get("content-type") == "application/json":
        assert got.plain.endswith(b"\n")
        if plain.plain not in {b"[]", b"{}", b"null"}:
            assert b"\n" in got.plain[:-1] or not got.plain.startswith((b"[", b"{"))
    elif got.body:
        assert got.text


@each(tuple(one for one in ROUTES if one.path not in STREAMS))
async def test_errors_are_text(api: AgentApi, route: Route) -> None:
    for query in ("index=x", "wait=x", "wan=x", "stale&consistent", "near=%FF", "passing=x"):
        got = await api.ask(route.method, f"{target(route)}?{query}")
        if got.status >= 400 and got.body and got.status not in route.answered:
            assert got.text.strip()


@each(tuple(one for one in ROUTES if one.path not in STREAMS))
async def test_tokens_and_datacenters_get_to_the_registry(api: AgentApi, route: Route) -> None:
    headers = {"X-Consul-Token": "secret"}
    await api.ask(
        route.method, f"{target(route)}?dc=dc2&id=x", BODIES.get(route.path, b""), headers
    )
    asked: list[tuple[object, Any]] = [
        *api.registry.reads,
        *api.registry.writes,
        *api.registry.orders,
    ]
    assert asked or not route.path.startswith(REPLICATED)
    for request, options in asked:
        assert options.token == "secret", request
        assert options.datacenter == "dc2" or route.path in NEVER_ELSEWHERE, request
