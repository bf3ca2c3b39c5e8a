"""Small disks of their own for tests: a tmpfs in a private mount namespace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from tests.cluster.processes import Meshd


@cache
def can_mount() -> bool:
    """Whether this process may make mount namespaces."""
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class SmallDisk:
    """A tmpfs at a folder, seen only by who enters its namespace; `seen` is the way in for us."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        script = f"mount -t tmpfs -o size={mebibytes}m tmpfs '{folder}' && echo there && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"there\n"
        self.seen = Path(f"/proc/{self._holder.pid}/root{folder}")
        self._ballast = self.seen / "ballast"

    @property
    def enter(self) -> list[str]:
        """What a command begins with to run where the disk is."""
        return ["nsenter", f"--target={self._holder.pid}", "--mount", "--"]

    @property
    def free(self) -> int:
        """Bytes left."""
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize

    def leave(self, free: int) -> None:
        """Fill it, or make room, until so many bytes are left."""
        self._ballast.unlink(missing_ok=True)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, self.free - free))

    def empty(self) -> None:
        """Remove what `leave` put there."""
        self._ballast.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """Make it `ro` or `rw`."""
        command = [*self.enter, "mount", "-o", f"remount,{how}", str(self.folder)]
        subprocess.run(command, check=True, capture_output=True)

    def close(self) -> None:
        """Let it vanish, once nobody uses it any more."""
        for pipe in (self._holder.stdin, self._holder.stdout):
            if pipe is not None:
                pipe.close()
        self._holder.kill()
        self._holder.wait()


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """A small disk, until the end of the block."""
    disk = SmallDisk(folder, mebibytes)
    try:
        yield disk
    finally:
        disk.close()


class Confined(Meshd):
    """A node whose data directory is on a small disk."""

    def __init__(
        self, name: str, address: str, folder: Path, disk: SmallDisk, config: dict[str, Any]
    ) -> None:
        super().__init__(name, address, folder, {"data_dir": str(disk.folder / "data"), **config})
        self.disk = disk
        self.prefix = disk.enter
