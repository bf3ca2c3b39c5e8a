"""Certificates for the Raft benchmark, and what a voter makes of them."""

from __future__ import annotations

from pathlib import Path

from mesh.cli.certificates import make
from mesh.clock import SystemClock
from mesh.daemon.encryption import secure
from mesh.raft.node import Node
from mesh.tls import Credentials, Options, Setting, load

VOTERS = ("server0", "server1", "server2")


def make_certificates(folder: Path) -> None:
    """An authority, and a certificate for each voter."""
    make(folder, VOTERS)


def credentials(folder: str, name: str) -> Credentials:
    """What this voter shows and trusts."""

    def file(kind: str, path: str) -> Setting:
        return Setting(kind, str(Path(folder, path)))

    options = Options(
        authorities=file("ca_file", "mesh-agent-ca.pem"),
        certificate=file("cert_file", f"{name}.pem"),
        key=file("key_file", f"{name}-key.pem"),
        node=name,
        datacenter="dc1",
        domain="mesh",
        server=True,
    )
    return Credentials(load(options), SystemClock())


def dial_with(node: Node, shown: Credentials) -> None:
    """Have the voter speak over mutual TLS, as a server does."""
    secure(node, shown, lambda peer: peer.address)
