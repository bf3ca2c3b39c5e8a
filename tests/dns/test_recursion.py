"""Recursors on real sockets: who is asked, who is believed, how many wait, what is kept."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dnslib
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.dns import recursion as module
from mesh.dns.foreign import Outside
from mesh.dns.message import packed_name
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.server import DnsServer
from mesh.errors import Busy, Unreachable
from tests.dns.memory import MemoryRegistry, StoppedClock
from tests.dns.script import question

Answer = Callable[[bytes], list[bytes]]


def outside(name: str, *, edns: bool = False) -> Outside:
    return Outside(packed_name(tuple(name.split("."))) + b"\0\1\0\1", edns=edns)


def reply(data: bytes, *, count: int = 1, rcode: int = 0, truncated: int = 0) -> bytes:
    """Addresses of the name asked for, each for a minute."""
    made = dnslib.DNSRecord.parse(data).reply(aa=0)
    made.header.rcode = rcode
    made.header.tc = truncated
    for number in range(count):
        address = dnslib.A(f"203.0.113.{number}")
        made.add_answer(dnslib.RR(made.q.qname, rdata=address, ttl=60))
    return bytes(made.pack())


class Recursor(asyncio.DatagramProtocol):
    """Another server, UDP and TCP on the same port, that answers as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bytes, int]] = []
        self.address = ("", 0)
        self.hangs_up = asyncio.Event()
        """Until then whoever asks over TCP waits for what comes after the answers."""
        self.hangs_up.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, peer: Any) -> None:
        self.asked.append(("udp", data, peer[1]))
        for made in self.answer(data):
            self.transport.sendto(made, peer)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        data = await reader.readexactly(length)
        self.asked.append(("tcp", data, 0))
        for made in self.answer(data):
            writer.write(struct.pack("!H", len(made)) + made)
        await self.hangs_up.wait()
        writer.close()


@asynccontextmanager
async def recursor(answer: Answer = lambda data: [reply(data)]) -> AsyncIterator[Recursor]:
    own = Recursor(answer)
    loop = asyncio.get_running_loop()
    # A port that is free for TCP may be taken for UDP by a program that only sends.
    for attempt in range(16):
        stream = await asyncio.start_server(own.connected, "127.0.0.1", 0)
        own.address = stream.sockets[0].getsockname()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: own, own.address)
        except OSError:
            stream.close()
            if attempt == 15:
                raise
            continue
        try:
            yield own
        finally:
            transport.close()
            stream.close()
        return


def options(*recursors: Recursor, seconds: float = 5.0, **others: Any) -> Options:
    return Options(
        addresses=(("127.0.0.1", 0),),
        recursors=tuple(one.address for one in recursors),
        recursor_timeout_seconds=seconds,
        **others,
    )


def make(*recursors: Recursor, **others: Any) -> Recursion:
    return Recursion(options(*recursors, **others), SystemClock(), SeededDice(3))


@asynccontextmanager
async def server(*recursors: Recursor, **others: Any) -> AsyncIterator[DnsServer]:
    made = DnsServer(MemoryRegistry(), options(*recursors, **others), SystemClock(), SeededDice(5))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        assert made._tasks.failures == 0


async def over_udp(asked: DnsServer, data: bytes) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(await exchanged(asked, data))


async def exchanged(asked: DnsServer, data: bytes) -> bytes:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, peer: Any) -> None:
            answer.set_result(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Client, remote_addr=asked.addresses[0])
    transport.sendto(data)
    try:
        return await asyncio.wait_for(answer, 20)
    finally:
        transport.close()


async def over_tcp(asked: DnsServer, data: bytes) -> dnslib.DNSRecord:
    reader, writer = await asyncio.open_connection(*asked.addresses[0])
    writer.write(struct.pack("!H", len(data)) + data)
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    writer.close()
    return dnslib.DNSRecord.parse(await reader.readexactly(length))


