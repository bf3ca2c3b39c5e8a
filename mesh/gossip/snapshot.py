"""Snapshots: whom a node knew and what it had heard, as lines of text that are appended to.

The format is Serf's: `alive: NAME ADDRESS:PORT`, `not-alive: NAME`, `clock: N`, `event-clock: N`,
`query-clock: N`, `leave`, and comments with #. Later lines win.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mesh.gossip.lamport import TIME_MAX

SNAPSHOT_MAX_BYTES = 64 * 1024 * 1024
"""A longer file is none of ours."""
COMPACT_MIN_BYTES = 128 * 1024
MEMBER_BYTES = 128
COMPACT_TIMES = 2
LINE_MAX_BYTES = 1024

_CLOCKS = {"clock": "member", "event-clock": "event", "query-clock": "query"}


class Times(msgspec.Struct, frozen=True):
    """The last Lamport times seen, 0 for none."""

    member: int = 0
    event: int = 0
    query: int = 0


class Snapshot(msgspec.Struct):
    """What the lines come to. `members` is name to `address:port`."""

    members: dict[str, str] = msgspec.field(default_factory=dict)
    times: Times = Times()
    bad_lines: int = 0

    def compact(self) -> bytes:
        """The fewest lines that come to this."""
        lines = [f"alive: {name} {address}" for name, address in self.members.items()]
        return _joined(lines + _clock_lines(Times(), self.times))

    @property
    def bytes_max(self) -> int:
        """What the file may take before it is worth while to write the fewest lines instead."""
        return max(COMPACT_MIN_BYTES, COMPACT_TIMES * MEMBER_BYTES * len(self.members))

    def record(self, changes: Mapping[str, str | None], times: Times) -> bytes:
        """Take over members (None: gone) and times; the lines to append, empty for no news."""
        lines = []
        for name, address in changes.items():
            if self.members.get(name) == address:
                continue
            if address is None:
                del self.members[name]
                lines.append(f"not-alive: {name}")
            else:
                self.members[name] = address
                lines.append(f"alive: {name} {address}")
        lines += _clock_lines(self.times, times)
        self.times = times
        return _joined(lines)

    def leave(self) -> bytes:
        """Forget everything, as one who leaves for good; the line to append."""
        self.members.clear()
        self.times = Times()
        return b"leave\n"


def _clock_lines(before: Times, now: Times) -> list[str]:
    return [
        f"{word}: {getattr(now, field)}"
        for word, field in _CLOCKS.items()
        if getattr(now, field) > getattr(before, field)
    ]


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def read(data: bytes, *, rejoin_after_leave: bool = False) -> Snapshot:
    """What the bytes of a file come to; lines that make no sense are counted and passed over.

    A last line that was not ended is one of these: its writer may have been stopped within it.
    """
    found = Snapshot()
    times = dict.fromkeys(_CLOCKS.values(), 0)
    *lines, rest = data.split(b"\n")
    found.bad_lines += rest != b""
    for line in lines:
        text = line[:LINE_MAX_BYTES].decode("utf-8", "surrogateescape")
        word, _, value = text.partition(": ")
        if text == "leave":
            if not rejoin_after_leave:
                found.members.clear()
                times = dict.fromkeys(times, 0)
        elif word == "alive" and " " in value:
            name, _, address = value.rpartition(" ")
            found.members[name] = address
        elif word == "not-alive":
            found.members.pop(value, None)
        elif word in _CLOCKS and value.isascii() and value.isdecimal():
            times[_CLOCKS[word]] = min(int(value[:20]), TIME_MAX)
        elif word != "coordinate" and not text.startswith("#"):
            found.bad_lines += 1
    found.times = Times(**times)
    return found
