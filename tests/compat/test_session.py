"""/v1/session, and locks in /v1/kv, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.conftest import Api


@pytest.fixture
async def node(api: Api) -> Api:
    await api.register("n0")
    check = {"CheckID": "serfHealth", "Name": "alive", "Status": "passing"}
    await api.put("/v1/catalog/register", {"Node": "n0", "Address": "10.0.0.1", "Check": check})
    return api


async def create(api: Api, **body: Any) -> str:
    got = await api.put("/v1/session/create", body)
    assert got.status == 200, got
    assert list(got.json) == ["ID"]
    return str(got.json["ID"])


async def read(api: Api, session: str) -> Any:
    return (await api.get(f"/v1/session/info/{session}")).json[0]


async def test_defaults(node: Api) -> None:
    got = await node.put("/v1/session/create")
    found = await node.get(f"/v1/session/info/{got.json['ID']}")
    assert found.json == [
        {
            "ID": got.json["ID"],
            "Name": "",
            "Node": "n0",
            "LockDelay": 15000000000,
            "Behavior": "release",
            "TTL": "",
            "NodeChecks": ["serfHealth"],
            "ServiceChecks": None,
            "CreateIndex": 3,
            "ModifyIndex": 3,
        }
    ]
    assert found.index == 3


async def test_every_field(node: Api) -> None:
    check = {"CheckID": "web", "Name": "web", "Status": "passing"}
    await node.put("/v1/catalog/register", {"Node": "n0", "SkipNodeUpdate": True, "Check": check})
    session = await create(
        node,
        Name="deploy",
        Node="n0",
        LockDelay="30s",
        behavior="delete",  # Names match in any case, and what is unknown is ignored.
        TTL="60s",
        NodeChecks=["serfHealth"],
        Checks=["web"],
        ServiceChecks=[{"ID": "web", "Namespace": "", "Other": 1}],
        Colour="blue",
    )
    found = await read(node, session)
    assert found["Name"] == "deploy"
    assert found["LockDelay"] == 30_000_000_000
    assert found["Behavior"] == "delete"
    assert found["TTL"] == "60s"
    assert found["NodeChecks"] == ["serfHealth", "web"]
    assert found["ServiceChecks"] == [{"ID": "web", "Namespace": ""}]


@pytest.mark.parametrize(
    ("given", "nanoseconds"),
    [
        (7, 7_000_000_000),
        (0, 0),
        (2000, 2000),
        (5_000_000_000, 5_000_000_000),
        ("1m30s", 60_000_000_000),
        (900, 60_000_000_000),
        (1e300, 60_000_000_000),
        ("0", 0),
        (None, 15_000_000_000),
    ],
)
async def test_lock_delay_in_all_its_forms(node: Api, given: object, nanoseconds: int) -> None:
    session = await create(node, LockDelay=given)
    assert (await read(node, session))["LockDelay"] == nanoseconds


@pytest.mark.parametrize(
    ("body", "checks"),
    [
        ({"NodeChecks": []}, []),
        ({"Checks": []}, []),
        ({"NodeChecks": None}, ["serfHealth"]),
        ({"Checks": ["serfHealth"]}, ["serfHealth"]),
        ({"ServiceChecks": []}, ["serfHealth"]),
    ],
)
async def test_checks_unless_told(node: Api, body: dict[str, Any], checks: list[str]) -> None:
    assert (await read(node, await create(node, **body)))["NodeChecks"] == checks


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"TTL": "soon"}, 500, "TTL: expected a duration"),
        ({"TTL": "48h"}, 500, "TTL: expected"),
        ({"Behavior": "keep"}, 500, "Behavior: expected release or delete"),
        ({"Node": "n9"}, 500, 'there is no node "n9"'),
        ({"NodeChecks": ["none"]}, 500, 'node n0 has no check "none"'),
        ({"LockDelay": "later"}, 400, "LockDelay: expected a duration"),
        ({"LockDelay": -1}, 400, "LockDelay: must not be negative"),
        ({"LockDelay": True}, 400, "decode failed"),
        ({"Name": 7}, 400, "decode failed"),
        ("[", 400, "decode failed"),
        ("[]", 400, "decode failed"),
    ],
)
async def test_what_is_refused(node: Api, body: Any, status: int, words: str) -> None:
    got = await node.put("/v1/session/create", body)
    assert (got.status, words in got.text) == (status, True), got
    assert (await node.get("/v1/session/list")).json == []


async def test_a_critical_check_bears_no_session(node: Api) -> None:
    check = {"CheckID": "serfHealth", "Status": "critical"}
    await node.put("/v1/catalog/register", {"Node": "n0", "SkipNodeUpdate": True, "Check": check})
    got = await node.put("/v1/session/create")
    assert got.status == 500
    assert 'check "serfHealth" of node n0 is critical' in got.text


async def test_lists(node: Api) -> None:
    assert (await node.get("/v1/session/list")).json == []
    assert (await node.get("/v1/session/node/none")).json == []
    one, two = await create(node, Name="one"), await create(node, Name="two")
    everywhere = [found["ID"] for found in (await node.get("/v1/session/list")).json]
    assert everywhere == sorted([one, two])
    assert (await node.get("/v1/session/node/N0")).json == (await node.get("/v1/session/list")).json


async def test_the_dead_are_not_missed_but_cannot_be_renewed(node: Api) -> None:
    session = await create(node, TTL="10s")
    got = await node.put(f"/v1/session/renew/{session}")
    assert (got.status, got.json) == (200, [await read(node, session)])
    for _ in range(2):
        got = await node.put(f"/v1/session/destroy/{session}")
        assert (got.status, got.body) == (200, b"true")
    got = await node.get(f"/v1/session/info/{session}")
    assert (got.status, got.json) == (200, [])
    assert got.index > 3
    got = await node.put(f"/v1/session/renew/{session}")
    assert (got.status, got.text) == (404, f"Session id '{session}' not found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/session/destroy/"),
        ("PUT", "/v1/session/renew/"),
        ("GET", "/v1/session/info/"),
        ("GET", "/v1/session/node/"),
    ],
)
async def test_what_is_missing_is_named(node: Api, method: str, path: str) -> None:
    got = await node.ask(method, path)
    assert got.status == 400
    assert got.text.startswith("Missing ")


async def test_a_repeated_create_is_the_same_session(node: Api) -> None:
    key = {"Idempotency-Key": "once"}
    first = await node.ask("PUT", "/v1/session/create", b"{}", key)
    command = node.registry.writes[-1][0]
    await node.ask("PUT", "/v1/session/create", b"{}", {"Idempotency-Key": "twice"})
    assert node.registry.writes[-1][0] != command
    await node.ask("PUT", "/v1/session/create", b"{}", key)
    assert node.registry.writes[-1][0] == command
    assert first.status == 200


async def test_locks(node: Api) -> None:
    one, two = await create(node), await create(node)
    put = node.put
    assert (await put(f"/v1/kv/lock?acquire={one}&flags=7", "1")).body == b"true"
    found = (await node.get("/v1/kv/lock")).json[0]
    assert (found["LockIndex"], found["Session"], found["Flags"]) == (1, one, 7)
    assert (await put(f"/v1/kv/lock?acquire={one}", "again")).body == b"true"
    assert (await node.get("/v1/kv/lock")).json[0]["LockIndex"] == 1
    got = await put(f"/v1/kv/lock?acquire={two}", "2")
    assert (got.status, got.body) == (200, b"false")
    assert (await put("/v1/kv/lock", "plain")).body == b"true"
    assert (await node.get("/v1/kv/lock")).json[0]["Session"] == one
    assert (await put(f"/v1/kv/lock?release={two}")).body == b"false"
    assert (await put(f"/v1/kv/lock?release={one}", "done")).body == b"true"
    found = (await node.get("/v1/kv/lock")).json[0]
    assert (found["LockIndex"], "Session" in found) == (1, False)
    assert (await put(f"/v1/kv/lock?acquire={two.upper()}")).body == b"true"
    assert (await node.get("/v1/kv/lock")).json[0]["LockIndex"] == 2
    # The session ends: its lock is free, but not to be taken for a while.
    await put(f"/v1/session/destroy/{two}")
    assert "Session" not in (await node.get("/v1/kv/lock")).json[0]
    got = await put(f"/v1/kv/lock?acquire={one}")
    assert (got.status, got.body) == (200, b"false")


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("acquire=none", 500, "invalid session"),
        ("acquire=", 500, "invalid session"),
        ("acquire=a&release=b", 400, "Conflicting flags"),
        ("acquire=a&cas=1", 400, "Conflicting flags"),
        ("acquire=a&flags=-1", 500, "flags"),
    ],
)
async def test_locks_refused(node: Api, query: str, status: int, words: str) -> None:
    got = await node.put(f"/v1/kv/lock?{query}", "x")
    assert (got.status, words in got.text) == (status, True), got
    assert (await node.get("/v1/kv/lock")).status == 404


async def test_a_watcher_is_told_that_a_lock_is_free(node: Api) -> None:
    session = await create(node)
    await node.put(f"/v1/kv/lock?acquire={session}")
    index = (await node.get("/v1/kv/lock")).index
    await node.put(f"/v1/session/destroy/{session}")
    got = await node.get("/v1/kv/lock", index=index, wait="10s")
    assert got.index > index
    assert "Session" not in got.json[0]
