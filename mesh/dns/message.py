"""DNS messages: bytes to questions, replies to bytes (RFC 1035, RFC 2782, RFC 6891, RFC 7871)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from mesh.errors import Invalid

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 16, 28, 33, 41
IXFR, AXFR, ANY = 251, 252, 255

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
BADVERS = 16

# Labels from first to last, without the root's empty one, in the case they were written in.
# Bytes that are not UTF-8 are kept as surrogates.
Name: TypeAlias = tuple[str, ...]

NAME_BYTES_MAX = 255
LABEL_BYTES_MAX = 63
RECORDS_MAX = 32  # In a question: one OPT record is expected, a few others are passed over.
TTL_MAX = 2**31 - 1

_QR, _OPCODE, _AA, _TC, _RD, RA, CD = 0x8000, 0x7800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_DO = 0x8000
_IN = 1

_HEADER = struct.Struct("!6H")
_TYPE_CLASS = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_SRV = struct.Struct("!3H")
_SOA = struct.Struct("!5I")
_ALIKE = struct.Struct("!3HIH")
_QUESTION = 0xC000 | 12
"""A pointer to the name of the question."""
_SHORT = struct.Struct("!H")
_SUBNET_HEAD = struct.Struct("!HBB")
_SUBNET = 8


class Subnet(msgspec.Struct, frozen=True):
    """Whose question a resolver passes on, as far as it tells (RFC 7871 section 6)."""

    family: int
    """1 for IPv4, 2 for IPv6, 0 for nobody."""
    prefix: int
    """Bits of the address that are told."""
    start: bytes
    """Those bits, in whole bytes."""

    @property
    def address(self) -> str:
        """The address, its untold bits 0; empty when none is told."""
        size = {1: 4, 2: 16}.get(self.family, 0)
        return str(ipaddress.ip_address(self.start.ljust(size, b"\0"))) if self.prefix else ""


class Edns(msgspec.Struct, frozen=True):
    """The OPT record of a question (RFC 6891)."""

    size: int
    """Bytes of UDP payload the client takes, as it said."""
    version: int = 0
    wants_dnssec: bool = False
    subnet: Subnet | None = None


class Question(msgspec.Struct, frozen=True):
    """The first question of a message, and what else of it an answer depends on."""

    id: int
    name: Name
    kind: int
    """The type asked for: `A`, `SRV` ..."""
    raw: bytes
    """Name, type and class as they came, to be sent back."""
    flags: int = 0
    """RD and CD, which the answer repeats, and RA if we ask others."""
    edns: Edns | None = None


class Srv(msgspec.Struct, frozen=True):
    """The data of an SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: Name


class Soa(msgspec.Struct, frozen=True):
    """The data of an SOA record (RFC 1035 section 3.3.13). Times are seconds."""

    server: Name
    mailbox: Name
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """A resource record. A, AAAA and TXT hold their bytes, CNAME, NS and PTR a name."""

    name: Name
    kind: int
    ttl: int
    data: bytes | Name | Srv | Soa


class Reply(msgspec.Struct, frozen=True):
    """What is answered to a question."""

    rcode: int = NOERROR
    answers: list[Record] = []
    authority: list[Record] = []
    additional: list[Record] = []
    authoritative: bool = True
    truncated: bool = False
    personal: bool = False
    """Others may get another answer than the subnet in the question."""
    unresolved: tuple[Name, ...] = ()
    """Host names that records lead to, and of which no address is here yet."""
    foreign: bool = False
    """What another server answered: it stays whole, or says that it is truncated."""


def parse(data: bytes, offered: int = 0) -> Question:
    """Read a question. Raises Invalid for anything else; `refusal` then says what to send.

    Only the first question counts; bytes after the last record are ignored. The answer will have
    the flags `offered` too.
    """
    if len(data) < 12:
        raise Invalid("message: shorter than a DNS header")
    number, flags, questions, *records = _HEADER.unpack_from(data)
    if flags & (_QR | _OPCODE) or not questions:
        raise Invalid("message: not a standard query")
    try:
        name, end = _read_name(data, 12)
        kind, _ = _TYPE_CLASS.unpack_from(data, end)
        raw = data[12 : end + 4]
        edns = _find_edns(data, end + 4, questions - 1, sum(records)) if any(records) else None
    except (IndexError, struct.error) as error:
        raise Invalid("message: ends too early") from error
    return Question(number, name, kind, raw, flags & (_RD | CD) | offered, edns)


