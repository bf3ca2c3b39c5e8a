"""POST /v1/internal/ui/watch: many blocking queries in one request."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from mesh.errors import NoLeader
from mesh.registry.orders import AutopilotHealth, Health
from tests.compat.conftest import Api, Got, until

WATCH = "/v1/internal/ui/watch"


async def watch(api: Api, *asks: tuple[str, str], seconds: float = 60.0) -> Got:
    body = {"Asks": [{"Path": path, "Mark": mark} for path, mark in asks], "WaitSeconds": seconds}
    return await api.ask("POST", WATCH, json.dumps(body).encode())


async def marks(api: Api, *paths: str) -> dict[str, str]:
    """The marks of what these say now."""
    got = await watch(api, *((path, "") for path in paths))
    assert [one["Path"] for one in got.json] == list(paths)
    return {one["Path"]: one["Mark"] for one in got.json}


async def test_what_one_does_not_have_is_told_at_once(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    got = await watch(api, ("/v1/kv/x?raw", ""), ("/v1/kv/missing", ""), ("/v1/status/peers", ""))
    found: dict[str, Any] = {one["Path"]: one for one in got.json}
    assert found["/v1/kv/missing"]["Status"] == 404
    assert found["/v1/kv/missing"]["Body"] == ""
    assert found["/v1/kv/x?raw"]["Body"] == "1"
    assert isinstance(found["/v1/status/peers"]["Body"], list)


async def test_what_begins_like_a_list_and_is_none_is_told_whole(api: Api) -> None:
    long = "[x" * 3000
    await api.put("/v1/kv/x", long)
    had = await marks(api, "/v1/kv/x?raw")
    await api.put("/v1/kv/x", f"{long}y")
    (news,) = (await watch(api, *had.items())).json
    assert news["Body"] == f"{long}y"


async def test_it_waits_until_one_of_them_changes_and_tells_only_that_one(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.http.watch.GOES_ON_SECONDS", 0.01)
    await api.put("/v1/kv/x", "1")
    await api.put("/v1/kv/y", "1")
    had = await marks(api, "/v1/kv/x", "/v1/kv/y")
    task = asyncio.create_task(watch(api, *had.items()))
    await api.blocked(2)
    assert not task.done()
    await api.put("/v1/kv/y", "2")
    (news,) = (await task).json
    assert news["Path"] == "/v1/kv/y"
    assert news["Body"][0]["Value"] == "Mg=="
    assert news["Mark"] != had["/v1/kv/y"]
    await until(lambda: api.registry.blocked == 0)


async def test_what_has_no_index_is_asked_again_until_it_says_something_else(api: Api) -> None:
    had = await marks(api, "/v1/status/leader")
    assert had["/v1/status/leader"].startswith("bytes:")
    task = asyncio.create_task(watch(api, *had.items()))
    await asyncio.sleep(0)
    api.registry.error = NoLeader("none")
    (news,) = (await task).json
    assert news["Status"] == 500
    assert "No cluster leader" in news["Body"]


async def test_it_ends_without_news_when_the_time_is_over(api: Api) -> None:
    had = await marks(api, "/v1/kv/x")
    assert (await watch(api, *had.items(), seconds=0.02)).json == []
    assert (await watch(api)).json == []


async def test_a_client_that_goes_away_leaves_nothing_behind(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.http.watch.GONE_SECONDS", 0.01)
    had = await marks(api, "/v1/kv/x")
    task = asyncio.create_task(watch(api, *had.items()))
    await api.blocked()
    task.cancel()
    await until(lambda: api.registry.blocked == 0)


async def test_bad_asks_are_refused_by_name(api: Api) -> None:
    got = await watch(api, ("/elsewhere", ""))
    assert (got.status, "Asks: Path" in got.text) == (400, True)
    got = await watch(api, (WATCH, ""))
    assert got.status == 400
    got = await watch(api, *[("/v1/kv/x", "")] * 65)
    assert (got.status, got.text) == (400, "Asks: at most 64, got 65")


async def test_an_answer_without_an_end_is_refused_and_does_not_stop_the_others(api: Api) -> None:
    got = await watch(api, ("/v1/snapshot", ""), ("/v1/kv/x", ""))
    assert {one["Path"]: one["Status"] for one in got.json}["/v1/kv/x"] == 404


async def test_only_who_may_not_write_may_still_follow(serve: Any) -> None:
    api = await serve(allow_write_from=["10.0.0.0/8"])
    assert (await watch(api, ("/v1/kv/x", ""))).status == 200
    assert (await api.put("/v1/kv/x", "1")).status == 403


async def test_of_a_long_list_only_what_changed_is_told(api: Api) -> None:
    for number in range(100):
        await api.register(f"n{number:03}", Check={"Name": "c", "Notes": "x" * 100})
    path = "/v1/health/state/any"
    had = await marks(api, path)
    check = {"Name": "c", "Status": "passing", "Notes": "x" * 100}
    await api.register("n007", Check=check)
    (news,) = (await watch(api, *had.items())).json
    assert "Body" not in news
    (splice,) = news["Splices"]
    (row,) = splice["Rows"]
    assert (splice["Start"], splice["Gone"], row["Status"]) == (7, 1, "passing")
    (whole,) = (await watch(api, (path, ""))).json
    assert whole["Mark"] == news["Mark"]
    assert whole["Body"][7] == row
    (unknown,) = (await watch(api, (path, "index:1:of-another-life"))).json
    assert unknown["Body"] == whole["Body"]


async def test_indexes_that_went_back_are_told(api: Api) -> None:
    """As after a restore, or a restart of a server that keeps nothing."""
    await api.put("/v1/kv/a", b"1")
    mark = "index:999999:200-00000000-0"
    (news,) = (await watch(api, ("/v1/kv/a", mark), seconds=1.0)).json
    assert news["Mark"] != mark


class Slow:
    """What the servers say of their health, each time only when told."""

    def __init__(self, api: Api) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        api.registry.outcomes[AutopilotHealth] = self.come

    async def come(self, *_: object) -> Health:
        self.begun += 1
        await self.end.wait()
        return Health(True, 0, [])


HEALTH = "/v1/operator/autopilot/health"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """News waits only a moment for what is slow."""
    monkeypatch.setattr("mesh.http.watch.FIRST_SECONDS", 0.01)


@pytest.mark.usefixtures("impatient")
async def test_what_is_slow_is_told_though_others_have_news_all_the_time(api: Api) -> None:
    await api.put("/v1/kv/x", "first")
    slow, had = Slow(api), await marks(api, "/v1/kv/x")
    for number in range(5):
        task = asyncio.create_task(watch(api, *had.items(), (HEALTH, "new:1")))
        await until(lambda: slow.begun > 0)
        await api.put("/v1/kv/x", str(number))
        (news,) = (await task).json
        assert news["Path"] == "/v1/kv/x"
        had = {news["Path"]: news["Mark"]}
    assert slow.begun == 1
    slow.end.set()
    (news,) = (await watch(api, *had.items(), (HEALTH, "new:1"))).json
    assert (news["Path"], news["Body"]["Healthy"]) == (HEALTH, True)


@pytest.mark.usefixtures("impatient")
async def test_what_one_was_not_told_goes_on_when_one_asks_for_more(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.http.watch.GONE_SECONDS", 60.0)
    slow = Slow(api)
    task = asyncio.create_task(watch(api, (HEALTH, "new:1")))
    await until(lambda: slow.begun > 0)
    task.cancel()
    await until(lambda: not api.server.connections)
    got = await watch(api, (HEALTH, "new:1"), ("/v1/kv/x", "new:2"))
    assert [one["Path"] for one in got.json] == ["/v1/kv/x"]
    slow.end.set()
    (news,) = (await watch(api, (HEALTH, "new:1"))).json
    assert (news["Path"], slow.begun) == (HEALTH, 1)


@pytest.mark.usefixtures("impatient")
async def test_what_is_under_way_is_for_its_token_only(api: Api) -> None:
    slow = Slow(api)
    asks = json.dumps({"Asks": [{"Path": HEALTH, "Mark": "new:1"}], "WaitSeconds": 0.01})
    for headers in ({}, {"X-Consul-Token": "t"}, {"Authorization": "Bearer t"}, {}):
        got = await api.ask("POST", WATCH, asks.encode(), headers)
        assert got.json == []
    assert slow.begun == 3


async def test_pages_that_have_the_same_wait_for_the_same(api: Api) -> None:
    await api.put("/v1/kv/x", "1")
    had = await marks(api, "/v1/kv/x")
    before = len(api.registry.reads)
    tasks = [asyncio.create_task(watch(api, *had.items())) for _ in range(5)]
    await api.blocked(1)
    await until(lambda: len(api.server.blocked) == 5)
    await api.put("/v1/kv/x", "2")
    told = [(await one).json for one in tasks]
    assert told == [told[0]] * 5
    assert told[0][0]["Body"][0]["Value"] == "Mg=="
    assert len(api.registry.reads) == before + 1


@pytest.mark.usefixtures("impatient")
async def test_what_was_read_before_one_was_told_something_later_is_not_told(api: Api) -> None:
    slow = Slow(api)
    assert (await watch(api, (HEALTH, "bytes:200-0-0:1"), seconds=0.01)).json == []
    await until(lambda: slow.begun == 1)
    later = f"bytes:200-0-0:{2**50}"
    assert (await watch(api, (HEALTH, later), seconds=0.01)).json == []
    await until(lambda: slow.begun == 2)
