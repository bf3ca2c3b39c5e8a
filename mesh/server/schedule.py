"""The schedule: the leader's own snapshots, each restored into a scratch store before it counts."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from mesh.clock import Clock
from mesh.errors import Internal, MeshError, explained
from mesh.program import command
from mesh.registry.port import HERE, Order
from mesh.registry.snapshots import Kept, OwnSchedule, Schedules
from mesh.registry.snapshots import Schedule as Told
from mesh.rpc.client import Client
from mesh.rpc.forwarded import Consensus
from mesh.server.shelf import Settings, Shelf, file_name
from mesh.server.snapshots import Snapshots
from mesh.server.spool import Abandoned, written

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
RETRY_SECONDS = 60.0
"""After one that failed, unless the interval is shorter."""
VERIFY_SECONDS = 3600.0
ASK_SECONDS = 3.0
VERIFIER = command("mesh.server.verification")


class Peers(msgspec.Struct, frozen=True):
    """How to ask the other servers: a client, and the name and address of each."""

    client: Client
    others: Callable[[], Sequence[tuple[str, str]]]


class Schedule:
    """Takes snapshots while this server leads. `tell` hears a status and its reason.

    `verifier` is the command that restores a file, named after it, and prints a digest.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        consensus: Consensus,
        settings: Settings,
        peers: Peers,
        clock: Clock,
        verifier: Sequence[str] = VERIFIER,
    ) -> None:
        self._snapshots, self._consensus, self._peers = snapshots, consensus, peers
        self._clock, self._verifier = clock, verifier
        self.settings = settings
        self.tell: Callable[[str, str], None] = lambda *_: None
        self.counters: Counter[str] = Counter(taken=0, failed=0)
        self.problem = ""
        self._tried = float("-inf")
        self._last_time = ""
        self._told = False
        self.orders: dict[type[Order[Any]], Callable[[Any], Awaitable[Any]]] = {
            OwnSchedule: self._own,
            Schedules: self._all,
        }

    async def run(self) -> None:
        """Take one whenever it is time; never ends."""
        while True:
            if self.settings.interval and self._consensus.is_leader:
                if await self._due():
                    await self.take()
            elif self._told:
                self._told, self.problem = False, ""
                self.tell("passing", "another server leads and takes them")
            await self._clock.sleep(LOOK_SECONDS)

    async def _due(self) -> bool:
        interval = self.settings.interval
        if self.problem:
            return self._clock.monotonic() - self._tried >= min(interval, RETRY_SECONDS)
        if self._clock.monotonic() - self._tried < interval:
            return False
        newest = await self._kept()
        # One of a time to come was made before the clock was set back.
        return not newest or not 0 <= self._clock.wall() - _seconds(newest[0].time) < interval

    async def _kept(self) -> list[Kept]:
        try:
            return await asyncio.to_thread(Shelf(self.settings.directory).listed)
        except OSError:
            return []

    async def take(self) -> None:
        """Take one now, and tell how that went."""
        self._tried = self._clock.monotonic()
        self._last_time = _text(self._clock.wall())
        self._told = True
        try:
            kept = await self._take(self.settings)
        except Abandoned:
            return
        except (MeshError, OSError) as error:
            self.problem = error.message if isinstance(error, MeshError) else explained(error)
            self.counters["failed"] += 1
            log.warning("the scheduled snapshot failed: %s", self.problem)
            self.tell("critical", f"the scheduled snapshot failed: {self.problem}")
            return
        self.problem = ""
        self.counters["taken"] += 1
        how = "restored and compared" if kept.verified else "not verified"
        log.info("snapshot %s is kept, %s", kept.name, how)
        self.tell("passing", f"the last one, {kept.name}, was {how}")

    async def _take(self, settings: Settings) -> Kept:
        await self._consensus.barrier()
        export, meta = self._snapshots.begin()
        shelf, name = Shelf(settings.directory), file_name(meta.datacenter, meta.time, meta.index)
        part = await asyncio.to_thread(shelf.begin, name)
        folder = str(part.parent)
        portions = (data for _, data in written(export, meta, folder, self._goes_on))
        try:
            size = await self._snapshots.in_thread(partial(shelf.write, part, portions))
            verified = ""
            if settings.verify:
                await self._verify(part, export.digest.hex())
                verified = _text(self._clock.wall())
            one = Kept(name, meta.time, size, meta.index, export.digest.hex(), verified)
            await asyncio.to_thread(shelf.keep, part, one, settings.retain)
        except BaseException:
            shelf.discard(part)
            raise
        return one

    def _goes_on(self) -> bool:
        return not self._snapshots.stopped

    async def _verify(self, path: Path, digest: str) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._verifier, str(path), stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        try:
            async with asyncio.timeout(VERIFY_SECONDS):
                shown, said = await process.communicate()
        except TimeoutError:
            raise Internal(f"it was not restored within {VERIFY_SECONDS:.0f} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            lines = said.decode(errors="replace").strip().splitlines()
            raise Internal(f"it cannot be restored: {lines[-1] if lines else process.returncode}")
        if shown.decode(errors="replace").strip() != digest:
            raise Internal("restored, it has other rows than this server")

    async def _own(self, _: OwnSchedule) -> Told:
        settings = self.settings
        return Told(
            server=self._snapshots.place.name,
            leads=self._consensus.is_leader,
            directory=settings.directory,
            interval=settings.interval,
            retain=settings.retain,
            last_time=self._last_time,
            problem=self.problem,
            kept=await self._kept() if settings.directory else [],
        )

    async def _all(self, _: Schedules) -> list[Told]:
        asked = [self._ask(name, address) for name, address in self._peers.others()]
        found = await asyncio.gather(self._own(OwnSchedule()), *asked)
        return sorted(found, key=lambda one: one.server)

    async def _ask(self, name: str, address: str) -> Told:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await self._peers.client.operate(address, OwnSchedule(), HERE)
        except TimeoutError:
            return Told(name, error=f"no answer within {ASK_SECONDS:.0f} s")
        except MeshError as error:
            return Told(name, error=error.message)


def _text(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
