"""The server on real sockets, asked by dig and by hand."""

import asyncio
import logging
import shutil
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID

import dnslib
import pytest

from mesh.clock import SeededDice
from mesh.dns.allowance import Allowance
from mesh.dns.server import DnsServer, Options
from mesh.errors import Conflict, Invalid, MeshError
from mesh.registry import prepared
from mesh.registry.catalog import Node, Register, Service
from mesh.registry.port import READ, Answer, Query, ReadOptions
from mesh.registry.prepared_rows import Prepared, ServiceQuery
from tests.dns.memory import MemoryRegistry, StoppedClock
from tests.dns.script import question

T = TypeVar("T")
LOCAL = (("127.0.0.1", 0),)

needs_dig = pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")


class HandClock(StoppedClock):
    """Sleepers wake when the test turns the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if not seconds:
            return
        await self.turned.wait()
        self.turned.clear()

    def turn(self, seconds: float) -> None:
        self.now += seconds
        self.turned.set()


def fill(registry: MemoryRegistry) -> None:
    for number in range(1, 6):
        node = Node(
            name=f"n{number}", address=f"10.0.0.{number}", datacenter="dc1", meta={"rack": "r7"}
        )
        registry.apply(Register(node, Service(node="", id="", name="web", port=80, tags=["v1"])))
    six = Service(node="", id="six", name="six", address="2001:db8::5", port=443)
    registry.apply(Register(Node(name="n1"), six, skip_node_update=True))
    registry.apply(
        Register(Node(name="n1"), Service(node="", id="", name="mesh"), skip_node_update=True)
    )


Make = Callable[[Options], DnsServer]


@pytest.fixture
def registry() -> MemoryRegistry:
    registry = MemoryRegistry()
    fill(registry)
    return registry


@pytest.fixture
async def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def server(registry: MemoryRegistry, clock: HandClock) -> AsyncIterator[DnsServer]:
    server = DnsServer(registry, Options(addresses=LOCAL), clock, SeededDice(5))
    await server.start()
    yield server
    await server.stop()


async def dig(server: DnsServer, *words: str) -> list[str]:
    """The lines of dig's answer that are no comments, and its status line."""
    host, port = server.addresses[0]
    common = ("+nocookie", "+tries=1", "+time=5", "+noquestion")
    process = await asyncio.create_subprocess_exec(
        "dig", f"@{host}", "-p", str(port), *common, *words, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    status = [line for line in out.decode().splitlines() if "status:" in line]
    rows = [line for line in out.decode().splitlines() if line and not line.startswith(";")]
    assert status, out.decode()
    name = status[0].split("status: ")[1].split(",")[0]
    return [name, *(" ".join(row.split()) for row in rows)]


SOA = "mesh. 0 IN SOA ns.mesh. hostmaster.mesh. 1000000 3600 600 86400 0"


@needs_dig
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("n1.node.mesh A", ["n1.node.mesh. 0 IN A 10.0.0.1", 'n1.node.mesh. 0 IN TXT "rack=r7"']),
        ("N1.Node.Mesh TXT", ['N1.Node.Mesh. 0 IN TXT "rack=r7"']),
        ("six.service.mesh AAAA", ["six.service.mesh. 0 IN AAAA 2001:db8::5"]),
        (
            "_six._tcp.service.mesh SRV",
            [
                "_six._tcp.service.mesh. 0 IN SRV 1 1 443 "
                "20010db8000000000000000000000005.addr.dc1.mesh.",
                "20010db8000000000000000000000005.addr.dc1.mesh. 0 IN AAAA 2001:db8::5",
            ],
        ),
        ("-x 10.0.0.3", ["3.0.0.10.in-addr.arpa. 0 IN PTR n3.node.dc1.mesh."]),
        (
            "mesh SOA",
            [SOA, "mesh. 0 IN NS n1.node.dc1.mesh.", "n1.node.dc1.mesh. 0 IN A 10.0.0.1"],
        ),
        ("mesh NS", ["mesh. 0 IN NS n1.node.dc1.mesh.", "n1.node.dc1.mesh. 0 IN A 10.0.0.1"]),
    ],
)
async def test_dig_gets(server: DnsServer, words: str, expected: list[str], transport: str) -> None:
    assert await dig(server, transport, *words.split()) == ["NOERROR", *expected]


