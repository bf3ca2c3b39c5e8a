"""Files that commands read from start to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mesh.errors import MeshError, explained
from mesh.store.archive import PORTION_BYTES


class Unreadable(MeshError):
    """A file cannot be read or written."""

    code = "file"


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
