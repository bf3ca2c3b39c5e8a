"""/v1/txn as clients see it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.compat.conftest import Api, Got


def kv(verb: str, key: str, value: bytes | None = None, **more: Any) -> dict[str, Any]:
    encoded = {} if value is None else {"Value": b64encode(value).decode()}
    return {"KV": {"Verb": verb, "Key": key, **encoded, **more}}


async def do(api: Api, *ops: dict[str, Any], query: str = "") -> Got:
    return await api.put(f"/v1/txn{query}", json.dumps(ops))


async def test_keys_are_written_and_read_together(api: Api) -> None:
    got = await do(
        api,
        kv("set", "a", b"1", Flags=7),
        kv("cas", "b", b"2", Index=0),
        kv("get", "a"),
        kv("get-or-empty", "none"),
    )
    assert got.status == 200
    assert "x-consul-index" not in got.headers
    written = {"LockIndex": 0, "Key": "a", "Flags": 7, "Value": None}
    written |= {"CreateIndex": 1, "ModifyIndex": 1}
    assert got.json == {
        "Results": [
            {"KV": written},
            {"KV": written | {"Key": "b", "Flags": 0}},
            {"KV": written | {"Value": "MQ=="}},
            {
                "KV": {
                    "LockIndex": 0,
                    "Key": "none",
                    "Flags": 0,
                    "Value": None,
                    "CreateIndex": 0,
                    "ModifyIndex": 0,
                }
            },
        ],
        "Errors": None,
    }


async def test_conflicts_are_409_with_every_failing_op(api: Api) -> None:
    await api.put("/v1/kv/a", b"1")
    got = await do(
        api,
        kv("set", "b", b"2"),
        kv("cas", "a", b"3", Index=99),
        kv("get", "none"),
        kv("check-not-exists", "a"),
    )
    assert got.status == 409
    errors = got.json["Errors"]
    assert got.json["Results"] is None
    assert [error["OpIndex"] for error in errors] == [1, 2, 3]
    assert errors[0]["What"] == 'index is stale: key "a" has modify index 1, not 99'
    assert (await api.get("/v1/kv/b")).status == 404


async def test_what_no_state_could_make_right_is_409_too_without_the_log(api: Api) -> None:
    got = await do(
        api,
        kv("set", "", b"x"),
        kv("frob", "a"),
        kv("set", "fine", b"1"),
        {"Node": {"Verb": "set", "Node": {"Node": "n"}}},
        {"Service": {"Verb": "delete", "Node": "n", "Service": {}}},
        {"Check": {"Verb": "get", "Check": {"Node": "n"}}},
        {"Node": {"Verb": "cas", "Node": {"Node": "n", "Address": "::1", "ModifyIndex": 2**70}}},
        {},
    )
    assert got.status == 409
    errors = {error["OpIndex"]: error["What"] for error in got.json["Errors"]}
    assert list(errors) == [0, 1, 3, 4, 5, 6, 7]
    assert errors[1].startswith("KV.Verb: expected one of cas, check-index, check-not-exists, ")
    assert errors[1].endswith('got "frob"')
    assert errors[4].startswith("Service.ID: ")
    assert errors[7] == "expected one of KV, Node, Service, Check and Session"
    assert api.registry.writes == []


async def test_reads_alone_skip_the_log_and_have_no_index(api: Api) -> None:
    await api.put("/v1/kv/a/x", b"1")
    writes = len(api.registry.writes)
    got = await do(api, kv("get-tree", "a/"), query="?stale&index=1000&wait=1h")
    assert (got.status, len(api.registry.writes)) == (200, writes)
    assert [one["KV"]["Key"] for one in got.json["Results"]] == ["a/x"]
    assert got.headers["x-consul-knownleader"] == "true"
    assert got.headers["x-consul-lastcontact"] == "0"
    assert "x-consul-index" not in got.headers
    assert api.registry.reads[-1][1].consistency == "stale"
    assert (await do(api, kv("get", "none"))).status == 409
    assert (await do(api, kv("get", "a"), query="?stale&consistent")).status == 400


async def test_the_catalog_takes_part(api: Api) -> None:
    node = {"Node": "n1", "Address": "10.0.0.1", "Meta": {"a": "b"}}
    service = {"Service": "web", "Port": 80, "Tags": ["v1"], "ContentHash": "x", "Namespace": ""}
    check = {"Node": "n1", "CheckID": "c", "Status": "passing", "ServiceID": "web"}
    got = await do(
        api,
        {"Node": {"Verb": "set", "Node": node}},
        {"Service": {"Verb": "set", "Node": "n1", "Service": service}},
        {"Check": {"Verb": "set", "Check": check}},
        {"Service": {"Verb": "get", "Node": "n1", "Service": {"ID": "web"}}},
    )
    assert got.status == 200, got.body
    first, second, third, fourth = got.json["Results"]
    assert first["Node"]["Datacenter"] == "dc1"
    assert second == fourth
    assert second["Service"]["Tags"] == ["v1"]
    assert third["Check"]["ServiceName"] == "web"
    health = (await api.get("/v1/health/service/web")).json
    assert [one["Checks"][0]["CheckID"] for one in health] == ["c"]
    stale = first["Node"]["ModifyIndex"] + 5
    got = await do(
        api, {"Node": {"Verb": "delete-cas", "Node": {"Node": "n1", "ModifyIndex": stale}}}
    )
    assert got.status == 409


async def test_limits(serve: Callable[..., Awaitable[Api]]) -> None:
    api = await serve(kv_value_max_bytes=100, txn_max_bytes=8000)
    got = await do(api, *(kv("get", f"k{n}") for n in range(129)))
    assert got.status == 413
    assert "129 > 128" in got.text
    got = await do(api, kv("set", "k", bytes(101)))
    assert (got.status, got.text) == (413, 'Value for key "k" is too large (101 > 100 bytes)')
    got = await do(api, *(kv("set", f"k{n}", bytes(90)) for n in range(100)))
    assert (got.status, got.text) == (413, "Request body too large, max size: 8000 bytes")
    assert (await do(api, *(kv("get-or-empty", f"k{n}") for n in range(128)))).status == 200


@pytest.mark.parametrize(
    "body", ["", "{", '{"KV":{}}', '[{"Odd":{}}]', '[{"KV":{"Verb":"set","Odd":1}}]', "[1]"]
)
async def test_what_is_no_list_of_ops_is_400(api: Api, body: str) -> None:
    got = await api.put("/v1/txn", body)
    assert (got.status, got.text[:22]) == (400, "Request decode failed:")


async def session(api: Api, **fields: Any) -> str:
    await api.register("n0", Check={"Node": "n0", "CheckID": "serfHealth", "Status": "passing"})
    made: str = (await api.put("/v1/session/create", fields)).json["ID"]
    return made


async def test_locks_are_taken_checked_and_given_back(api: Api) -> None:
    mine, other = await session(api, LockDelay="0s"), await session(api)
    got = await do(
        api,
        kv("lock", "k", b"1", Session=mine.upper()),
        kv("check-session", "k", Session=mine),
        kv("lock", "k", b"2", Session=mine),
    )
    assert [one["KV"]["LockIndex"] for one in got.json["Results"]] == [1, 1, 1]
    assert [one["KV"]["Session"] for one in got.json["Results"]] == [mine] * 3
    got = await do(
        api,
        kv("lock", "k", Session=other),
        kv("unlock", "k", Session=other),
        kv("check-session", "k", Session=other),
        kv("lock", "k2", Session="none"),
        kv("unlock", "free", Session=other),
    )
    errors = {error["OpIndex"]: error["What"] for error in got.json["Errors"]}
    assert got.status == 409
    assert errors[0] == errors[1] == f'key "k" is locked by session "{mine}"'
    assert errors[2] == f'key "k" is held by session "{mine}", not by "{other}"'
    assert errors[3].startswith('invalid session "none"')
    assert errors[4] == 'key "free" is not locked'
    got = await do(api, kv("unlock", "k", b"3", Session=mine), kv("get", "k"))
    assert "Session" not in got.json["Results"][0]["KV"]
    assert got.json["Results"][1]["KV"]["Value"] == "Mw=="


async def test_a_session_ends_within_a_transaction_and_its_lock_delay_begins(api: Api) -> None:
    mine, other = await session(api), await session(api)
    await do(api, kv("lock", "k", b"1", Session=mine))
    end = {"Session": {"Verb": "delete", "Session": {"ID": mine}}}
    got = await do(api, end, kv("get", "k"))
    assert [list(one) for one in got.json["Results"]] == [["KV"]]
    assert (await api.get(f"/v1/session/info/{mine}")).json == []
    got = await do(api, kv("lock", "k", Session=other))
    (error,) = got.json["Errors"]
    assert error["What"] == 'key "k" cannot be locked yet: its lock-delay lasts'
    got = await do(api, {"Session": {"Verb": "set", "Session": {"ID": mine}}}, {"Session": {}})
    assert [error["OpIndex"] for error in got.json["Errors"]] == [0, 1]
