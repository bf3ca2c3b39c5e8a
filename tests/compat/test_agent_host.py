"""/v1/agent/host, the stream of metrics, and tokens, over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.compat.agent import AgentApi, serving


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        yield made


async def test_the_machine(api: AgentApi) -> None:
    found = (await api.get("/v1/agent/host")).json
    assert set(found) == {"Memory", "CPU", "Host", "Disk", "CollectionTime", "Errors"}
    assert found["Errors"] is None
    assert 0 < found["Memory"]["available"] < found["Memory"]["total"]
    assert found["CPU"][0]["cpu"] == 0
    assert found["Host"]["os"] == "linux"
    assert found["Disk"]["total"] > 0


async def test_metrics_as_they_come(api: AgentApi) -> None:
    reader, writer = await asyncio.open_connection(*api.address)
    writer.write(b"GET /v1/agent/metrics/stream HTTP/1.1\r\nHost: mesh\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 OK" in head
    for _ in range(2):
        while not api.node.measured._turned._waiters:
            await asyncio.sleep(0.001)
        api.node.measured.turn()
        size = int(await reader.readuntil(b"\r\n"), 16)
        line = await reader.readexactly(size + 2)
        found = json.loads(line)
        assert set(found) == {"Timestamp", "Gauges", "Points", "Counters", "Samples"}
        assert found["Gauges"][0]["Name"] == "mesh.raft.term"
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("kind", ["default", "agent", "acl_token", "nonsense"])
async def test_without_acls_there_are_no_tokens(api: AgentApi, kind: str) -> None:
    got = await api.put(f"/v1/agent/token/{kind}", {"Token": "x"})
    assert (got.status, got.text) == (401, "ACL support disabled")
