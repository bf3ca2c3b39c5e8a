"""Replies of other servers: read as dnslib writes them; whatever else they hold, nothing breaks."""

import struct
from typing import Any

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.dns import foreign
from mesh.dns.foreign import Heard, Outside
from mesh.dns.message import Question, Reply, pack, packed_name
from mesh.errors import Invalid

NAME = ("www", "Example", "org")
ASKED = foreign.request(Outside(packed_name(NAME) + b"\0\1\0\1", edns=True), 4711)
QUESTION = Question(4711, NAME, 1, ASKED[12 : 12 + 21])

ZONE = """
www.example.org. 300 IN CNAME web.example.org.
web.example.org. 300 IN A 203.0.113.1
web.example.org. 300 IN AAAA 2001:db8::1
example.org. 60 IN MX 10 mx.example.org.
example.org. 60 IN NS ns.example.org.
example.org. 60 IN SOA ns.example.org. host.example.org. 1 2 3 4 5
example.org. 60 IN TXT "some text"
_a._tcp.example.org. 60 IN SRV 1 2 3 web.example.org.
1.113.0.203.in-addr.arpa. 60 IN PTR www.example.org.
example.org. 60 IN CAA 0 issue "example.net"
"""


def answered(zone: str = ZONE, *, rcode: int = 0) -> bytes:
    reply = dnslib.DNSRecord.parse(ASKED).reply(aa=0)
    reply.header.rcode = rcode
    for row in dnslib.RR.fromZone(zone):
        reply.add_answer(row)
    return bytes(reply.pack())


def packed(heard: Heard, *, compress: bool = True) -> bytes:
    reply = Reply(heard.rcode, heard.answers, heard.authority, heard.additional, foreign=True)
    return pack(QUESTION, reply, compress=compress)


@pytest.mark.parametrize("compress", [True, False])
def test_what_is_read_is_passed_on_as_it_was(compress: bool) -> None:
    data = answered()
    assert foreign.is_reply(data, ASKED)
    again = dnslib.DNSRecord.parse(packed(foreign.read(data, ASKED), compress=compress))
    assert [str(row) for row in again.rr] == [str(row) for row in dnslib.DNSRecord.parse(data).rr]


def test_only_answers_to_the_question_are_taken() -> None:
    data = answered()
    assert foreign.is_reply(data[:12] + data[12:].replace(b"Example", b"eXAMPLE", 1), ASKED)
    for other in (
        b"",
        data[:11],
        ASKED,
        b"\0\0" + data[2:],
        data[:2] + b"\x98" + data[3:],
        data[:4] + b"\0\2" + data[6:],
        data.replace(b"Example", b"example2", 1),
        data[:12] + data[12:].replace(b"\0\1\0\1", b"\0\2\0\1", 1),
        data[:4] + bytes(8),
    ):
        assert not foreign.is_reply(other, ASKED)
    refused = struct.pack("!6H", 4711, 0x8001, 0, 0, 0, 0)
    assert foreign.is_reply(refused, ASKED)
    assert foreign.read(refused, ASKED).rcode == 1


def with_record(name: bytes, kind: int, data: bytes) -> bytes:
    head = struct.pack("!6H", 4711, 0x8180, 1, 1, 0, 0)
    row = struct.pack("!2HIH", kind, 1, 60, len(data)) + data
    return head + QUESTION.raw + name + row


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        (b"\xc0\x21", 1, bytes(4)),  # Points at itself.
        (b"\xc0\xff", 1, bytes(4)),  # Ahead.
        (b"\xc0\x00", 1, bytes(4)),  # Into the header.
        (b"\x40" + bytes(64) + b"\0", 1, bytes(4)),
        (b"\x3f" + b"a" * 63 + b"\xc0\x0c" + b"", 1, bytes(3)),
        ((b"\x3f" + b"a" * 63) * 4 + b"\0", 1, bytes(4)),
        (b"\0", 1, bytes(5)),
        (b"\0", 28, bytes(4)),
        (b"\0", 5, b"\3abc"),
        (b"\0", 5, b"\3abc\0\0"),
        (b"\0", 5, b"\xc0\x2c"),  # Its own data.
        (b"\0", 6, b"\0\0" + bytes(19)),
        (b"\0", 15, b"\0"),
        (b"\0", 33, bytes(6)),
    ],
)
def test_nonsense_is_refused(name: bytes, kind: int, data: bytes) -> None:
    message = with_record(name, kind, data)
    assert foreign.is_reply(message, ASKED)
    with pytest.raises(Invalid):
        foreign.read(message, ASKED)


