"""DNS as functions of bytes that must not fail: questions of clients, and replies of recursors."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import dnslib

from mesh.clock import SeededDice
from mesh.dns import foreign, message
from mesh.dns.foreign import Outside
from mesh.dns.message import Question, Reply, pack, packed_name
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.resolver import Resolver
from mesh.errors import Invalid
from mesh.registry.catalog import Node, Register, Service
from tests.dns.memory import MemoryRegistry, StoppedClock
from tests.dns.script import question
from tests.fuzz import questions

NAME = ("www", "Example", "org")
ASKED = foreign.request(Outside(packed_name(NAME) + b"\0\1\0\1", edns=True), 4711)
RAW = ASKED[12 : 12 + len(packed_name(NAME)) + 4]
UDP_BYTES, UDP_BYTES_MAX, TCP_BYTES_MAX = 512, 65_467, 65_535
KNOWN = question("n1.node.mesh", "A")

ZONE = """
www.example.org. 300 IN CNAME web.example.org.
web.example.org. 300 IN A 203.0.113.1
web.example.org. 300 IN AAAA 2001:db8::1
example.org. 60 IN MX 10 mx.example.org.
example.org. 60 IN SOA ns.example.org. host.example.org. 1 2 3 4 5
example.org. 60 IN TXT "some text"
_a._tcp.example.org. 60 IN SRV 1 2 3 web.example.org.
"""


def _answered() -> bytes:
    made = dnslib.DNSRecord.parse(ASKED).reply(aa=0)
    for row in dnslib.RR.fromZone(ZONE):
        made.add_answer(row)
    return bytes(made.pack())


def reply(data: bytes) -> None:
    """What a recursor answers, behind the question: refused, or passed on as it was read."""
    if len(data) < 8:
        return
    answer = ASKED[:2] + data[:2] + b"\0\1" + data[2:8] + RAW + data[8:]
    if not foreign.is_reply(answer, ASKED):
        return
    try:
        heard = foreign.read(answer, ASKED)
    except Invalid:
        return
    assert heard.lasting >= 0
    asked = Question(4711, NAME, 1, RAW)
    made = Reply(heard.rcode, heard.answers, heard.authority, heard.additional, foreign=True)
    for compress in (True, False):
        again = foreign.read(pack(asked, made, compress=compress), ASKED)
        assert again.answers == heard.answers
        assert again.additional == heard.additional


class _World:
    """A registry with a little of everything, and recursors that know one answer."""

    def __init__(self) -> None:
        registry = self.registry = MemoryRegistry()
        for number in range(12):
            node = Node(name=f"n{number}", address=f"10.0.0.{number}", datacenter="dc1")
            registry.apply(Register(node, Service(node="", id="", name="web", tags=["v1"])))
        for name, address in (("far", "www.example.org"), ("near", "web.service.mesh")):
            alias = Service(node="", id="", name=name, address=address)
            registry.apply(Register(Node(name="n1"), alias, skip_node_update=True))
        options = Options(recursors=(("198.51.100.1", 53),))
        self.loop = asyncio.new_event_loop()
        clock, dice = StoppedClock(), SeededDice(1)
        recursion = Recursion(options, clock, dice, self._exchange)
        self.resolver = Resolver(registry, options, clock, dice, recursion)
        self.right = self.loop.run_until_complete(self.resolver.resolve(KNOWN, tcp=False))
        """What a question is answered with, whatever came before it."""

    async def _exchange(
        self, address: object, data: bytes, accepts: Callable[[bytes], bool], *, tcp: bool
    ) -> bytes:
        asked = message.parse(data)
        answer = pack(asked, Reply(answers=[], authoritative=False))
        assert accepts(answer)
        return answer


_worlds: list[_World] = []


def ask(data: bytes) -> None:
    """A client's message: answered within its limit, with its id, unless it is an answer itself."""
    if not _worlds:
        _worlds.append(_World())
    world = _worlds[0]
    for tcp in (False, True):
        answer = world.loop.run_until_complete(world.resolver.resolve(data, tcp=tcp))
        if answer is None:
            assert len(data) < 12 or data[2] & 0x80
        else:
            fitting(data, answer, tcp=tcp)
    world.registry.reads.clear()  # It remembers them all, for tests that want to know.
    world.resolver.turn()
    assert world.resolver.at_once(KNOWN, tcp=False) == world.right


def fitting(data: bytes, answer: bytes, *, tcp: bool) -> None:
    """An answer is one to this message, which is none itself, and not too large for its asker."""
    assert not data[2] & 0x80
    assert answer[:2] == data[:2]
    assert answer[2] & 0x80
    assert len(answer) <= (TCP_BYTES_MAX if tcp else most(data))
    counts = struct.unpack_from("!4H", answer, 4)
    assert counts[0] <= 1


def most(data: bytes) -> int:
    """How large an answer over UDP may be."""
    try:
        edns = message.parse(data).edns
    except Invalid:
        edns = None
    return min(max(UDP_BYTES, 0 if edns is None else edns.size), UDP_BYTES_MAX)


TARGETS = {"ask": ask, "reply": reply}

_ANSWERED = _answered()
QUESTIONS = [
    question(name, kind, edns)
    for name, kind, edns in (
        ("web.service.mesh", "A", None),
        ("v1.web.service.dc1.mesh", "SRV", 1232),
        ("_web._tcp.mesh", "SRV", None),
        ("n1.node.mesh", "ANY", 512),
        ("0a000001.addr.mesh", "AAAA", None),
        ("1.0.0.10.in-addr.arpa", "PTR", None),
        ("mesh", "SOA", None),
        ("far.service.mesh", "A", None),
        ("near.service.mesh", "SRV", None),
        ("none.query.mesh", "A", None),
        ("www.example.org", "A", 4096),
    )
]
SEEDS = [b"\0" + one for one in QUESTIONS]
SEEDS += [b"\1" + _ANSWERED[2:4] + _ANSWERED[6:12] + _ANSWERED[12 + len(RAW) :]]


def mutated(data: bytes, seed: int) -> bytes:
    """A question with something wrong in it; what is none stays as it is."""
    if not data or data[0] % len(TARGETS):
        return data
    return data[:1] + questions.changed(data[1:], seed)


def one_input(data: bytes) -> None:
    """One input: its first byte says what it is for."""
    if data:
        list(TARGETS.values())[data[0] % len(TARGETS)](data[1:])
