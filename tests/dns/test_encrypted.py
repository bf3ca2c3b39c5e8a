"""DNS over TLS: asked by dig and by hand, by who checks our certificate and who does not."""

import asyncio
import shutil
import socket
import ssl
import struct
from collections.abc import AsyncIterator

import dnslib
import pytest

from mesh.clock import SeededDice
from mesh.dns.options import Options
from mesh.dns.server import DnsServer
from mesh.errors import Conflict
from mesh.registry.catalog import Node, Register
from mesh.tls import Credentials, load
from tests.certificates import Certificates
from tests.dns.memory import MemoryRegistry, StoppedClock
from tests.dns.script import question

LOCAL = (("127.0.0.1", 0),)
ASK = question("n1.node.mesh", "A")


class NightClock(StoppedClock):
    """Nothing ever becomes idle."""

    async def sleep(self, seconds: float) -> None:
        if seconds:
            await asyncio.Event().wait()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("dns"))


@pytest.fixture
def credentials(made: Certificates) -> Credentials:
    return made.credentials("server", "n1")


@pytest.fixture
async def server(credentials: Credentials) -> AsyncIterator[DnsServer]:
    registry = MemoryRegistry()
    registry.apply(Register(Node(name="n1", address="10.0.0.1", datacenter="dc1")))
    options = Options(addresses=LOCAL, tls_addresses=LOCAL)
    server = DnsServer(registry, options, NightClock(), SeededDice(5), lambda: credentials.serving)
    await server.start()
    yield server
    await server.stop()


def trusting(made: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(made.ca))


async def connect(
    server: DnsServer, made: Certificates, name: str = "server.dc1.mesh"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        *server.tls_addresses[0], ssl=trusting(made), server_hostname=name
    )


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(struct.pack("!H", len(ASK)) + ASK)
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return str(dnslib.DNSRecord.parse(await reader.readexactly(length)).rr[0].rdata)


async def test_who_trusts_our_authority_is_answered(server: DnsServer, made: Certificates) -> None:
    reader, writer = await connect(server, made)
    for _ in range(3):
        assert await asked(reader, writer) == "10.0.0.1"
    writer.close()
    assert server.counters["tls_connections"] == 1
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(server, made, "server.dc2.mesh")


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")
async def test_dig_is_answered(server: DnsServer, made: Certificates) -> None:
    host, port = server.tls_addresses[0]
    checks = (f"+tls-ca={made.ca}", "+tls-hostname=server.dc1.mesh")
    for words in ((), checks):
        process = await asyncio.create_subprocess_exec(
            "dig", f"@{host}", "-p", str(port), "+tls", *words, "+short", "n1.node.mesh", "A",
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert out == b"10.0.0.1\n"


async def test_a_new_certificate_is_shown_from_the_next_connection_on(
    server: DnsServer, made: Certificates, credentials: Credentials
) -> None:
    async def shown() -> object:
        _, writer = await connect(server, made)
        found = writer.get_extra_info("peercert")["serialNumber"]
        writer.close()
        return found

    first = await shown()
    assert credentials.use(load(made.options("server", "n1", made.issue("server", "n1"))))
    assert await shown() != first


async def test_who_does_not_speak_tls_is_sent_away(server: DnsServer, made: Certificates) -> None:
    reader, writer = await asyncio.open_connection(*server.tls_addresses[0])
    writer.write(struct.pack("!H", len(ASK)) + ASK)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1000)
    writer.close()
    assert server.counters["tls_failed"] == 1
    reader, writer = await connect(server, made)
    assert await asked(reader, writer) == "10.0.0.1"
    writer.close()


async def test_silent_ones_keep_nobody_out(server: DnsServer, made: Certificates) -> None:
    server._encrypted[0].accepting.handshakes_max = 3
    silent = [socket.create_connection(server.tls_addresses[0]) for _ in range(10)]
    reader, writer = await connect(server, made)
    assert await asked(reader, writer) == "10.0.0.1"
    writer.close()
    assert server.counters["tls_failed"] >= 7
    for one in silent:
        one.close()


async def test_connections_are_limited_with_those_over_tcp(
    server: DnsServer, made: Certificates
) -> None:
    server.reload(Options(addresses=LOCAL, tls_addresses=LOCAL, tcp_connections=1))
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    assert await asked(reader, writer) == "10.0.0.1"
    second, other = await connect(server, made)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await second.readexactly(1)
    assert server.counters["tcp_refused"] == 1
    writer.close()
    other.close()


async def test_a_taken_port_is_said(credentials: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        options = Options(addresses=LOCAL, tls_addresses=(("127.0.0.1", port),))
        server = DnsServer(
            MemoryRegistry(), options, NightClock(), SeededDice(1), lambda: credentials.serving
        )
        with pytest.raises(Conflict, match=f"port {port}"):
            await server.start()
    assert (server.addresses, server.tls_addresses) == ([], [])
