"""Limits of a reply: what is left out until it fits, and how it is sent."""

from __future__ import annotations

from typing import Final

import msgspec

from mesh.dns.message import (
    AAAA,
    CNAME,
    SRV,
    A,
    Name,
    Question,
    Record,
    Reply,
    Srv,
    pack,
)
from mesh.dns.options import Options

UDP_BYTES: Final = 512  # RFC 1035 section 4.2.1.
UDP_BYTES_MAX = 65_467
UDP_HEADER_BYTES = 8
UDP_ANSWERS_MAX = 8
TCP_BYTES_MAX = 65_523
ANSWERS_MAX = 4096
SRV_ANSWERS_MAX = 1024
RECORD_BYTES_MIN = 12  # A pointer and the fixed fields.


def most_answers(question: Question, options: Options, *, tcp: bool) -> int:
    """How many answers to make: one more than can be sent shows that some are left out."""
    return min(_count(question, options, tcp), _size(question, tcp) // RECORD_BYTES_MIN) + 1


def _size(question: Question, tcp: bool) -> int:
    if tcp:
        return TCP_BYTES_MAX
    asked = question.edns.size if question.edns is not None else UDP_BYTES
    return min(max(asked, UDP_BYTES), UDP_BYTES_MAX)


def _count(question: Question, options: Options, tcp: bool) -> int:
    if not tcp and _size(question, tcp) == UDP_BYTES:
        return max(1, min(UDP_ANSWERS_MAX, options.udp_answer_limit))
    return SRV_ANSWERS_MAX if question.kind == SRV else ANSWERS_MAX


def fit(question: Question, reply: Reply, options: Options, *, tcp: bool) -> tuple[Reply, bytes]:
    """What is left of a reply within the limits of its transport and of its client, as bytes too.

    Authority goes first, then answers from the end, but never the last one; then additional
    records stay only for the targets that are left.
    """
    compress = not options.disable_compression
    if reply.foreign:
        return _whole(question, reply, _size(question, tcp), compress=compress)
    most, room = bounds(question, options, tcp=tcp)
    # An alias whose end is cut off leads nowhere: only bytes limit what follows it.
    if len(reply.answers) <= most or reply.answers[0].kind == CNAME:
        data = pack(question, reply, compress=compress)
        if len(data) <= room:
            return reply, data
        kept = _trim(question, reply, room, compress=compress)
    else:
        kept = _first(reply, most)
        # Few answers to an old client are measured in full: what forwards them may unpack them.
        measured = compress and (tcp or _size(question, tcp) > UDP_BYTES)
        if len(pack(question, kept, compress=measured)) > room:
            kept = _trim(question, kept, room, compress=measured)
    lost = len(kept.answers) < len(reply.answers) and options.enable_truncate
    kept = msgspec.structs.replace(kept, truncated=lost)
    return kept, pack(question, kept, compress=compress)


def _whole(question: Question, reply: Reply, room: int, *, compress: bool) -> tuple[Reply, bytes]:
    """All of a reply, or all that matters; else nothing but the advice to ask over TCP."""
    bare = msgspec.structs.replace(reply, additional=[])
    nothing = msgspec.structs.replace(bare, answers=[], authority=[], truncated=True)
    for kept in (reply, bare):
        data = pack(question, kept, compress=compress)
        if len(data) <= room:
            return kept, data
    return nothing, pack(question, nothing, compress=compress)


def bounds(question: Question, options: Options, *, tcp: bool) -> tuple[int, int]:
    """How many answers, and how many bytes in all, can be sent."""
    room = _size(question, tcp) - (0 if tcp else UDP_HEADER_BYTES)
    return _count(question, options, tcp), room


def _trim(question: Question, reply: Reply, room: int, *, compress: bool) -> Reply:
    bare = msgspec.structs.replace(reply, authority=[])
    if len(pack(question, bare, compress=compress)) <= room:
        return bare
    low, high = 1, len(bare.answers) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if len(pack(question, _first(bare, middle), compress=compress)) <= room:
            low = middle
        else:
            high = middle
    kept = _first(bare, low)
    if low == 1 and len(pack(question, kept, compress=compress)) > room:
        return msgspec.structs.replace(kept, additional=[])
    return kept


def _first(reply: Reply, count: int) -> Reply:
    answers = reply.answers[:count]
    return msgspec.structs.replace(
        reply, answers=answers, additional=_needed(reply.additional, answers)
    )


def _needed(additional: list[Record], answers: list[Record]) -> list[Record]:
    """The addresses of the targets that are left, following their aliases."""
    wanted: set[Name] = {record.data.target for record in answers if isinstance(record.data, Srv)}
    for record in additional:
        if record.kind == CNAME and record.name in wanted and isinstance(record.data, tuple):
            wanted.add(record.data)
    return [
        record for record in additional if record.kind in {A, AAAA, CNAME} and record.name in wanted
    ]
