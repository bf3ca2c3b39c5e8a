"""A disk that remembers what is durable by the rules of POSIX, around a real process.

It interposes on the file operations of the process for one folder. What is done goes to the real
files. Beside them it keeps a *shadow*: the bytes each file had when it was last synced (fsync,
fdatasync), and a log of what happened to names, with the syncs of their directories. A sync updates
the shadow before it returns to the program. After a SIGKILL `lose` makes out of the shadow what a
power failure would have left: synced bytes under synced names, and of the rest as much as chance
wants.

What it does not know it refuses: Python's audit events tell of every file opened for writing and of
every name made, changed or removed, whichever function does it; one that did not come through here
ends the process with exit code 86 and a line in its log.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import random
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNKNOWN_OPERATION = 86
_NAMES = "names.jsonl"
_PASSIVE = {"os.listdir", "os.scandir", "os.chdir", "os.walk", "os.fwalk", "shutil.rmtree"}
_FLAGS = (
    os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_EXCL | getattr(os, "O_LARGEFILE", 0)
    | 0o100000  # What the kernel calls O_LARGEFILE, where Python says 0.
)  # fmt: skip


class Disk:
    """The disk under `folder` from now on; `shadow` is a folder outside of it.

    Without a shadow what is in the folder is durable. With one, it goes on where a process left it
    that died without a power failure: what that had not synced is still not durable.
    A sync takes up to `slowest` seconds longer, so that a failure may well fall into one. With
    `broken` fdatasync does nothing and says that it did: what the program promised gets lost.
    """

    def __init__(
        self, folder: str, shadow: str, *, broken: bool = False, slowest: float = 0.0
    ) -> None:
        self._folder, self._shadow, self._broken = os.path.realpath(folder), shadow, broken
        self._slowest, self._dice = slowest, random.Random()
        self._inside = threading.local()
        self._lock = threading.RLock()
        self._files: dict[int, int] = {}  # Inode to our number of the file.
        self._synced: dict[int, int] = {}  # Number of the file to bytes known to be synced.
        self._plain: set[int] = set()  # Files that only grew since they were synced.
        self._odd: set[int] = set()  # Files written through Python's file objects.
        self._count = 0
        self._log = -1

    def interpose(self) -> None:
        """Take over the file operations of this process."""
        known = os.path.isdir(self._shadow)
        os.makedirs(self._shadow, exist_ok=True)
        names = Path(self._shadow, _NAMES)
        self._log = os.open(names, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if known:
            self._resume(names.read_bytes())
        else:
            self._begin(self._folder)
        for name in ("open", "fsync", "fdatasync", "mkdir", "rmdir", "lseek", "ftruncate"):
            self._take_over(os, name)
        for name in ("unlink", "rename", "replace", "pwrite", "writev", "pwritev"):
            self._take_over(os, name)
        os.remove = os.unlink
        self._take_over(io, "open", "_io_open")
        builtins.open = io.open
        sys.addaudithook(self._audit)

    def _resume(self, log: bytes) -> None:
        for line in log.split(b"\n")[:-1]:
            verb, _, *about = json.loads(line)
            if verb == "create":
                self._count, inode = about
                self._files[inode] = self._count
                self._synced[self._count] = os.path.getsize(self._bytes(self._count))
        if log and not log.endswith(b"\n"):
            os.ftruncate(self._log, log.rfind(b"\n") + 1)

    def _begin(self, folder: str) -> None:
        if not os.path.isdir(folder):
            return
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            if entry.is_dir():
                self._note("mkdir", entry.path)
                self._begin(entry.path)
            else:
                number = self._adopt(entry.stat().st_ino)
                shutil.copyfile(entry.path, self._bytes(number))
                self._synced[number] = entry.stat().st_size
                self._note("create", entry.path, number, entry.stat().st_ino)
        self._note("sync", folder)

    def _take_over(self, module: Any, name: str, ours: str = "") -> None:
        real: Callable[..., Any] = getattr(module, name)
        mine = getattr(self, ours or f"_{name}")

        def wrapper(*arguments: Any, **named: Any) -> Any:
            if getattr(self._inside, "on", False):
                return real(*arguments, **named)
            self._inside.on = True
            try:
                return mine(real, *arguments, **named)
            finally:
                self._inside.on = False

        setattr(module, name, wrapper)

    # What the program does.

    def _open(
        self, real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        where = self._place(path, dir_fd)
        if where is None:
            return int(real(path, flags, mode, dir_fd=dir_fd))
        if flags & ~_FLAGS:
            self._refuse(f"os.open of {where} with flags {flags:o}")
        with self._lock:
            there = os.path.lexists(where)
            descriptor = int(real(path, flags, mode, dir_fd=dir_fd))
            self._opened(descriptor, where, there=there, truncated=bool(flags & os.O_TRUNC))
        return descriptor

    def _io_open(self, real: Any, file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if isinstance(file, int) and (number := self._number(file)) is not None:
            self._odd.add(number)
        where = self._place(file, None) if not isinstance(file, int) else None
        if where is None or not set(mode) & set("wax+"):
            return real(file, mode, *arguments, **named)
        if named.get("opener") is not None:
            self._refuse(f"open of {where} with an opener")
        with self._lock:
            there = os.path.lexists(where)
            opened = real(file, mode, *arguments, **named)
            self._opened(opened.fileno(), where, there=there, truncated=True)
            self._odd.add(self._files[os.fstat(opened.fileno()).st_ino])
        return opened

    def _opened(self, descriptor: int, where: str, *, there: bool, truncated: bool) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            return
        if not there:
            number = self._adopt(status.st_ino)
            Path(self._bytes(number)).touch()
            self._note("create", where, number, status.st_ino)
            self._plain.add(number)
        elif truncated:
            self._plain.discard(self._files[status.st_ino])

    def _fdatasync(self, real: Any, descriptor: int) -> None:
        if self._broken and self._number(descriptor) is not None:
            return
        self._fsync(real, descriptor)

    def _fsync(self, real: Any, about: Any) -> None:
        descriptor: int = about if isinstance(about, int) else about.fileno()
        status = os.fstat(descriptor)
        time.sleep(self._dice.uniform(0, self._slowest))
        if stat.S_ISDIR(status.st_mode):
            where = self._place(os.readlink(f"/proc/self/fd/{descriptor}"), None)
            with self._lock:
                real(descriptor)
                if where is not None:
                    self._note("sync", where)
            return
        number = self._number(descriptor)
        real(descriptor)
        if number is not None:
            self._keep(descriptor, number, status.st_size)

    def _keep(self, descriptor: int, number: int, size: int) -> None:
        """Copy what is durable now; only what is new if the file only grew."""
        start = self._synced[number] if number in self._plain - self._odd else 0
        source = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        target = os.open(self._bytes(number), os.O_WRONLY | os.O_CREAT)
        try:
            while start < size:
                piece = os.pread(source, min(1 << 20, size - start), start)
                if not piece:
                    break
                start += os.pwrite(target, piece, start)
            os.ftruncate(target, start)
        finally:
            os.close(source)
            os.close(target)
        self._synced[number] = start
        self._plain.add(number)

    def _irregular(self, descriptor: int) -> None:
        number = self._number(descriptor)
        if number is not None:
            self._plain.discard(number)

    def _ftruncate(self, real: Any, descriptor: int, length: int) -> None:
        self._irregular(descriptor)
        real(descriptor, length)

    def _lseek(self, real: Any, descriptor: int, *arguments: int) -> Any:
        self._irregular(descriptor)
        return real(descriptor, *arguments)

    def _pwrite(self, real: Any, descriptor: int, *arguments: Any) -> Any:
        self._irregular(descriptor)
        return real(descriptor, *arguments)

    _writev = _pwritev = _pwrite

    def _mkdir(self, real: Any, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        self._name("mkdir", path, dir_fd, lambda: real(path, mode, dir_fd=dir_fd))

    def _rmdir(self, real: Any, path: Any, *, dir_fd: int | None = None) -> None:
        self._name("rmdir", path, dir_fd, lambda: real(path, dir_fd=dir_fd))

    def _unlink(self, real: Any, path: Any, *, dir_fd: int | None = None) -> None:
        self._name("unlink", path, dir_fd, lambda: real(path, dir_fd=dir_fd))

    def _name(self, verb: str, path: Any, dir_fd: int | None, work: Callable[[], None]) -> None:
        where = self._place(path, dir_fd)
        with self._lock:
            work()
            if where is not None:
                self._note(verb, where)

    def _rename(self, real: Any, source: Any, target: Any, **named: Any) -> None:
        old, new = self._place(source, None), self._place(target, None)
        if old is None and new is None:
            real(source, target, **named)
            return
        if old is None or new is None or named or os.path.dirname(old) != os.path.dirname(new):
            self._refuse(f"rename of {source} to {target}, across folders")
            return
        with self._lock:
            real(source, target)
            self._note("rename", old, new)

    _replace = _rename

    # What it keeps.

    def _place(self, path: Any, dir_fd: int | None) -> str | None:
        """The absolute path when it is in our folder."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        text = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), text)
        text = os.path.abspath(text)
        text = os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))
        return text if text == self._folder or text.startswith(self._folder + "/") else None

    def _adopt(self, inode: int) -> int:
        self._count += 1
        self._files[inode] = self._count
        self._synced[self._count] = 0
        return self._count

    def _number(self, descriptor: int) -> int | None:
        status = os.fstat(descriptor)
        where = os.readlink(f"/proc/self/fd/{descriptor}")
        return self._files.get(status.st_ino) if where.startswith(self._folder) else None

    def _bytes(self, number: int) -> str:
        return os.path.join(self._shadow, str(number))

    def _note(self, verb: str, *about: str | int) -> None:
        line = json.dumps([verb, *about]).encode() + b"\n"
        os.write(self._log, line)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(self._inside, "on", False) or event in _PASSIVE or self._log < 0:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if mode is not None:
                writes = writes or bool(set(mode) & set("wax+"))
            if not writes or isinstance(path, int):
                return
            named = [path]
        elif event.startswith(("os.", "shutil.", "sqlite3.", "mmap.")):
            named = [one for one in arguments if isinstance(one, str | bytes | os.PathLike)]
            descriptor = arguments[0] if event in {"mmap.__new__", "os.truncate"} else None
            if isinstance(descriptor, int) and descriptor >= 0:
                named = [os.readlink(f"/proc/self/fd/{descriptor}")]
        else:
            return
        for path in named:
            if self._place(path, None) is not None:
                self._refuse(f"{event} of {path}")

    def _refuse(self, what: str) -> None:
        os.write(2, f"the disk of the test does not know: {what}\n".encode())
        os._exit(UNKNOWN_OPERATION)