async def test_a_client_is_answered_over_the_protocol_it_used() -> None:
    async with recursor() as one, server(one) as ours:
        for number, over in enumerate((over_udp, over_tcp, over_udp)):
            answer = await over(ours, question(f"w{number}.example.org", "A"))
            assert str(answer.rr[0].rdata) == "203.0.113.0"
            assert (answer.header.ra, answer.header.aa, answer.header.id) == (1, 0, 77)
        assert [kind for kind, _, _ in one.asked] == ["udp", "tcp", "udp"]
        _ = await over_udp(ours, question("w1.example.org", "A"))
        assert len(one.asked) == 3
        assert ours.counters["recursor_questions"] == 4
        assert ours.counters["recursor_kept_hits"] == 1


async def test_ids_and_ports_are_not_foreseen() -> None:
    async with recursor() as one:
        asks = make(one)
        await asyncio.gather(
            *(asks.ask(outside(f"w{number}.example.org"), tcp=False) for number in range(40))
        )
        assert len({data[:2] for _, data, _ in one.asked}) > 30
        assert len({port for _, _, port in one.asked}) > 20


async def test_what_answers_another_question_is_passed_over() -> None:
    def answer(data: bytes) -> list[bytes]:
        forged = bytes([data[0] ^ 1]) + reply(data, count=9)[1:]
        other = reply(question("evil.example.org", "A"), count=9)
        return [b"", b"x" * 40, data, forged, data[:2] + other[2:], reply(data)]

    async with recursor(answer) as one:
        heard = await make(one).ask(outside("www.example.org"), tcp=False)
        assert len(heard.answers) == 1


async def test_what_comes_from_another_address_is_not_heard() -> None:
    loop = asyncio.get_running_loop()

    class Forger(Recursor):
        def datagram_received(self, data: bytes, peer: Any) -> None:
            other.sendto(reply(data, count=9), peer)
            self.transport.sendto(reply(data), peer)

    other, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    forger = Forger(lambda _data: [])
    transport, _ = await loop.create_datagram_endpoint(lambda: forger, local_addr=("127.0.0.1", 0))
    forger.address = transport.get_extra_info("sockname")
    heard = await make(forger).ask(outside("www.example.org"), tcp=False)
    assert len(heard.answers) == 1
    other.close()
    transport.close()


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        lambda data: [reply(data, rcode=2)],
        lambda data: [reply(data, rcode=5)],
        lambda data: [reply(data)[:-3]],
        lambda data: [data[:2] + b"\x80\1" + bytes(8)],
        lambda _data: [],
    ],
    ids=["servfail", "refused", "malformed", "formerr", "silent"],
)
async def test_the_next_recursor_is_asked(
    bad: Answer, tcp: bool, request: pytest.FixtureRequest
) -> None:
    # Only silence has to be waited for.
    seconds = 1.0 if "silent" in request.node.name and not tcp else 20.0
    async with recursor(bad) as first, recursor() as second:
        asks = make(first, second, seconds=seconds)
        heard = await asks.ask(outside("www.example.org"), tcp=tcp)
        assert len(heard.answers) == 1
        assert (len(first.asked), len(second.asked)) == (1, 1)
        assert asks.counters["recursor_failures"] == 1


async def test_nobody_listens() -> None:
    async with recursor() as gone:
        pass
    async with server(gone, gone) as ours:
        for over in (over_udp, over_tcp):
            answer = await over(ours, question("www.example.org", "A"))
            assert (answer.header.rcode, answer.header.ra) == (2, 1)
        assert ours.counters["recursor_failures"] == 4
        assert ours.counters["errors"] == 2


async def test_recursors_in_random_order() -> None:
    async with recursor() as first, recursor() as second:
        asks = make(first, second, recursor_strategy="random")
        for number in range(40):
            await asks.ask(outside(f"w{number}.example.org"), tcp=False)
        assert min(len(first.asked), len(second.asked)) > 5