def _read_name(data: bytes, offset: int) -> tuple[Name, int]:
    labels = []
    start = offset
    while length := data[offset]:
        if length > LABEL_BYTES_MAX:
            raise Invalid("message: a compressed name in the question, or a label too long")
        end = offset + 1 + length
        labels.append(data[offset + 1 : end].decode("utf-8", "surrogateescape"))
        offset = end
    if offset + 1 - start > NAME_BYTES_MAX:
        raise Invalid("message: a name longer than 255 bytes")
    return tuple(labels), offset + 1


def _skip_name(data: bytes, offset: int) -> int:
    while length := data[offset]:
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
    return offset + 1


def _find_edns(data: bytes, offset: int, questions: int, records: int) -> Edns | None:
    if questions + records > RECORDS_MAX:
        raise Invalid(f"message: more than {RECORDS_MAX} records in a question")
    for _ in range(questions):
        offset = _skip_name(data, offset) + 4
    found: Edns | None = None
    for _ in range(records):
        start, offset = offset, _skip_name(data, offset)
        kind, size, rest, length = _RECORD.unpack_from(data, offset)
        offset += _RECORD.size + length
        if offset > len(data):
            raise Invalid("message: a record ends too late")
        if kind != OPT:
            continue
        if found is not None or data[start] != 0:
            raise Invalid("message: OPT twice, or not at the root")
        subnet = _find_subnet(data[offset - length : offset])
        found = Edns(size, (rest >> 16) & 0xFF, bool(rest & _DO), subnet)
    return found


def _find_subnet(options: bytes) -> Subnet | None:
    offset = 0
    while offset + 4 <= len(options):
        code, length = _TYPE_CLASS.unpack_from(options, offset)
        value = options[offset + 4 : offset + 4 + length]
        offset += 4 + length
        if code != _SUBNET:
            continue
        if len(value) < 4 or len(value) != length:
            raise Invalid("message: a client subnet that ends too early")
        family, prefix, _ = _SUBNET_HEAD.unpack_from(value)
        start = value[_SUBNET_HEAD.size :]
        bits = {0: 0, 1: 32, 2: 128}.get(family, -1)
        if prefix > bits or len(start) != (prefix + 7) // 8:
            raise Invalid("message: a client subnet that is no address")
        return Subnet(family, prefix, start)
    return None


def ask(name: Name, kind: int, edns: Edns | None) -> bytes:
    """The question as a client sends it."""
    out = bytearray(_HEADER.pack(0, _RD, 1, 0, 0, 0 if edns is None else 1))
    _put_name(out, name, None)
    out += _TYPE_CLASS.pack(kind, _IN)
    if edns is not None:
        options = _subnet_option(edns.subnet, personal=False)
        out.append(0)
        out += _RECORD.pack(OPT, edns.size, 0, len(options)) + options
    return bytes(out)


def refusal(data: bytes) -> bytes | None:
    """What to send back for bytes that `parse` refused; None when nothing may be sent.

    A response is never answered, or two servers could keep each other busy for ever.
    """
    if len(data) < 12:
        return None
    number, flags = _TYPE_CLASS.unpack_from(data)
    if flags & _QR:
        return None
    rcode = NOTIMP if flags & _OPCODE else FORMERR
    kept: int = flags & (_OPCODE | _RD)
    return _HEADER.pack(number, _QR | kept | rcode, 0, 0, 0, 0)


def curtailed(answer: bytes) -> bytes:
    """An answer without its records, which says that all is to be had over TCP.

    No longer than the question, so that it is no use to who asks in somebody else's name.
    """
    number, flags = _TYPE_CLASS.unpack_from(answer)
    end = _skip_name(answer, _HEADER.size) + _TYPE_CLASS.size
    return _HEADER.pack(number, flags | _TC, 1, 0, 0, 0) + answer[_HEADER.size : end]


