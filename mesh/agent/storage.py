"""Storage: what was registered through the API, kept on disk across restarts."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TypeVar

import msgspec

from mesh.codec import from_json, to_json
from mesh.errors import Invalid

log = logging.getLogger(__name__)
T = TypeVar("T")


class CheckState(msgspec.Struct, frozen=True):
    """What a check found last, and until when that holds (Unix seconds; 0 for no end)."""

    id: str
    status: str
    output: str
    expires: float = 0.0


class Storage:
    """Folders of JSON files, one a thing. Without a directory nothing is kept."""

    def __init__(self, directory: str) -> None:
        self._top = Path(directory) if directory else None

    def save(self, folder: str, name: str, value: object, *, sync: bool = True) -> None:
        """Write it, replacing what was there; survives a crash when synced."""
        if self._top is None:
            return
        path = self._path(folder, name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(to_json(value))
            if sync:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)

    def remove(self, folder: str, name: str) -> None:
        """Delete it, if there."""
        if self._top is not None:
            self._path(folder, name).unlink(missing_ok=True)

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
                path.replace(aside)
        return found

    def _path(self, folder: str, name: str) -> Path:
        assert self._top is not None, "callers checked"
        return self._top / folder / f"{hashlib.sha256(name.encode()).hexdigest()}.json"