@needs_dig
async def test_dig_gets_negative_answers(server: DnsServer) -> None:
    assert await dig(server, "none.service.mesh", "A") == ["NXDOMAIN", SOA]
    assert await dig(server, "six.service.mesh", "A") == ["NOERROR", SOA]
    assert await dig(server, "v2.web.service.mesh", "A") == ["NXDOMAIN", SOA]
    assert await dig(server, "example.org", "A") == ["REFUSED"]


@needs_dig
@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
async def test_dig_gets_what_prepared_queries_find(
    registry: MemoryRegistry, server: DnsServer, transport: str
) -> None:
    for number, near in ((1, ""), (2, "_ip")):
        service = ServiceQuery("six", near=near)
        row = Prepared(id=str(UUID(int=number)), name=f"q{number}", service=service, ttl="9s")
        registry.apply(prepared.Create(row))
    srv = "_q1._tcp.query.mesh. 9 IN SRV 1 1 443 "
    srv += "20010db8000000000000000000000005.addr.dc1.mesh."
    assert (await dig(server, transport, "_q1._tcp.query.mesh", "SRV"))[:2] == ["NOERROR", srv]
    # A second instance is at the address that dig tells, or else asks from.
    for node, address in (("six", "127.0.0.1"), ("seven", "198.51.100.7")):
        six = Service(node="", id="", name="six")
        registry.apply(Register(Node(name=node, address=address), six))
    first = (await dig(server, transport, "q2.query.mesh", "A"))[1]
    assert first == "q2.query.mesh. 9 IN A 127.0.0.1"
    first = (await dig(server, transport, "+subnet=198.51.100.7/32", "q2.query.mesh", "A"))[1]
    assert first == "q2.query.mesh. 9 IN A 198.51.100.7"
    assert await dig(server, transport, "q3.query.mesh", "A") == ["NXDOMAIN", SOA]


@needs_dig
async def test_dig_gets_as_much_as_it_takes(server: DnsServer) -> None:
    async def count(*words: str) -> int:
        return len([row for row in await dig(server, *words) if " SRV " in row])

    assert await count("+noedns", "v1.web.service.mesh", "SRV") == 3
    assert await count("+bufsize=4096", "v1.web.service.mesh", "SRV") == 5
    assert await count("+bufsize=600", "v1.web.service.mesh", "SRV") == 5
    assert await count("+tcp", "+noedns", "v1.web.service.mesh", "SRV") == 5


@needs_dig
async def test_dig_retries_over_tcp_when_told(server: DnsServer) -> None:
    server.reload(Options(addresses=LOCAL, enable_truncate=True))
    answer = await dig(server, "+noedns", "web.service.mesh", "A")
    assert len(answer) == 6
    assert server.counters["tcp_connections"] == 1


