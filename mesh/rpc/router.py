"""Routes: where a request is done. On a server here or at the leader; on an agent at a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import MeshError, NoLeader, NotFound, OutcomeUnknown, Unreachable
from mesh.registry.port import (
    ORDER,
    READ,
    STALE,
    WRITE,
    Answer,
    Command,
    Order,
    OrderOptions,
    Query,
    ReadOptions,
    ServerStatus,
    WriteOptions,
)
from mesh.rpc.client import Client
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader

T = TypeVar("T")

HOLD_SECONDS = 7.0
PAUSE_SECONDS = (0.02, 0.3)
STAY_SECONDS = (120.0, 180.0)
"""How long an agent asks the same server."""


class Consensus(Protocol):
    """What routing needs to know of Raft."""

    @property
    def is_leader(self) -> bool:
        """Whether this server leads."""
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

    def leased(self) -> bool:
        """Whether this server leads and surely nobody else does at this moment."""
        ...

    async def barrier(self) -> None:
        """Return when everything acknowledged before the call is applied here."""
        ...

    async def propose(self, entry: bytes) -> object:
        """Commit a log entry; its result, or the MeshError it was refused with."""
        ...


class Operator(Protocol):
    """Who carries out orders on a server."""

    async def operate(self, order: Order[T]) -> T:
        """Carry it out. Raises a MeshError; NoLeader, Busy or Unreachable if nothing was done."""
        ...


class Options(msgspec.Struct, frozen=True):
    """How long a request waits for a leader."""

    datacenter: str
    origin: str = ""
    hold_seconds: float = HOLD_SECONDS


class Forwarded:
    """Does here what only the leader may do; refuses with NoLeader when this is not the leader.

    `operator` is given once it is built, since it reads through this itself.
    """

    operator: Operator

    def __init__(self, consensus: Consensus, reader: LocalReader, gate: Gate) -> None:
        self._consensus, self._reader, self._gate = consensus, reader, gate

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
        result = await self._consensus.propose(self._gate.admit(command, options))
        if isinstance(result, MeshError):
            raise result
        return result  # type: ignore[return-value]  # The machine returns what apply returned.

    async def operate(self, order: Order[T], options: OrderOptions) -> T:
        """Carry out an order, as the leader unless it says that any server may."""
        if options.where == "leader" and not self._consensus.is_leader:
            raise NoLeader("No cluster leader")
        self._gate.pass_order(order, options)
        return await self.operator.operate(order)


class _Patience:
    """Repeats a step while its error says that a retry helps, up to the hold time.

    The hold time counts from the first failure, so that a step that failed late is repeated too.
    Within the wait of a blocking read it counts anew after each step that lasted longer.
    """

    def __init__(self, options: Options, world: tuple[Clock, Dice], wait: float = 0.0) -> None:
        self._clock, self._dice = world
        self._hold = options.hold_seconds
        self._step_began = self._clock.monotonic()
        self._wait_until = self._step_began + wait
        self._until = 0.0
        self._unknown = False

    async def rest(self, error: MeshError) -> None:
        """Wait a moment; raises the error when it is final or time is out."""
        self._unknown = self._unknown or isinstance(error, OutcomeUnknown)
        if not error.retry:
            raise error
        now = self._clock.monotonic()
        worked = self._step_began + self._hold < now < self._wait_until
        if not self._until or worked:
            self._until = now + self._hold
        if now >= self._until:
            raise self.last(error)
        await self._clock.sleep(self._dice.uniform(*PAUSE_SECONDS))
        self._step_began = self._clock.monotonic()

    def last(self, error: MeshError) -> MeshError:
        """What to report when this error ends it: nothing was done now, but before, perhaps."""
        if self._unknown and error.retry and not isinstance(error, OutcomeUnknown):
            unknown = OutcomeUnknown("the write was sent, and its outcome is not known")
            unknown.__cause__ = error
            return unknown
        return error

    def remaining(self, options: ReadOptions) -> ReadOptions:
        """The options for a repeated read: it waits no longer in all than was asked."""
        if not self._until or not options.index:
            return options
        return msgspec.structs.replace(
            options, wait=max(0.0, self._wait_until - self._clock.monotonic())
        )


class ServerRouter:
    """The Registry port on a server: stale reads here, all else wherever the leader is."""

    def __init__(
        self,
        options: Options,
        consensus: Consensus,
        local: tuple[LocalReader, Forwarded],
        client: Client,
        world: tuple[Clock, Dice],
    ) -> None:
        self._options, self._consensus, self._client = options, consensus, client
        self._reader, self._as_leader = local
        self._world, self._dice = world, world[1]

    def _check_datacenter(self, datacenter: str) -> None:
        if datacenter and datacenter != self._options.datacenter:
            raise NotFound(f'No path to datacenter "{datacenter}"')

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """See Registry.read."""
        self._check_datacenter(options.datacenter)
        if options.consistency == "stale":
            contact = self._consensus.last_contact
            if options.max_stale is None or contact <= options.max_stale:
                return self._stale(await self._reader.read(query, options))
        patience = _Patience(self._options, self._world, options.wait)
        while True:
            try:
                return await self._read_once(query, patience.remaining(options))
            except MeshError as error:
                await patience.rest(error)

    def _stale(self, answer: Answer[T]) -> Answer[T]:
        return msgspec.structs.replace(
            answer,
            known_leader=bool(self._consensus.leader_address),
            last_contact=self._consensus.last_contact,
        )

    async def _read_once(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        if self._consensus.is_leader:
            return await self._as_leader.read(query, options)
        return await self._client.read(self._leader(), query, options, forwarded=True)

    def _leader(self) -> str:
        address = self._consensus.leader_address
        if not address:
            raise NoLeader("No cluster leader")
        return address

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        """See Registry.write. Retries under one request id, so the command is applied once."""
        self._check_datacenter(options.datacenter)
        command.validate()
        options = msgspec.structs.replace(
            options,
            request=options.request or self._dice.uuid(),
            origin=options.origin or self._options.origin,
        )
        patience = _Patience(self._options, self._world)
        while True:
            try:
                if self._consensus.is_leader:
                    return await self._as_leader.write(command, options)
                return await self._client.write(self._leader(), command, options, forwarded=True)
            except MeshError as error:
                await patience.rest(error)

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        """See Registry.watch."""
        async for answer in follow(self.read, query, options):
            yield answer

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        """See Registry.operate. An order that may have been carried out is not given again."""
        self._check_datacenter(options.datacenter)
        order.validate()
        origin = options.origin or self._options.origin
        options = msgspec.structs.replace(options, origin=origin)
        if options.where == "here":
            return await self._as_leader.operate(order, options)
        patience = _Patience(self._options, self._world)
        while True:
            try:
                if self._consensus.is_leader:
                    return await self._as_leader.operate(order, options)
                return await self._client.operate(self._leader(), order, options, forwarded=True)
            except OutcomeUnknown:
                raise
            except MeshError as error:
                await patience.rest(error)

    async def status(self, datacenter: str = "") -> ServerStatus:
        """See Registry.status."""
        self._check_datacenter(datacenter)
        return ServerStatus(self._consensus.leader_address, list(self._consensus.peer_addresses))


class AgentRouter:
    """The Registry port on a client agent: asks one server, moves to another when it is gone."""

    def __init__(
        self,
        options: Options,
        servers: Callable[[], Sequence[str]],
        client: Client,
        world: tuple[Clock, Dice],
    ) -> None:
        self._options, self._servers, self._client = options, servers, client
        self._world, self._dice = world, world[1]
        self._current, self._stay_until = "", 0.0

    def _server(self) -> str:
        known = self._servers()
        if not known:
            raise Unreachable(
                "No known servers: this agent has not met a live server of its datacenter yet"
            )
        now = self._world[0].monotonic()
        # Chosen anew now and then, or every agent would stay with those that did not restart.
        if self._current not in known or now >= self._stay_until:
            self._current = self._dice.choice(known)
            self._stay_until = now + self._dice.uniform(*STAY_SECONDS)
        return self._current

    def _move_on(self, address: str) -> None:
        """Ask another server from now on. Others' requests on the connection are left alone."""
        if self._current == address:
            others = [server for server in self._servers() if server != address]
            self._current = self._dice.choice(others) if others else ""

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """See Registry.read."""
        patience = _Patience(self._options, self._world, options.wait)
        while True:
            address = ""
            try:
                address = self._server()
                return await self._client.read(address, query, patience.remaining(options))
            except Unreachable as error:
                self._move_on(address)
                await patience.rest(error)

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        """See Registry.write."""
        options = msgspec.structs.replace(
            options,
            request=options.request or self._dice.uuid(),
            origin=options.origin or self._options.origin,
        )
        patience = _Patience(self._options, self._world)
        while True:
            address = ""
            try:
                address = self._server()
                return await self._client.write(address, command, options)
            except (Unreachable, OutcomeUnknown) as error:
                self._move_on(address)
                await patience.rest(error)
            except MeshError as error:
                raise patience.last(error) from error.__cause__

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        """See Registry.watch. Ends only when the query itself is refused."""
        clock = self._world[0]
        while True:
            address = ""
            try:
                address = self._server()
                async with aclosing(self._client.watch(address, query, options)) as answers:
                    async for answer in answers:
                        # Whoever is asked next goes on after this one.
                        options = msgspec.structs.replace(options, index=answer.index)
                        yield answer
            except MeshError as error:
                if not error.retry:
                    raise
                self._move_on(address)
                await clock.sleep(self._dice.uniform(*PAUSE_SECONDS))

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        """See Registry.operate. An order that may have been carried out is not given again."""
        origin = options.origin or self._options.origin
        options = msgspec.structs.replace(options, origin=origin)
        patience = _Patience(self._options, self._world)
        while True:
            address = ""
            try:
                address = self._server()
                return await self._client.operate(address, order, options)
            except Unreachable as error:
                self._move_on(address)
                await patience.rest(error)

    async def status(self, datacenter: str = "") -> ServerStatus:
        """See Registry.status."""
        if datacenter and datacenter != self._options.datacenter:
            raise NotFound(f'No path to datacenter "{datacenter}"')
        patience = _Patience(self._options, self._world)
        while True:
            address = ""
            try:
                address = self._server()
                return await self._client.status(address)
            except Unreachable as error:
                self._move_on(address)
                await patience.rest(error)


class _Read(Protocol):
    async def __call__(self, query: Query[T], options: ReadOptions) -> Answer[T]: ...


async def follow(read: _Read, query: Query[T], options: ReadOptions) -> AsyncIterator[Answer[T]]:
    """Turn blocking reads into a stream of answers, each with a newer index than the last."""
    index = options.index
    while True:
        answer = await read(query, msgspec.structs.replace(options, index=index))
        if answer.index != index:
            yield answer
        index = answer.index
