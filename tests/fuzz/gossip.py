"""Every decoder of gossip, as functions of bytes that must not fail: for atheris and Hypothesis.

Each takes any bytes. `Invalid` is what a decoder may raise; all else that comes out is a bug, and
so is what an assertion here says.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.gossip import bodies, conflict, events, lzw, packets, rotation, vivaldi
from mesh.gossip.bodies import TagFilter, UnknownFilter
from mesh.gossip.keyring import Keyring
from mesh.gossip.keytext import read_key
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import Alive, Message, decode, decode_tags, encode, encode_tags
from mesh.gossip.options import Options
from mesh.gossip.pool import Pool
from mesh.gossip.sealing import Sealing
from mesh.gossip.streams import (
    ALIVE,
    NodeState,
    PushPull,
    StreamMessage,
    StreamReader,
    encode_stream,
)
from mesh.patterns import PROGRAM_MAX, Pattern

_Target: TypeAlias = Callable[[bytes], None]

SOURCE = ("10.0.0.2", 7946)
UNPACKED_MAX_BYTES = 1_000_000
KEY = b"k" * 16


def there_and_back(decoder: Callable[[bytes], Any], encoder: Callable[[Any], bytes]) -> _Target:
    """What is read can be written, and reads the same."""

    def target(data: bytes) -> None:
        try:
            found = decoder(data)
        except Invalid:
            return
        assert decoder(encoder(found)) == found

    return target


def tags(data: bytes) -> None:
    """Tags of a node."""
    found = decode_tags(data)
    try:
        packed = encode_tags(found)
    except Invalid:
        return
    assert decode_tags(packed) == found


def packet(data: bytes) -> None:
    """A datagram: parts, compression and checksum."""
    messages, problems = packets.split(data)
    assert len(messages) + len(problems) <= 2 * packets.MESSAGES_MAX + 2
    size = sum(len(encode(one)) for one in messages)
    assert size <= 40 * (len(data) + packets.UNPACKED_MAX_BYTES)


def unpacking(data: bytes) -> None:
    """LZW of others."""
    try:
        found = lzw.decompress(data, UNPACKED_MAX_BYTES)
    except Invalid:
        return
    assert len(found) <= UNPACKED_MAX_BYTES


def packing(data: bytes) -> None:
    """Our own LZW."""
    assert lzw.decompress(lzw.compress(data), len(data)) == data


def read(data: bytes, step: int) -> StreamMessage | None:
    """The message on a stream whose bytes arrive so many at a time."""
    reader = StreamReader()
    for at in range(0, len(data), step):
        if (found := reader.feed(data[at : at + step])) is not None:
            return found
    return None


def stream(data: bytes) -> None:
    """A stream: the same message however its bytes arrive."""
    try:
        found = read(data, len(data) or 1)
    except Invalid:
        return
    if found is None:
        return
    # What follows the message is not looked at, or may come too late to be refused.
    step = 1 + sum(data[:8]) % 61
    assert read(data, step) == found
    assert read(encode_stream(found), step) == found


def sealed(data: bytes) -> None:
    """Label and encryption: whoever has no key is not heard."""
    for pool in (Sealing("dc1"), Sealing("", _ring()), Sealing("dc1", _ring())):
        for start in (b"", pool.head):
            whole = start + data
            step = 1 + len(data) % 97
            opener = pool.opener()
            try:
                opened = pool.open_packet(whole)
            except Invalid:
                opened = b""
            if pool.keyring is not None:
                assert not opened, "opened without the key"
            try:
                for at in range(0, len(whole), step):
                    part = opener.feed(whole[at : at + step])
                    assert not part or pool.keyring is None, "opened without the key"
            except Invalid:
                continue


def _ring() -> Keyring:
    return Keyring([KEY], lambda: bytes(12))


def key(data: bytes) -> None:
    """A key as text."""
    try:
        read_key(data.decode("latin-1"))
    except Invalid:
        return


def member(data: bytes) -> None:
    """A whole member: datagrams and exchanged state, in turns, with time passing.

    Whatever is said, it stays what it is, can be asked, and says nothing that others cannot read.
    """
    pool = Pool("me", Options(), SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.1", 7946, b"\xff\x80")
    for number in range(3):
        pool.receive(0.0, Alive(1, f"n{number}", bytes((10, 0, 0, number + 2)), 7946), SOURCE)
    now = 0.0
    while data:
        kind, length = data[0], int.from_bytes(data[1:3], "big")
        part, data = data[3 : 3 + length], data[3 + length :]
        _hear(pool, now, kind, part)
        now += kind / 64
        pool.tick(now)
        pool.take(now)
    assert pool.swim.me.state == ALIVE
    assert pool.swim.peers["me"] is pool.swim.me
    state = pool.state(join=False)
    assert read(encode_stream(state), 1_000_000) == state


def _hear(pool: Pool, now: float, kind: int, part: bytes) -> None:
    if kind & 1:
        try:
            found = read(part, len(part) or 1)
            if isinstance(found, PushPull):
                pool.merge(now, found)
        except Invalid:
            return
        return
    messages, _ = packets.split(part)
    for one in messages:
        try:
            pool.receive(now, one, SOURCE)
        except Invalid:
            continue


def query(data: bytes) -> None:
    """A query of Serf, whose filters may be of kinds that this version cannot write."""
    try:
        found = bodies.decode_query(data)
    except Invalid:
        return
    for one in found.filters:
        if isinstance(one, TagFilter):
            pattern(one.expression.encode("utf-8", "surrogateescape"))
    known = [one for one in found.filters if not isinstance(one, UnknownFilter)]
    found = msgspec.structs.replace(found, filters=known)
    assert bodies.decode_query(bodies.encode_query(found)) == found


def relay(data: bytes) -> None:
    """A message for somebody else."""
    try:
        found = bodies.decode_relay(data)
    except Invalid:
        return
    address = ipaddress.ip_address(found.address).packed
    again = bodies.encode_relay(address, found.port, found.node, found.body)
    assert bodies.decode_relay(again) == found


def name_conflict(data: bytes) -> None:
    """An answer about who has a name."""
    try:
        found = conflict.decode(data)
    except Invalid:
        return
    if found is not None:
        member = Member("n", *found, {}, Status.ALIVE, 1)
        assert conflict.decode(conflict.encode(member)) == found


def pattern(data: bytes) -> None:
    """An expression of a filter, and a text: the steps it takes are bounded."""
    expression, _, text = data.decode("utf-8", "surrogateescape").partition("\0")
    try:
        made = Pattern(expression)
    except Invalid:
        return
    assert made.steps <= PROGRAM_MAX
    made.found_in(text or "a" * 100)


TARGETS: dict[str, _Target] = {
    "message": there_and_back(decode, encode),
    "tags": tags,
    "packet": packet,
    "unpacking": unpacking,
    "packing": packing,
    "stream": stream,
    "sealed": sealed,
    "key": key,
    "member": member,
    "event": there_and_back(events.decode, events.encode),
    "query": query,
    "response": there_and_back(bodies.decode_response, bodies.encode_response),
    "relay": relay,
    "key request": there_and_back(rotation.decode_request, rotation.encode_request),
    "key response": there_and_back(rotation.decode_result, rotation.encode_result),
    "coordinate": there_and_back(vivaldi.decode, vivaldi.encode),
    "conflict": name_conflict,
    "pattern": pattern,
}


def one_input(data: bytes) -> None:
    """Give the rest to the decoder that the first byte picks."""
    if data:
        names = [*TARGETS]
        TARGETS[names[data[0] % len(names)]](data[1:])


def seeds(messages: list[Message], serf: dict[str, bytes]) -> list[bytes]:
    """Where a fuzzer may begin: good inputs for each target, those of Serf by target."""
    encoded = [encode(one) for one in messages]
    node = NodeState("n1", bytes((10, 0, 0, 2)), 7946, 2, ALIVE, b"\xff\x80")
    whole = encode_stream(PushPull([node], b"\x02\x80", join=True))
    datagram = packets.join(encoded, crc=True)
    inputs = {
        "message": encoded,
        "tags": [encode_tags({"role": "web"}), b"web"],
        "packet": [datagram, packets.join(encoded, crc=False, compress=True)],
        "unpacking": [lzw.compress(b"abcd" * 20)],
        "packing": [b"abcd" * 20],
        "stream": [whole, packets.pack(whole), *encoded],
        "sealed": [b"\xf4\x03dc1" + datagram, Sealing("", _ring()).seal_stream(whole)[:-1]],
        "key": [b"MDEyMzQ1Njc4OWFiY2RlZg=="],
        "member": [
            _turn(0, datagram) + _turn(1, whole) + _turn(64, datagram),
            *(_turn(0, b"\x08" + body) for body in serf.values()),
        ],
        "pattern": [b"^(we|x)b{1,3}[a-z]*$\0webbbb"],
        **{name: [body] for name, body in serf.items()},
    }
    names = [*TARGETS]
    return [bytes((names.index(name),)) + one for name, many in inputs.items() for one in many]


def _turn(kind: int, part: bytes) -> bytes:
    return bytes((kind,)) + len(part).to_bytes(2, "big") + part
