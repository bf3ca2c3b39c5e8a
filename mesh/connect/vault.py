"""A vault: leaves with their keys on disk, sealed, so that they are there after a restart."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.codec import pack, unpack
from mesh.connect.credentials import Leaf
from mesh.errors import Internal, Invalid
from mesh.lazily import Lazy

if TYPE_CHECKING:
    from mesh.connect import keys
else:
    keys = Lazy("mesh.connect.keys")

log = logging.getLogger(__name__)

SECRET = "secret"  # noqa: S105 - the name of a file.


class Vault:
    """A folder of files that only this node's secret opens. Readable by their owner alone."""

    def __init__(self, folder: str) -> None:
        """Raises Internal when the folder cannot be used."""
        self._folder = Path(folder)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._secret = self._own_secret()
        except OSError as error:
            raise Internal(f"{folder}: leaves cannot be kept: {error.strerror}") from error

    def _own_secret(self) -> bytes:
        file = self._folder / SECRET
        if file.exists() and len(found := file.read_bytes()) == keys.SECRET_BYTES:
            return found
        made = keys.new_secret()
        _write(file, made)
        return made

    def keep(self, leaf: Leaf) -> None:
        """Write it down. A disk that does not take it is no reason to be without."""
        try:
            _write(self._file(leaf.service), keys.seal(self._secret, leaf.service, pack(leaf)))
        except OSError as error:
            log.warning("leaf of %s: not kept on disk: %s", leaf.service, error.strerror)

    def find(self, service: str) -> Leaf | None:
        """What was kept; None when there is nothing that can be read."""
        try:
            sealed = self._file(service).read_bytes()
            return unpack(keys.unseal(self._secret, service, sealed), Leaf)
        except FileNotFoundError:
            return None
        except (OSError, Invalid) as error:
            log.warning("leaf of %s: what is on disk cannot be read: %s", service, error)
            return None

    def forget(self, service: str) -> None:
        """Delete it."""
        try:
            self._file(service).unlink(missing_ok=True)
        except OSError as error:
            log.warning("leaf of %s: stays on disk: %s", service, error.strerror)

    def _file(self, service: str) -> Path:
        return self._folder / f"{hashlib.sha256(service.encode()).hexdigest()}.leaf"


def _write(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
