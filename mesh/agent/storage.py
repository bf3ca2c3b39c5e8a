"""Storage: what was registered through the API, kept on disk across restarts."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.codec import from_json, to_json
from mesh.errors import Internal, Invalid

log = logging.getLogger(__name__)
T = TypeVar("T")


class CheckState(msgspec.Struct, frozen=True):
    """What a check found last, and until when that holds (Unix seconds; 0 for no end)."""

    id: str
    status: str
    output: str
    expires: float = 0.0


class KeptService(msgspec.Struct, frozen=True):
    """A service on disk; its checks are kept on their own."""

    service: ServiceDefinition


class KeptCheck(msgspec.Struct, frozen=True):
    """A check on disk; one without a kind is maintenance."""

    check: CheckDefinition
    with_service: bool = False
    """Whether it came in the definition of its service."""


class Storage:
    """Folders of JSON files, one a thing. Without a directory nothing is kept."""

    def __init__(self, directory: str) -> None:
        self._top = Path(directory) if directory else None

    def save(self, folder: str, name: str, value: object, *, sync: bool = True) -> None:
        """Write it, replacing what was there; when synced it survives a crash of the machine.

        Raises Internal when the disk does not take it.
        """
        if self._top is None:
            return
        path = self._path(folder, name)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, to_json(value), sync=sync)
        except OSError as error:
            raise Internal(f"cannot keep {name} in {path.parent}: {error.strerror}") from error

    def remove(self, folder: str, name: str) -> None:
        """Delete it, if there. Raises Internal when the disk refuses."""
        if self._top is None:
            return
        path = self._path(folder, name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise Internal(f"cannot delete {name} in {path.parent}: {error.strerror}") from error

    def load(self, folder: str, kind: type[T]) -> list[T]:
        """Everything in the folder, ordered by file name. A damaged file is put aside."""
        if self._top is None:
            return []
        found = []
        for path in sorted((self._top / folder).glob("*.json")):
            try:
                found.append(from_json(path.read_bytes(), kind))
            except (Invalid, OSError) as error:
                aside = path.with_suffix(".corrupt")
                log.error("%s is damaged (%s); kept as %s", path, error, aside.name)  # noqa: TRY400 - the file is at fault, not the code.
                _put_aside(path, aside)
        return found

    def _path(self, folder: str, name: str) -> Path:
        assert self._top is not None, "callers checked"
        return self._top / folder / f"{hashlib.sha256(name.encode()).hexdigest()}.json"


def _put_aside(path: Path, aside: Path) -> None:
    try:
        path.replace(aside)
    except OSError as error:
        log.warning("%s stays where it is: %s", path, error.strerror)


def _write(path: Path, data: bytes, *, sync: bool) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if sync:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
