"""Coordinates: where each node is in the network, so that round trips can be foretold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from mesh.errors import Invalid
from mesh.gossip import vivaldi
from mesh.gossip.vivaldi import DIMENSIONS, estimate
from mesh.registry.levels import COORDINATES
from mesh.registry.nodes import NODES
from mesh.registry.port import Command, Order, Query, ReadOptions, Registry
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

FEW = 64
"""Up to so many nodes are asked for by name; for more the servers send all coordinates."""
BATCH_MAX = 640
"""Coordinates in one log entry: about 100 KB of them."""


class Coordinate(vivaldi.Coordinate, frozen=True):
    """A point of Vivaldi's space. All values are seconds, but the error, which is relative."""

    vec: tuple[float, ...] = (0.0,) * DIMENSIONS


class Placed(msgspec.Struct, frozen=True):
    """A node and its coordinate."""

    node: str
    coordinate: Coordinate


class Place(Row, frozen=True, kw_only=True):
    """The row of a node that told its coordinate."""

    node: str
    coordinate: Coordinate


class DatacenterMap(msgspec.Struct, frozen=True):
    """The coordinates that the servers of one datacenter have in the pool of all datacenters."""

    datacenter: str
    servers: list[Placed]


TABLE: Table[Place] = Table(
    "coordinates", Place, key=lambda place: place.node.lower(), indexes={}, level=COORDINATES
)

FARTHEST_SECONDS = 86400.0
"""No two places are farther apart, whatever a broken node says: sums of these stay finite."""


def check(placed: Placed) -> None:
    """Raise Invalid, naming the field, for a coordinate that makes no sense."""
    one = placed.coordinate
    if not placed.node:
        raise Invalid("Node: must not be empty")
    if len(one.vec) != DIMENSIONS:
        raise Invalid(f"Coord.Vec: expected {DIMENSIONS} numbers, got {len(one.vec)}")
    fields = {"Error": one.error, "Adjustment": one.adjustment, "Height": one.height}
    for name, value in [*(("Vec", part) for part in one.vec), *fields.items()]:
        # False of what is no number, too.
        if not -FARTHEST_SECONDS <= value <= FARTHEST_SECONDS:
            raise Invalid(f"Coord.{name}: expected seconds, {FARTHEST_SECONDS:.0f} at most")


class All(Query[list[Place]], frozen=True, tag="coordinates.all"):
    """Every node that has a coordinate, ordered by name."""

    answer = list[Place]

    def run(self, view: View) -> list[Place]:
        """Read the table."""
        return view.every(TABLE)


class Of(Query[Place | None], frozen=True, tag="coordinates.of"):
    """The coordinate of one node."""

    answer = Place | None
    node: str

    def run(self, view: View) -> Place | None:
        """Look it up."""
        return view.get(TABLE, self.node.lower())


class Distances(Query[list[float | None]], frozen=True, tag="coordinates.distances"):
    """How far each of some nodes is from one, in seconds; None where a coordinate is missing."""

    answer = list[float | None]
    source: str
    nodes: tuple[str, ...]

    def run(self, view: View) -> list[float | None]:
        """Look up both ends."""
        source = view.get(TABLE, self.source.lower())
        if source is None:
            return [None] * len(self.nodes)
        return [self._from(source, view.get(TABLE, name.lower())) for name in self.nodes]

    def _from(self, source: Place, target: Place | None) -> float | None:
        return None if target is None else estimate(source.coordinate, target.coordinate)


async def distances(
    registry: Registry, source: str, names: Sequence[str], options: ReadOptions
) -> dict[str, float]:
    """How far some nodes are from one, in seconds, as far as that is known. Names in lower case."""
    if len(names) <= FEW:
        found = (await registry.read(Distances(source, tuple(names)), options)).value
        pairs = zip(names, found, strict=True)
        return {name: seconds for name, seconds in pairs if seconds is not None}
    places = (await registry.read(All(), options)).value
    known = {place.node.lower(): place.coordinate for place in places}
    here = known.get(source.lower())
    if here is None:
        return {}
    return {name: estimate(here, place) for name, place in known.items()}


class Update(Command[int], frozen=True, tag="coordinates.update"):
    """Write the coordinates of some nodes at once; those of unknown nodes are left out."""

    result = int
    needs: ClassVar[int] = COORDINATES
    updates: tuple[Placed, ...]

    def validate(self) -> None:
        """Not too many, and each of them sane."""
        if len(self.updates) > BATCH_MAX:
            raise Invalid(f"at most {BATCH_MAX} coordinates at once, got {len(self.updates)}")
        for placed in self.updates:
            check(placed)

    def apply(self, transaction: Transaction) -> int:
        """How many were written."""
        written = 0
        for placed in self.updates:
            node = transaction.get(NODES, placed.node.lower())
            if node is not None:
                transaction.put(TABLE, Place(node=node.name, coordinate=placed.coordinate))
                written += 1
        return written


class Report(Order[bool], frozen=True, tag="coordinates.report"):
    """Tell the leader where a node is. It writes what it was told together with the next batch.

    False when it takes no more at the moment; the node tells it again soon. A leader that falls
    silent before the next batch forgets it.
    """

    outcome = bool
    repeatable = True
    needs = COORDINATES
    placed: Placed

    def validate(self) -> None:
        """It must be sane."""
        check(self.placed)


class Datacenters(Order[list[DatacenterMap]], frozen=True, tag="coordinates.datacenters"):
    """The coordinates of the servers of every datacenter, as the server asked knows them."""

    outcome = list[DatacenterMap]
    repeatable = True
    needs = COORDINATES


class Batch:
    """The coordinates that wait to be written, the latest of each node."""

    def __init__(self) -> None:
        self._waiting: dict[str, Placed] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, placed: Placed) -> bool:
        """Take it; False when so many others wait already that it is dropped."""
        key = placed.node.lower()
        if key not in self._waiting and len(self._waiting) >= BATCH_MAX:
            self.dropped += 1
            return False
        self._waiting[key] = placed
        return True

    def take(self) -> Update | None:
        """What waits, ordered by name, and begin anew; None when nothing does."""
        waiting = [self._waiting[key] for key in sorted(self._waiting)]
        self._waiting.clear()
        return Update(tuple(waiting)) if waiting else None
