"""Transactions: up to 128 reads and writes done all or not at all, with every failure told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, TypeAlias, TypeVar

import msgspec

from mesh.codec import pack
from mesh.errors import Conflict, Invalid, MeshError, NotFound, TooLarge
from mesh.registry import catalog, kv, sessions
from mesh.registry.catalog import CHECKS, NODES, SERVICES, Check, Node, Service
from mesh.registry.kv import PAIRS, Pair
from mesh.registry.levels import TRANSACTIONS
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row

OPS_MAX = 128
OPS_MAX_BYTES = 1000 * 1024
"""What the ops of a transaction that writes may take in the log, so that the entry, with all else
that stands in it, stays below its own limit."""
R = TypeVar("R", bound=Row)

READ_MAX_BYTES = 32 * 1024 * 1024
"""What one transaction shows, all results together."""
KEPT_MAX_BYTES = 32 * 1024
"""What a transaction that writes shows, up to which it is kept for its repetition: thousands of
these are in memory and in every snapshot."""
RESULT_BYTES = 128
"""What a result takes beside the row's texts, about."""

KvReadVerb: TypeAlias = Literal[
    "get", "get-or-empty", "get-tree", "check-session", "check-index", "check-not-exists"
]
KvWriteVerb: TypeAlias = Literal[
    "set", "cas", "lock", "unlock", "delete", "delete-cas", "delete-tree"
]
RowVerb: TypeAlias = Literal["set", "cas", "delete", "delete-cas"]


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one op shows: one of these."""

    kv: Pair | None = None
    """Without its value, unless the op is a get."""
    node: Node | None = None
    service: Service | None = None
    check: Check | None = None


class Failure(msgspec.Struct, frozen=True):
    """Which op failed, counted from 0, and why."""

    op: int
    what: str


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a transaction came to: the results of its ops in order, or every failure."""

    results: list[Result] = []
    failures: list[Failure] = []
    forgotten: bool = False
    """This answers a repetition: it was applied, but what it showed was too large to keep."""


