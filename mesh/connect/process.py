"""One Envoy process: started, watched, asked to drain, and found again by the agent's next life.

It outlives an agent that is killed: what it is known by lies on disk beside its configuration, and
a process is believed to be it by its start time and its arguments, never by its number alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import msgspec

from mesh.clock import Clock
from mesh.connect import admin
from mesh.errors import Internal, MeshError

LOG_MAX_BYTES = 8 * 1024 * 1024
"""A log that is larger begins anew; one before it is kept."""
READY_STEP_SECONDS = 0.05
STOP_SECONDS = 5.0
"""After SIGTERM, before SIGKILL."""


class Running(msgspec.Struct, frozen=True):
    """What an Envoy is known by."""

    pid: int
    started: int
    """When, in ticks since the machine booted."""
    base_id: int
    epoch: int
    """How often it was replaced without closing a connection."""
    binary: str
    digest: str
    """Of the bootstrap it was started with."""


class Place(msgspec.Struct, frozen=True):
    """Where an Envoy's files are: those that stay, and sockets, whose paths must be short."""

    folder: Path
    sockets: Path

    def admin(self, epoch: int) -> str:
        """The admin socket: another one for each life, since two are alive during a takeover."""
        return str(self.sockets / f"admin-{epoch % 2}.sock")

    def record(self, epoch: int) -> Path:
        """Where it is written down which process it is, for each of the two alike."""
        return self.folder / f"envoy-{epoch % 2}.json"


