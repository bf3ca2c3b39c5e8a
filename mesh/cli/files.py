"""Files that commands read from start to end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mesh.errors import MeshError, explained
from mesh.store.archive import PORTION_BYTES


class Unreadable(MeshError):
    """A file cannot be read or written."""

    code = "file"


def private(path: str, flags: int) -> int:
    """To open files with that nobody else is to read."""
    return os.open(path, flags, 0o600)


@contextmanager
def portions_of(path: Path) -> Iterator[Iterator[bytes]]:
    """The bytes of a file in portions. Raises Unreadable."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise Unreadable(explained(error)) from error
    with file:
        yield _portions(file)


def _portions(file: IO[bytes]) -> Iterator[bytes]:
    try:
        while portion := file.read(PORTION_BYTES):
            yield portion
    except OSError as error:
        raise Unreadable(explained(error)) from error
