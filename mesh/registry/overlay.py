"""The overlay: what gossip says of health, laid over answers of the catalog.

Two ways lead from a check to whoever asks for it: the log (slow when there is no leader, and the
record) and gossip (quick, lossy, without order). Which of them is newer is decided by the health
sequence alone (`registry.transitions`): the check's row holds the sequence its node had given the
status when it wrote the row, an event holds the sequence of the change it tells. **The higher one
wins.** Only the node gives numbers and never one twice, so each is a version of one register with
a single writer, and taking the higher is associative, commutative and idempotent: any loss,
repetition and reordering of events and answers ends at the newest version that arrived by either
way. An event that was lost is made good by the row, a row that lags by the event.

Comparing statuses or ModifyIndex instead would not do. A check that goes critical, passing,
critical, whose second event is lost, shows the catalog `passing` at a new index; from the index
alone nobody can tell whether that write came before the event `critical` or after it.

A row without a sequence (below feature level 3, registered by others, an instance as such, a check
that the catalog does not list) cannot be compared. There the event wins over every answer that was
the catalog's word less than SETTLE_SECONDS after the event was heard, which is ample time for the
node to have written the same to the catalog, and loses against later ones. With all servers gone no
later answer comes, and the event goes on winning.

Who is in the pool at all is told by gossip too, at first hand: members that are out have their
gossip check critical at once, as the leader will write it, and members that are back have it
passing in answers too old to know (`rpc.discovery` says which).

Outputs are not told over gossip; the check says so. Pure: time is passed in, seconds on any clock
that never goes back.
"""

from __future__ import annotations

import math
import operator
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from mesh.registry.catalog import SERF_HEALTH, Check, Node
from mesh.registry.health import (
    ASIDE,
    DAMPED,
    Connected,
    Instance,
    Instances,
    NodeChecks,
    ServiceChecks,
)
from mesh.registry.port import Query
from mesh.registry.transitions import GONE, Transition

T = TypeVar("T")

ENTRIES_MAX = 65_536
NODE_ENTRIES_MAX = 4096
CHANGES_MAX = 1024
SETTLE_SECONDS = 60.0

LAID: frozenset[type] = frozenset((Instances, Connected, NodeChecks, ServiceChecks))
"""The queries over whose answers health is laid."""
HEARD = "Heard over gossip; the catalog, which has outputs, is not that far"
ABSENT = "Agent not live or unreachable, by gossip"
PRESENT = "Agent alive and reachable, by gossip"


class Standing(msgspec.Struct, frozen=True):
    """Who is in the pool, by gossip. Names in lower case; who is in neither set is not judged."""

    absent: frozenset[str] = frozenset()
    """Members that discovery leaves out."""
    present: frozenset[str] = frozenset()
    """Members that are well."""
    damped: frozenset[str] = frozenset()
    """Of those present, members that stay out if the catalog says that they are damped."""

    def differing(self, other: Standing) -> frozenset[str]:
        """Those who are not the same in both."""
        gone_or_back = (self.absent ^ other.absent) | (self.present ^ other.present)
        return gone_or_back | (self.damped ^ other.damped)


class Patch(msgspec.Struct, frozen=True):
    """What differs from an answer: new items by their place, None for those to leave out."""

    items: dict[int, Any] = {}
    added: list[Any] = []
    until: float = math.inf
    """The patch holds for the same answer as long as that is the catalog's word of before this."""
    nodes: frozenset[str] = frozenset()
    """The nodes that the answer is about: nothing said of others changes the patch."""

    def __bool__(self) -> bool:
        return bool(self.items or self.added)

    def same(self, other: Patch) -> bool:
        """Whether both change the same."""
        return self.items == other.items and self.added == other.added

    def applied(self, value: list[Any]) -> list[Any]:
        """A new list with the differences."""
        changed = (self.items.get(at, item) for at, item in enumerate(value))
        return [item for item in changed if item is not None] + self.added


class _Entry(msgspec.Struct, frozen=True, gc=False):
    service_id: str
    check_id: str
    status: str
    sequence: int
    heard: float


def _key(service_id: str, check_id: str) -> str:
    # Ids of checks are unique on a node; an instance as such gets a key that is no id.
    return check_id or f"\0{service_id}"