class Process:
    """An Envoy that runs, whether we started it or an agent before us did."""

    def __init__(self, place: Place, running: Running) -> None:
        self.place, self.running = place, running
        self._ended = asyncio.Event()
        self._handle = os.pidfd_open(running.pid)
        asyncio.get_running_loop().add_reader(self._handle, self._gone)

    def _gone(self) -> None:
        if self._handle < 0:
            return
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        self._handle = -1
        with contextlib.suppress(ChildProcessError):  # One that an agent before us started.
            os.waitpid(self.running.pid, os.WNOHANG)
        self._ended.set()

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._ended.is_set()

    @property
    def admin(self) -> str:
        """The path of its admin socket."""
        return self.place.admin(self.running.epoch)

    async def ended(self) -> None:
        """Return when it has ended."""
        await self._ended.wait()

    def let_go(self) -> None:
        """Watch it no longer; it goes on."""
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1

    async def ready(self, clock: Clock, seconds: float) -> bool:
        """Wait until it serves what its agent told it; False when it ended or time is out."""
        until = clock.monotonic() + seconds
        while self.alive and clock.monotonic() < until:
            if await self.live():
                return True
            await clock.sleep(READY_STEP_SECONDS)
        return False

    async def live(self) -> bool:
        """Whether it serves."""
        try:
            await admin.ask(self.admin, "/ready")
        except MeshError:
            return False
        return True

    async def drain(self, clock: Clock, seconds: float) -> None:
        """Take no new connections, ask clients of old ones to leave, and give them time."""
        for target in ("/healthcheck/fail", "/drain_listeners?graceful&skip_exit"):
            with contextlib.suppress(MeshError):
                await admin.ask(self.admin, target, "POST")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle(clock)

    async def _idle(self, clock: Clock) -> None:
        while self.alive:
            try:
                body = await admin.ask(self.admin, "/stats?format=json&filter=downstream_cx_active")
            except MeshError:
                return
            found = json.loads(body).get("stats", [])
            if not any(one.get("value") for one in found if not _of_admin(one.get("name", ""))):
                return
            await clock.sleep(READY_STEP_SECONDS)

    async def stop(self) -> None:
        """End it, with SIGKILL if it has to be."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            if self._handle < 0:
                break
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, sent)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._ended.wait()
        self.let_go()


def _of_admin(name: str) -> bool:
    return name.startswith(("http.admin.", "listener.admin."))


async def start(
    binary: str, place: Place, made: dict[str, Any], digest: str, extra: tuple[str, ...]
) -> Process:
    """Start the first Envoy of a place. Raises Internal when it cannot be."""
    arguments = ("--use-dynamic-base-id", *extra)
    return await _started(binary, place, (made, digest), (0, 0), arguments)


async def replace(
    old: Process, binary: str, made: dict[str, Any], digest: str, extra: tuple[str, ...]
) -> Process:
    """Start one that takes over the sockets of another, which then drains and ends by itself."""
    epoch = old.running.epoch + 1
    arguments = ("--base-id", str(old.running.base_id), "--restart-epoch", str(epoch), *extra)
    life = (epoch, old.running.base_id)
    return await _started(binary, old.place, (made, digest), life, arguments)


async def _started(
    binary: str,
    place: Place,
    made: tuple[dict[str, Any], str],
    life: tuple[int, int],
    arguments: tuple[str, ...],
) -> Process:
    epoch, base_id = life
    file, base = place.folder / f"bootstrap-{epoch % 2}.json", place.folder / "base-id"
    command = [binary, "-c", str(file), "--base-id-path", str(base), *arguments]

    def spawn() -> Running:
        _write(file, json.dumps(made[0]))
        for old in (place.admin(epoch), *([] if epoch else [str(base)])):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(old)
        with _log(place.folder / "envoy.log") as log:
            pid = _spawn(command, log.fileno())
        running = Running(pid, _start_time(pid), base_id, epoch, binary, made[1])
        # At once: an agent killed in the next moment shall find it again.
        _record(place, running)
        return running

    try:
        return Process(place, await asyncio.to_thread(spawn))
    except OSError as error:
        raise Internal(f"starting {binary}: {error}") from error


_ASIDE = '{ read -r _ <&3; exec 3<&-; exec "$@"; } 4>&- >&5 2>&5 5>&- & echo $!'
"""Starts a program once this shell has ended, and says its process id. 3 and 4 are a pipe."""


def _spawn(command: list[str], log: int) -> int:
    """Start a program that is nobody's child, in a session of its own; its process id.

    Envoy asks the kernel to be ended with its parent: that must not be the agent, nor a shell that
    ends after Envoy has asked. An interrupt from the keyboard is for the agent to act on.
    """
    told, tells = os.pipe()
    begun, begins = os.pipe()
    try:
        shell = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", _ASIDE, "sh", *command],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                *_moved({tells: 1, begun: 3, begins: 4, log: 5}),
            ],
            setsid=True,
        )
        os.close(tells)
        tells = -1
        said = os.read(told, 64)
        os.waitpid(shell, 0)
    finally:
        for handle in (told, tells, begun, begins):
            if handle >= 0:
                os.close(handle)
    return int(said)


def _moved(targets: dict[int, int]) -> list[tuple[int, ...]]:
    """Have these descriptors under these numbers, by way of numbers that nothing has."""
    high = max(*targets, *targets.values()) + 1
    aside = {fd: high + number for number, fd in enumerate(targets)}
    return [
        *((os.POSIX_SPAWN_DUP2, fd, there) for fd, there in aside.items()),
        *((os.POSIX_SPAWN_DUP2, aside[fd], at) for fd, at in targets.items()),
        *((os.POSIX_SPAWN_CLOSE, there) for there in aside.values()),
    ]


def _record(place: Place, running: Running) -> None:
    _write(place.record(running.epoch), msgspec.json.encode(running).decode())


async def settle(process: Process, clock: Clock, seconds: float) -> None:
    """Write down what it is, once it has said which base id it took."""
    base = process.place.folder / "base-id"
    until = clock.monotonic() + seconds
    while process.alive and clock.monotonic() < until:
        text = await asyncio.to_thread(_read, base)
        if text.isdigit():
            process.running = msgspec.structs.replace(process.running, base_id=int(text))
            await asyncio.to_thread(_record, process.place, process.running)
            return
        await clock.sleep(READY_STEP_SECONDS)


def recorded(place: Place) -> list[Running]:
    """The Envoys that an agent before us left running here, the newest last.

    There are two while one takes over from the other.
    """
    found = [_recorded(place.record(slot)) for slot in (0, 1)]
    return sorted((one for one in found if one is not None), key=lambda one: one.epoch)


def watched(place: Place, found: list[Running]) -> list[Process]:
    """Those of them that still run."""
    made = []
    for running in found:
        with contextlib.suppress(OSError):
            made.append(Process(place, running))
    return made


def kill_left(folder: Path) -> list[int]:
    """Kill the Envoys that agents left running whose data is somewhere below; their pids."""
    found = []
    for record in sorted(folder.resolve().rglob("envoy-?.json")):
        running = _recorded(record)
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGKILL)
                found.append(running.pid)
    return found


def _recorded(record: Path) -> Running | None:
    """The process that a record is about, if it still is that one."""
    running = _decoded(record)
    if running is None:
        return None
    arguments = _read(Path(f"/proc/{running.pid}/cmdline")).split("\0")
    ours = str(record.parent / f"bootstrap-{running.epoch % 2}.json")
    same = ours in arguments and _start_time(running.pid) == running.started
    return running if same else None


def _decoded(record: Path) -> Running | None:
    try:
        return msgspec.json.decode(_read(record), type=Running)
    except msgspec.DecodeError:
        return None


def forget(process: Process, *, last: bool = True) -> None:
    """Remove what is left of an Envoy that has ended; the last one of its place leaves nothing."""
    place, running = process.place, process.running
    record = place.record(running.epoch)
    known = _decoded(record)
    if known is not None and known.pid == running.pid:
        record.unlink(missing_ok=True)
    if last:
        (place.folder / "base-id").unlink(missing_ok=True)
        shared = f"/dev/shm/envoy_shared_memory_{running.base_id}0"  # noqa: S108 - Envoy's place.
        with contextlib.suppress(OSError):
            os.unlink(shared)


def clear(place: Place) -> None:
    """Remove the files of a place that is used no longer."""
    for folder in {place.folder, place.sockets}:
        shutil.rmtree(folder, ignore_errors=True)


def trim(place: Place) -> None:
    """Keep what Envoy logs within bounds while it runs: it goes on at the end of the same file."""
    path = place.folder / "envoy.log"
    with contextlib.suppress(OSError):
        if path.stat().st_size > LOG_MAX_BYTES:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat (proc(5)); 0 when there is no such process."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\n")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Where only we may read it: a bootstrap may hold a token."""
    new = path.with_suffix(".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
    new.replace(path)


def _log(path: Path) -> Any:
    return path.open("ab")
