"""Messages: any bytes are read or refused, and what is written another library reads."""

import dnslib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mesh.dns import message
from mesh.dns.message import Edns, Question, Record, Reply, Soa, Srv
from mesh.errors import Invalid
from tests.dns.script import question

labels = st.text(
    st.characters(codec="ascii", categories=("L", "N"), include_characters="_-"),
    min_size=1,
    max_size=20,
)
names = st.lists(labels, min_size=1, max_size=6).map(tuple)


def record_of(kind: int, data: st.SearchStrategy[object]) -> st.SearchStrategy[Record]:
    return st.builds(
        Record, names, st.just(kind), st.integers(0, message.TTL_MAX), data.map(lambda d: d)
    )


shorts = st.integers(0, 0xFFFF)
longs = st.integers(0, 0xFFFFFFFF)
records = st.one_of(
    record_of(message.A, st.binary(min_size=4, max_size=4)),
    record_of(message.AAAA, st.binary(min_size=16, max_size=16)),
    record_of(message.TXT, st.text(max_size=600).map(message.text_data)),
    record_of(message.NS, names),
    record_of(message.CNAME, names),
    record_of(message.PTR, names),
    record_of(message.SRV, st.builds(Srv, shorts, shorts, shorts, names)),
    record_of(message.SOA, st.builds(Soa, names, names, longs, longs, longs, longs, longs)),
)


def dotted(name: message.Name) -> str:
    return ".".join(name) + "."


def shown(record: Record) -> str:
    """The data of a record as dnslib would show it."""
    data = record.data
    if isinstance(data, Srv):
        return f"{data.priority} {data.weight} {data.port} {dotted(data.target)}"
    if isinstance(data, Soa):
        times = (data.serial, data.refresh, data.retry, data.expire, data.minimum)
        return " ".join((dotted(data.server), dotted(data.mailbox), *map(str, times)))
    if isinstance(data, tuple):
        return dotted(data)
    return ""


@given(st.binary(max_size=600))
@example(b"")
@example(bytes(12))
@example(bytes(5) + b"\x01" + bytes(6) + b"\xc0\x0c\0\1\0\1")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        message.parse(data)
    except Invalid:
        answer = message.refusal(data)
        assert answer is None or (answer[:2] == data[:2] and len(answer) == 12)


@given(st.data())
def test_damaged_questions_are_read_or_refused(data: st.DataObject) -> None:
    subnet = data.draw(st.sampled_from(["", "10.0.0.0/20", "2001:db8::/56"]))
    whole = bytearray(question("web.service.mesh", "SRV", edns=1232, subnet=subnet))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_read_or_refused.hypothesis.inner_test(  # type: ignore[attr-defined]
        bytes(whole[: data.draw(st.integers(0, len(whole)))])
    )


@given(names, shorts, st.one_of(st.none(), st.integers(512, 4096)))
def test_questions_another_library_wrote(name: message.Name, kind: int, size: int | None) -> None:
    written = dnslib.DNSRecord(dnslib.DNSHeader(id=kind, rd=1))
    written.add_question(dnslib.DNSQuestion(dotted(name), kind))
    if size is not None:
        written.add_ar(dnslib.EDNS0(udp_len=size, flags="do"))
    read = message.parse(bytes(written.pack()))
    assert (read.id, read.name, read.kind, read.flags) == (kind, name, kind, 0x0100)
    assert read.edns == (None if size is None else Edns(size, 0, wants_dnssec=True))


@given(
    names,
    st.lists(records, max_size=5),
    st.lists(records, max_size=3),
    st.lists(records, max_size=3),
    st.booleans(),
)
def test_another_library_reads_replies(
    name: message.Name,
    answers: list[Record],
    authority: list[Record],
    additional: list[Record],
    compress: bool,
) -> None:
    asked = message.parse(question(dotted(name), "A", edns=1232))
    reply = Reply(answers=answers, authority=authority, additional=additional, truncated=True)
    read = dnslib.DNSRecord.parse(message.pack(asked, reply, compress=compress))
    assert read.header.id == asked.id
    assert (read.header.qr, read.header.aa, read.header.tc, read.header.rd) == (1, 1, 1, 1)
    assert str(read.q.qname) == dotted(name)
    sections = [*answers, *authority, *additional]
    found = [*read.rr, *read.auth, *read.ar]
    assert found.pop().rclass == 1232
    assert len(found) == len(sections)
    for theirs, ours in zip(found, sections, strict=True):
        assert (str(theirs.rname), theirs.rtype, theirs.ttl) == (
            dotted(ours.name),
            ours.kind,
            ours.ttl,
        )
        if isinstance(ours.data, bytes):
            pieces = theirs.rdata.data
            if ours.kind == message.TXT:
                pieces = b"".join(bytes((len(piece),)) + piece for piece in pieces)
            assert bytes(pieces) == ours.data
        else:
            assert str(theirs.rdata) == shown(ours)


