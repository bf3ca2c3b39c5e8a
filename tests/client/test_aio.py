import socket
from pathlib import Path

import pytest

from mesh.client import ReadOptions, Settings, agent, kv
from mesh.client.aio import AsyncClient
from mesh.errors import Internal, NotFound, OutcomeUnknown, Unreachable
from tests.client.scripted import Scripted


async def test_reads_writes_and_sends_the_token() -> None:
    with Scripted() as server:
        async with AsyncClient(Settings(address=server.address, token="t")) as client:
            server.on("GET", "/v1/kv/a%20b", '[{"Key":"a b","Value":null}]')
            server.on("PUT", "/v1/kv/a%20b", "true")
            pair = (await client.kv.get("a b")).value
            assert pair is not None
            assert pair.value == b""
            assert await client.kv.put("a b", b"c")
            assert server.said[1].body == b"c"
            assert server.said[1].headers["x-consul-token"] == "t"
            with pytest.raises(NotFound):
                await client.agent.deregister("none")


async def test_unix_sockets(tmp_path: Path) -> None:
    with Scripted(str(tmp_path / "mesh.sock")) as server:
        async with AsyncClient(Settings(address=server.address)) as client:
            server.on("GET", "/v1/status/leader", '"127.0.0.1:8300"')
            assert await client.status.leader() == "127.0.0.1:8300"


async def test_trouble_is_said_in_words(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        async with AsyncClient(Settings(address=address)) as client:
            with pytest.raises(Unreachable, match=f"{address}: connection refused"):
                await client.status.leader()
    async with AsyncClient(Settings(address=f"unix://{tmp_path}/none")) as client:
        with pytest.raises(Unreachable, match="there is no such socket"):
            await client.status.leader()
    with Scripted() as server:
        server.on("PUT", "/v1/kv/a", hang_up=True)
        async with AsyncClient(Settings(address=server.address)) as client:
            with pytest.raises(OutcomeUnknown, match="may or may not"):
                await client.kv.put("a", b"")


async def test_follow_and_stream() -> None:
    with Scripted() as server:
        async with AsyncClient(Settings(address=server.address)) as client:
            first = "/v1/kv/a?wait=1000ms"
            server.on("GET", first, "[]", headers={"X-Consul-Index": "5"})
            server.on("GET", f"{first}&index=5", "[]", headers={"X-Consul-Index": "8"})
            answers = client.follow(kv.get("a", ReadOptions(wait_seconds=1)))
            assert (await anext(answers)).index == 5
            assert (await anext(answers)).index == 8
            server.on("GET", "/v1/agent/monitor?loglevel=warn", "one\ntwo\n")
            lines = [line async for line in client.stream(agent.monitor("WARN"))]
            assert lines == [b"one\n", b"two\n"]


async def test_health_is_an_answer_though_servers_are_not_well() -> None:
    with Scripted() as server:
        async with AsyncClient(Settings(address=server.address)) as client:
            body = '{"Healthy":false,"FailureTolerance":0,"Servers":[{"ID":"1","Voter":true}]}'
            server.on("GET", "/v1/operator/autopilot/health", body, status=429)
            health = await client.operator.autopilot_health()
            assert (health.healthy, [one.voter for one in health.servers]) == (False, [True])
            server.on("DELETE", "/v1/operator/raft/peer?id=1", "s1 is the only voter", status=500)
            with pytest.raises(Internal, match="only voter"):
                await client.operator.remove_peer("1")
