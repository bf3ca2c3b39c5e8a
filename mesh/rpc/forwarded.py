"""Forwarded requests: what only the leader may do, done here when this server leads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from mesh.clock import Dice
from mesh.errors import MeshError, NoLeader, OutcomeUnknown
from mesh.registry.port import (
    Answer,
    Command,
    Order,
    OrderOptions,
    Query,
    ReadOptions,
    WriteOptions,
)
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader
from mesh.telemetry.timers import Timers

T = TypeVar("T")
Told: TypeAlias = Callable[[int, object, MeshError | None], None]
"""Is told a log index and a result, or else an error."""


class Consensus(Protocol):
    """What routing needs to know of Raft."""

    @property
    def is_leader(self) -> bool:
        """Whether this server leads."""
        ...

    @property
    def knows_leader(self) -> bool:
        """Whether somebody is known to lead."""
        ...

    @property
    def leader_address(self) -> str:
        """`ip:port` of the leader's server port; empty when there is none."""
        ...

    @property
    def peer_addresses(self) -> Sequence[str]:
        """`ip:port` of every voter."""
        ...

    @property
    def last_contact(self) -> float:
        """Seconds since the leader was heard; 0 on the leader, infinite if never."""
        ...

    @property
    def applied_index(self) -> int:
        """Highest log index applied here."""
        ...

    def leased(self) -> bool:
        """Whether this server leads and surely nobody else does at this moment."""
        ...

    async def barrier(self) -> None:
        """Return when everything acknowledged before the call is applied here."""
        ...

    async def propose(self, entry: bytes) -> object:
        """Commit a log entry; its result, or the MeshError it was refused with."""
        ...

    def begin(self, entry: bytes, tell: Told) -> bool:
        """As `propose`; `tell` is called once, later. False when this server does not lead."""
        ...


class Operator(Protocol):
    """Who carries out orders on a server."""

    async def operate(self, order: Order[T]) -> T:
        """Carry it out. Raises a MeshError; NoLeader, Busy or Unreachable if nothing was done."""
        ...


class Forwarded:
    """Does here what only the leader may do; refuses with NoLeader when this is not the leader.

    `operator` is given once it is built, since it reads through this itself. `timers` are told how
    long writes took from here to their commit, by what they write.
    """

    operator: Operator

    def __init__(
        self,
        consensus: Consensus,
        reader: LocalReader,
        gate: Gate,
        dice: Dice,
        timers: Timers | None = None,
    ) -> None:
        self._timers = timers
        self._consensus, self._reader, self._gate, self._dice = consensus, reader, gate, dice

    @property
    def applied_index(self) -> int:
        """Highest log index applied here; 0 until one of them is of a write.

        Raft's own entries come before the one that says the level, below which no copy is applied.
        """
        return 0 if self._gate.fresh else self._consensus.applied_index

    @property
    def changed_index(self) -> int:
        """Highest log index applied here that is of a write."""
        return self._gate.index

    def at_once(self, query: Query[T]) -> Answer[T] | None:
        """What `read` by default would answer, if this leads under a lease."""
        return self._reader.at_once(query) if self._consensus.leased() else None

    def asking(self, query: Query[T]) -> Callable[[], Answer[T] | None]:
        """What calls `at_once` with this query, which is shared."""
        leased, ask = self._consensus.leased, self._reader.asking(query)

        def ask_under_lease() -> Answer[T] | None:
            return ask() if leased() else None

        return ask_under_lease

    async def read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Read as the leader, linearizably: under a lease, or once a majority confirmed it.

        `consistent` always has a majority confirm it; so does `default` while there is no lease.
        """
        if options.consistency == "consistent" or not self._consensus.leased():
            await self._consensus.barrier()
            if not options.index:
                return await self._reader.read(query, options)
        answer = await self._reader.read(query, options)
        if self._consensus.leased():
            return answer
        # The wait has outlasted the lease under which it began.
        await self._consensus.barrier()
        return await self._reader.read(query, msgspec.structs.replace(options, index=0))

    async def write(self, command: Command[T], options: WriteOptions) -> T:
        """Commit as the leader."""
        if not self._consensus.is_leader:
            raise NoLeader("No cluster leader")
        if self._gate.fresh:
            await self._found()
        if options.since is None:
            options = msgspec.structs.replace(options, since=self.applied_index)
        began = self.now()
        result = await self._consensus.propose(self._gate.admit(command, options))
        self.ended(command, began)
        if isinstance(result, MeshError):
            raise result
        return result  # type: ignore[return-value]  # The machine returns what apply returned.

    def begin(self, command: Command[Any], options: WriteOptions, tell: Told) -> bool:
        """As `write`; `tell` is called once, later. False when there is more to do first.

        Raises what the gate does; then nothing was done.
        """
        if self._gate.fresh or options.since is None:
            return False
        return self._consensus.begin(self._gate.admit(command, options), tell)

    def now(self) -> float:
        """When a write begins."""
        return self._timers.now() if self._timers is not None else 0.0

    def ended(self, command: Command[Any], began: float) -> None:
        """A write that began then is committed."""
        if self._timers is not None:
            self._timers.ended(_written(type(command)), began)

    async def _found(self) -> None:
        """Say first of all in a new log at which level the cluster begins."""
        await self._consensus.barrier()
        if self._gate.fresh and (first := self._gate.founding()):
            since = self.applied_index
            options = WriteOptions(request=self._dice.uuid(), origin="leader", since=since)
            try:
                await self._consensus.propose(self._gate.admit(first, options))
            except OutcomeUnknown as error:
                raise NoLeader("No cluster leader") from error  # The write itself was not sent.

    async def operate(self, order: Order[T], options: OrderOptions) -> T:
        """Carry out an order, as the leader unless it says that any server may."""
        if options.where == "leader" and not self._consensus.is_leader:
            raise NoLeader("No cluster leader")
        self._gate.pass_order(order, options)
        return await self.operator.operate(order)


@cache
def _written(kind: type[Command[Any]]) -> str:
    """What commands of a kind write: the noun of their tag, and with the catalog its verb."""
    tag = str(kind.__struct_config__.tag)
    return tag if tag.startswith("catalog.") else tag.partition(".")[0]
