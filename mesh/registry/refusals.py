"""Refusals: calls that intentions refused, or dry runs would have, as sidecars saw them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import replace

from mesh.errors import Invalid
from mesh.registry.intentions import ANY, Intention
from mesh.registry.levels import MESH
from mesh.registry.nodes import NODES
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

Kind = Literal["denied", "would-deny", "would-allow"]
"""Really refused; let through, but a dry run says no; refused, but a dry run says yes."""
REFUSALS_MAX = 128
"""Pairs and rules of a node; the ones last seen are kept."""
EXAMPLES_MAX = 4
TEXT_MAX = 512
NAME_MAX = 256
HOUR = 3600.0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of calls between two services that one rule decided about."""

    kind: Kind
    source: str
    destination: str
    rule: str
    """What decided, for people."""
    entry: str = ""
    """Where that stands, as `service-intentions/db Sources[web]`; empty: the default."""
    count: int = 0
    """At least so many requests, or connections where nobody looks into them."""
    first: float = 0.0
    last: float = 0.0
    """Seconds since the Unix epoch, by the node's clock."""
    examples: list[str] = []
    """Methods and paths of some of them, without queries."""

    @property
    def key(self) -> tuple[str, ...]:
        """What it is counted under."""
        return (self.source, self.destination, self.kind, self.entry, self.rule)

    def and_then(self, other: Refusal) -> Refusal:
        """Both together, of one key."""
        examples = [*dict.fromkeys([*self.examples, *other.examples])]
        return replace(
            self,
            count=self.count + other.count,
            first=min(self.first, other.first),
            last=max(self.last, other.last),
            examples=examples[:EXAMPLES_MAX],
        )


class Refusals(Row, frozen=True, kw_only=True):
    """What the sidecars of a node saw."""

    node: str
    found: list[Refusal] = []
    time: float = 0.0
    """When it was said."""


TABLE: Table[Refusals] = Table(
    "refusals", Refusals, key=lambda row: row.node.lower(), indexes={}, level=MESH
)


def together(first: Iterable[Refusal], second: Iterable[Refusal]) -> list[Refusal]:
    """The sums of both, by what was seen last."""
    found = {one.key: one for one in first}
    for one in second:
        old = found.get(one.key)
        found[one.key] = one if old is None else old.and_then(one)
    return sorted(found.values(), key=lambda one: (one.last, one.key))


def is_tried(one: Refusal, intentions: Iterable[Intention]) -> bool:
    """Whether the dry run is still there that it is about, if it is about one."""
    return one.kind == "denied" or any(
        each.dry_run
        and each.source in {one.source, ANY}
        and each.destination in {one.destination, ANY}
        for each in intentions
    )


class All(Query[list[Refusals]], frozen=True, tag="refusals.all"):
    """What every node saw."""

    answer = list[Refusals]
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> list[Refusals]:
        """Read the table."""
        return view.every(TABLE)


class Of(Query[Refusals | None], frozen=True, tag="refusals.of"):
    """What a node saw; None if it never said."""

    answer = Refusals | None
    needs: ClassVar[int] = MESH
    shared: ClassVar[bool] = False
    node: str

    def run(self, view: View) -> Refusals | None:
        """Look it up."""
        return view.get(TABLE, self.node.lower())


class Tell(Command[bool], frozen=True, tag="refusals.tell"):
    """Say what the sidecars of a node saw; with nothing of that nothing is kept of it."""

    result = bool
    needs: ClassVar[int] = MESH
    node: str
    found: list[Refusal] = []

    def validate(self) -> None:
        """Texts and numbers have limits."""
        if not 0 < len(self.node) <= NAME_MAX:
            raise Invalid(f"Node: expected 1 to {NAME_MAX} characters")
        if len(self.found) > REFUSALS_MAX:
            raise Invalid(f"a node tells of at most {REFUSALS_MAX} rules")
        for one in self.found:
            texts = (*one.key, *one.examples)
            if len(one.examples) > EXAMPLES_MAX or any(len(text) > TEXT_MAX for text in texts):
                raise Invalid("what was refused is longer than there can be")

    def apply(self, transaction: Transaction) -> bool:
        """Write it."""
        if not self.found:
            return transaction.delete(TABLE, self.node.lower())
        found = sorted(self.found, key=lambda one: one.key)
        transaction.put(TABLE, Refusals(node=self.node, found=found, time=transaction.time))
        return True


class Forget(Command[int], frozen=True, tag="refusals.forget"):
    """Drop what was said long ago of nodes that the catalog does not have any more; how many."""

    result = int
    needs: ClassVar[int] = MESH

    def apply(self, transaction: Transaction) -> int:
        """Look each one up."""
        gone = forgettable(transaction, transaction.time)
        for row in gone:
            transaction.delete(TABLE, row.node.lower())
        return len(gone)


def forgettable(view: View, now: float) -> list[Refusals]:
    """Rows of nodes that are gone. One that is new may be in the catalog soon."""
    return [
        row
        for row in view.every(TABLE)
        if row.time < now - HOUR and view.get(NODES, row.node.lower()) is None
    ]
