"""A registry in memory: the real tables, commands, queries and live answers, without a cluster."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from mesh.clock import Clock, SystemClock
from mesh.codec import pack
from mesh.errors import MeshError
from mesh.registry import orders, sessions
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
from mesh.registry.requests import TABLES
from mesh.rpc.local import LocalReader
from mesh.store.database import Database
from mesh.store.ledger import Ended
from mesh.store.live import Answers
from mesh.store.table import Bucket

T = TypeVar("T")


async def _raise(error: MeshError) -> None:
    raise error


class MemoryRegistry:
    """The Registry port over one database. Set `error` to have every call raise it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self.error: BaseException | None = None
        self.known_leader = True
        self.last_contact = 0.0
        self.reads: list[tuple[object, ReadOptions]] = []
        self.writes: list[tuple[object, WriteOptions]] = []
        self.orders: list[tuple[object, OrderOptions]] = []
        self.outcomes: dict[type, object] = {orders.Datacenters: ["dc1"]}
        """What an order of each type comes to: its outcome, what makes it, or an error to raise."""
        self.reader = LocalReader(self.answers)

    @property
    def blocked(self) -> int:
        return self.reader.waiting

    async def read(self, query: Query[T], options: ReadOptions = READ) -> Answer[T]:
        if self.error is not None:
            raise self.error
        self.reads.append((query, options))
        answer = await self.reader.read(query, options)
        return Answer(answer.value, answer.index, self.known_leader, self.last_contact)

    def at_once(self, query: Query[T], options: ReadOptions) -> Answer[T] | None:
        answer = None if options.index or self.error else self.reader.at_once(query)
        if answer is None:
            return None
        return Answer(answer.value, answer.index, self.known_leader, self.last_contact)

    def asking(self, query: Query[T], options: ReadOptions) -> Callable[[], Answer[T] | None]:
        return lambda: self.at_once(query, options)

    def mind(
        self, query: Query[Any], _options: ReadOptions, changed: Callable[[], None]
    ) -> Callable[[], None]:
        return self.reader.mind(query, changed)

    def _answer(self, query: Query[T]) -> Answer[T]:
        live = self.answers.read(query)
        return Answer(live.value, live.index, self.known_leader, self.last_contact)

    async def write(self, command: Command[T], options: WriteOptions = WRITE) -> T:
        if self.error is not None:
            raise self.error
        self.writes.append((command, options))
        result = self.apply(command)
        ended = Ended(pack(result), index=self.database.index)
        changed: set[Bucket] = set()
        self.database.ledger.remember(options.request, ended, changed)
        self.answers.committed(changed)
        return result

    def begin(self, command: Command[T], options: WriteOptions, writer: Writer[T]) -> bool:
        if self.error is not None:
            return False
        task = asyncio.ensure_future(self.write(command, options))

        def told(task: asyncio.Future[T]) -> None:
            if isinstance(error := task.exception(), MeshError):
                writer.unsettled(_raise(error))
            else:
                writer.written(task.result())

        task.add_done_callback(told)
        return True

    def apply(self, command: Command[T]) -> T:
        command.validate()
        transaction = self.database.begin(self.database.index + 1, self.clock.wall())
        try:
            result = command.apply(transaction)
        except MeshError:
            transaction.rollback()
            raise
        self.answers.committed(transaction.commit())
        return result

    async def watch(
        self, query: Query[T], options: ReadOptions = STALE
    ) -> AsyncIterator[Answer[T]]:
        woken = asyncio.Event()
        end = self.answers.listen(query, woken.set)
        index = 0
        try:
            while True:
                answer = self._answer(query)
                if answer.index > index:
                    index = answer.index
                    yield answer
                await woken.wait()
                woken.clear()
        finally:
            end()

    async def operate(self, order: Order[T], options: OrderOptions = ORDER) -> T:
        if self.error is not None:
            raise self.error
        order.validate()
        self.orders.append((order, options))
        if isinstance(order, sessions.Renew):
            return sessions.Info(order.id).run(self.database.view())  # type: ignore[return-value]
        outcome = self.outcomes[type(order)]
        if isinstance(outcome, MeshError):
            raise outcome
        if callable(outcome):
            outcome = outcome(order)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        return outcome  # type: ignore[return-value]  # The test gave it.

    async def status(self, datacenter: str = "") -> ServerStatus:
        if self.error is not None:
            raise self.error
        return ServerStatus("127.0.0.1:8300", ["127.0.0.1:8300"])
