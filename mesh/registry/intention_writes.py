"""Writes of single intentions, as the older API has them: each is a source of an entry.

The two ends are found in any case. What was there keeps its spelling; only a source that is written
anew, in place of the one there, is stored as it is given.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from mesh.errors import Conflict, Invalid, NotFound
from mesh.registry import config
from mesh.registry.entries import INTENTIONS, TABLE, Entry, check_name, find
from mesh.registry.intentions import body_of, time_text
from mesh.registry.kinds import parts
from mesh.registry.kinds import service_intentions as bodies
from mesh.registry.levels import MESH
from mesh.registry.port import Command
from mesh.store.database import Transaction, View

How = Literal["upsert", "create", "update"]


class Put(Command[bool], frozen=True, tag="intentions.put"):
    """Write one intention.

    `upsert` makes it what is given; `create` gives it an id, and there must be none yet between
    the two; `update` changes the one with the id, whose two ends stay.
    """

    result = bool
    needs: ClassVar[int] = MESH
    destination: str
    source: dict[str, Any]
    """As entries hold it."""
    how: How = "upsert"
    id: str = ""
    owner: str = ""
    force: bool = False
    check_index: int | None = None
    """Only if this is the modify index of the destination's entry; 0: if it has none."""

    def validate(self) -> None:
        """The two ends, and what is between them, must make sense."""
        check_name(INTENTIONS, self.destination)
        source = parts.read(bodies.SourcePart, self.source)
        body = bodies.ServiceIntentions(sources=[source])
        for where, text in body.faults_of(self.destination):
            raise Invalid(
                f"{where.removeprefix('Sources[0].').replace('Name', 'DestinationName')}: {text}"
            )

    def apply(self, transaction: Transaction) -> bool:
        """Put it among the others; False when the check index does not match."""
        entry = find(transaction, INTENTIONS, self.destination)
        index = entry.modify_index if entry is not None else 0
        if self.check_index is not None and self.check_index != index:
            return False
        body = body_of(entry) if entry is not None else bodies.ServiceIntentions()
        new = msgspec.convert(self.source, bodies.SourcePart)
        key, now = bodies.key_of(new), time_text(transaction.time)
        if self.how == "create":
            if key in _keys(body):
                raise Conflict(
                    f'duplicate intention found: there is one from "{new.name}" to '
                    f'"{self.destination}" already'
                )
            new = msgspec.structs.replace(
                new, legacy_id=self.id, legacy_create_time=now, legacy_update_time=now
            )
        elif self.how == "update":
            entry, old = _with_id(transaction, self.id)
            if not _is_same(entry.name, self.destination) or not _is_same(old.name, new.name):
                raise Conflict(
                    f"Cannot change where the intention {self.id} begins or ends: it is from "
                    f'"{old.name}" to "{entry.name}"'
                )
            body = body_of(entry)
            if old.dry_run != new.dry_run and key in _keys(body):
                raise Conflict(_beside(self.id, old))
            key = bodies.key_of(old)
            new = msgspec.structs.replace(
                new,
                name=old.name,
                legacy_id=self.id,
                legacy_create_time=old.legacy_create_time,
                legacy_update_time=now,
            )
        rest = [one for one in body.sources if bodies.key_of(one) != key]
        name = entry.name if entry is not None else self.destination
        _store(transaction, name, body, [*rest, new], self)
        return True


class Drop(Command[bool], frozen=True, tag="intentions.drop"):
    """Delete the intention with this id, or between these two, if there."""

    result = bool
    needs: ClassVar[int] = MESH
    source: str = ""
    destination: str = ""
    id: str = ""
    dry_run: bool = False
    owner: str = ""
    force: bool = False

    def apply(self, transaction: Transaction) -> bool:
        """Take it out of its entry, which goes when it was the last."""
        if self.id:
            entry, old = _with_id(transaction, self.id)
            key = bodies.key_of(old)
        else:
            found = find(transaction, INTENTIONS, self.destination)
            if found is None:
                return True
            entry, key = found, (self.source.lower(), self.dry_run)
        body = body_of(entry)
        rest = [one for one in body.sources if bodies.key_of(one) != key]
        if len(rest) != len(body.sources):
            _store(transaction, entry.name, body, rest, self)
        return True


class Promote(Command[bool], frozen=True, tag="intentions.promote"):
    """Enforce a dry run from now on, in place of what is enforced between the two."""

    result = bool
    needs: ClassVar[int] = MESH
    source: str
    destination: str
    owner: str = ""
    force: bool = False

    def apply(self, transaction: Transaction) -> bool:
        """Raises NotFound when there is no dry run between the two."""
        entry = find(transaction, INTENTIONS, self.destination)
        body = body_of(entry) if entry is not None else bodies.ServiceIntentions()
        both = [one for one in body.sources if _is_same(one.name, self.source)]
        tried = next((one for one in both if one.dry_run), None)
        if entry is None or tried is None:
            raise NotFound(
                f'there is no dry run of an intention from "{self.source}" to "{self.destination}"'
            )
        before = next((one for one in both if not one.dry_run), None)
        new = msgspec.structs.replace(tried, dry_run=False)
        if before is not None and before.legacy_id:
            new = msgspec.structs.replace(
                new,
                legacy_id=before.legacy_id,
                legacy_meta=before.legacy_meta,
                legacy_create_time=before.legacy_create_time,
                legacy_update_time=time_text(transaction.time),
            )
        rest = [one for one in body.sources if one not in both]
        _store(transaction, entry.name, body, [*rest, new], self)
        return True


def _keys(body: bodies.ServiceIntentions) -> set[tuple[str, bool]]:
    return {bodies.key_of(one) for one in body.sources}


def _is_same(name: str, other: str) -> bool:
    return name.lower() == other.lower()


def _beside(identity: str, old: bodies.SourcePart) -> str:
    """Why an intention may not become what another one is."""
    if old.dry_run:
        return (
            f"The intention {identity} is a dry run beside one that is enforced: "
            "promote it, and it takes that one's place"
        )
    return (
        f"The intention {identity} is enforced, and there is a dry run beside it: delete that first"
    )


def _store(
    transaction: Transaction,
    destination: str,
    body: bodies.ServiceIntentions,
    sources: list[bodies.SourcePart],
    by: Put | Drop | Promote,
) -> None:
    """Write the entry with these sources, or delete it when nothing is left."""
    if not sources and body.jwt is None:
        entry = transaction.get(TABLE, (INTENTIONS, destination))
        assert entry is not None, "it had the last source"
        config.remove(transaction, entry, by.owner, by.force)
        return
    made = msgspec.structs.replace(body, sources=sources).settled(destination)
    for where, text in made.faults():
        raise Invalid(f"{where}: {text}")
    entry = Entry(kind=INTENTIONS, name=destination, body=parts.plain(made))
    config.store(transaction, entry, by.owner, by.force)


def _with_id(view: View, identity: str) -> tuple[Entry, bodies.SourcePart]:
    for entry in view.select(TABLE, "intention", identity):
        for source in body_of(entry).sources:
            if source.legacy_id == identity:
                return entry, source
    raise Conflict(f"Cannot modify non-existent intention: '{identity}'")
