"""What /v1/agent and the keyring say and do about the pool, over a real server."""

from __future__ import annotations

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator

import pytest

from tests.compat.agent import AgentApi, serving
from tests.compat.conftest import until


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        yield made


async def test_the_node_itself(api: AgentApi) -> None:
    assert (await api.get("/v1/agent/self")).json["Config"]["NodeName"] == "n0"
    assert (await api.get("/v1/agent/version")).json["HumanVersion"]
    assert (await api.get("/v1/agent/members")).json == [
        {
            "Name": "n0",
            "Addr": "10.0.0.1",
            "Port": 8301,
            "Tags": {"role": "consul"},
            "Status": 1,
            "ProtocolMin": 1,
            "ProtocolMax": 5,
            "ProtocolCur": 2,
            "DelegateMin": 2,
            "DelegateMax": 5,
            "DelegateCur": 4,
            "Frozen": False,
            "Penalty": 0.0,
            "Damped": False,
        }
    ]
    assert (await api.get("/v1/agent/members", detailed="")).json[0]["Gossip"] == {
        "Incarnation": 3,
        "State": "alive",
        "StateSeconds": 60.0,
        "RttSeconds": 0.00041,
        "AnsweredSeconds": None,
        "DistanceSeconds": None,
        "Accusers": [],
        "VerdictSeconds": None,
        "Score": 0,
    }
    assert (await api.get("/v1/agent/members", wan=1)).json == []
    assert (await api.get("/v1/agent/members", segment="x")).status == 400
    await api.done("/v1/agent/join/10.0.0.2:8301?wan=1")
    got = await api.put("/v1/agent/join/10.9.9.9")
    assert (got.status, got.text) == (500, "nobody there")
    await api.done("/v1/agent/force-leave/n7.dc2?wan")
    await api.done("/v1/agent/force-leave/n7?prune")
    got = await api.put("/v1/agent/force-leave/none")
    assert got.status == 500
    assert "No node found" in got.text
    got = await api.put("/v1/agent/reload")
    assert (got.status, got.text) == (500, "Config reload failed: ports: expected a number")
    await api.done("/v1/agent/leave")
    assert api.node.asked == [
        ("join", "10.0.0.2:8301", True),
        ("join", "10.9.9.9", False),
        ("force-leave", "n7.dc2", False, True),
        ("force-leave", "n7", True, False),
        ("force-leave", "none", False, False),
        ("reload",),
        ("leave",),
    ]


async def test_a_reload_explains_itself_if_asked(api: AgentApi) -> None:
    got = await api.put("/v1/agent/reload?explain")
    changed = {"What": "service", "Name": "web", "Action": "changed", "Field": "port"}
    assert got.json == [changed | {"Old": "80", "New": "81", "Restart": False}]


async def test_keys_are_listed(api: AgentApi) -> None:
    got = await api.get("/v1/operator/keyring?relay-factor=5&local-only=true")
    assert got.json == [
        {
            "WAN": False,
            "Datacenter": "dc1",
            "Segment": "",
            "Messages": {},
            "Keys": {"k1": 3, "k2": 1},
            "PrimaryKeys": {"k1": 3},
            "NumNodes": 3,
        }
    ]
    assert api.node.asked == [("keyring", "list", b"", 5)]


async def test_keys_are_changed_by_every_member_or_the_answer_says_who_did_not(
    api: AgentApi,
) -> None:
    path, key = "/v1/operator/keyring", base64.b64encode(b"k" * 16).decode()
    for method in ("POST", "PUT"):
        got = await api.ask(method, path, json.dumps({"Key": key}).encode())
        assert (got.status, got.body) == (200, b"")
    got = await api.ask("DELETE", f"{path}?relay-factor=2", json.dumps({"Key": key}).encode())
    assert got.status == 500
    assert got.text == "not every member did it: dc1: n2: no answer in time"
    assert api.node.asked == [
        ("keyring", "install", b"k" * 16, 0),
        ("keyring", "use", b"k" * 16, 0),
        ("keyring", "remove", b"k" * 16, 2),
    ]
    got = await api.ask("PUT", path, json.dumps({"Key": key}).encode())
    assert (got.status, "not encrypted" in got.text) == (500, True)


