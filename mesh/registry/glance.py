"""Glances: nodes and sessions in a few words each, for lists of thousands of them."""

from __future__ import annotations

from bisect import bisect_left
from typing import ClassVar

import msgspec

from mesh.registry import health
from mesh.registry.catalog import CHECKS, NODES, SERVICES, Check, Node
from mesh.registry.levels import GLANCES
from mesh.registry.pairs import PAIRS
from mesh.registry.port import Query
from mesh.registry.services import PROXY, Service
from mesh.registry.sessions import SESSIONS, Session
from mesh.store.chronicle import Chronicle
from mesh.store.database import View

KEYS_MAX = 1000
"""Keys that are named of one session."""
KEYS_SHORT = 3
"""Keys that are named of each in a list of sessions."""


class NodeGlance(msgspec.Struct, frozen=True):
    """A node, how it and its instances are, and how many of these there are."""

    node: Node
    status: str
    """The worst of all checks on it, but for those of instances that are in maintenance."""
    checks: dict[str, int]
    """How many there are by status."""
    services: list[str]
    """The names of what runs there, each once."""
    instances: int
    meshed: int
    """Instances that are sidecars or gateways, or speak for themselves in the mesh."""


class Nodes(Query[list[NodeGlance]], frozen=True, tag="glance.nodes"):
    """Every node at a glance, ordered by name."""

    needs: ClassVar[int] = GLANCES
    answer = list[NodeGlance]

    def run(self, view: View) -> list[NodeGlance]:
        """Each node is a part of its own: of thousands, few change at a time."""
        return [view.part(_OfNode(node.name.lower())) for node in view.every(NODES)]


class _OfNode(msgspec.Struct, frozen=True):
    """The node of this name, which is in lower case."""

    name: str

    def run(self, view: View) -> NodeGlance:
        """Count its instances and checks. The node exists."""
        node = view.get(NODES, self.name)
        assert node is not None
        services = view.select(SERVICES, "node", self.name)
        checks = view.select(CHECKS, "node", self.name)
        counts: dict[str, int] = {}
        for check in checks:
            status = health.worst((check,))
            counts[status] = counts.get(status, 0) + 1
        return NodeGlance(
            node,
            _status(checks),
            counts,
            sorted({row.name for row in services}),
            len(services),
            sum(_is_meshed(row) for row in services),
        )


def _is_meshed(row: Service) -> bool:
    return row.native or row.kind == PROXY or row.kind.endswith("-gateway")


def _status(checks: list[Check]) -> str:
    # What one instance rests from says nothing about the node, nor does what is broken meanwhile.
    resting = {one.service_id for one in checks if health.worst((one,)) == "maintenance"} - {""}
    return health.worst(one for one in checks if one.service_id not in resting)


class Held(msgspec.Struct, frozen=True):
    """A session, and what it holds."""

    session: Session
    held: int
    """How many keys."""
    keys: list[str]
    """The first of them."""
    begun_after: float = 0.0
    """It began after this (Unix seconds): when the change that history knows before it was made."""
    begun_before: float = 0.0
    """And before this, by the change that followed. 0 where history knows none."""


class Sessions(Query[list[Held]], frozen=True, tag="glance.sessions"):
    """Every session with what it holds, ordered by id; or only the one of this id."""

    needs: ClassVar[int] = GLANCES
    answer = list[Held]
    id: str = ""

    def run(self, view: View) -> list[Held]:
        """Look up the keys of each by their index."""
        if not self.id:
            return [_held(view, one, KEYS_SHORT) for one in view.every(SESSIONS)]
        found = view.get(SESSIONS, self.id.lower())
        return [_held(view, found, KEYS_MAX)] if found is not None else []


def _held(view: View, session: Session, most: int) -> Held:
    keys = view.keys(PAIRS, "session", session.id)
    after, before = _around(view.chronicle, session.create_index)
    return Held(session, len(keys), keys[:most], after, before)


def _around(chronicle: Chronicle, index: int) -> tuple[float, float]:
    """When the changes just before and just after a log index were made; 0 for what is unknown.

    Nobody is woken when one more change is known: what is said stays true.
    """
    numbers = range(chronicle.oldest, chronicle.following)
    changes = chronicle.changes
    at = bisect_left(numbers, index, key=lambda number: changes[number].cause.index)
    after = changes[numbers[at - 1]].cause.time if at > 0 else 0.0
    before = changes[numbers[at]].cause.time if at < len(numbers) else 0.0
    return after, before