@pytest.mark.parametrize("cut", [1, 5, 20, 60, 120])
def test_what_ends_too_early_is_refused(cut: int) -> None:
    with pytest.raises(Invalid):
        foreign.read(answered()[:-cut], ASKED)


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=6), st.integers(0, 9))
@settings(max_examples=1500, deadline=None)
def test_damage_is_refused_or_passed_on_readable(damage: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(answered())
    for at, value in damage:
        data[at % len(data)] = value
    checked(bytes(data[: len(data) - cut]))


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_noise_behind_the_question_too(noise: bytes) -> None:
    for counts in ((1, 0, 0), (0, 3, 0), (9, 9, 9)):
        checked(struct.pack("!6H", 4711, 0x8180, 1, *counts) + QUESTION.raw + noise)


def checked(data: bytes) -> None:
    if not foreign.is_reply(data, ASKED):
        return
    try:
        heard = foreign.read(data, ASKED)
    except Invalid:
        return
    assert heard.lasting >= 0
    for compress in (True, False):
        # What we pass on is what we read, and says the same once more.
        again = foreign.read(packed(heard, compress=compress), ASKED)
        assert again.answers == heard.answers
        assert again.additional == heard.additional


def test_how_long_an_answer_holds() -> None:
    def lasting(answers: str, authority: str = "", rcode: int = 0) -> int:
        reply: Any = dnslib.DNSRecord.parse(ASKED).reply(aa=0)
        reply.header.rcode = rcode
        for row in dnslib.RR.fromZone(answers):
            reply.add_answer(row)
        for row in dnslib.RR.fromZone(authority):
            reply.add_auth(row)
        return foreign.read(bytes(reply.pack()), ASKED).lasting

    soa = "example.org. {} IN SOA ns.example.org. host.example.org. 1 2 3 4 {}"
    address = "www.example.org. 300 IN A 203.0.113.1"
    assert lasting(address) == 300
    assert lasting(address, "example.org. 20 IN NS ns.example.org.") == 20
    assert lasting("") == 0
    assert lasting("", soa.format(90, 60)) == 60
    assert lasting("", soa.format(30, 60), rcode=3) == 30
    assert lasting("www.example.org. 300 IN CNAME a.example.org.", soa.format(90, 60)) == 60
    assert lasting("", "example.org. 20 IN NS ns.example.org.") == 0
    assert lasting("www.example.org. 4294967295 IN A 203.0.113.1") == 0


@pytest.mark.parametrize(("count", "allowed"), [(127, True), (128, False), (4000, False)])
def test_a_name_takes_few_steps(count: int, allowed: bool) -> None:
    """Many pointers, each to the one before, lead back to a name; there is a limit to them."""
    start = 12 + len(QUESTION.raw) + 11
    places = [12, *(start + 2 * at for at in range(count))]
    chain = b"".join(struct.pack("!H", 0xC000 | place) for place in places[:-1])
    message = struct.pack("!6H", 4711, 0x8180, 1, 2, 0, 0) + QUESTION.raw
    for name, data in ((b"\0", chain), (struct.pack("!H", 0xC000 | places[-1]), b"\0")):
        message += name + struct.pack("!2HIH", 16, 1, 0, len(data)) + data
    if allowed:
        assert foreign.read(message, ASKED).answers[1].name == NAME
    else:
        with pytest.raises(Invalid):
            foreign.read(message, ASKED)


def test_records_are_limited() -> None:
    row = b"\0" + struct.pack("!2HIH", 16, 1, 0, 1) + b"\0"
    for count in (1000, 1001):
        head = struct.pack("!6H", 4711, 0x8180, 1, count, 0, 0) + QUESTION.raw
        if count == 1000:
            assert len(foreign.read(head + row * count, ASKED).answers) == count
        else:
            with pytest.raises(Invalid, match="more than 1000"):
                foreign.read(head + row * count, ASKED)
