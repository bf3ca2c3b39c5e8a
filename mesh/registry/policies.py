"""Who may call whom, as all entries about intentions say it together, and who there is."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from mesh.registry.catalog import SERVICES
from mesh.registry.entries import INTENTIONS, TABLE
from mesh.registry.intentions import ANY, Matching, Policy
from mesh.registry.levels import GLANCES
from mesh.registry.port import Query
from mesh.registry.services import PROXY
from mesh.registry.settings import protocol_of
from mesh.store.database import View


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """A service that may call or be called. Sidecars are none: they speak for their service."""

    name: str
    kind: str = ""
    meshed: bool = False
    """Whether an instance has a sidecar, is a gateway or speaks for itself in the mesh."""
    calls: list[str] = []
    """The upstreams of its sidecars."""


class Governed(msgspec.Struct, frozen=True, kw_only=True):
    """A destination that has an entry of its own."""

    policy: Policy
    protocol: str = ""
    """What it speaks; empty where that makes no difference."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides who may call whom."""

    every: Policy
    """What holds for destinations without an entry."""
    own: list[Governed]
    parties: list[Party]


class Every(Query[Known], frozen=True, tag="policies.every"):
    """All that decides who may call whom, by the names of destinations, and the services."""

    answer = Known
    needs: ClassVar[int] = GLANCES

    def run(self, view: View) -> Known:
        """Read the kind's bucket, and the services."""
        own = []
        for entry in view.select(TABLE, "kind", INTENTIONS):
            if entry.name == ANY:
                continue
            policy = Matching(entry.name).run(view)
            judged = policy.jwt or any(one.permissions for one in policy.intentions)
            protocol = protocol_of(view, entry.name) if judged else ""
            own.append(Governed(policy=policy, protocol=protocol))
        return Known(every=Matching(ANY).run(view), own=own, parties=_parties(view))


def _parties(view: View) -> list[Party]:
    """By name; those that differ only in case are one, called as the first in that order."""
    rows = view.every(SERVICES)
    meshed: set[str] = set()
    calls: dict[str, set[str]] = {}
    names: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row.reached:
            meshed.add(row.reached)
        if row.kind != PROXY:
            name = row.name.lower()
            if row.kind:
                meshed.add(name)
            if name not in names or row.name < names[name][0]:
                names[name] = (row.name, row.kind)
        elif upstreams := row.upstreams:
            calls.setdefault(row.destination.lower(), set()).update(upstreams)
    return [
        Party(
            name=name,
            kind=kind,
            meshed=folded in meshed,
            calls=sorted(calls.get(folded, ())),
        )
        for folded, (name, kind) in sorted(names.items())
    ]
