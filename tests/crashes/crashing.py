"""A Raft server that kills itself with SIGKILL at one step of a snapshot on its disk.

`python -m tests.crashes.crashing WHEN STEP ...`, the rest as for `tests.raft.server`. Steps are the
operations on the disk, counted from the moment when a snapshot begins to be saved or received (WHEN
is `save` or `receive`), and the process dies just before the one with that number.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mesh.raft import journal, snapshots
from mesh.raft.journal import Segments
from mesh.raft.node import Options
from mesh.raft.snapshots import Incoming, Snapshots, Stored
from tests.raft import server

STEPS = ("open", "write", "fsync", "fdatasync", "ftruncate")


class Fuse:
    """Burns from `light` on, a step an operation, until it is put out for good."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._lit = self._out = False

    def light(self) -> None:
        self._lit = not self._out

    def put_out(self) -> None:
        self._lit, self._out = False, self._lit or self._out

    def guard(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            if self._lit:
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                self._left -= 1
            return operation(*arguments)

        return guarded


def lay(fuse: Fuse, when: str) -> None:
    """Put the fuse under the modules that write."""
    guarded = {name: fuse.guard(getattr(os, name)) for name in STEPS}
    for module in (journal, snapshots):
        module.os = SimpleNamespace(**(vars(os) | guarded))  # type: ignore[attr-defined]
    for name in ("rename", "unlink"):
        setattr(Path, name, fuse.guard(getattr(Path, name)))
    save, check = Snapshots.save, Snapshots.check

    def lit_save(self: Snapshots, index: int, term: int, pieces: Iterable[bytes]) -> Stored:
        if self.latest is not None:  # The first has none to replace.
            fuse.light()
        return save(self, index, term, pieces)

    def lit_check(self: Snapshots, incoming: Incoming) -> Stored:
        fuse.light()
        return check(self, incoming)

    drop_below = Segments.drop_below

    def last_step(self: Segments, index: int) -> None:
        drop_below(self, index)
        fuse.put_out()

    Segments.drop_below = last_step  # type: ignore[method-assign]
    if when == "save":
        Snapshots.save = lit_save  # type: ignore[method-assign]
    else:
        Snapshots.check = lit_check  # type: ignore[method-assign]


if __name__ == "__main__":
    when, steps = sys.argv[1:3]
    del sys.argv[1:3]
    lay(Fuse(int(steps)), when)
    vars(server)["Options"] = partial(Options, segment_bytes=4000)
    asyncio.run(server.main())
