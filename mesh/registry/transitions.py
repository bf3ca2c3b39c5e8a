"""Transitions: what a node says over gossip when the health of something on it changes.

A node numbers all changes of its checks and instances with one **health sequence**, which only
grows, over restarts too. Only the node itself gives numbers, so of two statements about the same
check the one with the higher number is newer, whatever way each took and whichever came first.

One event tells several changes: msgpack `[1, node, base, [[service, check, status, offset] ...]]`,
where the sequence of each is base + offset and statuses are their place in `STATUSES`. Output texts
are not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid

EVENT = "mesh:health"
GONE = "gone"
"""The status of what was deregistered. An empty check id speaks of the instance as a whole."""
STATUSES = ("passing", "warning", "critical", GONE)
PAYLOAD_MAX = 440
"""Bytes: with its name and Serf's frame such an event stays under Serf's default of 512."""
SEQUENCE_MAX = 2**53
"""Above any that a node gives: they begin with milliseconds since 1970."""
VERSION = 1


class Transition(msgspec.Struct, frozen=True):
    """One change: a check of a service, or of the node when the service id is empty."""

    service_id: str
    check_id: str
    status: str
    sequence: int


class _Item(msgspec.Struct, frozen=True, array_like=True):
    service_id: str
    check_id: str
    status: int
    offset: int


class _Head(msgspec.Struct, frozen=True, array_like=True):
    version: int


class _Body(_Head, frozen=True, array_like=True):
    node: str
    base: int
    items: list[_Item]


def write(node: str, transitions: Iterable[Transition]) -> tuple[bytes, int]:
    """The event about the first of these transitions, and how many of them it tells.

    As many as fit; none, with no bytes, when even the first does not.
    """
    data, told, chosen = b"", 0, list[Transition]()
    for one in transitions:
        chosen.append(one)
        longer = _encoded(node, chosen)
        if len(longer) > PAYLOAD_MAX:
            break
        data, told = longer, len(chosen)
    return data, told


def _encoded(node: str, chosen: Sequence[Transition]) -> bytes:
    base = min(one.sequence for one in chosen)
    items = [
        _Item(one.service_id, one.check_id, STATUSES.index(one.status), one.sequence - base)
        for one in chosen
    ]
    return pack(_Body(VERSION, node, base, items))


def read(payload: bytes) -> tuple[str, list[Transition]]:
    """The node an event speaks of, and its transitions. Raises Invalid."""
    version = unpack(payload, _Head).version
    if version != VERSION:
        raise Invalid(f"{EVENT}: version {version}; this program knows {VERSION}")
    body = unpack(payload, _Body)
    if not body.node:
        raise Invalid(f"{EVENT}: names no node")
    found = []
    for item in body.items:
        sequence = body.base + item.offset
        if not 0 <= item.status < len(STATUSES):
            raise Invalid(f"{EVENT}: status {item.status} does not exist")
        if item.offset < 0 or not 0 < sequence < SEQUENCE_MAX:
            raise Invalid(f"{EVENT}: sequence {sequence} is out of range")
        found.append(Transition(item.service_id, item.check_id, STATUSES[item.status], sequence))
    return body.node, found
