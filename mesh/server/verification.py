"""Verification: restores a snapshot file into a scratch store, in a process of its own.

`python -m mesh.server.verification FILE` prints the digest of the restored rows, which is computed
anew from the tables; on anything wrong it prints why to stderr and exits with 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mesh.errors import Invalid, MeshError, explained
from mesh.registry.requests import TABLES
from mesh.store.archive import PORTION_BYTES, Archive, read_meta
from mesh.store.export import Export
from mesh.store.staging import Staging

NICENESS = 10
_CEILING = 2**63 - 1


def restored(path: Path) -> str:
    """Restore the file, and take the digest of what that gives. Raises Invalid or OSError."""
    staging = Staging(TABLES, _CEILING)
    with path.open("rb") as file:
        archive = Archive(_portions(file))
        meta = read_meta(archive)
        for portion in archive.state():
            staging.feed(portion)
    contents = staging.finish()
    tables = [contents[name] for name in meta.tables]
    export = Export(tables, meta.index, meta.level)
    for _ in export:
        pass
    if export.digest.hex() != meta.digest:
        raise Invalid("gives other rows than were saved")
    return meta.digest


def _portions(file: IO[bytes]) -> Iterator[bytes]:
    while portion := file.read(PORTION_BYTES):
        yield portion


def main() -> int:
    """Verify the file named on the command line."""
    os.nice(NICENESS)
    try:
        sys.stdout.write(f"{restored(Path(sys.argv[1]))}\n")
    except MeshError as error:
        sys.stderr.write(f"the snapshot {error.message}\n")
        return 1
    except (OSError, KeyError) as error:
        sys.stderr.write(f"the snapshot cannot be read: {explained(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
