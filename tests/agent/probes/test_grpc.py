"""gRPC checks against servers made with grpcio, and against what is none."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from mesh.agent.checks import Result
from mesh.agent.probes import grpc as probe
from mesh.agent.probes.target import Contexts
from mesh.agent.state import Certificates as Shown
from tests.agent.probes.conftest import Serve, check, saying
from tests.certificates import Certificates


async def test_serving(grpc_server: Serve, contexts: Contexts) -> None:
    address = grpc_server()
    result = await probe.run(check(GRPC=address), contexts)
    assert result == Result("passing", f"gRPC check {address}: success")


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("orders", "serving status: NOT_SERVING"),
        ("zero", "serving status: UNKNOWN"),
        ("nobody", "NotFound: no such service, señor"),
        ("x" * 300, "NotFound"),
    ],
)
async def test_not_serving(grpc_server: Serve, contexts: Contexts, service: str, said: str) -> None:
    result = await probe.run(check(GRPC=f"{grpc_server()}/{service}"), contexts)
    assert result.status == "critical"
    assert said in result.output


async def test_no_health_service(grpc_server: Serve, contexts: Contexts) -> None:
    result = await probe.run(check(GRPC=grpc_server(healthy=False)), contexts)
    assert result.status == "critical"
    assert "Unimplemented" in result.output


async def test_with_tls(grpc_server: Serve, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    certificate, key = made.files("web", made.issue("server", "web"))
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        made.ca.read_bytes(),
        require_client_auth=True,
    )
    plain = {"GRPC": grpc_server(credentials), "GRPCUseTLS": True}
    named = plain | {"TLSServerName": "server.dc1.mesh"}
    shown = Shown(ca_file=str(made.ca), cert_file=str(certificate), key_file=str(key))
    assert (await probe.run(check(**named), Contexts(shown))).status == "passing"
    wrong = plain | {"TLSServerName": "other.mesh"}
    assert (await probe.run(check(**wrong), Contexts(shown))).status == "critical"
    skipping = plain | {"TLSSkipVerify": True}
    assert (await probe.run(check(**skipping), Contexts(shown))).status == "passing"
    assert (await probe.run(check(**skipping), Contexts(None))).status == "critical"
    refused = await probe.run(check(**named), Contexts(None))
    assert refused.status == "critical"
    assert "certificate there is refused" in refused.output


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\xff" * 100])
async def test_what_is_no_grpc(contexts: Contexts, answer: bytes) -> None:
    async with saying(answer) as address:
        result = await probe.run(check(GRPC=address), contexts)
    assert result.status == "critical"
    assert result.output.startswith(f"gRPC check {address}: ")


async def test_a_silent_server_times_out(contexts: Contexts) -> None:
    async with saying(None) as address:
        result = await probe.run(check(GRPC=address, Timeout="50ms"), contexts)
    assert result == Result("critical", f"gRPC check {address}: timed out")
