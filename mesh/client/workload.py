"""A service's own TLS in the mesh: contexts that renew themselves and check who is there.

payments = tls("payments")
server.socket = payments.wrap_socket(server.socket, server_side=True)

HTTPSConnection(address, port, context=tls("web").to("payments"))
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType

from mesh.client import material, settings
from mesh.client.ca import Leaf
from mesh.client.connect import Verdict
from mesh.client.material import Credentials, Side
from mesh.client.member import Member
from mesh.client.peers import Context, Refused, Still
from mesh.errors import Invalid

log = logging.getLogger("mesh.client")


def tls(service: str, configured: settings.Settings | None = None) -> Workload:
    """Be this service: what it gives is an `ssl.SSLContext` for its servers.

    Its method `to` gives those for calling others. Make one and keep it: it has threads that have
    the agent renew the certificate. Without settings they come from the environment. Raises the
    MeshError that says why there is no certificate.
    """
    return Workload(service, configured)


class _Handle:
    """Held by all contexts of a member: with the last of them its threads end."""

    def __init__(self, member: Member) -> None:
        self.member = member
        weakref.finalize(self, member.following.stop)


class Living(ssl.SSLContext):
    """Gives each new connection to a context of the newest certificates.

    What is set on this one, as ALPN protocols, ciphers, versions and options, holds for all.
    Renewal never touches a connection that is open.
    """

    _handle: _Handle
    _side: Side

    def _begin(self, handle: _Handle, side: Side) -> None:
        pattern = material.begin(side)
        self._handle, self._side = handle, side
        self._making = threading.Lock()
        self._alpn: list[str] | None = None
        self._ciphers = ""
        self.check_hostname, self.verify_mode = pattern.check_hostname, pattern.verify_mode
        self.minimum_version, self.options = pattern.minimum_version, pattern.options
        self._made_of: tuple[object, ...] = ()
        self._shown: Credentials | None = None
        self._newest: Context | None = None
        self._current()

    def _check(self, uri: str, serial: str) -> Still | None:
        raise NotImplementedError

    def _current(self) -> Context:
        member = self._handle.member
        member.following.revive()
        credentials = member.credentials
        versions = (self.minimum_version, self.maximum_version)
        made_of = (self.options, versions, self._alpn, self._ciphers)
        with self._making:
            if self._newest is None or credentials is not self._shown or made_of != self._made_of:
                self._newest = self._renewed(credentials)
                self._shown, self._made_of = credentials, made_of
            return self._newest

    def _renewed(self, credentials: Credentials) -> Context:
        try:
            made = material.make(self._side, credentials, self._check)
        except Invalid as error:
            if self._newest is None:
                raise
            log.warning("%s; the certificates before stay in use", error.message)
            return self._newest
        made.living, made.options = self, self.options
        made.minimum_version, made.maximum_version = self.minimum_version, self.maximum_version
        if self._alpn is not None:
            made.set_alpn_protocols(self._alpn)
        if self._ciphers:
            made.set_ciphers(self._ciphers)
        return made

    def _server_name(self) -> str | None:
        return None

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """For all connections from now on."""
        self._alpn = list(alpn_protocols)

    def set_ciphers(self, cipherlist: str, /) -> None:
        """For all connections from now on."""
        super().set_ciphers(cipherlist)
        self._ciphers = cipherlist

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """As `ssl.SSLContext.wrap_socket`; at its end it is known who the other side is."""
        return self._current().wrap_socket(
            sock,
            server_side,
            do_handshake_on_connect,
            suppress_ragged_eofs,
            server_hostname if server_side else self._server_name(),
            session,
        )

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`; once hands are shaken it is known who is there."""
        name = server_hostname if server_side else self._server_name()
        return self._current().wrap_bio(incoming, outgoing, server_side, name, session)

    @property
    def uri(self) -> str:
        """The SPIFFE ID of the service whose certificate is shown."""
        return self._handle.member.credentials.leaf.service_uri

    @property
    def leaf(self) -> Leaf:
        """The certificate that the next connection shows."""
        return self._handle.member.credentials.leaf


class Workload(Living):
    """For the servers of a service. Who connects is checked against the intentions about it.

    One that is not allowed to any more is cut off at the next byte it sends.
    """

    def __new__(cls, *_: object) -> Workload:
        """OpenSSL wants to know at this point which side it is."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, service: str, configured: settings.Settings | None = None) -> None:
        member = Member(service, configured or settings.from_environment())
        try:
            self._begin(_Handle(member), "server")
        except BaseException:
            member.following.close()
            raise

    def to(self, service: str, datacenter: str = "") -> Calling:
        """For calling a service: whoever else is at the other end is refused.

        Raises Invalid when none is named.
        """
        if not service:
            raise Invalid("to: name the service that is called")
        return Calling(self._handle, service, datacenter)

    def close(self) -> None:
        """Renew nothing any more, for those that `to` gave either."""
        self._handle.member.following.close()

    def __enter__(self) -> Workload:
        """It closes at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _check(self, uri: str, serial: str) -> Still:
        member = self._handle.member
        member.guard()
        _demand(member, uri, member.judged(uri, serial))
        return lambda: _demand(member, uri, member.verdicts.still(uri))


def _demand(member: Member, uri: str, verdict: Verdict | None) -> None:
    if verdict is not None and not verdict.authorized:
        raise _refused(f"{uri} may not connect to {member.service}: {verdict.reason}")


class Calling(Living):
    """For calling one service of the mesh."""

    def __new__(cls, *_: object) -> Calling:
        """OpenSSL wants to know at this point which side it is."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, handle: _Handle, service: str, datacenter: str) -> None:
        self._service, self._datacenter = service, datacenter
        self._begin(handle, "client")

    def _where(self) -> tuple[str, str]:
        return self._service, self._datacenter or self._handle.member.credentials.datacenter

    def _server_name(self) -> str:
        return self._handle.member.credentials.server_name(*self._where())

    def _check(self, uri: str, serial: str) -> None:  # noqa: ARG002  # Only who it is counts.
        wanted = self._handle.member.credentials.id_of(*self._where())
        if uri.lower() != wanted.lower():  # As the catalog, which found it.
            raise _refused(f"it is {uri} that answered, and {wanted} was called")


def _refused(why: str) -> Refused:
    log.warning("refused: %s", why)
    return Refused(why)
