"""What open connections were judged by, on disk: Envoys outlive the agent, with connections."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path

from mesh.codec import pack, unpack
from mesh.connect.xds.reach import Judged
from mesh.errors import Invalid

log = logging.getLogger(__name__)


class Marks:
    """A file for each proxy. Without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, proxy: str) -> Judged | None:
        """What was kept; None when there is nothing that can be read."""
        if self._folder is None:
            return None
        try:
            return unpack(self._file(self._folder, proxy).read_bytes(), Judged)
        except FileNotFoundError:
            return None
        except (OSError, Invalid) as error:
            log.warning("%s: what its connections were judged by cannot be read: %s", proxy, error)
            return None

    def keep(self, proxy: str, judged: Judged) -> None:
        """Write it down, before the proxy is told; not synced, for Envoys end with the machine.

        Where that fails there is nothing: to take what was true once for true now would have
        connections go on that are denied.
        """
        if self._folder is None:
            return
        file = self._file(self._folder, proxy)
        fresh = file.with_suffix(".new")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_bytes(pack(judged))
            fresh.replace(file)
        except OSError as error:
            log.warning(
                "%s: what its connections were judged by is not kept: %s; when the agent starts "
                "anew they end",
                *(proxy, error.strerror),
            )
            self.forget(proxy)

    def forget(self, proxy: str) -> None:
        """Delete it."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                self._file(self._folder, proxy).unlink(missing_ok=True)

    @staticmethod
    def _file(folder: Path, proxy: str) -> Path:
        return folder / f"{hashlib.sha256(proxy.encode()).hexdigest()[:16]}.mark"
