"""Scripts: run a program, with an end that takes its whole process group along."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mesh.agent.checks import Result
from mesh.durations import format_duration
from mesh.errors import MeshError
from mesh.tasks import spawn

OUTPUT_MAX_BYTES = 1024 * 1024
_STATUS = {0: "passing", 1: "warning"}


class CannotStart(MeshError):
    """The program cannot be run; the message says why."""

    code = "cannot-start"


async def run(arguments: Sequence[str], seconds: float) -> Result:
    """Run it until it ends and closes its output: exit 0 passes, 1 warns, all else is critical.

    After so many seconds, or when cancelled, everything in its process group is killed.
    """
    kept = Tail()
    try:
        code = await execute(arguments, seconds, kept.add)
    except CannotStart as error:
        return Result("critical", error.message)
    except TimeoutError:
        return Result("critical", f"Timed out ({format_duration(seconds)}) running check")
    return Result(_STATUS.get(code, "critical"), kept.text)


class Tail:
    """The end of what a program said."""

    def __init__(self, limit: int = OUTPUT_MAX_BYTES) -> None:
        self._kept, self._limit = bytearray(), limit

    def add(self, data: bytes) -> None:
        """It said this."""
        self._kept.extend(data)
        del self._kept[: -self._limit]

    @property
    def text(self) -> str:
        """All of it that is kept."""
        return self._kept.decode(errors="replace")


class Given(msgspec.Struct, frozen=True):
    """What a program finds when it starts."""

    stdin: bytes = b""
    environment: Mapping[str, str] = {}
    """Variables beside those of this process."""


NOTHING = Given()


async def execute(
    arguments: Sequence[str],
    seconds: float,
    hear: Callable[[bytes], None],
    given: Given = NOTHING,
) -> int:
    """Run it until it ends and closes its output, which `hear` is told; its exit code.

    Below 0 it is the signal that ended it. After so many seconds, with a TimeoutError, or when
    cancelled, everything in its process group is killed. Raises CannotStart.
    """
    loop = asyncio.get_running_loop()
    # Not the pipe of asyncio's subprocess: that one waits for whoever inherited it.
    ours, theirs = os.pipe()
    reader = asyncio.StreamReader()
    try:
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb", buffering=0)
        )
        try:
            process = await _started(arguments, theirs, given)
        except (OSError, ValueError) as error:
            transport.close()
            raise CannotStart(f"{arguments[0]}: {error}") from error
        except asyncio.CancelledError:
            transport.close()
            raise
    finally:
        os.close(theirs)
    ended = False
    try:
        async with asyncio.timeout(seconds):
            while data := await reader.read(65536):
                hear(data)
            code = await process.wait()
            ended = True
            return code
    finally:
        transport.close()
        if not ended:
            _kill(process.pid)
            await _gone(process)


async def _started(
    arguments: Sequence[str], output: int, given: Given
) -> asyncio.subprocess.Process:
    """Start it. When cancelled meanwhile: once that is done, so that its whole group is killed.

    asyncio alone would kill the process it has started, and leave what that has started already.
    """
    starting, cancelled = spawn(_start(arguments, output, given)), False
    while not starting.done():
        try:
            await asyncio.wait([starting])
        except asyncio.CancelledError:
            cancelled = True
    if not cancelled:
        return starting.result()
    if starting.exception() is None:
        _kill(starting.result().pid)
        await _gone(starting.result())
    raise asyncio.CancelledError


async def _start(arguments: Sequence[str], output: int, given: Given) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE if given.stdin else asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        env=os.environ | given.environment,
    )
    if process.stdin is not None:
        process.stdin.write(given.stdin)
        process.stdin.close()  # Once all is written, or nobody reads it any more.
    return process


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait until it is, which takes no time after a kill; also for who is cancelled twice."""
    cancelled = False
    while process.returncode is None:
        try:
            await process.wait()
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError


def _kill(group: int) -> None:
    """Kill the group, which may outlive the process that led it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
