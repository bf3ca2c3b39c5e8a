"""Snapshots on demand: taken on the server that is asked, handed over in portions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec

from mesh import __version__
from mesh.clock import Clock, Dice
from mesh.errors import Busy, NotFound, Unreachable
from mesh.registry import snapshots
from mesh.registry.port import HERE, Order
from mesh.rpc.client import Client
from mesh.rpc.forwarded import Consensus
from mesh.server.machine import Machine
from mesh.server.spool import Spool
from mesh.store.archive import Meta
from mesh.store.export import Export

T = TypeVar("T")

OPEN_MAX = 4
"""Snapshots at once: each is a file on the disk."""
IDLE_SECONDS = 60.0
"""Nobody has read one for so long: it is given up."""
SWEEP_SECONDS = 5.0
WAIT_SECONDS = 10.0


class Place(msgspec.Struct, frozen=True):
    """Where snapshots are taken."""

    node_id: str
    name: str
    datacenter: str
    folder: str


class Term(Protocol):
    """What is asked of the log beside what routing needs."""

    @property
    def cluster_id(self) -> str:
        """Which cluster this is."""
        ...

    @property
    def term(self) -> int:
        """The present term."""
        ...


class Snapshots:
    """Carries out orders about snapshots. `find` gives the address of a server, by its node id."""

    def __init__(
        self,
        place: Place,
        machine: Machine,
        log: tuple[Consensus, Term],
        reach: tuple[Client, Callable[[str], str]],
        world: tuple[Clock, Dice],
    ) -> None:
        self.place, self._machine = place, machine
        self._consensus, self._term = log
        self._client, self._find = reach
        self._clock, self._dice = world
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._open: dict[str, tuple[Spool, float]] = {}
        self.stopped = False
        self.orders: dict[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            snapshots.Open: self._take,
            snapshots.Read: self._read,
            snapshots.Close: self._close,
        }

    async def run(self) -> None:
        """Give up what nobody reads; never ends."""
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            now = self._clock.monotonic()
            for number, (spool, used) in list(self._open.items()):
                if now - used > IDLE_SECONDS:
                    del self._open[number]
                    spool.close()

    async def stop(self) -> None:
        """Give everything up."""
        self.stopped = True
        for spool, _ in self._open.values():
            spool.close()
        self._open.clear()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Do this in the thread that writes snapshots, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def begin(self) -> tuple[Export, Meta]:
        """Copy the rows now, and say what a snapshot of them will say of itself."""
        export, now = self._machine.export(), self._clock.wall()
        meta = Meta(
            id=f"{self._term.term}-{export.index}-{int(now * 1000)}",
            index=export.index,
            term=self._term.term,
            level=export.level,
            time=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            datacenter=self.place.datacenter,
            cluster=self._term.cluster_id,
            server=self.place.name,
            status="leader" if self._consensus.is_leader else "follower",
            mesh=__version__,
        )
        return export, meta

    async def _take(self, order: snapshots.Open) -> snapshots.Opened:
        if self._consensus.is_leader and not order.stale:
            await self._consensus.barrier()
        # Checked where nothing waits between this and the entry below.
        if len(self._open) >= OPEN_MAX:
            raise Busy(f"{OPEN_MAX} snapshots are being read from this server already")
        known, contact = bool(self._consensus.leader_address), self._consensus.last_contact
        spool = Spool(self.place.folder)
        export, meta = self.begin()
        spool.write(export, meta, self._threads)
        number = self._dice.uuid()
        self._open[number] = spool, self._clock.monotonic()
        return snapshots.Opened(number, self.place.node_id, max(1, export.index), known, contact)

    async def _read(self, order: snapshots.Read) -> snapshots.Portion:
        if order.server != self.place.node_id:
            return await self._elsewhere(order, order.server)
        spool = self._found(order.id)
        most = snapshots.PORTION_BYTES_MAX
        data, end = await spool.read(order.offset, most, WAIT_SECONDS)
        return snapshots.Portion(data, end)

    async def _close(self, order: snapshots.Close) -> bool:
        if order.server != self.place.node_id:
            return await self._elsewhere(order, order.server)
        spool, _ = self._open.pop(order.id, (None, 0.0))
        if spool is not None:
            spool.close()
        return spool is not None

    def _found(self, number: str) -> Spool:
        if number not in self._open:
            raise NotFound("the snapshot is not there any more; take it again")
        spool, _ = self._open[number]
        self._open[number] = spool, self._clock.monotonic()
        return spool

    async def _elsewhere(self, order: Order[T], server: str) -> T:
        address = self._find(server)
        if not address:
            raise NotFound("the server that took the snapshot is gone; take it again")
        try:
            return await self._client.operate(address, order, HERE)
        except Unreachable as error:
            raise NotFound(f"the server that took the snapshot is gone: {error.message}") from error
