"""Levels: which generation of formats the cluster writes, and which ones this program knows.

A format belongs to a level. A program reads every format up to the highest level it knows, and
writes those of the level that the cluster has finalized, so that until then every server can go
back to the program it came from.
"""

from __future__ import annotations

from mesh.errors import Conflict, Invalid
from mesh.registry.port import Command, Query
from mesh.store.database import Database, Transaction, View
from mesh.store.table import Row, Table

LOWEST = 1
HIGHEST = 6
"""1: as the first mesh wrote. 2: log entries say what their first attempt knew, and snapshots
hold what was forgotten, so that a late retry cannot apply twice. 3: nodes have coordinates, and
checks hold the health sequence that their node gave the status, which tells it from what gossip
says of the same check. 4: sessions and locks, transactions, prepared queries, config entries,
maintenance of the whole cluster, history, and snapshots restored through the log. 5: the mesh, with
its authority, checked config entries and intentions. 6: certificates of nodes can be revoked,
checks hold since when they have their status, and servers say how they decide about calls that no
intention names."""
EXACT = 2
"""The level from which on a late retry cannot apply twice."""
COORDINATES = SEQUENCED = FEDERATED = 3
"""The level from which on nodes have coordinates and checks their sequence, and from which on
programs know of other datacenters."""
SESSIONS = TRANSACTIONS = PREPARED = ENTRIES = MAINTENANCE = HISTORY = RESTORES = OVERVIEWS = (
    LOCALITIES
) = 4
"""The level from which on there is each of these."""
FILTERED = 4
"""The level of programs that tell all instances at once, to whoever filters them."""
MESH = 5
"""The level from which on there is a certificate authority, and intentions."""
REVOCATION = 6
"""The level from which on servers refuse certificates of nodes that somebody revoked."""
DATED = 6
"""The level from which on checks hold since when they have their status."""
GLANCES = 6
"""The level of programs that tell nodes, sessions and intentions at a glance."""
DEFAULTS = 6
"""The level from which on servers tell other datacenters their default intention policy."""


class Level(Row, frozen=True, kw_only=True):
    """The one row: the level finalized. No row is level 1."""

    key: str = ""
    number: int = LOWEST


LEVELS: Table[Level] = Table("levels", Level, key=lambda row: row.key, indexes={}, level=2)


def level_of(database: Database) -> int:
    """The level that the cluster has finalized."""
    row: Level | None = database.contents[LEVELS.name].rows.get("")
    return row.number if row is not None else LOWEST


def readable(what: str, level: int, highest: int) -> None:
    """Raise Invalid, saying what to do, when something was written at a level not known here."""
    if level > highest:
        raise Invalid(f"{what}: written by a newer mesh (level {level}); upgrade mesh")
    if level < LOWEST:
        raise Invalid(f"{what}: level {level} does not exist")


def unready(level: int, lacking: list[str]) -> str:
    """Why a level cannot be finalized."""
    return (
        f"feature level {level} cannot be finalized: {', '.join(lacking)} cannot read it. Upgrade "
        "them, or take those that are gone for left with meshctl force-leave"
    )


class Present(Query[int], frozen=True, tag="levels.present"):
    """The level that the cluster has finalized."""

    answer = int

    def run(self, view: View) -> int:
        """Read the row."""
        row = view.get(LEVELS, "")
        return row.number if row is not None else LOWEST


class Found(Command[int], frozen=True, tag="levels.found"):
    """Begin a new cluster at this level; on any log that holds something already, do nothing."""

    result = int
    level: int

    def apply(self, transaction: Transaction) -> int:
        """The level that the cluster has then."""
        if transaction.fresh:
            transaction.put(LEVELS, Level(number=self.level))
        return Present().run(transaction)


class Finalize(Command[int], frozen=True, tag="levels.finalize"):
    """Raise the level to this one, for good. Who already has it stays there."""

    result = int
    level: int

    def apply(self, transaction: Transaction) -> int:
        """The level that the cluster has then. Raises Conflict when one would be left out."""
        present = Present().run(transaction)
        if self.level <= present:
            return present
        if self.level > present + 1:
            raise Conflict(f"level {self.level} cannot follow {present}; finalize {present + 1}")
        transaction.put(LEVELS, Level(number=self.level))
        return self.level