async def test_too_much_for_udp_is_had_over_tcp() -> None:
    def answer(data: bytes) -> list[bytes]:
        cut = one.asked[-1][0] == "udp"
        return [reply(data, count=0 if cut else 90, truncated=int(cut))]

    async with recursor(answer) as one, server(one) as ours:
        asked = question("www.example.org", "A")
        for _ in range(2):
            answered = await over_udp(ours, asked)
            assert (answered.header.tc, len(answered.rr)) == (1, 0)
        answered = await over_tcp(ours, asked)
        assert (answered.header.tc, len(answered.rr)) == (0, 90)
        # What is kept now is too much for this client all the same, but not for others.
        answered = await over_udp(ours, asked)
        assert (answered.header.tc, len(answered.rr)) == (1, 0)
        answered = await over_udp(ours, question("www.example.org", "A", edns=4096))
        assert (answered.header.tc, len(answered.rr)) == (0, 90)
        assert [kind for kind, _, _ in one.asked] == ["udp", "udp", "tcp"]


async def test_who_asks_the_same_waits_for_the_same() -> None:
    held: list[bytes] = []

    def answer(data: bytes) -> list[bytes]:
        held.append(data)
        return []

    async with recursor(answer) as one:
        asks = make(one)
        waiting = [
            asyncio.create_task(asks.ask(outside("www.example.org"), tcp=False)) for _ in range(9)
        ]
        while not held:
            await asyncio.sleep(0)
        waiting[0].cancel()
        one.transport.sendto(reply(held[0]), ("127.0.0.1", one.asked[0][2]))
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(not isinstance(each, BaseException) for each in found[1:])
        assert len(one.asked) == 1
        assert asks._flights == {}


async def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 4)
    async with recursor(lambda _data: []) as one:
        asks = make(one)
        waiting = [
            asyncio.create_task(asks.ask(outside(f"w{number}.example.org"), tcp=False))
            for number in range(4)
        ]
        while len(one.asked) < 4:
            await asyncio.sleep(0)
        with pytest.raises(Busy):
            await asks.ask(outside("more.example.org"), tcp=False)
        assert asks.counters["recursor_refused"] == 1
        await asks.stop()
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, Unreachable)


async def test_what_is_kept_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(address: object, data: bytes, accepts: object, *, tcp: bool) -> bytes:
        return reply(data)

    monkeypatch.setattr(module, "KEPT_MAX", 10)
    made = Options(recursors=(("198.51.100.1", 53),))
    asks = Recursion(made, StoppedClock(), SeededDice(1), answer)
    for number in range(30):
        await asks.ask(outside(f"w{number}.example.org"), tcp=False)
    assert len(asks._kept) == 10
    monkeypatch.setattr(module, "KEPT_BYTES_MAX", 300)
    await asks.ask(outside("www.example.org"), tcp=False)
    assert asks._kept_bytes <= 300
    assert asks._kept_bytes == sum(
        len(one.question) + len(one.answer) for one in asks._kept.values()
    )
    # Other recursors may know better.
    asks.reload(Options(recursors=(("198.51.100.2", 53),)))
    assert (asks._kept, asks._kept_bytes) == ({}, 0)


async def test_names_that_only_look_the_same_are_kept_apart() -> None:
    """KELVIN SIGN in lower case is a k: to Unicode, not to DNS."""
    async with recursor() as one:
        asks = make(one)
        await asks.ask(Outside(b"\4bank\3org\0\0\1\0\1"), tcp=False)
        await asks.ask(Outside(b"\4BANK\3org\0\0\1\0\1"), tcp=False)
        assert len(one.asked) == 1
        await asks.ask(Outside(packed_name(("ban\u212a", "org")) + b"\0\1\0\1"), tcp=False)
        # Type 65 is the letter A, and no type 97.
        await asks.ask(Outside(b"\4bank\3org\0\0\x41\0\1"), tcp=False)
        await asks.ask(Outside(b"\4bank\3org\0\0\x61\0\1"), tcp=False)
        assert len(one.asked) == 4


