"""One shell for a page: what a command leaves behind is there for the next one."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import time
from pathlib import Path

SECONDS = 30.0
"""How long one command may take."""
MARK = "--the-command-has-ended--"


class Shell:
    """A bash that runs one command after another, with both outputs together."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: str) -> tuple[int, list[str]]:
        """The exit code, and the lines that it printed."""
        assert self.process.stdin is not None
        # What stays in the background would print between later commands.
        aside = " >/dev/null 2>&1" if command.rstrip().endswith("&") else ""
        script = f"eval {shlex.quote(command)} </dev/null{aside}\nprintf '\\n{MARK}%d\\n' $?\n"
        self.process.stdin.write(script.encode())
        self.process.stdin.flush()
        printed, _, code = self._read(command).rpartition(f"\n{MARK}")
        return int(code), printed.splitlines()

    def _read(self, command: str) -> str:
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        found, until = b"", time.monotonic() + SECONDS
        while not (MARK.encode() in found and found.endswith(b"\n")):
            left = max(0.0, until - time.monotonic())
            if not select.select([handle], [], [], left)[0]:
                told = found.decode(errors="replace")
                raise AssertionError(
                    f"{command}\nhas not ended after {SECONDS:.0f} s; so far:\n{told}"
                )
            chunk = os.read(handle, 65536)
            assert chunk, f"{command}\nended the shell"
            found += chunk
        return found.decode(errors="replace")

    def close(self) -> None:
        """Kill it with everything that still runs in it."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
