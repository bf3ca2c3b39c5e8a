"""Scripts: run a program for a check, with an end that takes its whole process group along."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

from mesh.agent.checks import Result
from mesh.durations import format_duration

OUTPUT_MAX_BYTES = 1024 * 1024
_STATUS = {0: "passing", 1: "warning"}


async def run(arguments: Sequence[str], seconds: float) -> Result:
    """Run it until it ends and closes its output: exit 0 passes, 1 warns, all else is critical.

    After so many seconds, or when cancelled, everything in its process group is killed.
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
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            transport.close()
            return Result("critical", f"{arguments[0]}: {error}")
    finally:
        os.close(theirs)
    ended = False
    try:
        async with asyncio.timeout(seconds):
            output = await _read(reader)
            code = await process.wait()
            ended = True
    except TimeoutError:
        return Result("critical", f"Timed out ({format_duration(seconds)}) running check")
    finally:
        if not ended:
            _kill(process.pid)
            await process.wait()
        transport.close()
    return Result(_STATUS.get(code, "critical"), output)


async def _read(reader: asyncio.StreamReader) -> str:
    kept = bytearray()
    while data := await reader.read(65536):
        kept.extend(data)
        del kept[:-OUTPUT_MAX_BYTES]
    return kept.decode(errors="replace")


def _kill(group: int) -> None:
    """Kill the group, which may outlive the process that led it."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