async def test_dead_recursors_hold_up_nobody_who_asks_about_us() -> None:
    async with recursor(lambda _data: []) as dead, server(dead) as ours:
        loop = asyncio.get_running_loop()
        flood, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=ours.addresses[0]
        )
        for number in range(600):
            flood.sendto(question(f"w{number}.example.org", "A"))
        # Prepared queries need a worker, as the flood does.
        answer = await over_udp(ours, question("none.query.mesh", "A"))
        assert answer.header.rcode == 3
        assert len(dead.asked) <= module.WAITING_MAX
        flood.close()


async def test_damaged_replies_break_nothing() -> None:
    """Whatever a recursor says behind the question: an answer that can be read, or SERVFAIL."""
    dice = SeededDice(8)

    def answer(data: bytes) -> list[bytes]:
        made = bytearray(reply(data, count=3))
        start = len(data)
        for _ in range(1 + dice.below(4)):
            made[start + dice.below(len(made) - start)] = dice.below(256)
        made[6:12] = bytes([0, dice.below(5), 0, dice.below(2), 0, dice.below(2)])
        return [bytes(made[: len(made) - dice.below(4)])]

    async with recursor(answer) as one, server(one) as ours:
        codes = set()
        for number in range(300):
            answered = await exchanged(ours, question(f"w{number}.example.org", "A"))
            head = struct.unpack("!6H", answered[:12])
            assert head[0] == 77
            codes.add(head[1] & 15)
        assert codes == {0, 2}
        assert len(one.asked) == 300


async def test_recursors_come_and_go_with_a_reload() -> None:
    async with recursor() as one, server() as ours:
        asked = question("www.example.org", "A")
        assert (await over_udp(ours, asked)).header.rcode == 5
        ours.reload(options(one))
        assert (await over_udp(ours, asked)).header.rcode == 0
        ours.reload(options())
        refused = await over_udp(ours, asked)
        assert (refused.header.rcode, refused.header.ra) == (5, 0)


def framed(names: list[str]) -> bytes:
    """Questions as they follow each other on a connection."""
    asked = [question(name, "A") for name in names]
    return b"".join(struct.pack("!H", len(data)) + data for data in asked)


async def test_a_slow_answer_holds_up_none_behind_it_on_the_connection() -> None:
    async with recursor(lambda _data: []) as slow, server(slow) as ours:
        slow.hangs_up.clear()
        reader, writer = await asyncio.open_connection(*ours.addresses[0])
        writer.write(framed(["www.example.org", "none.service.mesh", "none.query.mesh"]))
        writer.write_eof()  # Nobody asks any more, but all is answered.
        answered = []
        for number in range(3):
            if number == 2:
                slow.hangs_up.set()
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = dnslib.DNSRecord.parse(await reader.readexactly(length))
            answered.append((str(answer.q.qname), answer.header.rcode))
        assert answered == [
            ("none.service.mesh.", 3),
            ("none.query.mesh.", 3),
            ("www.example.org.", 2),
        ]
        assert await reader.read() == b""
        writer.close()


async def test_a_connection_is_read_no_further_while_many_of_its_questions_wait() -> None:
    async with recursor(lambda _data: []) as slow, server(slow) as ours:
        slow.hangs_up.clear()
        reader, writer = await asyncio.open_connection(*ours.addresses[0])
        writer.write(framed([f"w{number}.example.org" for number in range(30)]))
        while len(slow.asked) < 8:
            await asyncio.sleep(0)
        # The next turns would bring more; another client's question takes many of them.
        assert (await over_udp(ours, question("none.query.mesh", "A"))).header.rcode == 3
        assert len(slow.asked) == 8
        slow.hangs_up.set()
        for _ in range(30):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            await reader.readexactly(length)
        assert len(slow.asked) == 30
        writer.close()
