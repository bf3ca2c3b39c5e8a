"""Sidecars that run themselves: an Envoy for each proxy, kept alive and up to date."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mesh.clock import Clock, Dice
from mesh.connect import process
from mesh.connect.keeper import Keeper, Options, Sidecar, finish
from mesh.connect.process import Place
from mesh.errors import Conflict
from mesh.tasks import Tasks

__all__ = ["Launcher", "Options", "Sidecar", "short_folder"]

log = logging.getLogger(__name__)

PATH_MAX_BYTES = 107
"""Of a unix socket (unix(7))."""
TRIM_SECONDS = 60.0
"""How often the sizes of logs are looked at."""
ALONE = "left-alone"
"""The file that says that somebody else runs the Envoy."""
_SOCKET = "admin-0.sock"


class Launcher:
    """Runs an Envoy for each proxy that it is told to want."""

    def __init__(self, folder: Path, options: Options, world: tuple[Clock, Dice]) -> None:
        self._folder, self.options = folder.resolve(), options
        self._world, self._clock = world, world[0]
        self._kept: dict[str, Keeper] = {}
        self._tasks = Tasks()
        self._trimming: asyncio.Task[None] | None = None

    def want(self, proxy: str, bootstrap: dict[str, Any]) -> None:
        """Run an Envoy with this bootstrap; one that runs with another makes way for it.

        Connections go on meanwhile. Returns at once.
        """
        kept = self._kept.get(proxy)
        if kept is None:
            kept = self._kept[proxy] = Keeper(proxy, self._made(proxy), self.options, self._world)
            self._tasks.start(self._keep(kept), name=f"sidecar {proxy}")
        if self._trimming is None:
            self._trimming = self._tasks.start(self._trim(), name="logs of Envoys")
        kept.want(bootstrap)

    def drop(self, proxy: str) -> None:
        """Drain and stop the Envoy of a proxy, if there is one. Returns at once."""
        if (kept := self._kept.get(proxy)) is not None:
            kept.want(None)

    def leave_alone(self, proxy: str, *, alone: bool) -> None:
        """Whether somebody else runs the Envoy of a proxy; remembered over restarts."""
        if alone:
            (self._made(proxy).folder / ALONE).touch()
        else:
            (self._folder / _folder_of(proxy) / ALONE).unlink(missing_ok=True)

    def is_left_alone(self, proxy: str) -> bool:
        """Whether somebody else runs it."""
        return (self._folder / _folder_of(proxy) / ALONE).exists()

    def keep_only(self, proxies: Iterable[str]) -> None:
        """Stop what an agent before us left running for other proxies than these."""
        names = {_folder_of(proxy) for proxy in proxies}
        for folder in sorted({record.parent for record in self._folder.glob("*/envoy-?.json")}):
            if folder.name in names:
                continue
            place = Place(folder, short_folder(folder, len(_SOCKET)))
            for found in process.watched(place, process.recorded(place)):
                log.info("Envoy %d is of a proxy that is gone: stopping it", found.running.pid)
                work = finish(found, self.options, self._clock)
                self._tasks.start(work, name=f"end of Envoy {found.running.pid}")

    async def gone(self, proxy: str) -> None:
        """Return when the Envoy of a proxy that was dropped has ended."""
        kept = self._kept.get(proxy)
        if kept is not None and not kept.is_wanted:
            await kept.over.wait()

    def sidecars(self) -> list[Sidecar]:
        """How each fares, by proxy."""
        return [kept.shown() for _, kept in sorted(self._kept.items())]

    async def stop(self, *, keep: bool) -> None:
        """Watch no longer. Envoys go on if they are kept, and are found by the next agent."""
        kept = list(self._kept.values())
        if not keep:
            for one in kept:
                one.want(None)
            await asyncio.gather(*(one.over.wait() for one in kept))
        await self._tasks.stop()
        for one in kept:
            await one.stop()

    async def _keep(self, kept: Keeper) -> None:
        await kept.run()
        await kept.stop()
        if self._kept.get(kept.proxy) is kept:
            del self._kept[kept.proxy]
        if not (kept.place.folder / ALONE).exists() and kept.proxy not in self._kept:
            process.clear(kept.place)  # At once: the same proxy may be wanted again.

    async def _trim(self) -> None:
        while True:
            await self._clock.sleep(TRIM_SECONDS)
            for kept in list(self._kept.values()):
                await asyncio.to_thread(process.trim, kept.place)

    def _made(self, proxy: str) -> Place:
        folder = self._folder / _folder_of(proxy)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Place(folder, short_folder(folder, len(_SOCKET)))


def _folder_of(proxy: str) -> str:
    return hashlib.sha256(proxy.encode()).hexdigest()[:16]


def short_folder(folder: Path, room: int) -> Path:
    """A folder for sockets with names of so many bytes: this one, or one with a shorter path.

    Only we may enter it. Raises Conflict when somebody else has made it before.
    """
    if len(os.fsencode(folder)) + 1 + room <= PATH_MAX_BYTES:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir(), f"mesh-{os.getuid()}-{name}")
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o77:
        raise Conflict(f"{short} is there and not ours alone; remove it")
    return short
