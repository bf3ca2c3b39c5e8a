"""Routes: where a request is done. On a server here or at the leader; on an agent at a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import (
    Conflict,
    MeshError,
    NoLeader,
    OutcomeUnknown,
    Outdated,
    Unreachable,
)
from mesh.registry.levels import LOWEST
from mesh.registry.orders import AppliedIndex
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
    Writer,
)
from mesh.rpc.abroad import Abroad, no_path
from mesh.rpc.client import Client
from mesh.rpc.forwarded import Consensus, Forwarded
from mesh.rpc.local import LocalReader
from mesh.rpc.patience import HOLD_SECONDS, PAUSE_SECONDS, Patience, bounded
from mesh.rpc.sending import Sending, first

T = TypeVar("T")

ABROAD_SECONDS = 60.0
"""How long an index in the log of another datacenter is good to go by: any older one is right, but
what is older than all that is remembered there costs a second try."""
STAY_SECONDS = (120.0, 180.0)
"""How long an agent asks the same server."""


class Options(msgspec.Struct, frozen=True):
    """How long a request waits for a leader, and what servers know."""

    datacenter: str
    origin: str = ""
    hold_seconds: float = HOLD_SECONDS
    speak: Callable[[int], bool] = lambda _: True
    """Whether all servers speak a level."""


class ServerRouter:
    """The Registry port on a server: stale reads here, all else wherever the leader is.

    What is for another datacenter goes abroad, where there is a way there.
    """

    def __init__(
        self,
        options: Options,
        consensus: Consensus,
        local: tuple[LocalReader, Forwarded],
        client: Client,
        world: tuple[Clock, Dice],
        abroad: Abroad | None = None,
    ) -> None:
        self._options, self._consensus, self._client = options, consensus, client
        self._reader, self.leading = local
        self._world, self._abroad = world, abroad

    def _elsewhere(self, datacenter: str) -> Abroad | None:
        """The way to this datacenter; None when it is our own. Raises NoPath."""
        if datacenter in {"", self._options.datacenter}:
            return None
        if self._abroad is None:
            raise no_path(datacenter)
        return self._abroad

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """See Registry.read."""
        if (abroad := self._elsewhere(options.datacenter)) is not None:
            asked = abroad.read(query, options)
        else:
            asked = self._read_here(query, options)
        return await (bounded(asked, options.seconds_max) if options.seconds_max else asked)

    async def _read_here(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        if options.consistency == "stale":
            contact = self._consensus.last_contact
            if options.max_stale is None or contact <= options.max_stale:
                return self._stale(await self._reader.read(query, options))
        known(query, self._options.speak)
        patience = Patience(self._options.hold_seconds, self._world, options.wait)
        while True:
            try:
                return await self._read_once(query, patience.remaining(options))
            except MeshError as error:
                await patience.rest(error)

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        """See Registry.at_once: under the lease of this leader, or stale from the tables here."""
        datacenter = options.datacenter
        if options.index or (datacenter and datacenter != self._options.datacenter):
            return None
        if options.consistency == "default":
            return self.leading.at_once(query)
        if options.consistency == "consistent":
            return None
        contact = self._consensus.last_contact
        if options.max_stale is not None and contact > options.max_stale:
            return None
        answer = self._reader.at_once(query)
        # The leader itself has a contact of 0, and there is nothing to say of it.
        return self._stale(answer) if answer is not None and contact else answer

    def asking(self, query: Query[T], options: ReadOptions) -> Callable[[], Answer[T] | None]:
        """See Registry.asking."""
        here = options.datacenter in {"", self._options.datacenter} and not options.index
        if here and options.consistency == "default" and query.shared:
            return self.leading.asking(query)
        return partial(self.at_once, query, options)

    def mind(
        self,
        query: Query[Any],
        options: ReadOptions,  # noqa: ARG002
        changed: Callable[[], None],
    ) -> Callable[[], None]:
        """See Registry.mind."""
        return self._reader.mind(query, changed)

    def _stale(self, answer: Answer[T]) -> Answer[T]:
        return msgspec.structs.replace(
            answer,
            known_leader=self._consensus.knows_leader,
            last_contact=self._consensus.last_contact,
        )

    async def _read_once(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        if self._consensus.is_leader:
            return await self.leading.read(query, options)
        return await self._client.read(self._leader(), query, options, forwarded=True)

    def _leader(self) -> str:
        address = self._consensus.leader_address
        if not address:
            raise NoLeader("No cluster leader")
        return address

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        """See Registry.write. Retries under one request id, so the command is applied once."""
        abroad = self._elsewhere(options.datacenter)
        if abroad is not None or not self._consensus.is_leader:
            command.validate()  # The leader's gate does it here.
        if abroad is not None:
            return await abroad.write(command, options)
        known(command, self._options.speak)
        return await self._send(
            command, self._sending(options, self._first(options, self._newest()))
        )

    def begin(self, command: Command[T], options: WriteOptions, writer: Writer[T]) -> bool:
        """See Registry.begin: by the leader itself, when it is for this datacenter."""
        datacenter = options.datacenter
        if datacenter and datacenter != self._options.datacenter:
            return False
        try:
            known(command, self._options.speak)
            sent = self._first(options, self.leading.changed_index)
            return self.leading.begin(command, sent, _Begun(self, command, options, sent, writer))
        except MeshError:
            return False  # Nothing was done, and `write` says why.

    def _first(self, options: WriteOptions, newest: int) -> WriteOptions:
        return first(options, self._options.origin, self._world[1], newest)

    def _sending(self, asked: WriteOptions, sent: WriteOptions) -> Sending:
        patience = Patience(self._options.hold_seconds, self._world)
        return Sending(asked, sent, patience, self._newest)

    async def go_on(
        self, command: Command[T], asked: WriteOptions, sent: WriteOptions, error: MeshError
    ) -> T:
        """What follows when a write that was begun failed so."""
        sending = self._sending(asked, sent)
        await sending.failed(error)
        return await self._send(command, sending)

    async def _send(self, command: Command[T], sending: Sending) -> T:
        while True:
            try:
                if self._consensus.is_leader:
                    return await self.leading.write(command, sending.options)
                return await self._client.write(
                    self._leader(), command, sending.options, forwarded=True
                )
            except MeshError as error:
                await sending.failed(error)

    def _newest(self) -> int:
        return max(self.leading.applied_index, self._client.applied_index)

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        """See Registry.watch."""
        async for answer in follow(self.read, query, options):
            yield answer

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        """See Registry.operate. An order that may have been carried out is not given again."""
        order.validate()
        origin = options.origin or self._options.origin
        options = msgspec.structs.replace(options, origin=origin)
        if (abroad := self._elsewhere(options.datacenter)) is not None:
            return await abroad.operate(order, options)
        if options.where == "here":
            return await self.leading.operate(order, options)
        known(order, self._options.speak)
        patience = Patience(self._options.hold_seconds, self._world)
        while True:
            try:
                if self._consensus.is_leader:
                    return await self.leading.operate(order, options)
                return await self._client.operate(self._leader(), order, options, forwarded=True)
            except OutcomeUnknown:
                raise
            except MeshError as error:
                await patience.rest(error)

    async def status(self, datacenter: str = "") -> ServerStatus:
        """See Registry.status."""
        if (abroad := self._elsewhere(datacenter)) is not None:
            return await abroad.status(datacenter)
        return ServerStatus(self._consensus.leader_address, list(self._consensus.peer_addresses))


class _Begun(Generic[T]):
    """A write that this leader put into the log. Is told how that ended, and tells the writer."""

    __slots__ = ("_asked", "_began", "_command", "_router", "_sent", "_writer")

    def __init__(
        self,
        router: ServerRouter,
        command: Command[T],
        asked: WriteOptions,
        sent: WriteOptions,
        writer: Writer[T],
    ) -> None:
        self._router, self._command, self._writer = router, command, writer
        self._asked, self._sent = asked, sent
        self._began = router.leading.now()

    def __call__(self, _: int, result: Any, error: MeshError | None) -> None:
        if error is None:
            self._router.leading.ended(self._command, self._began)
            if not isinstance(result, MeshError):
                self._writer.written(result)
                return
            error = result
        self._writer.unsettled(self._router.go_on(self._command, self._asked, self._sent, error))


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
        self._abroad: dict[str, tuple[int, float]] = {}

    def _check(self, asked: Query[T] | Command[T] | Order[T]) -> None:
        """Before each try: what servers there are may be known only by then, or be others."""
        if self._servers():
            known(asked, self._options.speak)

    def _server(self) -> str:
        servers = self._servers()
        if not servers:
            raise Unreachable(
                "No known servers: this agent has not met a live server of its datacenter yet"
            )
        now = self._world[0].monotonic()
        # Chosen anew now and then, or every agent would stay with those that did not restart.
        if self._current not in servers or now >= self._stay_until:
            self._current = self._dice.choice(servers)
            self._stay_until = now + self._dice.uniform(*STAY_SECONDS)
        return self._current

    def _move_on(self, address: str) -> None:
        """Ask another server from now on. Others' requests on the connection are left alone."""
        if self._current == address:
            others = [server for server in self._servers() if server != address]
            self._current = self._dice.choice(others) if others else ""

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        """See Registry.read."""
        asked = self._read(query, options)
        return await (bounded(asked, options.seconds_max) if options.seconds_max else asked)

    async def _read(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        patience = Patience(self._options.hold_seconds, self._world, options.wait)
        while True:
            self._check(query)
            try:
                return await self.read_once(query, patience.remaining(options))
            except Unreachable as error:
                await patience.rest(error)

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:  # noqa: ARG002
        """See Registry.at_once: an agent has no tables."""
        return None

    def asking(self, query: Query[T], options: ReadOptions) -> Callable[[], Answer[T] | None]:
        """See Registry.asking."""
        return partial(self.at_once, query, options)

    def mind(
        self,
        query: Query[Any],  # noqa: ARG002
        options: ReadOptions,  # noqa: ARG002
        changed: Callable[[], None],  # noqa: ARG002
    ) -> Callable[[], None]:
        """See Registry.mind: nothing is ever said at once."""
        return lambda: None

    async def read_once(self, query: Query[T], options: ReadOptions) -> Answer[T]:
        """Ask one server once. Raises Unreachable when there is none; the next call asks another.

        Raises what the server raised.
        """
        address = self._server()
        try:
            return await self._client.read(address, query, options)
        except Unreachable:
            self._move_on(address)
            raise

    @property
    def knows_servers(self) -> bool:
        """Whether gossip knows a live server to ask."""
        return bool(self._servers())

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        """See Registry.write."""
        newest, patience = (
            await self._newest(options),
            Patience(self._options.hold_seconds, self._world),
        )
        sent = first(options, self._options.origin, self._dice, newest())
        sending = Sending(options, sent, patience, newest)
        while True:
            address = ""
            try:
                self._check(command)
                address = self._server()
                return await self._client.write(address, command, sending.options)
            except Outdated as error:
                await sending.failed(error)
            except (Unreachable, OutcomeUnknown) as error:
                self._move_on(address)
                await sending.failed(error)
            except MeshError as error:
                raise sending.last(error) from error

    async def _newest(self, options: WriteOptions) -> Callable[[], int]:
        """What tells a log index that is applied, in the log that the write is for."""
        datacenter = options.datacenter
        if options.since is not None or datacenter in {"", self._options.datacenter}:
            return lambda: self._client.applied_index
        now = self._world[0].monotonic()
        index, until = self._abroad.get(datacenter, (0, now))
        if now >= until:
            asked = OrderOptions("here", datacenter)
            index = await self.operate(AppliedIndex(), asked)
            self._abroad[datacenter] = index, now + ABROAD_SECONDS
        return lambda: index

    def begin(
        self,
        command: Command[T],  # noqa: ARG002
        options: WriteOptions,  # noqa: ARG002
        writer: Writer[T],  # noqa: ARG002
    ) -> bool:
        """See Registry.begin: an agent has to ask a server."""
        return False

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        """See Registry.watch. Ends only when the query itself is refused."""
        clock = self._world[0]
        while True:
            address = ""
            try:
                self._check(query)
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
        patience = Patience(self._options.hold_seconds, self._world)
        while True:
            address = ""
            try:
                self._check(order)
                address = self._server()
                return await self._client.operate(address, order, options)
            except Unreachable as error:
                self._move_on(address)
                await patience.rest(error)

    async def status(self, datacenter: str = "") -> ServerStatus:
        """See Registry.status."""
        patience = Patience(self._options.hold_seconds, self._world)
        while True:
            address = ""
            try:
                address = self._server()
                return await self._client.status(address, datacenter)
            except Unreachable as error:
                self._move_on(address)
                await patience.rest(error)


def known(asked: Query[T] | Command[T] | Order[T], speak: Callable[[int], bool]) -> None:
    """Raise Conflict when some server would not know what is asked, and drop the connection."""
    if asked.needs > LOWEST and not speak(asked.needs):
        raise Conflict(f"this needs feature level {asked.needs}: upgrade every server first")


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
