"""TLS connections that check whom they lead to: beside the chain, the SPIFFE ID in it.

OpenSSL checks the chain and the times. What it does not know, whom the mesh means by a name and
who may call, is checked when the handshake is done, before a byte reaches the program.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

Still: TypeAlias = Callable[[], None]
"""Asked at each read of an open connection. Raises Refused when it may not go on."""
Check: TypeAlias = Callable[[str, str], Still | None]
"""What is done with the SPIFFE ID and the serial number of the other side. Raises Refused."""


class Refused(ssl.SSLCertVerificationError):
    """The other side proved who it is, and that is not who may be here."""

    def __init__(self, message: str) -> None:
        super().__init__(1, message)
        self.verify_code, self.verify_message = 0, message

    def __str__(self) -> str:
        """What was wrong, alone."""
        return self.verify_message


class Context(ssl.SSLContext):
    """Certificates as they are now, and what is done with who connects."""

    check: Check
    living: ssl.SSLContext
    """Which makes others like this one when certificates are renewed."""


def spiffe_id(certificate: Mapping[str, Any] | None) -> str:
    """The SPIFFE ID in a certificate, as `ssl` decodes it. Raises Refused when there is not one."""
    names = (certificate or {}).get("subjectAltName", ())
    found = [value for kind, value in names if kind == "URI"]
    if len(found) != 1:
        raise Refused(f"the certificate has {len(found)} URIs, where a SPIFFE ID is one")
    return str(found[0])


def trust_domain_of(uri: str) -> str:
    """Whose SPIFFE ID it is; empty for what is none."""
    scheme, _, rest = uri.partition("://")
    return rest.partition("/")[0].lower() if scheme.lower() == "spiffe" else ""


def _admit(connection: ssl.SSLSocket | ssl.SSLObject) -> Still:
    context = cast("Context", connection.context)
    certificate = connection.getpeercert()
    serial = str((certificate or {}).get("serialNumber", ""))
    return context.check(spiffe_id(certificate), _with_colons(serial)) or _always


def _with_colons(serial: str) -> str:
    """As certificates' serial numbers are written in the API."""
    digits = serial.lower().zfill(len(serial) + len(serial) % 2)
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _always() -> None:
    """Nothing can end it."""


class Socket(ssl.SSLSocket):
    """A socket over which nothing is read or written before the other side was checked."""

    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool
    _still: Still | None = None

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, then check who it is. Raises Refused."""
        super().do_handshake(block)
        self._still = _admit(self)

    def accept(self) -> tuple[ssl.SSLSocket, Any]:
        """The next connection, with the newest certificates."""
        connection, address = socket.socket.accept(self)
        living = cast("Context", self.context).living
        wrapped = living.wrap_socket(
            connection,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )
        return wrapped, address

    def _usable(self) -> Still:
        if self._still is None:
            self.do_handshake()  # OpenSSL would do it by itself, and then nobody would check.
        assert self._still is not None, "the handshake sets it"
        return self._still

    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:  # noqa: A002
        """As `ssl.SSLSocket.read`. Raises Refused once the other side may not be here any more."""
        still = self._usable()
        found = super().read(len, buffer)
        still()
        return found

    def write(self, data: ReadableBuffer) -> int:
        """As `ssl.SSLSocket.write`."""
        self._usable()()
        return super().write(data)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """As `ssl.SSLSocket.send`."""
        self._usable()()
        return super().send(data, flags)


class Object(ssl.SSLObject):
    """The same for who moves the bytes himself, as asyncio does."""

    _still: Still | None = None

    def do_handshake(self) -> None:
        """Shake hands, then check who it is. Raises Refused."""
        super().do_handshake()
        self._still = _admit(self)

    def _usable(self) -> Still:
        if self._still is None:
            self.do_handshake()
        assert self._still is not None, "the handshake sets it"
        return self._still

    def read(self, len: int = 1024, buffer: WriteableBuffer | None = None) -> bytes:  # noqa: A002
        """As `ssl.SSLObject.read`. Raises Refused once the other side may not be here any more."""
        still = self._usable()
        found = super().read(len, buffer)
        still()
        return found

    def write(self, data: ReadableBuffer) -> int:
        """As `ssl.SSLObject.write`."""
        self._usable()()
        return super().write(data)
