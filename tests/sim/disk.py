"""The disk of a simulated host: files in memory that forget what was not synced.

`mount` puts it under the journal and the snapshots of production, which then run unchanged: their
`os` and `Path` are the ones below. What POSIX promises after a loss of power is all that is kept:
file contents up to the last sync and then any part of what was written since, torn or with a
flipped bit; names up to the last sync of their folder and then any of the changes since.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest

from mesh.clock import SeededDice
from mesh.raft import journal, recovery, snapshots


class PowerCut(BaseException):
    """The host lost its power in the middle of what it did."""


class File:
    """Contents: as the kernel has them, and as they are surely on the platter."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""


class Disk:
    """All files of one host, by full path, and its faults."""

    def __init__(self, dice: SeededDice) -> None:
        self._dice = dice
        self.names: dict[str, File] = {}
        self._synced_names: dict[str, File] = {}
        self._changes: list[tuple[str, dict[str, File | None]]] = []  # Folder, its new names.
        self.steps_left = -1  # Writes, syncs and changes of names until the power fails.
        self.steps = 0
        self.fails: OSError | None = None  # What the next write or sync raises.
        self.torn = self.flipped = self.names_lost = 0

    def step(self) -> None:
        """One operation begins; the power may fail before it."""
        if self.steps_left == 0:
            raise PowerCut
        self.steps_left -= 1
        self.steps += 1

    def fail(self) -> None:
        """Raise the fault that was ordered, once."""
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error

    def change(self, names: dict[str, File | None]) -> None:
        """Give names to files, or take them away, all at once and in one folder."""
        self.step()
        self._changes.append((next(iter(names)).rpartition("/")[0], names))
        _rename(self.names, names)

    def sync_folder(self, folder: str) -> None:
        self.step()
        self.fail()
        for where, names in self._changes:
            if where == folder:
                _rename(self._synced_names, names)
        self._changes = [change for change in self._changes if change[0] != folder]

    def sync(self, file: File) -> None:
        self.step()
        if self.fails is not None:  # The pages count as clean now, but some are not on the disk.
            file.synced = self._remains(file)
            file.data = bytearray(file.synced)
        self.fail()
        file.synced = bytes(file.data)

    def write(self, file: File, data: bytes) -> int:
        self.step()
        if self.fails is not None and self.fails.errno == errno.ENOSPC:
            file.data += data[: self._dice.below(len(data) + 1)]
            self.fail()
        file.data += data
        return len(data)

    def lose_power(self) -> None:
        """Keep what was synced, and any part of the rest."""
        for _, names in self._changes:
            if self._dice.below(2):
                _rename(self._synced_names, names)
            else:
                self.names_lost += 1
        self._changes.clear()
        files = [*self.names.values(), *self._synced_names.values()]
        for file in {id(file): file for file in files}.values():
            file.data = bytearray(self._remains(file))
            file.synced = bytes(file.data)
        self.names = dict(self._synced_names)
        self.steps_left, self.fails = -1, None

    def _remains(self, file: File) -> bytes:
        """What is on the platter: the tail since the last sync came down in part."""
        synced, data = file.synced, bytes(file.data)
        if data == synced:
            return data
        if not data.startswith(synced):  # Truncated, or written anew.
            return data if self._dice.below(2) else synced
        kept = len(synced) + self._dice.below(len(data) - len(synced) + 1)
        tail = bytearray(data[len(synced) : kept])
        if kept < len(data):
            self.torn += 1
        damage = self._dice.below(3)
        if damage == 0 and tail:  # A bit is wrong.
            tail[self._dice.below(len(tail))] ^= 1 << self._dice.below(8)
            self.flipped += 1
        elif damage == 1:  # The length came down before the contents.
            tail += bytes(self._dice.below(len(data) - kept + 1))
        return synced + bytes(tail)


def _rename(names: dict[str, File], changes: dict[str, File | None]) -> None:
    for path, file in changes.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