class Op(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step. `run` raises a MeshError when it fails."""

    def check(self) -> None:
        """Raise Invalid when no state of the tables could make this op right."""


class KvRead(Op, frozen=True, tag="kv-read"):
    """Read or check keys. What a check finds is shown without its value."""

    verb: KvReadVerb
    key: str
    index: int = 0
    session: str = ""

    def check(self) -> None:
        """Only a tree may be of the empty key."""
        if self.verb != "get-tree":
            kv.Delete(self.key).validate()

    def run(self, view: View) -> list[Result]:
        """Look it up."""
        if self.verb == "get-tree":
            return [Result(kv=pair) for pair in kv.Under(self.key).run(view)]
        pair = view.get(PAIRS, self.key)
        if self.verb == "check-not-exists":
            if pair is not None:
                raise Conflict(f'key "{self.key}" exists')
            return []
        if self.verb == "get-or-empty":
            return [Result(kv=pair or Pair(key=self.key))]
        if pair is None:
            raise NotFound(f'key "{self.key}" does not exist')
        if self.verb == "get":
            return [Result(kv=pair)]
        if self.verb == "check-index" and pair.modify_index != self.index:
            raise _stale("key", self.key, pair, self.index)
        if self.verb == "check-session" and (not self.session or pair.session != self.session):
            held = f'is held by session "{pair.session}"' if pair.session else "is not locked"
            raise Conflict(f'key "{self.key}" {held}, not by "{self.session}"')
        return [Result(kv=_bare(pair))]


class KvWrite(Op, frozen=True, tag="kv-write"):
    """Write or delete keys.

    For `cas` and `delete-cas` the index is the modify index expected; for `lock` and `unlock` the
    session is whose lock it is.
    """

    verb: KvWriteVerb
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""

    def command(self) -> Command[bool]:
        """What does the same outside a transaction."""
        if self.verb == "lock":
            return kv.Acquire(self.key, self.value, self.session, self.flags)
        if self.verb == "unlock":
            return kv.Release(self.key, self.value, self.session, self.flags)
        if self.verb == "delete-tree":
            return kv.DeleteUnder(self.key)
        index = self.index if self.verb.endswith("cas") else None
        if self.verb.startswith("delete"):
            return kv.Delete(self.key, index)
        return kv.Set(self.key, self.value, self.flags, index)

    def check(self) -> None:
        """As the command is checked."""
        self.command().validate()

    def run(self, transaction: Transaction) -> list[Result]:
        """Write it; a condition that does not hold fails."""
        old = transaction.get(PAIRS, self.key)
        if not self.command().apply(transaction):
            raise self._refused(old)
        if self.verb.startswith("delete"):
            return []
        pair = transaction.get(PAIRS, self.key)
        return [] if pair is None else [Result(kv=_bare(pair))]

    def _refused(self, pair: Pair | None) -> Conflict:
        """Why the condition does not hold."""
        if self.verb not in {"lock", "unlock"}:
            return _stale("key", self.key, pair, self.index)
        if pair is not None and pair.session:
            return Conflict(f'key "{self.key}" is locked by session "{pair.session}"')
        why = "cannot be locked yet: its lock-delay lasts"
        return Conflict(f'key "{self.key}" {why if self.verb == "lock" else "is not locked"}')


class RowRead(Op, frozen=True, tag="row-read"):
    """Get a node, or with a service or a check id one of those on it."""

    node: str
    service: str = ""
    check_id: str = ""
    node_id: str = ""
    """The node's id, instead of its name."""

    def check(self) -> None:
        """A node is needed."""
        if not self.node and not self.node_id:
            raise Invalid("Node: must not be empty")

    def run(self, view: View) -> list[Result]:
        """Look it up."""
        name = self.node.lower()
        if self.service:
            service = view.get(SERVICES, (name, self.service))
            return [Result(service=_there(service, "service", f"{self.node}/{self.service}"))]
        if self.check_id:
            check = view.get(CHECKS, (name, self.check_id))
            return [Result(check=_there(check, "check", f"{self.node}/{self.check_id}"))]
        if self.node_id:
            found = view.select(NODES, "id", self.node_id.lower())
            node = found[0] if found else None
            return [Result(node=_there(node, "node with the id", self.node_id))]
        return [Result(node=_there(view.get(NODES, name), "node", self.node))]


class NodeWrite(Op, frozen=True, tag="node"):
    """Write or delete a node; deleting takes all that is on it along."""

    verb: RowVerb
    node: Node
    index: int = 0

    def check(self) -> None:
        """As a registration is checked."""
        deletes = self.verb.startswith("delete")
        catalog.Register(self.node, skip_node_update=deletes).validate()

    def run(self, transaction: Transaction) -> list[Result]:
        """Write it, if the condition holds."""
        name = self.node.name
        old = transaction.get(NODES, name.lower())
        _check_index(self.verb, "node", name, old, self.index)
        if self.verb.startswith("delete"):
            catalog.Deregister(name).apply(transaction)
            return []
        catalog.Register(self.node).apply(transaction)
        return [Result(node=transaction.get(NODES, name.lower()))]


class ServiceWrite(Op, frozen=True, tag="service"):
    """Write or delete an instance on a node that exists; deleting takes its checks along."""

    verb: RowVerb
    node: str
    service: Service
    index: int = 0

    @property
    def id(self) -> str:
        """The id, which is the name unless told."""
        return self.service.id or self.service.name

    def check(self) -> None:
        """It must have an id, or all of the node would be meant."""
        if not self.id:
            raise Invalid("Service.ID: must not be empty, unless Service.Service is given")
        if self.verb.startswith("delete"):
            catalog.Deregister(self.node).validate()
        else:
            node = Node(name=self.node)
            catalog.Register(node, self.service, skip_node_update=True).validate()

    def run(self, transaction: Transaction) -> list[Result]:
        """Write it, if the condition holds."""
        key = (self.node.lower(), self.id)
        old = transaction.get(SERVICES, key)
        _check_index(self.verb, "service", f"{self.node}/{self.id}", old, self.index)
        if self.verb.startswith("delete"):
            catalog.Deregister(self.node, service_id=self.id).apply(transaction)
            return []
        node = _there(transaction.get(NODES, key[0]), "node", self.node)
        catalog.Register(node, self.service, skip_node_update=True).apply(transaction)
        return [Result(service=transaction.get(SERVICES, key))]


class CheckWrite(Op, frozen=True, tag="check"):
    """Write or delete a check on a node that exists."""

    verb: RowVerb
    row: Check
    index: int = 0

    @property
    def id(self) -> str:
        """The id, which is the name unless told."""
        return self.row.id or self.row.name

    def check(self) -> None:
        """It must have an id, or all of the node would be meant."""
        if not self.id:
            raise Invalid("Check.CheckID: must not be empty, unless Check.Name is given")
        catalog.Deregister(self.row.node, check_id=self.id).validate()
        if not self.verb.startswith("delete"):
            node = Node(name=self.row.node)
            catalog.Register(node, checks=[self.row], skip_node_update=True).validate()

    def run(self, transaction: Transaction) -> list[Result]:
        """Write it, if the condition holds."""
        key = (self.row.node.lower(), self.id)
        old = transaction.get(CHECKS, key)
        _check_index(self.verb, "check", f"{self.row.node}/{self.id}", old, self.index)
        if self.verb.startswith("delete"):
            catalog.Deregister(self.row.node, check_id=self.id).apply(transaction)
            return []
        node = _there(transaction.get(NODES, key[0]), "node", self.row.node)
        catalog.Register(node, checks=[self.row], skip_node_update=True).apply(transaction)
        return [Result(check=transaction.get(CHECKS, key))]


class SessionDelete(Op, frozen=True, tag="session"):
    """End a session; one that does not exist is fine."""

    id: str

    def check(self) -> None:
        """An id is needed."""
        if not self.id:
            raise Invalid("Session.ID: must not be empty")

    def run(self, transaction: Transaction) -> list[Result]:
        """It shows nothing."""
        sessions.Destroy(self.id).apply(transaction)
        return []


Reading: TypeAlias = KvRead | RowRead
Writing: TypeAlias = KvWrite | NodeWrite | ServiceWrite | CheckWrite | SessionDelete
AnyOp: TypeAlias = Reading | Writing
READING = (KvRead, RowRead)


class Read(Query[Outcome], frozen=True, tag="txn.read"):
    """Reads that see the same moment."""

    answer = Outcome
    needs: ClassVar[int] = TRANSACTIONS
    shared: ClassVar[bool] = False
    ops: tuple[Reading, ...]

    def run(self, view: View) -> Outcome:
        """Every one in order."""
        done = _Done()
        for number, op in enumerate(self.ops):
            try:
                done.add(op.run(view))
            except TooLarge:
                raise
            except MeshError as error:
                done.failures.append(Failure(number, error.message))
        return done.outcome()


class Apply(Command[Outcome], frozen=True, tag="txn.apply"):
    """Reads and writes in order, each seeing those before it; all are done, or nothing is.

    That some fail is an outcome and no error, since all of them are told.
    """

    result = Outcome
    needs: ClassVar[int] = TRANSACTIONS
    ops: tuple[AnyOp, ...]

    def validate(self) -> None:
        """Not too many or too large, and each of them sane."""
        check_count(len(self.ops))
        for failure in problems(self.ops):
            raise Invalid(f"op {failure.op}: {failure.what}")
        if (size := len(pack(self.ops))) > OPS_MAX_BYTES:
            raise TooLarge(
                f"the transaction takes {size} bytes in the log; the limit is {OPS_MAX_BYTES}"
            )

    def apply(self, transaction: Transaction) -> Outcome:
        """Do them; when one fails, still try the others to tell of all that do."""
        done = _Done()
        for number, op in enumerate(self.ops):
            try:
                done.add(op.run(transaction))
            except TooLarge:
                raise
            except MeshError as error:
                done.failures.append(Failure(number, error.message))
        if done.failures:
            transaction.rollback()
        return done.outcome()

    def remembered(self, result: Outcome) -> Outcome:
        """Thousands of outcomes are kept, so those that show much are not kept whole."""
        if sum(map(_weight, result.results)) <= KEPT_MAX_BYTES:
            return result
        return Outcome(forgotten=True)


class _Done:
    """What the ops came to so far."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.failures: list[Failure] = []
        self._bytes = 0

    def add(self, results: list[Result]) -> None:
        """Take what one op shows. Raises TooLarge when it is too much in all."""
        self._bytes += sum(map(_weight, results))
        if self._bytes > READ_MAX_BYTES:
            raise TooLarge(
                f"the transaction reads more than {READ_MAX_BYTES} bytes; read less at a time"
            )
        self.results += results

    def outcome(self) -> Outcome:
        """The results, or the failures."""
        return Outcome(failures=self.failures) if self.failures else Outcome(self.results)


def problems(ops: Iterable[AnyOp]) -> list[Failure]:
    """Every op that no state of the tables could make right."""
    found = []
    for number, op in enumerate(ops):
        try:
            op.check()
            pack(op)
        except OverflowError:
            found.append(Failure(number, "a number in it does not fit 64 bits"))
        except Invalid as error:
            found.append(Failure(number, error.message))
    return found


def check_count(count: int) -> None:
    """Raise TooLarge when there are too many ops."""
    if count > OPS_MAX:
        raise TooLarge(f"Transaction contains too many operations ({count} > {OPS_MAX})")


def request_of(ops: Sequence[AnyOp]) -> Read | Apply:
    """The query when nothing is written, else the command."""
    reads = tuple(op for op in ops if isinstance(op, READING))
    return Read(reads) if len(reads) == len(ops) else Apply(tuple(ops))


def _weight(result: Result) -> int:
    row = result.kv or result.node or result.service or result.check
    return RESULT_BYTES + (row.weight() if row is not None else 0)


def _bare(pair: Pair) -> Pair:
    return msgspec.structs.replace(pair, value=b"") if pair.value else pair


def _there(row: R | None, what: str, name: str) -> R:
    if row is None:
        raise NotFound(f'{what} "{name}" does not exist')
    return row


def _check_index(verb: RowVerb, what: str, name: str, row: Row | None, index: int) -> None:
    """As in the catalog: unlike a key, a row that is gone cannot be deleted conditionally."""
    missing = verb == "delete-cas" and row is None
    if missing or (verb.endswith("cas") and index != (row.modify_index if row else 0)):
        raise _stale(what, name, row, index)


def _stale(what: str, name: str, row: Row | None, index: int) -> Conflict:
    """Why a condition on the modify index does not hold."""
    has = "does not exist" if row is None else f"has modify index {row.modify_index}"
    wanted = f"not {index}" if index else "and index 0 means that it must not exist"
    if row is None:
        wanted = f"so its modify index is not {index}" if index else "so there is nothing to delete"
    return Conflict(f'index is stale: {what} "{name}" {has}, {wanted}')
