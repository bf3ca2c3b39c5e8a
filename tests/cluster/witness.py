"""meshd with a witness: on SIGUSR2 a server tells the digest of its state, in a file.

`python -m tests.cluster.witness agent ...` is meshd in every other way. With MESH_POWER in the
environment its disk also forgets what was never synced, see tests.powerloss.disk. With
MESH_NO_LEASE a leader takes its word for it that it leads, which a test has to notice.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.powerloss.disk import Disk

WITNESS = "MESH_WITNESS"
POWER = "MESH_POWER"
NO_LEASE = "MESH_NO_LEASE"


def digest(pieces: list[bytes]) -> str:
    """What two servers in the same state agree on."""
    return hashlib.blake2b(b"".join(pieces), digest_size=16).hexdigest()


def watch(path: Path) -> None:
    """Have every machine made from now on answer SIGUSR2, between two turns of its loop."""
    from mesh.server.machine import Machine  # noqa: PLC0415 - after the disk is interposed.

    make = Machine.__init__

    def made(machine: Machine, *arguments: Any, **named: Any) -> None:
        make(machine, *arguments, **named)

        def tell() -> None:
            state = {"index": machine.database.index, "digest": digest(list(machine.snapshot()))}
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(state))
            fresh.replace(path)

        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, tell)

    Machine.__init__ = made  # type: ignore[assignment, method-assign]


def main() -> int:
    """Run meshd."""
    if power := os.environ.get(POWER):
        Disk(**json.loads(power)).interpose()
    watch(Path(os.environ[WITNESS]))
    if os.environ.get(NO_LEASE):
        from mesh.raft.node import Node  # noqa: PLC0415

        Node.leased = Node.is_leader.fget  # type: ignore[attr-defined, method-assign]
    from mesh.daemon.main import main as meshd  # noqa: PLC0415

    return meshd()


if __name__ == "__main__":
    sys.exit(main())
