"""Profiles, and what else is not the registry's: the metrics proxy and robots.txt."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from tests.compat.conftest import Api

Serve = Callable[..., Awaitable[Api]]


async def test_profiles_are_off_unless_allowed(api: Api) -> None:
    for path in ("", "cmdline", "profile", "goroutine", "trace", "symbol"):
        got = await api.get(f"/debug/pprof/{path}")
        assert got.status == 404
        assert "enable_debug" in got.text


async def test_profiles(serve: Serve) -> None:
    api = await serve(enable_debug=True)
    assert "/debug/pprof/profile" in (await api.get("/debug/pprof/")).text
    assert "python" in (await api.get("/debug/pprof/cmdline")).text
    assert "MainThread: " in (await api.get("/debug/pprof/goroutine")).text
    assert (await api.get("/debug/pprof/trace")).status == 404
    for seconds in ("0", "301", "x"):
        assert (await api.get("/debug/pprof/profile", seconds=seconds)).status == 400
    first = asyncio.create_task(api.get("/debug/pprof/profile", seconds=1))
    while (second := await api.get("/debug/pprof/profile", seconds=1)).status == 200:
        pass
    assert second.status == 429
    got = await first
    if got.status == 200:
        assert all(re.fullmatch(r"\S.*;\S.* [0-9]+", line) for line in got.text.splitlines())


async def test_robots_are_told_to_stay_away(api: Api) -> None:
    assert (await api.get("/robots.txt")).text == "User-agent: *\nDisallow: /"


@pytest.fixture
async def prometheus() -> AsyncIterator[tuple[str, list[web.BaseRequest]]]:
    """A metrics server, and what it was asked."""
    asked: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request)
        return web.json_response({"status": "success"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/prom", asked
    await runner.cleanup()


PROXY = "/v1/internal/ui/metrics-proxy"


async def test_the_metrics_server_is_asked(
    serve: Serve, prometheus: tuple[str, list[web.BaseRequest]]
) -> None:
    url, asked = prometheus
    paths = ("/api/v1/query", "/api/v1/query_range")
    api = await serve(
        metrics_url=url, metrics_paths=paths, metrics_headers=(("Authorization", "Basic x"),)
    )
    got = await api.get(f"{PROXY}/api/v1/query", query='up{a="b"}', token="secret")
    assert got.body == b'{"status": "success"}'
    assert got.status == 200
    (request,) = asked
    assert (request.path, dict(request.query)) == ("/prom/api/v1/query", {"query": 'up{a="b"}'})
    assert request.headers["Authorization"] == "Basic x"
    for path in ("api/v1/admin", "api/v1/query/..%2fadmin", "%2e%2e/%2e%2e/secret", "api/v1/"):
        got = await api.get(f"{PROXY}/{path}")
        assert got.status in {301, 403}, path
    assert len(asked) == 1


async def test_no_metrics_server(api: Api, serve: Serve) -> None:
    got = await api.get(f"{PROXY}/api/v1/query")
    assert (got.status, "not enabled" in got.text) == (404, True)
    gone = await serve(metrics_url="http://127.0.0.1:1", metrics_paths=("/api/v1/query",))
    assert (await gone.get(f"{PROXY}/api/v1/query")).status == 502