class Overlay:
    """The newest statement heard about each check.

    Bounded: at most `limit` statements in all and NODE_ENTRIES_MAX of one node. Beyond that the
    nodes heard least recently are forgotten: what the catalog says is believed of them.
    """

    def __init__(self, limit: int = ENTRIES_MAX) -> None:
        self._limit = limit
        self._nodes: OrderedDict[str, dict[str, _Entry]] = OrderedDict()
        self._changes: deque[tuple[int, str]] = deque(maxlen=CHANGES_MAX)
        self.entries = 0
        self.version = 0
        """Grows with every change; see `changed_since`."""
        self.refused = 0
        """Statements not kept because the node has too many."""
        self.told: Callable[[str], None] = lambda _: None
        """Called with each node of which something else is known now."""

    def hear(self, now: float, node: str, transitions: Iterable[Transition]) -> int:
        """Take statements over; returns how many were news."""
        name, news = node.lower(), 0
        known = self._nodes.pop(name, {})
        for one in transitions:
            key = _key(one.service_id, one.check_id)
            old = known.get(key)
            if old is not None and old.sequence >= one.sequence:
                continue
            if old is None and len(known) >= NODE_ENTRIES_MAX:
                self.refused += 1
                continue
            known[key] = _Entry(one.service_id, one.check_id, one.status, one.sequence, now)
            self.entries += old is None
            news += 1
        if known:
            self._nodes[name] = known
        if news:
            self._changed(name)
        while self.entries > self._limit:
            self._forget(next(iter(self._nodes)))
        return news

    def _forget(self, name: str) -> None:
        self.entries -= len(self._nodes.pop(name))
        self._changed(name)

    def _changed(self, name: str) -> None:
        self.version += 1
        self._changes.append((self.version, name))
        self.told(name)

    def changed_since(self, version: int) -> set[str] | None:
        """The nodes of which something else is known than then; None if that is too long ago."""
        if version == self.version:
            return set()
        if self._changes[0][0] > version + 1:
            return None
        return set(self._since(version))

    def _since(self, version: int) -> Iterator[str]:
        for number, name in reversed(self._changes):
            if number <= version:
                return
            yield name

    def newest(self, node: str) -> int:
        """The highest sequence heard of a node; 0 when there is none."""
        entries = self._nodes.get(node.lower(), {})
        return max((entry.sequence for entry in entries.values()), default=0)

    def retain(self, names: Container[str]) -> None:
        """Forget every node but these (lower case)."""
        for name in [name for name in self._nodes if name not in names]:
            self._forget(name)

    def patch(self, query: Query[Any], value: Any, as_of: float, standing: Standing) -> Patch:
        """What to change in the answer to one of the queries LAID.

        `as_of` is when the value was the catalog's word, on the clock of `hear`.
        """
        laying = _Laying(self._nodes, as_of, standing)
        added: list[Check] = []
        if isinstance(query, Instances | Connected):
            nodes = [one.node.name.lower() for one in value]
            about = frozenset(nodes)
            items = laying.instances(value, nodes, about)
        else:
            nodes = [row.node.lower() for row in value]
            about = frozenset(nodes)
            items = laying.over(value, nodes, laying.check)
            if isinstance(query, NodeChecks) and value:
                added = laying.missing(value[0].node, nodes[0], {row.id for row in value}, None)
        return Patch(items, added, laying.until, about)


