"""Execution: runs what `meshctl exec` asks of this node, and writes what came of it into the KV.

The job lies under `_rexec/SESSION/job`; an event names the session and says whom it is for. Each
node that takes it writes `_rexec/SESSION/NODE/ack`, its output in pieces as `.../out/00000` and so
on, and last `.../exit`. The layout and the event's name are Consul's.

SESSION is a session that deletes what it holds when it ends. Who asks holds the job with it, and
nodes hold what they write, so that nothing stays behind when whoever asked is killed. Jobs of older
programs are held by nobody.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mesh.agent.events import Event
from mesh.agent.scripts import CannotStart, execute
from mesh.clock import Clock
from mesh.codec import from_json
from mesh.durations import format_duration
from mesh.errors import Invalid, MeshError
from mesh.registry import kv
from mesh.registry.catalog import check_uuid
from mesh.registry.port import READ, Command, Registry, WriteOptions
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

EVENT = "_rexec"
PREFIX = "_rexec"
RUNNING_MAX = 8
"""Jobs that run here at once; what comes beyond is refused."""
OUTPUT_MAX_BYTES = 1024 * 1024
"""Output of one job on one node; the rest is left out, and said to be."""
PIECE_BYTES = 32 * 1024
PAUSE_SECONDS = 0.5
"""Between two pieces, unless one is full: each is a write to the log."""
SECONDS_MAX = 3600.0
CANNOT_RUN = 126
"""The exit code of a job that was not run, as shells have it."""
TIMED_OUT = 124
"""The exit code of a job that was ended because it took too long, as timeout(1) has it."""


class Call(msgspec.Struct, frozen=True, rename="pascal"):
    """The payload of the event."""

    prefix: str
    session: str


class Job(msgspec.Struct, frozen=True, rename="pascal"):
    """What is to be run: a command line for the shell, or arguments, or a script."""

    command: str = ""
    args: list[str] = []
    script: bytes = b""
    seconds: float = 600.0
    """How long it may take."""
    expires: float = 0.0
    """Unix seconds after which no node begins it: one that was away might hear of it late."""


class Place(msgspec.Struct, frozen=True):
    """Where a job lies: under its session, which holds what belongs to it, or nobody does."""

    session: str
    held: bool


def read_call(payload: bytes) -> str:
    """The session that an event names. Raises Invalid."""
    call = from_json(payload, Call)
    if call.prefix != PREFIX:
        raise Invalid(f'Prefix: expected "{PREFIX}"')
    if not call.session:
        raise Invalid("Session: must not be empty")
    check_uuid("Session", call.session)
    return call.session


class Output:
    """What a job has said and nobody has written yet; and its exit code, once it has one."""

    def __init__(self) -> None:
        self.code: int | None = None
        self._waiting = bytearray()
        self._heard = 0
        self._ready = asyncio.Event()

    def hear(self, data: bytes) -> None:
        """The job said this."""
        room = OUTPUT_MAX_BYTES - self._heard
        self._heard += len(data)
        self._waiting += data[: max(room, 0)]
        if 0 <= room < len(data):
            self._waiting += b"\n(the output is too long; what follows is left out)\n"
        if len(self._waiting) >= PIECE_BYTES:
            self._ready.set()

    def end(self, code: int) -> None:
        """The job has ended."""
        self.code = code
        self._ready.set()

    async def piece(self) -> bytes:
        """The next piece, once it is worth a write; empty now and then."""
        try:
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            pass
        piece = bytes(self._waiting[:PIECE_BYTES])
        del self._waiting[:PIECE_BYTES]
        if self.code is None and len(self._waiting) < PIECE_BYTES:
            self._ready.clear()
        return piece


class Execution:
    """Takes the jobs that concern this node."""

    def __init__(self, node: str, registry: Registry, clock: Clock) -> None:
        self._node, self._registry, self._clock = node, registry, clock
        self._tasks = Tasks()
        self._running = 0

    def hear(self, event: Event) -> None:
        """An event asks for a job."""
        try:
            session = read_call(event.payload)
        except Invalid as error:
            log.warning("remote exec: event %s makes no sense: %s", event.id, error)
            return
        self._tasks.start(self._take(session), name=f"remote exec {session}")

    async def stop(self) -> None:
        """End what runs."""
        await self._tasks.stop()

    async def _take(self, session: str) -> None:
        try:
            found = await self._job(session)
            if found is None:
                return
            job, place = found
            # Only once: who restarts hears the last events of the pool again.
            if await self._write(place, "ack", b"", check_index=0):
                await self._do(job, place)
        except MeshError as error:
            log.warning("remote exec %s: %s", session, error)

    async def _job(self, session: str) -> tuple[Job, Place] | None:
        found = (await self._registry.read(kv.Get(f"{PREFIX}/{session}/job"))).value
        if found is None:
            log.warning("remote exec %s: there is no such job any more", session)
            return None
        job = from_json(found.value, Job)
        if job.expires < self._clock.wall():
            log.warning("remote exec %s: the job came too late; are the clocks right?", session)
            return None
        return job, Place(session, held=found.session == session)

    async def _do(self, job: Job, place: Place) -> None:
        output, number, session = Output(), 0, place.session
        running = self._tasks.start(self._run(job, output), name=f"remote job {session}")
        wanted = self._tasks.start(self._until_unwanted(session, running), name=f"job {session}")
        try:
            while (piece := await output.piece()) or output.code is None:
                if piece and not wanted.done():
                    await self._write(place, f"out/{number:05}", piece)
                    number += 1
            if not wanted.done():
                await self._write(place, "exit", str(output.code).encode())
        finally:
            running.cancel()
            wanted.cancel()

    async def _until_unwanted(self, session: str, running: asyncio.Task[None]) -> None:
        """Who asked takes the job away when it is over, or when nobody waits for it any more."""
        while await self._is_wanted(session):
            await self._clock.sleep(PAUSE_SECONDS)
        log.info("remote exec %s: nobody waits for it any more", session)
        running.cancel()

    async def _is_wanted(self, session: str) -> bool:
        """False once the job is taken away; True when nobody can say so at the moment."""
        job = kv.Get(f"{PREFIX}/{session}/job")
        try:
            async for answer in self._registry.watch(job, READ):
                if answer.value is None:
                    return False
        except MeshError as error:
            log.info("remote exec %s: is it still wanted? %s", session, error)
        return True

    async def _run(self, job: Job, output: Output) -> None:
        code = CANNOT_RUN
        if self._running >= RUNNING_MAX:
            output.hear(f"{RUNNING_MAX} jobs run on this node already; try again\n".encode())
            output.end(code)
            return
        self._running += 1
        try:
            with _program(job) as arguments:
                log.info("remote exec: running %s", arguments)
                code = await execute(arguments, min(job.seconds, SECONDS_MAX), output.hear)
        except (CannotStart, Invalid) as error:
            output.hear(f"{error.message}\n".encode())
        except TimeoutError:
            output.hear(f"ended after {format_duration(job.seconds)}\n".encode())
            code = TIMED_OUT
        except OSError as error:
            output.hear(f"cannot run: {error.strerror}\n".encode())
        finally:
            self._running -= 1
            output.end(code)

    async def _write(
        self, place: Place, name: str, value: bytes, check_index: int | None = None
    ) -> bool:
        key = f"{PREFIX}/{place.session}/{self._node}/{name}"
        command: Command[bool] = kv.Set(key, value, 0, check_index)
        if place.held:
            command = kv.Acquire(key, value, place.session, 0, check_index)
        options = WriteOptions(origin=f"{self._node}/exec")
        return await self._registry.write(command, options)


@contextmanager
def _program(job: Job) -> Iterator[list[str]]:
    """The arguments to run it with. A script lies in a file of its own meanwhile."""
    if job.args:
        yield job.args
        return
    if job.command:
        yield ["/bin/sh", "-c", job.command]
        return
    if not job.script:
        raise Invalid("the job names no command")
    with tempfile.TemporaryDirectory(prefix="mesh-exec-") as folder:
        file = Path(folder, "script")
        file.write_bytes(job.script)
        file.chmod(0o700)
        yield [str(file)] if job.script.startswith(b"#!") else ["/bin/sh", str(file)]
