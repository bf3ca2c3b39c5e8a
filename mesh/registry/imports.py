"""Imports: rows of another registry, written as they are beside what is here.

Ids of sessions and who holds which lock stay, which no other command could keep. What is written a
second time changes nothing, so an import that broke off is made again from its start.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from mesh.codec import check_depth
from mesh.errors import Conflict, Invalid
from mesh.registry import autopilot, catalog, coordinates, entries, prepared_rows
from mesh.registry.levels import MESH, RESTORES, Present
from mesh.registry.nodes import NODES
from mesh.registry.pairs import PAIRS, Pair
from mesh.registry.port import Command
from mesh.registry.sessions import SESSIONS, Session, began
from mesh.store.database import Transaction

RECORDS_MAX = 512


class Merge(Command[int], frozen=True, tag="imports.merge"):
    """Write all of these, or nothing; how many rows were not so before."""

    result = int
    needs: ClassVar[int] = RESTORES
    registrations: list[catalog.Register] = []
    sessions: list[Session] = []
    pairs: list[Pair] = []
    queries: list[prepared_rows.Prepared] = []
    entries: list[entries.Entry] = []
    places: list[coordinates.Place] = []
    settings: list[autopilot.Settings] = []

    def validate(self) -> None:
        """What each would have to be if it came alone."""
        count = sum(len(getattr(self, field)) for field in self.__struct_fields__)
        if count > RECORDS_MAX:
            raise Invalid(f"an import has {count} records in one request; {RECORDS_MAX} may be")
        for registration in self.registrations:
            registration.validate()
        for pair in self.pairs:
            if not pair.key:
                raise Invalid("Key: must not be empty")
        for settings in self.settings:
            autopilot.check(settings)
        for entry in self.entries:
            check_depth("Entry", entry.body)

    def apply(self, transaction: Transaction) -> int:
        """Write them. Raises Conflict, naming it, for one that contradicts what is here."""
        before = transaction.writes
        for registration in self.registrations:
            _register(transaction, registration)
        for session in self.sessions:
            if transaction.get(NODES, session.node.lower()) is None:
                raise Conflict(f'session {session.id}: there is no node "{session.node}"')
            transaction.put(SESSIONS, session)
            began(transaction, session.node, session.name)
        for pair in self.pairs:
            if pair.session and transaction.get(SESSIONS, pair.session) is None:
                raise Conflict(f'key "{pair.key}": there is no session {pair.session}')
            transaction.put(PAIRS, pair)
        for query in self.queries:
            _prepare(transaction, query)
        for place in self.places:
            if transaction.get(NODES, place.node.lower()) is not None:
                transaction.put(coordinates.TABLE, place)
        self._put_plain(transaction)
        return transaction.writes - before

    def _put_plain(self, transaction: Transaction) -> None:
        folded = Present().run(transaction) >= MESH
        for entry in self.entries:
            there = entries.find(transaction, entry.kind, entry.name) if folded else None
            if there is not None and there.name != entry.name:
                raise Conflict(
                    f"{entry.kind}/{entry.name}: there is {entry.kind}/{there.name}, and services "
                    "are the same in any case"
                )
            transaction.put(entries.TABLE, entry)
        for settings in self.settings:
            transaction.put(autopilot.TABLE, settings)


def _register(transaction: Transaction, asked: catalog.Register) -> None:
    node = asked.node
    known = transaction.get(NODES, node.name.lower())
    if node.id:
        for other in transaction.select(NODES, "id", node.id.lower()):
            if other.name.lower() != node.name.lower():
                raise Conflict(f'node "{node.name}": its ID is that of "{other.name}" here')
    if known is not None and known.id and known.id != node.id:
        # The machine runs an agent of mesh by now, which knows better who it is.
        asked = msgspec.structs.replace(asked, skip_node_update=True)
    asked.apply(transaction)


def _prepare(transaction: Transaction, query: prepared_rows.Prepared) -> None:
    if query.session and transaction.get(SESSIONS, query.session) is None:
        raise Conflict(f"prepared query {query.id}: there is no session {query.session}")
    for other in transaction.select(prepared_rows.TABLE, "name", query.name.lower()):
        if query.name and other.id != query.id:
            raise Conflict(f'prepared query {query.id}: {other.id} is called "{query.name}" here')
    transaction.put(prepared_rows.TABLE, query)