def pack(question: Question, reply: Reply, *, compress: bool = True) -> bytes:
    """Write a reply. Every name in it must pass `fits`."""
    edns = question.edns
    sections = (reply.answers, reply.authority, reply.additional)
    counts = [len(section) for section in sections]
    if edns is not None:
        counts[2] += 1
    flags = _QR | question.flags | (reply.rcode & 15)
    flags |= (_AA if reply.authoritative else 0) | (_TC if reply.truncated else 0)
    out = bytearray(_HEADER.pack(question.id, flags, 1, *counts))
    out += question.raw
    places: dict[Name, int] | None = None
    name, kind, ttl, size, start = question.name, -1, 0, 0, b""
    for section in sections:
        for record in section:
            data = record.data
            if compress and record.name is name and type(data) is bytes:
                # Most answers are such; what the general way adds would be this pointer.
                if record.kind != kind or record.ttl != ttl or len(data) != size:
                    kind, ttl, size = record.kind, record.ttl, len(data)
                    start = _ALIKE.pack(_QUESTION, kind, _IN, min(max(ttl, 0), TTL_MAX), size)
                out += start + data
            else:
                if compress and places is None:
                    places = {}
                    _note(places, name, 12)
                _put_record(out, record, places)
    if edns is not None:
        rest = (reply.rcode >> 4) << 24 | (_DO if edns.wants_dnssec else 0)
        options = _subnet_option(edns.subnet, personal=reply.personal)
        out.append(0)
        out += _RECORD.pack(OPT, edns.size, rest, len(options)) + options
    return bytes(out)


def _subnet_option(subnet: Subnet | None, *, personal: bool) -> bytes:
    """The client subnet again, and how much of it the answer is for."""
    if subnet is None:
        return b""
    scope = subnet.prefix if personal else 0
    value = _SUBNET_HEAD.pack(subnet.family, subnet.prefix, scope) + subnet.start
    return _TYPE_CLASS.pack(_SUBNET, len(value)) + value


def _put_record(out: bytearray, record: Record, places: dict[Name, int] | None) -> None:
    _put_name(out, record.name, places)
    data = record.data
    ttl = min(max(record.ttl, 0), TTL_MAX)
    if isinstance(data, bytes):
        out += _RECORD.pack(record.kind, _IN, ttl, len(data))
        out += data
        return
    out += _RECORD.pack(record.kind, _IN, ttl, 0)
    start = len(out)
    if isinstance(data, tuple):
        _put_name(out, data, places)
    elif isinstance(data, Srv):
        out += _SRV.pack(data.priority, data.weight, data.port)
        # The target is not compressed (RFC 2782), but later names may point at it.
        at = len(out)
        _put_name(out, data.target, None)
        if places is not None:
            _note(places, data.target, at)
    else:
        _put_name(out, data.server, places)
        _put_name(out, data.mailbox, places)
        out += _SOA.pack(data.serial, data.refresh, data.retry, data.expire, data.minimum)
    _SHORT.pack_into(out, start - 2, len(out) - start)


def _put_name(out: bytearray, name: Name, places: dict[Name, int] | None) -> None:
    for position, label in enumerate(name):
        if places is not None:
            rest = name[position:]
            at = places.get(rest)
            if at is not None:
                out += _SHORT.pack(0xC000 | at)
                return
            if len(out) < 0x4000:
                places[rest] = len(out)
        encoded = label.encode("utf-8", "surrogateescape")
        out.append(len(encoded))
        out += encoded
    out.append(0)


def _note(places: dict[Name, int], name: Name, at: int) -> None:
    """Remember where a name stands in full, so that later ones may point at its tails."""
    for position, label in enumerate(name):
        rest = name[position:]
        if at >= 0x4000 or rest in places:
            return
        places[rest] = at
        at += 1 + len(label.encode("utf-8", "surrogateescape"))


def packed_name(name: Name) -> bytes:
    """A name as it is in a message, in full. It must pass `fits`."""
    out = bytearray()
    _put_name(out, name, None)
    return bytes(out)


def name_from(text: str) -> Name:
    """The labels of a dotted name, its last dot optional. Raises Invalid when it cannot be one."""
    name = tuple(text.removesuffix(".").split(".")) if text != "." else ()
    if not fits(name):
        raise Invalid(f'"{text}" is not a domain name')
    return name


def fits(name: Name) -> bool:
    """Whether a name can be written: labels of 1 to 63 bytes, 255 bytes in all (RFC 1035 2.3.4)."""
    total = 1
    for label in name:
        length = len(label.encode("utf-8", "surrogateescape"))
        if not 0 < length <= LABEL_BYTES_MAX:
            return False
        total += 1 + length
    return total <= NAME_BYTES_MAX


def text_data(text: str) -> bytes:
    """The data of a TXT record: strings of at most 255 bytes each (RFC 1035 section 3.3.14)."""
    data = text.encode("utf-8", "surrogateescape")
    pieces: Iterable[bytes] = (data[at : at + 255] for at in range(0, len(data) or 1, 255))
    return b"".join(bytes((len(piece),)) + piece for piece in pieces)
