"""What the workloads of a node acknowledged, as it is told and kept: each root is named once.

A node with as many workloads as there may be, all in different states, fits into one log entry.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mesh.errors import Invalid

WORKLOADS_MAX = 8192
"""What one node may have in the mesh."""
ID_BYTES_MAX = 100
ROOTS_MAX = 16
"""What a workload believes."""
NAMED_MAX = 256
"""Roots that the workloads of a node name, and sets of them."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What a workload of a node acknowledged: a sidecar, or the agent for who has no sidecar."""

    id: str
    """`proxy:<instance id>` or `leaf:<service>`, at most ID_BYTES_MAX long."""
    roots: list[str] = []
    """The ids of the roots that it believes, in order."""
    leaf: str = ""
    """The id of the root that its certificate is under; empty while it has none."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """The same of all workloads of a node, ordered by their ids."""

    roots: list[str] = []
    """The roots that any of them names."""
    sets: list[list[int]] = []
    """What some believe, each root by its place in `roots`."""
    workloads: list[tuple[str, int, int]] = []
    """The id of each, its place in `sets`, and that of its leaf's root in `roots`, or -1."""

    @property
    def acks(self) -> list[Ack]:
        """One for each workload."""
        sets = [[self.roots[place] for place in one] for one in self.sets]
        names = [*self.roots, ""]  # The last is at -1.
        return [
            Ack(id=name, roots=sets[known], leaf=names[leaf])
            for name, known, leaf in self.workloads
        ]

    def check(self) -> None:
        """Raise Invalid for what is too large, or refers to nothing."""
        if len(self.workloads) > WORKLOADS_MAX:
            raise Invalid(f"a node reports at most {WORKLOADS_MAX} workloads")
        if max(len(self.roots), len(self.sets)) > NAMED_MAX:
            raise Invalid(f"the workloads of a node know at most {NAMED_MAX} roots")
        places = range(len(self.roots))
        for one in self.sets:
            if len(one) > ROOTS_MAX or not all(place in places for place in one):
                raise Invalid("a report of roots that it does not name")
        for text in self.roots:
            _check_length(text)
        for name, known, leaf in self.workloads:
            _check_length(name)
            if not 0 <= known < len(self.sets) or not -1 <= leaf < len(self.roots):
                raise Invalid(f"a report of {name!r} with roots that it does not name")


def _check_length(text: str) -> None:
    if len(text.encode()) > ID_BYTES_MAX:
        raise Invalid(f"a report of {text[:64]!r}, which is longer than {ID_BYTES_MAX} bytes")


def said(acks: Iterable[Ack]) -> Said:
    """These as they are told."""
    ordered = sorted(acks, key=lambda ack: ack.id)
    roots: dict[str, int] = {}
    sets: dict[tuple[str, ...], int] = {}
    workloads = []
    for ack in ordered:
        known = sets.setdefault(tuple(ack.roots), len(sets))
        leaf = roots.setdefault(ack.leaf, len(roots)) if ack.leaf else -1
        workloads.append((ack.id, known, leaf))
    places = [[roots.setdefault(root, len(roots)) for root in one] for one in sets]
    return Said(list(roots), places, workloads)