async def exchanged(server: DnsServer, data: bytes, own: str = "127.0.0.1") -> bytes:
    """What comes back over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind((own, 0))
        client.connect(server.addresses[0])
        client.send(data)
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65535), 5)


@pytest.mark.parametrize("name", ["web.service.mesh", "none.query.mesh"])
async def test_who_got_much_is_told_to_ask_over_tcp(
    server: DnsServer, clock: HandClock, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Loopback has no limit, and there is nowhere else to ask from.
    monkeypatch.setattr(server._allowance, "take", partial(_take, server._allowance))
    server.reload(Options(addresses=LOCAL, udp_rate=80))
    asked = question(name, "A", edns=1232)
    first, second = await exchanged(server, asked), await exchanged(server, asked)
    assert len(first) > len(asked) >= len(second)
    told = dnslib.DNSRecord.parse(second)
    assert (told.header.tc, told.header.id, str(told.q.qname)) == (1, 77, f"{name}.")
    assert (told.rr, told.auth, told.ar) == ([], [], [])
    assert server.counters["limited"] == 1
    # All is there over TCP, for the same client, and over UDP a second later.
    reader, writer = await connect(server)
    writer.write(framed(asked))
    answer = await read_answer(reader)
    assert answer.rr or answer.auth
    writer.close()
    clock.turn(1)
    for _ in range(9):
        await asyncio.sleep(0)
    assert len(await exchanged(server, asked)) == len(first)


def _take(allowance: Allowance, host: str, count: int) -> bool:
    return Allowance.take(allowance, "192.0.2.1", count)


async def connect(server: DnsServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*server.addresses[0])


def framed(*questions: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(data)) + data for data in questions)


async def read_answer(reader: asyncio.StreamReader) -> dnslib.DNSRecord:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return dnslib.DNSRecord.parse(await reader.readexactly(length))


async def test_questions_in_a_row_on_one_connection(server: DnsServer) -> None:
    reader, writer = await connect(server)
    asked = [question(f"n{number}.node.mesh", "A") for number in (1, 2, 3)]
    data = framed(*asked)
    writer.write(data[:25])
    await writer.drain()
    writer.write(data[25:])
    answers = [await read_answer(reader) for _ in asked]
    assert [str(answer.rr[0].rdata) for answer in answers] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    writer.close()


async def test_bytes_that_are_no_question(server: DnsServer) -> None:
    reader, writer = await connect(server)
    writer.write(framed(b"\0\7\0\0\0\1\0\0\0\0\0\0\xff", question("n1.node.mesh", "A")))
    assert (await read_answer(reader)).header.rcode == 1
    assert (await read_answer(reader)).header.rcode == 0
    writer.write(framed(b"short"))
    assert await reader.read() == b""
    writer.close()
    assert server.counters["malformed"] == 2


async def test_random_datagrams_stop_nothing(server: DnsServer) -> None:
    dice = SeededDice(9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(server.addresses[0])
        for _ in range(300):
            client.send(bytes(dice.below(256) for _ in range(dice.below(80))))
        client.send(bytes(12))
        client.send(question("n4.node.mesh", "A"))
        loop = asyncio.get_running_loop()
        while True:
            data = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
            answer = dnslib.DNSRecord.parse(data)
            if answer.rr:
                break
    assert str(answer.rr[0].rdata) == "10.0.0.4"
    assert server.counters["malformed"] > 100
    assert server._tasks.failures == 0


class SlowRegistry(MemoryRegistry):
    """Has to wait for what it knows of the node n1."""

    def __init__(self) -> None:
        super().__init__()
        self.there = asyncio.Event()

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        if "n1" in repr(query):
            await self.there.wait()
        return await super().read(query, options)

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        return None if "n1" in repr(query) else super().at_once(query, options)


async def test_a_slow_registry_holds_up_only_who_asks_it(clock: HandClock) -> None:
    registry = SlowRegistry()
    fill(registry)
    server = DnsServer(registry, Options(addresses=LOCAL), clock, SeededDice(5))
    await server.start()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(server.addresses[0])
        for name in ("n1", "n1", "n2"):
            client.send(question(f"{name}.node.mesh", "A"))
        seen = [dnslib.DNSRecord.parse(await loop.sock_recv(client, 4096))]
        registry.there.set()
        seen += [dnslib.DNSRecord.parse(await loop.sock_recv(client, 4096)) for _ in range(2)]
    assert [str(answer.rr[0].rdata)[-1] for answer in seen] == ["2", "1", "1"]
    await server.stop()


async def test_questions_are_logged_for_who_wants_that(
    registry: MemoryRegistry, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mesh.dns"):
        server = DnsServer(registry, Options(addresses=LOCAL), clock, SeededDice(5))
        await server.start()
        for _ in range(2):
            await exchanged(server, question("n1.node.mesh", "A"))
        reader, writer = await connect(server)
        writer.write(framed(question("none.service.mesh", "A"), question("q.query.mesh", "A")))
        await read_answer(reader)
        await read_answer(reader)
    said = [one.message.partition(",")[0] for one in caplog.records]
    assert said == [
        "n1.node.mesh. A for 127.0.0.1 (udp): NOERROR",
        "n1.node.mesh. A for 127.0.0.1 (udp): NOERROR",
        "none.service.mesh. A for 127.0.0.1 (tcp): NXDOMAIN",
        "q.query.mesh. A for 127.0.0.1 (tcp): NXDOMAIN",
    ]
    # Whoever wants it no more is heard a second later.
    with caplog.at_level(logging.INFO, "mesh.dns"):
        clock.turn(1)
        while server._logs:
            await asyncio.sleep(0)
        writer.write(framed(question("n1.node.mesh", "A")))
        await read_answer(reader)
    assert len(caplog.records) == len(said)
    writer.close()
    await server.stop()


async def test_idle_connections_are_closed(server: DnsServer, clock: HandClock) -> None:
    reader, writer = await connect(server)
    writer.write(framed(question("n1.node.mesh", "A")))
    await read_answer(reader)
    clock.turn(11)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await reader.readexactly(1)
    assert server.counters["tcp_idle_closed"] == 1
    writer.close()


async def test_connections_are_limited(server: DnsServer) -> None:
    server.reload(Options(addresses=LOCAL, tcp_connections=1))
    reader, writer = await connect(server)
    writer.write(framed(question("n1.node.mesh", "A")))
    await read_answer(reader)
    second, other = await connect(server)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
        await second.readexactly(1)
    assert server.counters["tcp_refused"] == 1
    writer.close()
    other.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_taken_port_is_said(registry: MemoryRegistry, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        options = Options(addresses=(*LOCAL, ("127.0.0.1", port)))
        server = DnsServer(registry, options, HandClock(), SeededDice(1))
        with pytest.raises(Conflict, match=f"cannot answer DNS on 127.0.0.1 port {port}") as error:
            await server.start()
    assert isinstance(error.value, MeshError)
    assert error.value.message.endswith("Address already in use")
    assert server.addresses == []


@pytest.mark.parametrize(("bound", "asked"), [("0.0.0.0", "127.0.0.3"), ("::", "::1")])
async def test_answers_come_from_the_address_asked(
    registry: MemoryRegistry, bound: str, asked: str
) -> None:
    server = DnsServer(registry, Options(addresses=((bound, 0),)), HandClock(), SeededDice(1))
    try:
        await server.start()
    except Conflict:
        pytest.skip("no IPv6 here")
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((asked, server.addresses[0][1]))  # Takes datagrams from there only.
        client.send(question("n1.node.mesh", "A"))
        loop = asyncio.get_running_loop()
        data = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
    assert dnslib.DNSRecord.parse(data).header.rcode == 0
    await server.stop()


async def test_a_bad_address_is_said(registry: MemoryRegistry) -> None:
    options = Options(addresses=(("localhost", 0),))
    server = DnsServer(registry, options, HandClock(), SeededDice(1))
    with pytest.raises(Invalid, match='"localhost" is not an IP address'):
        await server.start()


async def test_several_addresses_and_both_families(registry: MemoryRegistry) -> None:
    addresses = (("127.0.0.1", 0), ("127.0.0.2", 0), ("::1", 0))
    server = DnsServer(registry, Options(addresses=addresses), HandClock(), SeededDice(1))
    try:
        await server.start()
    except Conflict:
        pytest.skip("no IPv6 loopback here")
    assert [host for host, _ in server.addresses] == ["127.0.0.1", "127.0.0.2", "::1"]
    for address in server.addresses:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(framed(question("n1.node.mesh", "A")))
        assert (await read_answer(reader)).header.rcode == 0
        writer.close()
    await server.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
