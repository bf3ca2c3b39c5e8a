"""Certificates for the demo: one authority, and for each node its own and a file naming them.

The file has the key for gossip too, the same for all.

`python -m mesh.cli.certificates server1 agent1` makes them in the folder `certificates`; names that
begin with "server" are servers'. Every key lies in one folder: that is for trying things only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mesh.cli.tls import save
from mesh.clock import SystemClock, secret_bytes
from mesh.codec import to_json
from mesh.connect.certs import Authority, Subject
from mesh.errors import MeshError
from mesh.gossip.keytext import KEY_SIZES, write_key

FOLDER = "certificates"
DAYS = 365


def make(folder: Path, nodes: Sequence[str]) -> None:
    """Make what is missing; does nothing where there is an authority already."""
    ca = folder / "mesh-agent-ca.pem"
    if ca.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    # A day more: it must not expire before what it signs a moment later.
    pair = Authority.make(clock, days=DAYS + 1)
    authority = Authority.read(*pair)
    key_for_gossip = write_key(secret_bytes(max(KEY_SIZES)))
    for node in nodes:
        subject = Subject("server" if node.startswith("server") else "client", node=node)
        certificate, key = folder / f"{node}.pem", folder / f"{node}-key.pem"
        save(authority.issue(subject, clock, DAYS), certificate, key)
        # As a node sees them from the folder it works in.
        files = {
            "ca_file": f"{FOLDER}/{ca.name}",
            "cert_file": f"{FOLDER}/{certificate.name}",
            "key_file": f"{FOLDER}/{key.name}",
        }
        settings = {"encrypt": key_for_gossip, "tls": {"defaults": files}}
        (folder / f"{node}.json").write_bytes(to_json(settings, indent=2))
    ca.write_bytes(pair.certificate)


def main(nodes: Sequence[str]) -> int:
    """Run from the command line."""
    try:
        make(Path(FOLDER), nodes)
    except MeshError as error:
        sys.stderr.write(f"certificates: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
