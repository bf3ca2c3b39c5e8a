"""The shelf: a directory of snapshots, each whole and durable, the oldest ones thrown away."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from mesh import codec
from mesh.errors import Invalid
from mesh.registry.snapshots import Kept

PREFIX, SUFFIX, PART = "mesh-", ".snap", ".part"
LIST = "mesh-snapshots.json"


class Shelf:
    """All methods block on the disk and raise OSError."""

    def __init__(self, directory: str) -> None:
        self._folder = Path(directory)

    def listed(self) -> list[Kept]:
        """What is there, the newest first."""
        try:
            data = (self._folder / LIST).read_bytes()
            known = codec.from_json(data, list[Kept])
        except (FileNotFoundError, NotADirectoryError, Invalid):
            return []
        return [one for one in known if (self._folder / one.name).is_file()]

    def begin(self, name: str) -> Path:
        """Where to write the next one. What an earlier process left half written goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for old in self._folder.glob(f"{PREFIX}*{SUFFIX}{PART}"):
            old.unlink(missing_ok=True)
        return self._folder / f"{name}{PART}"

    def write(self, path: Path, portions: Iterable[bytes]) -> int:
        """Write a file durably; its size."""
        with open(path, "xb", opener=_private) as file:
            file.writelines(portions)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def keep(self, path: Path, one: Kept, retain: int) -> list[Kept]:
        """Give it its name, and throw away what is too old; what is there then.

        The newest is the one made last, whatever the clock said of the others.
        """
        path.rename(self._folder / one.name)
        try:
            kept = [one, *(each for each in self.listed() if each.name != one.name)]
            kept, gone = kept[:retain], kept[retain:]
            self._note(kept)
        except OSError:
            # What is on no list nobody would ever throw away.
            self.discard(self._folder / one.name)
            raise
        for old in gone:
            (self._folder / old.name).unlink(missing_ok=True)
        self._sync()
        return kept

    def _note(self, kept: list[Kept]) -> None:
        fresh = self._folder / f"{LIST}.new"
        with fresh.open("wb") as file:
            file.write(codec.to_json(kept, indent=2))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._folder / LIST)

    def discard(self, path: Path) -> None:
        """Remove a file that did not turn out well."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def _sync(self) -> None:
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _private(path: str, flags: int) -> int:
    """Keys' values are in it: for nobody else to read."""
    return os.open(path, flags, 0o600)


def file_name(datacenter: str, time: str, index: int) -> str:
    """Such as `mesh-dc1-20260102T030405Z-1234.snap`."""
    compact = time.replace("-", "").replace(":", "")
    return f"{PREFIX}{datacenter}-{compact}-{index}{SUFFIX}"


class Settings(msgspec.Struct, frozen=True):
    """When snapshots are taken, and what becomes of them."""

    interval: float = 0.0
    """In seconds; 0 for never."""
    directory: str = ""
    retain: int = 24
    verify: bool = True
