"""/v1/snapshot through a real HTTP server: what goes wrong has a status, or no end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mesh.errors import NoLeader, NotFound
from mesh.registry import kv, restores, snapshots
from mesh.registry.levels import Found
from mesh.registry.port import Order, OrderOptions
from mesh.registry.requests import TABLES
from mesh.store.archive import Archive, read_meta
from mesh.store.database import Database
from tests.cli.test_snapshot import archive
from tests.compat.conftest import Api

OPENED = snapshots.Opened("x", "node", 42, last_contact=1.5)


class Script:
    """Carries out orders: opens, then reads these portions one after the other."""

    def __init__(self, portions: list[object]) -> None:
        self.portions: Iterator[Any] = iter(portions)
        self.asked: list[tuple[Order[Any], OrderOptions]] = []

    async def operate(self, order: Any, options: OrderOptions) -> Any:
        self.asked.append((order, options))
        if isinstance(order, snapshots.Open):
            return OPENED
        if isinstance(order, snapshots.Close):
            return True
        found = next(self.portions)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def play(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Script]:
    def make(*portions: object) -> Script:
        script = Script(list(portions))
        monkeypatch.setattr(api.registry, "operate", script.operate)
        return script

    return make


async def test_portions_come_as_one_stream(api: Api, play: Callable[..., Script]) -> None:
    portion = snapshots.Portion
    script = play(portion(), portion(b"ab"), portion(), portion(b"cd"), portion(b"", end=True))
    got = await api.get("/v1/snapshot?stale&dc=dc2")
    assert (got.status, got.headers["content-type"]) == (200, "application/x-gzip")
    assert got.headers["x-consul-index"] == "42"
    assert got.headers["x-consul-lastcontact"] == "1500"
    assert got.headers["x-consul-knownleader"] == "true"
    assert b"ab" in got.body
    assert b"cd" in got.body
    orders = [order for order, _ in script.asked]
    assert orders[0] == snapshots.Open(stale=True)
    assert [order.offset for order in orders if isinstance(order, snapshots.Read)] == [
        0,
        0,
        2,
        2,
        4,
    ]
    assert orders[-1] == snapshots.Close("x", "node")
    assert {(options.where, options.datacenter) for _, options in script.asked} == {("here", "dc2")}


async def test_what_goes_wrong_at_once_has_a_status(api: Api, play: Callable[..., Script]) -> None:
    script = play(NoLeader("No cluster leader"))
    got = await api.get("/v1/snapshot")
    assert (got.status, got.text) == (500, "No cluster leader")
    assert script.asked[-1][0] == snapshots.Close("x", "node")


async def test_what_goes_wrong_later_has_no_end(api: Api, play: Callable[..., Script]) -> None:
    play(snapshots.Portion(b"half"), NotFound("the server that took the snapshot is gone"))
    whole = await api.raw(b"GET /v1/snapshot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"half" in whole
    assert not whole.endswith(b"0\r\n\r\n")


async def test_a_restore_goes_through_the_log_and_is_done_once(api: Api) -> None:
    registry = api.registry
    await registry.write(Found(4))
    await registry.write(kv.Set("old", b""))
    for _ in range(2):
        got = await api.ask("PUT", "/v1/snapshot", archive(), {"Idempotency-Key": "k"})
        assert (got.status, got.body) == (200, b"")
    finishes = [one for one, _ in registry.writes if isinstance(one, restores.Finish)]
    assert len(finishes) == 1
    found = (await registry.read(kv.Keys(""))).value
    assert found == ["app/a/1", "app/b/2", "other"]


async def test_a_restore_that_is_refused_is_given_up(api: Api) -> None:
    await api.registry.write(Found(3))
    got = await api.put("/v1/snapshot", archive())
    assert got.status == 500
    assert "feature level 4" in got.text
    assert isinstance(api.registry.writes[-1][0], restores.Abandon)


async def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    head = b"PUT /v1/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999\r\n"
    got = await api.raw(head + b"Connection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 413 ")


def test_an_archive_of_the_tests_is_one() -> None:
    made = Archive([archive()])
    assert read_meta(made).index == 9
    assert Database(TABLES).floor == 0
