"""Leaf files: a service's certificate, key and roots for programs that read them from disk.

The three change together: each set lies in a folder of its own, and the link `current` names the
newest. A program that finds it changed while it reads just reads again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import quote, unquote

from mesh.connect.credentials import Bundle, Leaf
from mesh.connect.grpc_bootstrap import CERTIFICATE, KEY, ROOTS
from mesh.errors import Internal

CURRENT = "current"
_SUFFIX = ".d"


def kept(folder: Path) -> set[str]:
    """The services of which there are files."""
    try:
        return {unquote(one.name.removesuffix(_SUFFIX)) for one in folder.iterdir()}
    except OSError:
        return set()


class LeafFiles:
    """The files of one service. Readable by their owner alone."""

    def __init__(self, folder: Path, service: str) -> None:
        self.folder = folder / f"{quote(service, safe='')}{_SUFFIX}"

    @property
    def current(self) -> Path:
        """The folder in which programs find what is valid now."""
        return self.folder / CURRENT

    def there(self) -> bool:
        """Whether there were ever any."""
        return self.current.exists()

    def write(self, leaf: Leaf, bundle: Bundle) -> None:
        """Have programs find these. Raises Internal when the disk does not take them."""
        roots = "".join(f"{bundle.roots[one].strip()}\n" for one in sorted(bundle.roots))
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = self._target()
            number = int(before) + 1 if before.isdecimal() else 1
            made = self.folder / str(number)
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(mode=0o700)
            for name, text in ((CERTIFICATE, leaf.certificate), (KEY, leaf.key), (ROOTS, roots)):
                _write(made / name, text)
            link = self.folder / "next"
            link.unlink(missing_ok=True)
            link.symlink_to(made.name)
            link.replace(self.current)
            for old in self.folder.iterdir():
                # The last one stays a little: somebody may have begun to read it.
                if old.name not in {CURRENT, made.name, before}:
                    shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise Internal(f"{self.folder}: certificates cannot be kept: {error}") from error

    def _target(self) -> str:
        try:
            return str(self.current.readlink())
        except OSError:
            return ""

    def remove(self) -> None:
        """Delete them all."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
