"""TLS contexts of a leaf and the roots, without a file that stays on the disk."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from mesh.client.ca import Leaf, Roots
from mesh.client.peers import Check, Context, Object, Socket
from mesh.errors import Invalid

Side = Literal["server", "client"]
_DESCRIPTORS = Path("/proc/self/fd")


class Credentials(msgspec.Struct, frozen=True):
    """What a service proves itself with, and what it checks others against."""

    leaf: Leaf
    roots: Roots

    def server_name(self, service: str, datacenter: str) -> str:
        """The name that leads to a service in TLS, as all of the mesh has it."""
        return f"{service}.default.{datacenter}.internal.{self.roots.trust_domain}"

    def id_of(self, service: str, datacenter: str) -> str:
        """The SPIFFE ID of a service in this trust domain."""
        return f"spiffe://{self.roots.trust_domain}/ns/default/dc/{datacenter}/svc/{service}"

    @property
    def datacenter(self) -> str:
        """Where the leaf is from."""
        return self.leaf.service_uri.rpartition("/svc/")[0].rpartition("/dc/")[2]


def begin(side: Side) -> Context:
    """A context that trusts nobody yet; it asks everybody for a certificate."""
    context = Context(ssl.PROTOCOL_TLS_SERVER if side == "server" else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # The SPIFFE ID says who it is; sidecars have no host names.
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    if side == "server":
        context.num_tickets = 0  # Who resumes a session would not be checked against new roots.
    context.sslsocket_class, context.sslobject_class = Socket, Object
    return context


def fill(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Have it show this leaf and trust these roots. Raises Invalid when they cannot be used."""
    try:
        context.load_verify_locations(cadata=_pem(credentials.roots))
        leaf = credentials.leaf
        with _as_file(f"{leaf.cert_pem}\n{leaf.private_key_pem}".encode()) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"TLS does not take what the agent gave: {error}") from error


def make(side: Side, credentials: Credentials, check: Check) -> Context:
    """A context for either side. Raises Invalid."""
    context = begin(side)
    context.check = check
    fill(context, credentials)
    return context


def _pem(roots: Roots) -> str:
    return "".join(f"{root.root_cert.rstrip()}\n" for root in roots.roots)


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """The path of what OpenSSL reads from a file only: in memory, or gone from disk at once."""
    if hasattr(os, "memfd_create") and _DESCRIPTORS.is_dir():
        descriptor = os.memfd_create("mesh-leaf", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, data)
            yield str(_DESCRIPTORS / str(descriptor))
        finally:
            os.close(descriptor)
        return
    with tempfile.NamedTemporaryFile(prefix="mesh-leaf-") as file:  # Of mode 0600.
        file.write(data)
        file.flush()
        yield file.name
