"""The demo's processes: start them, notice when one ends, and leave none running."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mesh.cli.compose import Process
from mesh.clock import Clock
from mesh.connect.process import kill_left

STOP_SECONDS = 8.0
POLL_SECONDS = 0.02
PREFIX = "mesh-demo-"
TAIL_LINES = 15


class Ended(NamedTuple):
    """A process that is gone."""

    name: str
    code: int
    last_words: list[str]


class Processes:
    """Everything the demo started, and the folder where it works."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.hurry = threading.Event()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, process: Process) -> None:
        """Start it in a folder of its own, in a session of its own, bound to our life."""
        folder = self.folder / process.name
        folder.mkdir(exist_ok=True)
        leash = [sys.executable, "-m", "mesh.cli.leash", str(os.getpid())]
        with self.log(process.name).open("ab") as log:
            # The commands are those of the compose file that the demo is asked to run.
            self._running[process.name] = subprocess.Popen(  # noqa: S603
                [*leash, *process.command],
                cwd=folder,
                env=_environment() | process.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Where a process' output goes."""
        return self.folder / name / "log"

    def pids(self) -> dict[str, int]:
        """The process ids by name."""
        return {name: process.pid for name, process in self._running.items()}

    def ended(self) -> list[Ended]:
        """The processes that ended since the last time, each told once."""
        gone = {name: one.poll() for name, one in self._running.items() if one.poll() is not None}
        found = []
        for name, code in gone.items():
            del self._running[name]
            found.append(Ended(name, code or 0, self.last_words(name)))
        return found

    def last_words(self, name: str) -> list[str]:
        """The end of a process' output."""
        return self.log(name).read_text("utf-8", "replace").splitlines()[-TAIL_LINES:]

    def stop(self) -> None:
        """End all of them, by force after a while or when hurried, and remove the folder."""
        for process in self._running.values():
            process.terminate()
        until = self._clock.monotonic() + STOP_SECONDS
        while self._some_run() and self._clock.monotonic() < until:
            if self.hurry.wait(POLL_SECONDS):
                break
        for process in self._running.values():
            # Its session is a process group too: whatever it started goes with it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        # Those of agents that had no time to stop them: they have sessions of their own.
        kill_left(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _some_run(self) -> bool:
        return any(process.poll() is None for process in self._running.values())


def _environment() -> dict[str, str]:
    """Ours, without what would lead the processes to another cluster."""
    found = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MESH_", "CONSUL_"))
    }
    source = str(Path(__file__).parent.parent.parent)
    return found | {"PYTHONPATH": source, "PYTHONUNBUFFERED": "1"}


def _sweep() -> None:
    """Remove the folders of demos that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            kill_left(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