class _Laying:
    """One patch in the making."""

    def __init__(
        self, nodes: dict[str, dict[str, _Entry]], as_of: float, standing: Standing
    ) -> None:
        self._nodes, self._as_of, self._standing = nodes, as_of, standing
        self.until = math.inf

    def over(self, value: Sequence[T], nodes: Sequence[str], change: Any) -> dict[int, Any]:
        """By their place the items that come out changed. `nodes` are theirs, in lower case."""
        items: dict[int, Any] = {}
        for at, item in enumerate(value):
            node = nodes[at]
            changed = change(item, node)
            if changed is not item:
                items[at] = changed
        return items

    def instances(
        self, value: Sequence[Instance], nodes: Sequence[str], about: frozenset[str]
    ) -> dict[int, Any]:
        """As `over`; mostly nothing was heard of any of these nodes."""
        if self._nodes.keys().isdisjoint(about) and self._standing.absent.isdisjoint(about):
            bad = [row.id for one in value for row in one.checks if row.status != "passing"]
            if SERF_HEALTH not in bad:
                return {}
        return self.over(value, nodes, self.instance)

    def instance(self, instance: Instance, node: str) -> Instance | None:
        """The instance by what was heard; None when it was deregistered."""
        owner, rows = instance.service.id, instance.checks
        if node not in self._nodes and node not in self._standing.absent:
            # Nothing was heard of its checks, as of most; that its member is well may be news.
            for row in rows:
                if row.status != "passing" and row.id == SERF_HEALTH:
                    break
            else:
                return instance
        added: list[Check] = []
        if node in self._nodes:
            gone = self._nodes[node].get(_key(owner, ""))
            if gone is not None and gone.status == GONE and self._was_gone(gone, rows):
                return None
            listed = {row.id for row in rows}
            added = self.missing(instance.node.name, node, listed, owner)
        if node in self._standing.absent and all(row.id != SERF_HEALTH for row in rows):
            added.append(_absent(instance.node))
        checks = [self.check(row, node) for row in rows]
        if not added and all(map(operator.is_, checks, rows)):
            return instance
        kept = [check for check in checks if check is not None]
        return msgspec.structs.replace(instance, checks=kept + added)

    def _was_gone(self, gone: _Entry, checks: Sequence[Check]) -> bool:
        """Whether the instance did not come back: its checks then have higher sequences."""
        own = [row.sequence for row in checks if row.service_id == gone.service_id]
        known = [sequence for sequence in own if sequence is not msgspec.UNSET]
        return max(known, default=0) < gone.sequence and self._beats(gone, msgspec.UNSET)

    def check(self, row: Check, node: str) -> Check | None:
        """The check by what was heard; None when it was deregistered."""
        if row.id == SERF_HEALTH:
            return self._member(row, node)
        entries = self._nodes.get(node)
        entry = entries.get(row.id) if entries is not None else None
        if entry is None or not self._beats(entry, row.sequence):
            return row
        if entry.status == GONE or entry.service_id != row.service_id:
            return None
        if entry.status == row.status:
            return row
        return msgspec.structs.replace(
            row,
            status=entry.status,
            sequence=entry.sequence,
            output=HEARD,
            since=msgspec.UNSET,
        )

    def missing(
        self, name: str, node: str, listed: Container[str], owner: str | None
    ) -> list[Check]:
        """Checks heard to be bad that are not listed: the node's, and those of one instance.

        None for an owner means every check of the node.
        """
        return [
            Check(
                node=name,
                id=entry.check_id,
                name=entry.check_id,
                status=entry.status,
                output=HEARD,
                service_id=entry.service_id,
                sequence=entry.sequence,
            )
            for entry in self._nodes.get(node, {}).values()
            if entry.status not in {GONE, "passing"}
            and entry.check_id
            and entry.check_id not in listed
            and (owner is None or entry.service_id in {"", owner})
            and (owner is None or entry.check_id not in ASIDE)
            and self._beats(entry, msgspec.UNSET)
        ]

    def _member(self, row: Check, node: str) -> Check:
        if node in self._standing.absent and row.status != "critical":
            return msgspec.structs.replace(
                row, status="critical", output=ABSENT, since=msgspec.UNSET
            )
        if row.output == DAMPED and node in self._standing.damped:
            return row
        if node in self._standing.present and row.status != "passing":
            return msgspec.structs.replace(
                row, status="passing", output=PRESENT, since=msgspec.UNSET
            )
        return row

    def _beats(self, entry: _Entry, sequence: int | msgspec.UnsetType) -> bool:
        if sequence is not msgspec.UNSET:
            return entry.sequence > sequence
        settled = entry.heard + SETTLE_SECONDS
        if self._as_of >= settled:
            return False
        self.until = min(self.until, settled)
        return True


def _absent(node: Node) -> Check:
    return Check(
        node=node.name, id=SERF_HEALTH, name="Serf Health Status", status="critical", output=ABSENT
    )
