"""Versions: whether all members of a pool understand each other, as memberlist judges it.

Each member says which versions of the protocol it understands, lowest and highest, and which one it
speaks; likewise for the layer above. What all living members understand is a window; who speaks
something outside of it, dead or alive, would not be understood. Then states are not merged at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from mesh.gossip.streams import ALIVE

# (name, state, six versions): lowest, highest, spoken; then the same of the layer above.
Entry: TypeAlias = tuple[str, int, bytes]
_KINDS = (("protocol", 0), ("protocol of the layer above", 3))


def misfit(entries: Iterable[Entry]) -> str:
    """Who would not be understood and why, in a sentence; empty when nobody.

    Entries of other than six versions are left out: nobody takes them over (memberlist would, and
    then refuse every merge).
    """
    # A pool has few different vectors, each of thousands of members.
    speakers: dict[bytes, str] = {}
    living: set[bytes] = set()
    for name, state, versions in entries:
        if len(versions) == 6:
            speakers.setdefault(versions, name)
            if state == ALIVE:
                living.add(versions)
    for kind, first in _KINDS:
        low = max((one[first] for one in living), default=0)
        high = min((one[first + 1] for one in living), default=255)
        for versions, name in speakers.items():
            if not low <= versions[first + 2] <= high:
                return (
                    f"{name} speaks version {versions[first + 2]} of the {kind}; "
                    f"all living members understand {low} to {high}"
                )
    return ""
