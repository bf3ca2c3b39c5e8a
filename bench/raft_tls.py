"""Certificates for the Raft benchmark and contexts made of them, until mesh makes its own."""

from __future__ import annotations

import asyncio
import functools
import ssl
import subprocess
from pathlib import Path

import mesh.raft.transport


def make_certificates(folder: Path) -> None:
    """A CA and one certificate for all voters, with the `openssl` program."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    _openssl(folder, "req", "-x509", *key, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    name = ["-subj", "/CN=voter", "-addext", "subjectAltName=IP:127.0.0.1"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "voter.key", "-out", "voter.pem"]
    _openssl(folder, "req", "-x509", *key, *name, *signed)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def contexts(folder: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For who listens and for who connects; both ask for a certificate of the CA."""
    found = []
    for purpose in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(purpose)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(Path(folder, "voter.pem"), Path(folder, "voter.key"))
        context.load_verify_locations(Path(folder, "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        found.append(context)
    return found[0], found[1]


def dial_with(context: ssl.SSLContext) -> None:
    """Have the transport connect so: by hand while Transport has no `dial` of its own."""
    dial = functools.partial(asyncio.open_connection, ssl=context)
    mesh.raft.transport.asyncio.open_connection = dial  # type: ignore[attr-defined]
