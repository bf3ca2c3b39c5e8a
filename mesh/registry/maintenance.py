"""Maintenance of the whole cluster: nodes, services and instances taken out, until an end.

Unlike a check that an agent registers, this is said to the servers and lies in their tables, so it
works while a node is down and is still so when it comes back. A row of the table says what is in
maintenance. What follows from it is written beside it, in the same log entry: a critical check on
each node or instance concerned, whose id begins with CLUSTER_MAINTENANCE, so that health, DNS and
everybody who waits for them follow at once. A node or an instance that is registered later gets its
check when it is; agents leave these checks alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from mesh.errors import Invalid
from mesh.registry.checks import CHECKS, Check, folded, put_check
from mesh.registry.levels import MAINTENANCE as LEVEL
from mesh.registry.nodes import NODES, Node
from mesh.registry.port import Command, Query
from mesh.registry.services import SERVICES, Service
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

CLUSTER_MAINTENANCE = "_cluster_maintenance"
"""The id of the check on a node; that of an instance has its id after a colon."""
KIND = "maintenance"
ROWS_MAX = 4096
"""What can be in maintenance at once."""
TEXT_MAX = 1024
"""Characters of a reason or an owner."""
EXPIRED_MAX = 128
"""Ends that one log entry holds at most."""
NO_REASON = "In maintenance; whoever began it gave no reason."


class Target(msgspec.Struct, frozen=True):
    """What is in maintenance: a node, every instance of a service, or one instance on a node."""

    node: str = ""
    service: str = ""
    """The name of a service."""
    service_id: str = ""

    def validate(self) -> None:
        """Raise Invalid unless it is one of the three."""
        if self.service_id and not self.node:
            raise Invalid("Node: an instance is named by its Node and its ServiceID")
        if self.service and (self.node or self.service_id):
            raise Invalid(
                "Service: names all instances of a service, so it goes with neither Node nor "
                "ServiceID; for one instance give Node and ServiceID"
            )
        if not (self.node or self.service):
            raise Invalid("Node: give a Node, a Node and a ServiceID, or a Service")

    @property
    def key(self) -> tuple[str, str, str]:
        """Names of nodes and services are found whatever their case."""
        return (self.node.lower(), self.service.lower(), self.service_id)


class Maintenance(Row, frozen=True, kw_only=True):
    """Something in maintenance. Times are Unix seconds."""

    history: ClassVar[str] = "maintenance"
    target: Target
    reason: str = ""
    owner: str = ""
    """Who wants it, in words for people."""
    since: float = 0.0
    until: float = 0.0
    """When it ends by itself; 0 for never."""


def _on_node(row: Maintenance) -> Sequence[str]:
    return [str(one) for one in folded(row.target.node)]


TABLE: Table[Maintenance] = Table(
    "maintenance",
    Maintenance,
    key=lambda row: row.target.key,
    indexes={"node": _on_node, "service": lambda row: folded(row.target.service)},
    level=LEVEL,
)


class Begun(msgspec.Struct, frozen=True):
    """What is in maintenance now, and how many instances that takes out."""

    row: Maintenance
    instances: int


class All(Query[list[Maintenance]], frozen=True, tag="maintenance.all"):
    """Everything that is in maintenance, ordered by node, service and id."""

    answer = list[Maintenance]
    needs: ClassVar[int] = LEVEL

    def run(self, view: View) -> list[Maintenance]:
        """Read the table."""
        return view.every(TABLE)


class Begin(Command[Begun], frozen=True, tag="maintenance.begin"):
    """Put something into maintenance, or change why, for whom and how long it is.

    What it names need not be there yet. It ends after so many `seconds`, or at `until`; with both
    0 when it is told to.
    """

    result = Begun
    needs: ClassVar[int] = LEVEL
    target: Target
    reason: str = ""
    owner: str = ""
    seconds: float = 0.0
    until: float = 0.0

    def validate(self) -> None:
        """The target must be one, texts and times make sense."""
        self.target.validate()
        for name, text in (("Reason", self.reason), ("Owner", self.owner)):
            if len(text) > TEXT_MAX:
                raise Invalid(f"{name}: {len(text)} characters; the limit is {TEXT_MAX}")
        if self.seconds and self.until:
            raise Invalid("For and Until exclude each other; leave one out")
        if not 0 <= self.seconds < 2**33 or not 0 <= self.until < 2**33:
            raise Invalid("For: expected a time from now to the year 2242")

    def apply(self, transaction: Transaction) -> Begun:
        """Write the row, then the checks that follow."""
        now, old = transaction.time, transaction.get(TABLE, self.target.key)
        until = now + self.seconds if self.seconds else self.until
        if 0 < until <= now:
            raise Invalid("Until: expected a time to come")
        if old is None and len(transaction.every(TABLE)) >= ROWS_MAX:
            raise Invalid(f"{ROWS_MAX} things are in maintenance already, which is the limit")
        row = Maintenance(
            target=self.target,
            reason=self.reason,
            owner=self.owner,
            since=old.since if old else now,
            until=until,
        )
        row = transaction.put(TABLE, row)
        return Begun(row, _follow(transaction, self.target))


class End(Command[bool], frozen=True, tag="maintenance.end"):
    """End the maintenance of exactly this; False when there is none."""

    result = bool
    needs: ClassVar[int] = LEVEL
    target: Target

    def validate(self) -> None:
        """The target must be one."""
        self.target.validate()

    def apply(self, transaction: Transaction) -> bool:
        """Delete the row, and the checks that only it kept."""
        if not transaction.delete(TABLE, self.target.key):
            return False
        _follow(transaction, self.target)
        return True


class Expire(Command[int], frozen=True, tag="maintenance.expire"):
    """End what was to end by now; how many that were. The leader gives it."""

    result = int
    needs: ClassVar[int] = LEVEL

    def apply(self, transaction: Transaction) -> int:
        """By the time of the log entry."""
        now = transaction.time
        due = [row for row in transaction.every(TABLE) if 0 < row.until <= now][:EXPIRED_MAX]
        for row in due:
            transaction.delete(TABLE, row.target.key)
            _follow(transaction, row.target)
        return len(due)


# Checks


def covering(
    rows: Iterable[Maintenance], node: str, service: tuple[str, str] | None
) -> list[Maintenance]:
    """What of this takes out the node, or its instance with this name and id."""
    node = node.lower()
    if service is None:
        return [row for row in rows if row.target.key == (node, "", "")]
    name, service_id = service
    wanted = {("", name.lower(), ""), (node, "", service_id)}
    return [row for row in rows if row.target.key in wanted]


def check(node: Node, service: Service | None, rows: list[Maintenance]) -> Check:
    """The check that these rows put on a node or an instance."""
    return Check(
        node=node.name,
        id=f"{CLUSTER_MAINTENANCE}:{service.id}" if service else CLUSTER_MAINTENANCE,
        name="Cluster Maintenance Mode",
        status="critical",
        notes="; ".join(row.reason or NO_REASON for row in rows),
        output="; ".join(map(_said, rows)),
        service_id=service.id if service else "",
        service_name=service.name if service else "",
        service_tags=service.tags if service else [],
        kind=KIND,
    )


def _said(row: Maintenance) -> str:
    owner = f"by {row.owner}" if row.owner else "by an operator"
    if not row.until:
        return f"{owner}, until it is ended"
    return f"{owner}, until {datetime.fromtimestamp(int(row.until), UTC):%Y-%m-%dT%H:%M:%SZ}"


def cover(transaction: Transaction, node: Node, services: Iterable[Service]) -> int:
    """Give the node and these instances of it the checks they are to have, or take them away.

    How many of the instances are out.
    """
    _settle(transaction, node, None, _rows(transaction, node, None))
    out = 0
    for service in services:
        rows = _rows(transaction, node, service)
        _settle(transaction, node, service, rows)
        out += bool(rows)
    return out


def _rows(transaction: Transaction, node: Node, service: Service | None) -> list[Maintenance]:
    found = transaction.select(TABLE, "node", node.name.lower())
    if service is None:
        return covering(found, node.name, None)
    found = [*transaction.select(TABLE, "service", service.name.lower()), *found]
    return covering(found, node.name, (service.name, service.id))


def _settle(
    transaction: Transaction, node: Node, service: Service | None, rows: list[Maintenance]
) -> None:
    made = check(node, service, rows)
    if rows:
        put_check(transaction, made)
    else:
        transaction.delete(CHECKS, CHECKS.key(made))


def _follow(transaction: Transaction, target: Target) -> int:
    """Bring the checks in line after the row of this target changed; the instances it takes out."""
    if target.service:
        found = transaction.select(SERVICES, "name", target.service.lower())
    else:
        found = transaction.select(SERVICES, "node", target.node.lower())
        if target.service_id:
            found = [service for service in found if service.id == target.service_id]
    by_node: dict[str, list[Service]] = {}
    for service in found:
        by_node.setdefault(service.node.lower(), []).append(service)
    if target.node:
        by_node.setdefault(target.node.lower(), [])
    for name, services in by_node.items():
        node = transaction.get(NODES, name)
        if node is not None:
            cover(transaction, node, services)
    return len(found)
