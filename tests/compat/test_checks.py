"""Checks of every kind, registered over HTTP with a real agent, against real servers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
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


async def test_what_is_critical_for_too_long_goes_with_its_sidecar() -> None:
    quick: dict[str, Any] = {"deregister_min_seconds": 0.1, "sweep_seconds": 0.02}
    async with serving(**quick) as api:
        check = {"TTL": "1h", "DeregisterCriticalServiceAfter": "1ms"}
        await api.service(Name="web", Check=check, Connect={"SidecarService": {}})
        await api.service(Name="well", Check=check | {"Status": "warning"})
        node_level = {"Name": "disk", "TTL": "1h", "DeregisterCriticalServiceAfter": "1ms"}
        await api.done("/v1/agent/check/register", node_level)
        await until(lambda: list(api.agent.services()) == ["well"])
        assert sorted((await api.get("/v1/agent/checks")).json) == ["disk", "service:well"]
        await api.done("/v1/agent/check/fail/service:well")
        await api.done("/v1/agent/check/warn/service:well")
        await api.done("/v1/agent/check/fail/service:well")
        await until(lambda: not api.agent.services())


async def test_thresholds(tmp_path: Path) -> None:
    runs, code = tmp_path / "runs", tmp_path / "code"
    runs.touch()
    code.write_text("0")
    script = f"echo x >> {runs}; exit $(cat {code})"

    def count() -> int:
        return len(runs.read_text().split())

    async with serving(enable_script_checks=True, interval_min_seconds=0.05) as api:
        check = {"Name": "c", "Args": ["/bin/sh", "-c", script], "Interval": "50ms"}
        more = {"FailuresBeforeWarning": 2, "FailuresBeforeCritical": 4, "SuccessBeforePassing": 3}
        await api.done("/v1/agent/check/register", check | more)
        seen: list[tuple[int, str]] = []
        api.agent.listen(lambda: seen.append((count(), api.agent.checks()["c"].row.status)))
        # The first result counts at once.
        await until(lambda: api.agent.checks()["c"].row.status == "passing")
        failed = count()
        code.write_text("2")
        await until(lambda: api.agent.checks()["c"].row.status == "critical")
        between = [status for _, status in seen]
        assert "warning" in between[between.index("passing") :]
        assert count() - failed >= 4
        passed = count()
        code.write_text("1")
        await until(lambda: api.agent.checks()["c"].row.status == "warning")
        assert count() - passed >= 3