_mounted: dict[str, Disk] = {}
_descriptors = itertools.count(3)
_open: dict[int, tuple[Disk, str, File | None]] = {}  # None for a folder.


@contextmanager
def mount(disks: dict[str, Disk]) -> Iterator[None]:
    """Let production's disk code use these disks, by the first part of a path."""
    assert not _mounted, "one world at a time"
    _mounted.update(disks)
    with pytest.MonkeyPatch.context() as patch:
        for module in (journal, snapshots, recovery):
            patch.setattr(module, "Path", SimPath)
        for module in (journal, snapshots):
            patch.setattr(module, "os", SIM_OS)
        try:
            yield
        finally:
            _mounted.clear()
            _open.clear()


def disk_of(path: str) -> Disk:
    """The disk that a path lies on."""
    return _mounted[path.split("/")[1]]


class SimPath(PurePosixPath):
    """As much of `pathlib.Path` as production uses. Folders are always there."""

    def is_dir(self) -> bool:
        return True

    def glob(self, pattern: str) -> list[SimPath]:
        names = disk_of(str(self)).names
        found = [SimPath(name) for name in names]
        return [path for path in found if path.parent == self and path.match(pattern)]

    def read_bytes(self) -> bytes:
        return bytes(disk_of(str(self)).names[str(self)].data)

    def unlink(self) -> None:
        disk_of(str(self)).change({str(self): None})

    def rename(self, target: SimPath) -> None:
        disk = disk_of(str(self))
        disk.change({str(target): disk.names[str(self)], str(self): None})

    def open(self, mode: str) -> _Handle:
        flags = {"wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "rb": os.O_RDONLY}[mode]
        return _Handle(_os_open(self, flags))


class _Handle:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> _Handle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        _os_close(self._descriptor)

    def write(self, data: bytes) -> int:
        return _os_write(self._descriptor, data)

    def flush(self) -> None: ...

    def fileno(self) -> int:
        return self._descriptor


def _os_open(path: object, flags: int, _mode: int = 0) -> int:
    name = str(path)
    disk = disk_of(name)
    if flags & os.O_DIRECTORY:
        file = None
    elif name in disk.names:
        file = disk.names[name]
        if flags & os.O_TRUNC and file.data:
            disk.step()
            file.data.clear()
    elif flags & os.O_CREAT:
        file = File()
        disk.change({name: file})
    else:
        raise FileNotFoundError(errno.ENOENT, "No such file", name)
    descriptor = next(_descriptors)
    _open[descriptor] = (disk, name, file)
    return descriptor


def _os_close(descriptor: int) -> None:
    _open.pop(descriptor, None)  # A host that crashed has closed all.


def _os_write(descriptor: int, data: bytes | memoryview) -> int:
    disk, _, file = _open[descriptor]
    assert file is not None
    return disk.write(file, bytes(data))


def _os_fsync(descriptor: int) -> None:
    disk, name, file = _open[descriptor]
    if file is None:
        disk.sync_folder(name)
    else:
        disk.sync(file)


def _os_ftruncate(descriptor: int, size: int) -> None:
    disk, _, file = _open[descriptor]
    assert file is not None
    disk.step()
    del file.data[size:]


def _os_pread(descriptor: int, count: int, offset: int) -> bytes:
    _, _, file = _open[descriptor]
    assert file is not None
    return bytes(file.data[offset : offset + count])


_CONSTANTS = {name: getattr(os, name) for name in dir(os) if name.startswith("O_")}
_CALLS: dict[str, Callable[..., Any]] = {
    "open": _os_open,
    "close": _os_close,
    "write": _os_write,
    "fsync": _os_fsync,
    "fdatasync": _os_fsync,
    "ftruncate": _os_ftruncate,
    "pread": _os_pread,
}
SIM_OS = SimpleNamespace(**_CONSTANTS, **_CALLS)
