"""H2PING checks against gRPC servers, which speak HTTP/2, and against a server that does not."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from mesh.agent.checks import Result
from mesh.agent.probes import h2ping
from mesh.agent.probes.target import Contexts
from tests.agent.probes.conftest import Serve, check, saying
from tests.certificates import Certificates


async def test_without_tls(grpc_server: Serve, contexts: Contexts) -> None:
    address = grpc_server(healthy=False)
    result = await h2ping.run(check(H2PING=address, H2PingUseTLS=False), contexts)
    assert result == Result("passing", "HTTP2 ping was successful")
    over_tls = await h2ping.run(check(H2PING=address, TLSSkipVerify=True), contexts)
    assert over_tls.status == "critical"
    assert over_tls.output.startswith(f"HTTP2 ping {address}: ")


async def test_tls_is_the_default(grpc_server: Serve, tmp_path: Path, contexts: Contexts) -> None:
    made = Certificates(tmp_path)
    certificate, key = made.files("web", made.issue("server", "web"))
    pair = (key.read_bytes(), certificate.read_bytes())
    address = grpc_server(grpc.ssl_server_credentials([pair]))
    skipping = await h2ping.run(check(H2PING=address, TLSSkipVerify=True), contexts)
    refused = await h2ping.run(check(H2PING=address), contexts)
    assert skipping.status == "passing"
    assert "certificate there is refused" in refused.output


async def test_a_server_without_http2(tmp_path: Path, contexts: Contexts) -> None:
    made = Certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.files("web", made.issue("server", "web")))

    async with saying(None, context) as address:
        result = await h2ping.run(check(H2PING=address, TLSSkipVerify=True), contexts)
    assert "does not offer HTTP/2" in result.output


async def test_nobody_there(contexts: Contexts) -> None:
    result = await h2ping.run(check(H2PING="127.0.0.1:1", H2PingUseTLS=False), contexts)
    assert result.status == "critical"
