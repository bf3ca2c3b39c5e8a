"""The data directory: whose it is, that only one process uses it, and the id of the node."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from mesh.codec import from_json, to_json
from mesh.errors import Conflict, Invalid, MeshError

FORMAT = 1
LEVEL = 1
_MARKER = "mesh.json"
_FRESH = f"{_MARKER}.new"
_LOCK = "lock"


class _Marker(msgspec.Struct, omit_defaults=True):
    format: int
    node_id: str
    level: int = LEVEL
    """Feature level of what lies in the directory."""


class DataDirectory:
    """An opened data directory, locked against other processes until `close`."""

    def __init__(self, path: str, node_id: str, lock: int) -> None:
        self.path = path
        self.node_id = node_id
        self._lock = lock

    def raise_level(self, level: int) -> None:
        """Note durably that programs which do not know this feature level must not start here."""
        top = Path(self.path)
        marker = _read_marker(top) or _Marker(FORMAT, self.node_id)
        if level > marker.level:
            _write_marker(top, msgspec.structs.replace(marker, level=level))

    def folder(self, name: str) -> str:
        """A folder in it, made when missing; it is there durably."""
        path = Path(self.path, name)
        _make_durably(path)
        return str(path)

    def close(self) -> None:
        """Let other processes use it."""
        os.close(self._lock)


def open_directory(path: str, node_id: str, level_max: int = LEVEL) -> DataDirectory:
    """Open or make the data directory; node_id is for a new one.

    Raises Conflict or Invalid, with one line that says what to do, when it cannot be written, is
    in use, belongs to another program, to a newer mesh or to a level above `level_max`. Nothing in
    it is changed then.
    """
    top = Path(path)
    try:
        _make_durably(top)
        marker = _read_marker(top)
        if marker is not None and marker.level > level_max:
            raise Invalid(
                f"data_dir {path}: written by a newer mesh (level {marker.level}); upgrade mesh "
                f"(this program speaks levels up to {level_max})"
            )
        lock = os.open(top / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Conflict(f"data_dir {path}: cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Again under the lock: another process may have made it meanwhile.
        marker = marker or _read_marker(top)
        if marker is None:
            marker = _Marker(FORMAT, node_id)
            _write_marker(top, marker)
    except BlockingIOError:
        os.close(lock)
        raise Conflict(f"data_dir {path}: another mesh process uses it; stop that first") from None
    except OSError as error:
        os.close(lock)
        raise Conflict(f"data_dir {path}: cannot be used: {error.strerror}") from error
    except MeshError:
        os.close(lock)
        raise
    return DataDirectory(path, marker.node_id, lock)


def replace_durably(path: Path, data: bytes) -> None:
    """Have the file hold this, whole or not at all, also after a power failure. Raises OSError."""
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync(path.parent)


def existing_directory(path: str, level_max: int) -> DataDirectory:
    """Open a data directory that a node has used. Raises Conflict or Invalid; makes nothing."""
    top = Path(path)
    if not top.is_dir() or _read_marker(top) is None:
        raise Conflict(f"data_dir {path}: no server has used it")
    return open_directory(path, "", level_max)


def _read_marker(top: Path) -> _Marker | None:
    file = top / _MARKER
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        strangers = sorted(
            entry.name for entry in top.iterdir() if entry.name not in {_LOCK, _FRESH}
        )
        if strangers:
            raise Conflict(
                f"data_dir {top}: holds files that are not mesh's ({', '.join(strangers[:3])}); "
                "name an empty directory"
            ) from None
        return None
    try:
        marker = from_json(data, _Marker)
    except Invalid as error:
        raise Invalid(f"{file}: damaged ({error}); restore it from a backup") from error
    if marker.format > FORMAT:
        raise Invalid(f"{file}: written by a newer mesh (format {marker.format}); upgrade mesh")
    return marker


def _write_marker(top: Path, marker: _Marker) -> None:
    replace_durably(top / _MARKER, to_json(marker, indent=2) + b"\n")


def _make_durably(folder: Path) -> None:
    """Make it with all above it. Without this a power failure may take away all that is in it."""
    if not folder.parent.is_dir():
        _make_durably(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    # Also when it was there: who made it may have died before this.
    with suppress(PermissionError):  # Then it is not ours to make either, and was there before.
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
