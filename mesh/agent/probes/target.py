"""What probes aim at: addresses, TLS towards them, and why a connection failed in words."""

from __future__ import annotations

import asyncio
import os
import ssl

import aiohttp

from mesh import tls
from mesh.agent.definitions import CheckDefinition
from mesh.agent.state import Certificates

TIMEOUT_SECONDS = 10.0
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Contexts:
    """TLS contexts for checks, kept: to read the system's authorities takes a while."""

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._made: dict[tuple[bool, str], ssl.SSLContext] = {}

    def get(self, check: CheckDefinition, protocol: str = "") -> ssl.SSLContext:
        """The one for a check, which offers this protocol (ALPN).

        Raises OSError when the agent's own certificate cannot be read.
        """
        key = (check.tls_skip_verify, protocol)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def _make(self, skip_verify: bool, protocol: str) -> ssl.SSLContext:
        own = self._certificates
        if skip_verify:  # Nobody need be trusted then, and to read whom we trust takes a while.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            file, path = (own.ca_file or None, own.ca_path or None) if own else (None, None)
            context = ssl.create_default_context(cafile=file, capath=path)
        if own is not None and own.cert_file:
            context.load_cert_chain(own.cert_file, own.key_file or None, password=lambda: "")
        if protocol:
            context.set_alpn_protocols([protocol])
        return context


def split(address: str) -> tuple[str, int]:
    """Host and port of `host:port`, which was checked when it was defined."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def connect(address: str, check: CheckDefinition, context: ssl.SSLContext | None) -> Streams:
    """Connect, with TLS if there is a context. Raises OSError or ValueError."""
    name = (check.tls_server_name or None) if context else None
    return await asyncio.open_connection(*split(address), ssl=context, server_hostname=name)


def seconds(check: CheckDefinition) -> float:
    """How long one run may take."""
    return check.timeout or TIMEOUT_SECONDS


def reason(error: Exception) -> str:
    """Why it failed, in the words of the system rather than of the library."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, ssl.SSLError):
        return tls.explain(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or "timed out"
