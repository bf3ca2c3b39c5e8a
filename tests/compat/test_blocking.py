"""Blocking queries and consistency (behaviour reference, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mesh.registry import coordinates
from tests.compat.conftest import Api, Got, until

Serve = Callable[..., Awaitable[Api]]


@asynccontextmanager
async def asleep(api: Api, path: str) -> AsyncIterator[asyncio.Task[Got]]:
    """A query that is waiting in the registry; it must end within the block."""
    task = asyncio.create_task(api.get(path))
    await api.blocked()
    yield task
    async with asyncio.timeout(30):
        await task


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_query_wakes_when_its_key_changes(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    index = (await api.get("/v1/kv/x")).index
    async with asleep(api, f"/v1/kv/x?index={index}&wait=1m") as task:
        await api.put("/v1/kv/x", "2")
        got = await task
    assert got.index > index
    assert got.json[0]["Value"] == "Mg=="


async def test_it_sleeps_through_unrelated_and_equal_writes(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    index = (await api.get("/v1/kv/x")).index
    async with asleep(api, f"/v1/kv/x?index={index}") as task:
        await api.put("/v1/kv/y", "1")
        await api.put("/v1/kv/x/deeper", "1")
        await api.put("/v1/kv/x", "1")
        await api.register("n1", "web")
        await settled()
        assert not task.done()
        await api.delete("/v1/kv/x")
        assert (await task).status == 404


async def test_a_watch_on_a_missing_key_sleeps_until_it_appears(api: Api) -> None:
    await api.put("/v1/kv/other", "1")
    index = (await api.get("/v1/kv/x")).index
    assert index >= 1
    async with asleep(api, f"/v1/kv/x?index={index}") as task:
        await api.put("/v1/kv/other", "2")
        await settled()
        assert not task.done()
        await api.put("/v1/kv/x", "1")
        assert (await task).json[0]["Key"] == "x"


async def test_a_prefix_wakes_for_a_key_below_and_for_a_delete(api: Api) -> None:
    await api.put("/v1/kv/a/1", "1")
    for change in (api.put("/v1/kv/a/2", "1"), api.delete("/v1/kv/a/1")):
        index = (await api.get("/v1/kv/a/?recurse")).index
        async with asleep(api, f"/v1/kv/a/?recurse&index={index}") as task:
            await api.put("/v1/kv/b/1", str(index))
            await settled()
            assert not task.done()
            await change
            assert (await task).index > index


async def test_a_service_wakes_for_its_health_only(api: Api) -> None:
    probe = {"Name": "probe", "Status": "passing", "ServiceID": "web"}
    await api.register("n1", "web", Check=probe)
    await api.register("n2", "db")
    index = (await api.get("/v1/health/service/web?passing")).index
    async with asleep(api, f"/v1/health/service/web?passing&index={index}") as task:
        await api.register("n2", "db", Instance={"Port": 5432})
        await api.register("n1", "web", Check=probe)
        await settled()
        assert not task.done()
        await api.register("n1", Check=probe | {"Status": "critical"})
        got = await task
    assert got.json == []
    assert got.index > index


async def test_an_absent_service_wakes_when_it_appears(api: Api) -> None:
    await api.register("n1", "db")
    index = (await api.get("/v1/catalog/service/web")).index
    async with asleep(api, f"/v1/catalog/service/web?index={index}") as task:
        await api.register("n1", "web")
        assert len((await task).json) == 1


async def test_no_index_or_an_old_one_answers_at_once(api: Api) -> None:
    await api.put("/v1/kv/y", "1")
    await api.put("/v1/kv/x", "1")
    for path in ("/v1/kv/x?wait=1m", "/v1/kv/x?index=0&wait=1m", "/v1/kv/x?index=1&wait=1m"):
        assert (await api.get(path)).status == 200


async def test_time_out_answers_what_is_there(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    index = (await api.get("/v1/kv/x")).index
    got = await api.get("/v1/kv/x", index=index, wait="20ms")
    assert (got.status, got.index) == (200, index)


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("", 300), ("&wait=0s", 300), ("&wait=-1s", 300), ("&wait=1h", 600), ("&wait=1m30s", 90)],
)
async def test_wait_has_a_default_a_cap_and_jitter(api: Api, wait: str, seconds: float) -> None:
    async with asleep(api, f"/v1/kv/x?index=1{wait}") as task:
        _, options = api.registry.reads[-1]
        assert seconds < options.wait <= seconds * 17 / 16
        await api.put("/v1/kv/y", "1")
        await api.put("/v1/kv/x", "2")
        assert (await task).status == 200


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("index=abc", "Invalid index"),
        ("index=-1", "Invalid index"),
        ("index=1&wait=10", "Invalid wait time"),
        ("wait=soon", "Invalid wait time"),
        ("max_stale=soon", "Invalid max_stale"),
        ("stale&consistent", "Cannot specify ?stale with ?consistent"),
        ("max_stale=1s&consistent", "Cannot specify ?stale with ?consistent"),
        ("cached&consistent", "Cannot specify ?cached with ?consistent"),
    ],
)
async def test_refused_options(api: Api, query: str, text: str) -> None:
    for path in ("/v1/kv/x", "/v1/health/service/web", "/v1/catalog/nodes"):
        got = await api.get(f"{path}?{query}")
        assert got.status == 400
        assert got.text.startswith(text)


@pytest.mark.parametrize(
    ("query", "asked", "shown"),
    [
        ("", "default", "leader"),
        ("leader", "default", "leader"),
        ("consistent", "consistent", "consistent"),
        ("stale", "stale", "stale"),
        ("stale=1", "stale", "stale"),
        ("max_stale=10s", "stale", "stale"),
    ],
)
async def test_consistency(api: Api, query: str, asked: str, shown: str) -> None:
    got = await api.get(f"/v1/health/service/web?{query}")
    assert got.headers["x-consul-effective-consistency"] == shown
    _, options = api.registry.reads[-1]
    assert options.consistency == asked
    assert options.max_stale == (10.0 if "max_stale" in query else None)


async def test_discovery_may_be_stale_by_default(serve: Serve) -> None:
    api = await serve(discovery_max_stale_seconds=5.0)
    got = await api.get("/v1/catalog/nodes")
    assert got.headers["x-consul-effective-consistency"] == "stale"
    assert api.registry.reads[-1][1].max_stale == 5.0
    await api.get("/v1/catalog/nodes?leader")
    assert api.registry.reads[-1][1].consistency == "default"
    await api.get("/v1/kv/x")
    assert api.registry.reads[-1][1].consistency == "default"


async def test_freshness_headers(api: Api) -> None:
    api.registry.known_leader = False
    api.registry.last_contact = 1.2345
    got = await api.get("/v1/kv/x?stale")
    assert got.headers["x-consul-knownleader"] == "false"
    assert got.headers["x-consul-lastcontact"] == "1234"


async def test_a_client_that_leaves_ends_its_query(api: Api) -> None:
    _, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/kv/x?index=5 HTTP/1.1\r\nHost: x\r\n\r\n")
    await api.blocked()
    writer.close()
    await api.blocked(0)
    await until(lambda: not api.server.clients)
    assert api.server.counters["failures"] == 0


async def test_stop_ends_blocked_queries_promptly(serve: Serve) -> None:
    api = await serve()
    address = api.address
    tasks = [asyncio.create_task(api.get("/v1/kv/x?index=5")) for _ in range(3)]
    await api.blocked(3)
    async with asyncio.timeout(30):  # Without it, five minutes.
        await api.server.stop()
        for task in tasks:
            assert (await task).status == 500
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(*address)


@pytest.mark.parametrize(
    ("control", "max_age", "stale_if_error"),
    [
        ("", None, 0.0),
        ("max-age=30", 30.0, 0.0),
        ("Max-Age=5, stale-if-error=60", 5.0, 60.0),
        ("must-revalidate, max-age=30", 0.0, 0.0),
        ("no-cache", None, 0.0),
    ],
)
async def test_cache_control(
    api: Api, control: str, max_age: float | None, stale_if_error: float
) -> None:
    for query in ("?cached", ""):
        await api.ask("GET", f"/v1/health/service/web{query}", headers={"Cache-Control": control})
    cached, plain = (options for _, options in api.registry.reads)
    assert (cached.cached, cached.max_age, cached.stale_if_error) == (True, max_age, stale_if_error)
    assert (plain.cached, plain.max_age, plain.stale_if_error) == (False, None, 0.0)


@pytest.mark.parametrize("control", ["max-age=soon", "max-age=", "stale-if-error=1.5"])
async def test_cache_control_that_is_no_number(api: Api, control: str) -> None:
    headers = {"Cache-Control": control}
    got = await api.ask("GET", "/v1/health/service/web?cached", headers=headers)
    assert got.status == 400
    assert "Cache-Control" in got.text


async def test_cached_may_be_switched_off(serve: Serve) -> None:
    api = await serve(use_cache=False)
    got = await api.get("/v1/health/service/web?cached")
    assert "x-cache" not in got.headers
    assert not api.registry.reads[-1][1].cached


WATCHED = (
    *("/v1/kv/x", "/v1/kv/x?recurse", "/v1/kv/?keys", "/v1/catalog/nodes", "/v1/catalog/services"),
    *("/v1/catalog/service/web", "/v1/catalog/node/n1", "/v1/catalog/node-services/n1"),
    *("/v1/health/node/n1", "/v1/health/checks/web", "/v1/health/service/web"),
    *("/v1/health/state/any", "/v1/coordinate/nodes", "/v1/coordinate/node/n1"),
)


async def test_writes_that_change_nothing_wake_nobody(api: Api) -> None:
    check = {"Name": "up", "ServiceID": "web", "Status": "passing", "Output": "fine"}
    coordinate = coordinates.Placed("n1", coordinates.Coordinate((0.1,) * 8, 1.5, 0.0, 0.01))

    async def write() -> None:
        assert (await api.put("/v1/kv/x?flags=7", "value")).body == b"true"
        node: dict[str, Any] = {"NodeMeta": {"a": "b"}, "TaggedAddresses": {"lan": "10.0.0.1"}}
        await api.register("n1", **node)
        await api.register("n1", "web", **node, Instance={"Tags": ["v1"], "Port": 1})
        await api.register("n1", Check=check, SkipNodeUpdate=True)
        api.registry.apply(coordinates.Update((coordinate,)))
        assert (await api.delete("/v1/kv/none")).body == b"true"
        await api.put("/v1/catalog/deregister", {"Node": "none"})

    await write()
    tasks = []
    for path in WATCHED:
        index = (await api.get(path)).index
        mark = "&" if "?" in path else "?"
        tasks.append(asyncio.create_task(api.get(f"{path}{mark}index={index}&wait=1m")))
        await api.blocked(len(tasks))
    for _ in range(3):
        await write()
        await settled()
    assert api.registry.reader.woken == 0
    assert not any(task.done() for task in tasks)
    api.registry.reader.interrupt()
    await asyncio.gather(*tasks)


async def test_tables_replaced_as_a_whole_end_every_wait(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    paths = [f"{path}{'&' if '?' in path else '?'}index=9" for path in WATCHED]
    tasks = [asyncio.create_task(api.get(path)) for path in paths]
    await api.blocked(len(WATCHED))
    api.registry.answers.restored(other=True)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*tasks)
    assert {answer.status for answer in answers} <= {200, 404}


@pytest.mark.parametrize("path", WATCHED)
async def test_headers_of_every_blocking_read(api: Api, path: str) -> None:
    got = await api.get(path)
    assert got.index >= 1
    assert got.headers["x-consul-knownleader"] == "true"
    assert got.headers["x-consul-lastcontact"] == "0"
    assert got.headers["x-consul-query-backend"] == "blocking-query"
    effective = "x-consul-effective-consistency" in got.headers
    assert effective == path.startswith(("/v1/catalog", "/v1/health"))
