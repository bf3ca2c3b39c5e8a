"""What changed in a list, for a page that has the list from before: rows to take out and put in."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from mesh.http.shapes import Shape

LEAST_BYTES = 4096
"""Lists shorter than this are told whole."""
KEPT_MAX_BYTES = 32 * 1024 * 1024
GAP = 2
"""Rows that are the same, but stand so few between others, are told with them."""
_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


class SpliceShape(Shape, frozen=True):
    """Where rows of the list from before begin to differ, how many go, and those in their place."""

    start: int
    gone: int
    rows: list[msgspec.Raw]


class Recent:
    """The answers told lately, by what they are known by; those used least recently go first."""

    def __init__(self, max_bytes: int = KEPT_MAX_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._max_bytes, self.bytes = max_bytes, 0

    def keep(self, path: str, mark: str, body: bytes) -> None:
        """Keep what was told, if it is a list worth splicing."""
        if len(body) < LEAST_BYTES or body[:1] != b"[":
            return
        self.bytes += len(body) - len(self._kept.pop((path, mark), b""))
        self._kept[path, mark] = body
        while self.bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.bytes -= len(oldest)

    def find(self, path: str, mark: str) -> bytes:
        """What was told with this mark; empty when that is not known any more."""
        found = self._kept.get((path, mark), b"")
        if found:
            self._kept.move_to_end((path, mark))
        return found


def splices(before: bytes, after: bytes) -> list[SpliceShape] | None:
    """What makes one JSON list of the other; None where telling it whole is as good."""
    if len(before) < LEAST_BYTES or after[:1] != b"[":
        return None
    old, new = _rows(before), _rows(after)
    found: list[SpliceShape] = []
    if len(old) != len(new):
        found.append(_between(old, new))
    else:
        for at, (one, other) in enumerate(zip(old, new, strict=True)):
            if one != other:
                _add(found, at, new)
    told = sum(len(bytes(row)) for one in found for row in one.rows)
    return found if 2 * told < len(after) else None


def _rows(body: bytes) -> list[bytes]:
    return [bytes(row) for row in _DECODER.decode(body)]


def _between(old: list[bytes], new: list[bytes]) -> SpliceShape:
    """The one splice between what both begin and end with."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    rows = [msgspec.Raw(row) for row in new[start : len(new) - end]]
    return SpliceShape(start, len(old) - end - start, rows)


def _add(found: list[SpliceShape], at: int, new: list[bytes]) -> None:
    """Put a row that differs into the splice before it, or into one of its own."""
    if found:
        start = found[-1].start
        if at - (start + found[-1].gone) <= GAP:
            rows = [msgspec.Raw(row) for row in new[start : at + 1]]
            found[-1] = SpliceShape(start, at + 1 - start, rows)
            return
    found.append(SpliceShape(at, 1, [msgspec.Raw(new[at])]))