@pytest.mark.parametrize(
    ("method", "query", "body"),
    [
        ("GET", "relay-factor=6", ""),
        ("GET", "local-only=x", ""),
        ("GET", "dc=dc9", ""),
        ("PUT", "dc=dc9", '{"Key": "a2tra2tra2tra2tra2traw=="}'),
        ("POST", "local-only=true", '{"Key": "a2tra2tra2tra2tra2traw=="}'),
        ("PUT", "relay-factor=-1", '{"Key": "a2tra2tra2tra2tra2traw=="}'),
        ("DELETE", "", '{"Key": "a2s="}'),
        ("POST", "", '{"Key": "not base64"}'),
        ("POST", "", '{"Code": "a2tra2tra2tra2tra2traw=="}'),
        ("POST", "", ""),
    ],
)
async def test_orders_about_keys_that_make_no_sense(
    api: AgentApi, method: str, query: str, body: str
) -> None:
    got = await api.ask(method, f"/v1/operator/keyring?{query}", body.encode())
    assert got.status == 400
    assert not api.node.asked


async def test_reachability(api: AgentApi) -> None:
    got = (await api.get("/v1/agent/reachability")).json
    advice = got.pop("Advice")
    assert got == {"Node": "n0", "Acknowledged": ["n0"], "Missing": ["n1"], "Strangers": []}
    assert "UDP" in advice[0]
    await api.get("/v1/agent/reachability", wait="1500ms", **{"relay-factor": 5})
    assert api.node.asked == [("reach", None, 0), ("reach", 1.5, 5)]
    for query in ("wait=x", "wait=0s", "wait=2m", "relay-factor=6", "relay-factor=x"):
        got = await api.get(f"/v1/agent/reachability?{query}")
        assert got.status == 400, query


@pytest.mark.parametrize(("query", "shown"), [("", "loud"), ("&logjson", '{"@message":"loud"}')])
async def test_the_log_as_it_is_written(api: AgentApi, query: str, shown: str) -> None:
    assert (await api.get("/v1/agent/monitor", loglevel="loud")).status == 400
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(f"GET /v1/agent/monitor?loglevel=warn{query} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    await until(lambda: bool(api.node.listeners))
    api.node.log(20, "quiet")
    await asyncio.to_thread(api.node.log, 30, "loud")
    async with asyncio.timeout(30):
        assert await reader.readuntil(shown.encode()) == f"{len(shown) + 1:x}\r\n{shown}".encode()
    writer.close()
    await until(lambda: not api.node.listeners)


async def test_the_log_of_bytes_that_are_no_text(api: AgentApi) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/agent/monitor HTTP/1.1\r\nHost: m\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await until(lambda: bool(api.node.listeners))
    api.node.log(30, "GET /\udcff has a body")
    api.node.log(30, "more")
    async with asyncio.timeout(30):
        assert b"\\udcff has" in await reader.readuntil(b"more")
    writer.close()


async def test_the_log_begins_with_what_was_said_before(api: AgentApi) -> None:
    assert (await api.get("/v1/agent/monitor", since="soon")).status == 400
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/agent/monitor?since=10m HTTP/1.1\r\nHost: m\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(30):
        assert await reader.readuntil(b"before") == b"7\r\nbefore"
    writer.close()
    await until(lambda: not api.node.listeners)


async def test_a_compressed_log_can_be_read_line_by_line(api: AgentApi) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/agent/monitor HTTP/1.1\r\nHost: m\r\nAccept-Encoding: gzip\r\n\r\n")
    assert b"Content-Encoding: gzip" in await reader.readuntil(b"\r\n\r\n")
    await until(lambda: bool(api.node.listeners))
    unpacker = zlib.decompressobj(wbits=31)
    for line in ("first", "second"):
        api.node.log(20, line)
        async with asyncio.timeout(30):
            size = int(await reader.readline(), 16)
            assert unpacker.decompress(await reader.readexactly(size)) == f"{line}\n".encode()
            await reader.readline()
    writer.close()


# py-consul
