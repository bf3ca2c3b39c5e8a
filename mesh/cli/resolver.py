"""One DNS question about a service: the instances that a node's DNS server names."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from mesh.errors import Invalid, Unreachable

A, AAAA, SRV, OPT, INTERNET = 1, 28, 33, 41, 1
ANSWER_MAX_BYTES = 4096
POINTERS_MAX = 20
NAMES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}


class Answer(NamedTuple):
    """The response code, and `address:port` of each instance in order."""

    code: str
    instances: list[str]


class Record(NamedTuple):
    """One record of an answer: where its data starts and ends in the message."""

    name: str
    kind: int
    start: int
    end: int


def ask(server: tuple[str, int], name: str, *, timeout_seconds: float = 1.0) -> Answer:
    """Ask for the SRV records of a name. Raises Unreachable without an answer, Invalid for noise.

    The question's id is always the same: on loopback nobody else answers a connected socket.
    """
    header = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 1)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.strip(".").split("."))
    edns = struct.pack(">BHHIH", 0, OPT, ANSWER_MAX_BYTES, 0, 0)
    question = header + labels + b"\0" + struct.pack(">HH", SRV, INTERNET) + edns
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(timeout_seconds)
        try:
            channel.connect(server)
            channel.send(question)
            data = channel.recv(ANSWER_MAX_BYTES)
        except OSError as error:
            raise Unreachable(f"no DNS answer from {server[0]}:{server[1]}: {error}") from error
    return read(data)


def read(data: bytes) -> Answer:
    """Read an answer to a SRV question. Raises Invalid when it is none."""
    try:
        return _read(data)
    except (struct.error, IndexError, ValueError) as error:
        raise Invalid(f"not a DNS answer: {error}") from error


def _read(data: bytes) -> Answer:
    _, flags, questions, *counts = struct.unpack_from(">HHHHHH", data)
    at = 12
    for _ in range(questions):
        at = _name(data, at)[1] + 4
    records = []
    for _ in range(sum(counts)):
        record = _record(data, at)
        records.append(record)
        at = record.end
    addresses = {
        record.name: socket.inet_ntop(
            socket.AF_INET if record.kind == A else socket.AF_INET6,
            data[record.start : record.end],
        )
        for record in records
        if record.kind in {A, AAAA}
    }
    instances = []
    for record in records:
        if record.kind == SRV:
            port = struct.unpack_from(">H", data, record.start + 4)[0]
            target = _name(data, record.start + 6)[0]
            instances.append(f"{addresses.get(target, target)}:{port}")
    code = flags & 15
    return Answer(NAMES.get(code, str(code)), instances)


def _record(data: bytes, at: int) -> Record:
    name, at = _name(data, at)
    kind, _, _, size = struct.unpack_from(">HHIH", data, at)
    if at + 10 + size > len(data):
        raise ValueError("a record ends after the message")
    return Record(name, kind, at + 10, at + 10 + size)


def _name(data: bytes, at: int) -> tuple[str, int]:
    """The name that starts there, in lower case, and where it ends."""
    labels: list[str] = []
    end = 0
    pointers = 0
    while size := data[at]:
        if size >= 0xC0:
            pointers += 1
            if pointers > POINTERS_MAX:
                raise ValueError("a name without end")
            end = end or at + 2
            at = (size & 0x3F) << 8 | data[at + 1]
            continue
        labels.append(data[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    return ".".join(labels), end or at + 1