def test_compression_makes_replies_shorter() -> None:
    asked = message.parse(question("web.service.mesh", "A"))
    reply = Reply(answers=[Record(asked.name, message.A, 0, b"1234")] * 3)
    assert len(message.pack(asked, reply)) == 12 + len(asked.raw) + 3 * 16
    assert len(message.pack(asked, reply, compress=False)) == 12 + len(asked.raw) + 3 * 32


def test_names_far_into_a_message_are_not_pointed_at() -> None:
    asked = Question(1, ("x",), message.TXT, b"\x01x\0\0\x10\0\1")
    big = Record(("x",), message.TXT, 0, message.text_data("y" * 20_000))
    late = Record(("a", "b"), message.PTR, 0, ("a", "b"))
    read = dnslib.DNSRecord.parse(message.pack(asked, Reply(answers=[big, late, late])))
    assert [str(record.rdata) for record in read.rr[1:]] == ["a.b.", "a.b."]


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        (question("web.service.mesh", "A")[:-1], 1),
        (b"\0\1\0\0\0\0\0\0\0\0\0\0", 1),
        (b"\0\1\x28\0\0\1\0\0\0\0\0\0\0\0\6\0\1", 4),  # UPDATE
        (b"\0\1\x80\0\0\1\0\0\0\0\0\0\0\0\1\0\1", None),  # a response
        (b"\0\1\1", None),
    ],
)
def test_refusals(data: bytes, rcode: int | None) -> None:
    with pytest.raises(Invalid):
        message.parse(data)
    answer = message.refusal(data)
    assert (answer and answer[3] & 15) == rcode


def test_two_opt_records_are_refused() -> None:
    written = dnslib.DNSRecord.question("web.service.mesh")
    written.add_ar(dnslib.EDNS0(), dnslib.EDNS0())
    with pytest.raises(Invalid, match="OPT"):
        message.parse(bytes(written.pack()))


@pytest.mark.parametrize(
    ("subnet", "address", "scope"),
    [("10.1.16.0/20", "10.1.16.0", 20), ("2001:db8::/33", "2001:db8::", 33), ("0.0.0.0/0", "", 0)],
)
def test_for_whom_a_resolver_asks_is_repeated_with_who_else_may_have_it(
    subnet: str, address: str, scope: int
) -> None:
    read = message.parse(question("web.query.mesh", "A", edns=1232, subnet=subnet))
    assert read.edns is not None
    assert read.edns.subnet is not None
    assert read.edns.subnet.address == address
    asked = dnslib.DNSRecord.parse(question("web.query.mesh", "A", edns=1232, subnet=subnet))
    told = bytes(asked.ar[0].rdata[0].data)
    for personal in (True, False):
        answer = dnslib.DNSRecord.parse(message.pack(read, Reply(personal=personal)))
        (option,) = answer.ar[0].rdata
        assert option.code == 8
        assert bytes(option.data) == told[:3] + bytes([scope * personal]) + told[4:]


@pytest.mark.parametrize(
    "value", [b"", b"\0\1\x21\0abcd", b"\0\1\x20\0abc", b"\0\3\x08\0a", b"\0\0\1\0a"]
)
def test_subnets_that_cannot_be_are_refused(value: bytes) -> None:
    written = dnslib.DNSRecord.question("web.query.mesh")
    written.add_ar(
        dnslib.EDNS0(opts=[dnslib.EDNSOption(10, b"cookie"), dnslib.EDNSOption(8, value)])
    )
    with pytest.raises(Invalid, match="client subnet"):
        message.parse(bytes(written.pack()))


def test_only_the_first_question_counts() -> None:
    written = dnslib.DNSRecord.question("web.service.mesh")
    written.add_question(dnslib.DNSQuestion("other.mesh"))
    written.add_ar(dnslib.EDNS0(udp_len=999))
    read = message.parse(bytes(written.pack()))
    assert read.name == ("web", "service", "mesh")
    assert read.edns == Edns(999)
    assert len(dnslib.DNSRecord.parse(message.pack(read, Reply())).questions) == 1


@pytest.mark.parametrize("text", ["", "a..b", "x" * 64, ".".join(["abcdefg"] * 40), ".a"])
def test_names_that_cannot_be(text: str) -> None:
    with pytest.raises(Invalid):
        message.name_from(text)
