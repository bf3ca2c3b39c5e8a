"""Checks of every kind, registered over HTTP with a real agent, against real servers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.agent.probes.conftest import Serve, grpc_server, saying
from tests.compat.agent import AgentApi, serving
from tests.compat.conftest import until

__all__ = ["grpc_server"]

EVERY_SECOND = {"Interval": "1s", "Timeout": "1s"}
ANSWER = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nbusy"


@pytest.fixture
async def api() -> AsyncIterator[AgentApi]:
    async with serving() as made:
        yield made


async def test_every_kind_finds_what_is_so(api: AgentApi, grpc_server: Serve) -> None:
    await api.service(Name="web", Check={"TTL": "1h", "Status": "passing"})
    grpc = grpc_server()
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{gone.getsockname()[1]}"
    async with saying(ANSWER) as site:
        wanted: dict[str, tuple[dict[str, Any], str, str]] = {
            "http": ({"HTTP": f"http://{site}/"}, "warning", "Output: busy"),
            "tcp": ({"TCP": site}, "passing", f"TCP connect {site}: Success"),
            "udp": ({"UDP": nobody}, "critical", f"UDP connect {nobody}: "),
            "grpc": ({"GRPC": grpc}, "passing", f"gRPC check {grpc}: success"),
            "h2ping": ({"H2PING": grpc, "H2PingUseTLS": False}, "passing", "was successful"),
            "os_service": ({"OSService": "no-such-unit"}, "critical", "OS service no-such-unit: "),
        }
        for kind, (fields, _, _) in wanted.items():
            body = {"ID": kind, "Name": kind, "Notes": "n"} | fields | EVERY_SECOND
            await api.done("/v1/agent/check/register", body)
        alias = {"ID": "alias", "Name": "alias", "AliasService": "web", "Status": "warning"}
        await api.done("/v1/agent/check/register", alias)

        def ran() -> bool:
            return all(one.row.output for name, one in api.agent.checks().items() if name in wanted)

        await until(ran)
        found = (await api.get("/v1/agent/checks")).json
        for kind, (_, status, output) in wanted.items():
            shown = found[kind]
            assert (shown["Type"], shown["Status"]) == (kind, status), shown
            assert output in shown["Output"]
            assert (shown["Interval"], shown["Timeout"]) == ("1s", "1s")
        await until(lambda: api.agent.checks()["alias"].row.status == "critical")
        assert (await api.get("/v1/agent/checks")).json["alias"]["Type"] == "alias"


@pytest.mark.parametrize(
    "given", [{"DockerContainerID": "x", "Args": ["true"]}, {"Args": ["true"]}]
)
async def test_programs_are_off_by_default(api: AgentApi, given: dict[str, Any]) -> None:
    body = {"Name": "c"} | given | EVERY_SECOND
    got = await api.put("/v1/agent/check/register", body)
    assert got.status == 500
    assert "Scripts are disabled on this agent" in got.text


async def test_a_sidecar_over_http(api: AgentApi) -> None:
    await api.service(Name="web", Port=80, Connect={"SidecarService": {}})
    found = (await api.get("/v1/agent/services")).json
    assert found["web-sidecar-proxy"]["Kind"] == "connect-proxy"
    assert found["web-sidecar-proxy"]["Proxy"]["DestinationServiceName"] == "web"
    assert found["web-sidecar-proxy"]["Port"] == 21000
    assert "Connect" not in found["web"]
    await api.done("/v1/agent/service/deregister/web")
    assert (await api.get("/v1/agent/services")).json == {}
    body = {"Name": "web", "Connect": {"SidecarService": {"ID": "x"}}}
    got = await api.put("/v1/agent/service/register", body)
    assert (got.status, "Connect.SidecarService.ID: " in got.text) == (400, True), got
