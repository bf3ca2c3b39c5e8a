"""Foreign replies: what another DNS server answered, read with suspicion (RFC 1035, RFC 2308)."""

from __future__ import annotations

import struct
from typing import TypeAlias

import msgspec

from mesh.dns.message import (
    AAAA,
    CNAME,
    LABEL_BYTES_MAX,
    NAME_BYTES_MAX,
    NOERROR,
    NS,
    NXDOMAIN,
    OPT,
    PTR,
    SOA,
    SRV,
    A,
    Name,
    Record,
    Soa,
    Srv,
    packed_name,
)
from mesh.errors import Invalid

IN = 1
QR, OPCODE, TC, RD, CD, RCODE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0010, 0x000F
DO = 0x8000
EDNS_BYTES = 1232  # What passes everywhere in one piece (DNS flag day 2020).
RECORDS_MAX = 1000
POINTERS_MAX = 128  # In one name; it has no more labels.
NEVER = 2**31  # A TTL with this bit means 0 (RFC 2181 section 8).

_HEADER = struct.Struct("!6H")
_TYPE_CLASS = struct.Struct("!2H")
_RECORD = struct.Struct("!2HIH")
_SRV = struct.Struct("!3H")
_SOA = struct.Struct("!5I")
_POINTER = 0xC0
_DNAME, _MX, _RP, _AFSDB, _RT, _KX = 39, 15, 17, 18, 21, 36
# Types whose data holds names that may be compressed (RFC 3597 section 4): so many bytes, names.
_NAMES_IN = {_DNAME: (0, 1), _MX: (2, 1), _RP: (0, 2), _AFSDB: (2, 1), _RT: (2, 1), _KX: (2, 1)}

Section: TypeAlias = list[Record]


class Outside(msgspec.Struct, frozen=True):
    """A question for other servers."""

    raw: bytes
    """Name, type and class as they are sent."""
    edns: bool = False
    dnssec: bool = False
    unchecked: bool = False
    """Answers that fail the check of their signatures are wanted too (CD)."""

    @property
    def key(self) -> tuple[bytes, bool, bool]:
        """The same for all questions that one answer will do for."""
        return self.raw[:-4].lower() + self.raw[-4:], self.dnssec, self.unchecked


class Heard(msgspec.Struct, frozen=True):
    """What another server answered, without its OPT record."""

    rcode: int
    truncated: bool
    answers: Section
    authority: Section
    additional: Section

    @property
    def lasting(self) -> int:
        """Seconds it may be kept: the least TTL; a negative answer only if an SOA says so."""
        minima = [one.data.minimum for one in self.authority if isinstance(one.data, Soa)]
        if (self.rcode or not self.answers) and not minima:
            return 0
        records = (*self.answers, *self.authority, *self.additional)
        return min([one.ttl for one in records] + minima)


def is_reply(data: bytes, question: bytes) -> bool:
    """Whether a message answers these bytes: the same id and the same question, case aside."""
    if len(data) < _HEADER.size or data[:2] != question[:2]:
        return False
    flags, count = _TYPE_CLASS.unpack_from(data, 2)
    if not flags & QR or flags & OPCODE:
        return False
    end = _end_of_question(question)
    if count == 0:
        # Who has nothing to say, or did not understand the question, need not repeat it.
        return flags & RCODE not in {NOERROR, NXDOMAIN} and len(data) == _HEADER.size
    asked = question[_HEADER.size : end]
    given = data[_HEADER.size : end]
    # The name in ASCII lower case; type and class as they are.
    return count == 1 and asked[:-4].lower() == given[:-4].lower() and asked[-4:] == given[-4:]


def _end_of_question(question: bytes) -> int:
    at = _HEADER.size
    while length := question[at]:
        at += 1 + length
    return at + 5


def read(data: bytes, question: bytes) -> Heard:
    """Read a message for which `is_reply` holds. Raises Invalid unless all of it makes sense.

    Records of other classes are left out; so is what follows the last record.
    """
    _, flags, questions, *counts = _HEADER.unpack_from(data)
    at = _end_of_question(question) if questions else _HEADER.size
    sections: list[Section] = []
    if sum(counts) > RECORDS_MAX:
        raise Invalid(f"reply: more than {RECORDS_MAX} records")
    try:
        for count in counts:
            section: Section = []
            for _ in range(count):
                record, at = _read_record(data, at)
                if record is not None:
                    section.append(record)
            sections.append(section)
    except (IndexError, struct.error) as error:
        raise Invalid("reply: ends too early") from error
    return Heard(flags & RCODE, bool(flags & TC), *sections)


def _read_record(data: bytes, at: int) -> tuple[Record | None, int]:
    name, at = read_name(data, at)
    kind, family, ttl, length = _RECORD.unpack_from(data, at)
    start = at + _RECORD.size
    end = start + length
    if end > len(data):
        raise Invalid("reply: a record ends too late")
    if kind == OPT or family != IN:
        return None, end
    return Record(name, kind, 0 if ttl >= NEVER else ttl, _read_data(data, kind, start, end)), end


def _read_data(data: bytes, kind: int, start: int, end: int) -> bytes | Name | Srv | Soa:
    """The data of a record, its names written in full. Raises Invalid if it is not of this type."""
    found: bytes | Name | Srv | Soa
    if kind in {CNAME, NS, PTR}:
        found, at = read_name(data, start)
    elif kind == SOA:
        server, at = read_name(data, start)
        mailbox, at = read_name(data, at)
        found = Soa(server, mailbox, *_SOA.unpack_from(data, at))
        at += _SOA.size
    elif kind == SRV:
        target, at = read_name(data, start + _SRV.size)
        priority, weight, port = _SRV.unpack_from(data, start)
        found = Srv(priority, weight, port, target)
    elif kind in _NAMES_IN:
        fixed, names = _NAMES_IN[kind]
        at, parts = start + fixed, [data[start : start + fixed]]
        for _ in range(names):
            name, at = read_name(data, at)
            parts.append(packed_name(name))
        found = b"".join(parts)
    else:
        found, at = data[start:end], end
        wanted = {A: 4, AAAA: 16}.get(kind, len(found))
        at = end if len(found) == wanted else start
    if at != end:
        raise Invalid("reply: a record whose data is not of its type")
    return found


def read_name(data: bytes, at: int) -> tuple[Name, int]:
    """A name and where it ends. Raises Invalid for pointers that do not lead backwards.

    Raises IndexError when the message ends first.
    """
    labels: list[str] = []
    total, end, before, left = 1, 0, at, POINTERS_MAX
    while length := data[at]:
        if length >= _POINTER:
            target = (length & 0x3F) << 8 | data[at + 1]
            end = end or at + 2
            # Each leads further back than all before it, so there is no loop.
            if target >= before or target < _HEADER.size or not left:
                raise Invalid("reply: a name that points at itself or ahead")
            at, before, left = target, target, left - 1
            continue
        total += 1 + length
        if length > LABEL_BYTES_MAX or total > NAME_BYTES_MAX or at + 1 + length > len(data):
            raise Invalid("reply: a name or a label too long")
        labels.append(data[at + 1 : at + 1 + length].decode("utf-8", "surrogateescape"))
        at += 1 + length
    return tuple(labels), end or at + 1


def request(outside: Outside, number: int) -> bytes:
    """The question as it is sent to another server, with this id."""
    flags = RD | (CD if outside.unchecked else 0)
    out = _HEADER.pack(number, flags, 1, 0, 0, int(outside.edns)) + outside.raw
    if outside.edns:
        out += b"\0" + _RECORD.pack(OPT, EDNS_BYTES, DO if outside.dnssec else 0, 0)
    return out
