"""The network doctor: what members ask and tell each other for a test of the network.

Every member pings every other with small and large datagrams and over TCP, and counts which
datagrams of others arrived, from where. A ping that is not answered does not say which way it was
lost; together with the other side's count it does. `examiner.py` does the asking, `diagnosis.py`
says what it means.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias

import msgspec

from mesh.codec import pack, unpack
from mesh.errors import Invalid

KIND = b"\xf0"
"""First byte of a user message on a stream that is for the doctor; Serf knows no such type."""
MEMBERS_MAX = 32
"""Members that take part in one test; of more, some are picked. Work grows with the square."""
BODY_MAX_BYTES = 256 * 1024
SEEN_MAX = 4
"""Addresses remembered that one member's datagrams came from."""
LARGE_BYTES = 1400

REASONS = {
    "packets_wrong_label": "labelled for another pool",
    "packets_unauthenticated": "encrypted with a key that it does not have, or not encrypted",
    "packets_encrypted": "encrypted, and it has no key",
}
"""Counters of what a member refuses to hear, and why."""

# What is asked and answered, over streams.


class Probe(msgspec.Struct, frozen=True, tag="probe"):
    """Ping these members."""

    run: int
    targets: list[str]


class Tell(msgspec.Struct, frozen=True, tag="tell"):
    """Say what arrived in this run, and how you are."""

    run: int


class Relay(msgspec.Struct, frozen=True, tag="relay"):
    """Ask that member for me: I cannot reach it."""

    node: str
    question: Probe | Tell


class Row(msgspec.Struct, frozen=True):
    """How one member answered another's pings. Times are seconds, None for no answer."""

    target: str
    address: str
    """`ip:port` that was tried; empty when the one who tries does not know the target."""
    sent: int = 0
    answered: int = 0
    rtt: float | None = None
    large_sent: int = 0
    large_answered: int = 0
    tcp: float | None = None
    tcp_error: str = ""


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """The answer to Probe."""

    rows: list[Row]


class Heard(msgspec.Struct, frozen=True):
    """What arrived from one member."""

    source: str
    small: int
    large: int
    seen: list[str] = []
    """`ip:port` it came from."""


class Sheet(msgspec.Struct, frozen=True, tag="sheet"):
    """The answer to Tell."""

    address: str
    """`ip:port` it advertises."""
    wall: float
    """Its clock: Unix time."""
    score: int
    """Lifeguard's local health; 0 is well."""
    heard: list[Heard]
    rejected: dict[str, int] = {}
    """What it refused during the test, by the name of the counter."""


Question: TypeAlias = Probe | Tell | Relay
Reply: TypeAlias = Rows | Sheet


def write(message: Question | Reply) -> bytes:
    """The payload of a user message."""
    return KIND + pack(message)


def read_question(payload: bytes) -> Question:
    """A question in a payload. Raises Invalid."""
    question: Question = unpack(_body(payload), Probe | Tell | Relay)  # type: ignore[arg-type]
    inner = question.question if isinstance(question, Relay) else question
    if isinstance(inner, Probe) and len(inner.targets) > MEMBERS_MAX:
        raise Invalid(f"targets: {len(inner.targets)}, expected up to {MEMBERS_MAX}")
    return question


def read_reply(payload: bytes) -> Reply:
    """An answer in a payload. Raises Invalid."""
    reply: Reply = unpack(_body(payload), Rows | Sheet)  # type: ignore[arg-type]
    return reply


def _body(payload: bytes) -> bytes:
    if len(payload) > BODY_MAX_BYTES:
        raise Invalid(f"{len(payload)} bytes, expected up to {BODY_MAX_BYTES}")
    if payload[:1] != KIND:
        raise Invalid("not for the doctor")
    return payload[1:]


def clock_of(sheet: Sheet, before: float, after: float) -> tuple[float, float]:
    """How far ahead a clock is, and how uncertain that is, when it was asked between the two."""
    return sheet.wall - (before + after) / 2, (after - before) / 2


def pick(
    members: Mapping[str, bool], asker: str, wanted: Collection[str]
) -> tuple[list[str], list[str]]:
    """Those who must take part, and those from whom the rest may be picked at random.

    `members` says of each whether it is alive; the failed ones come first, since something is
    wrong with them. Raises Invalid for names that are none.
    """
    if unknown := sorted(set(wanted) - set(members)):
        raise Invalid(f"{', '.join(unknown)}: no such member; meshctl members lists them")
    if len({asker, *wanted}) > MEMBERS_MAX:
        raise Invalid(f"{len(wanted)} members are named; the limit is {MEMBERS_MAX} with this one")
    if wanted:
        return sorted({asker, *wanted}), []
    others = sorted(set(members) - {asker})
    failed = [name for name in others if not members[name]][: MEMBERS_MAX // 4]
    return [asker, *failed], [name for name in others if name not in failed]
