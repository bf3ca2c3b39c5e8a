"""Mutual TLS between nodes: contexts made of certificate files, who a certificate names, reload."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import msgspec

from mesh.clock import Clock
from mesh.errors import Denied, Invalid, Unreachable
from mesh.revocation import Named, Revocations, Revoked, read

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 5.0
SHUTDOWN_SECONDS = 1.0  # A side that is gone says no farewell; nobody waits long for it.
EXPIRES_SOON_SECONDS = 30 * 86400.0
FILE_BYTES_MAX = 1 << 20
VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
_NOT_YET_VALID, _EXPIRED = 9, 10  # Codes of openssl-verification-options(1).
_UNKNOWN_ISSUER = {2, 7, 18, 19, 20, 21}
_WRONG_PURPOSE = 26
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Setting(NamedTuple):
    """A path, and the key of the configuration that gave it."""

    key: str
    path: str

    def __str__(self) -> str:
        """As errors name it."""
        return f"{self.key}: {self.path}"


class Options(msgspec.Struct, frozen=True):
    """Which files a node uses, and who it is: a server must show the name of its node."""

    authorities: Setting
    """A file, or a directory of files, with the certificates to trust."""
    certificate: Setting
    key: Setting
    node: str
    datacenter: str
    domain: str
    server: bool
    oldest: str = "TLSv1_2"


class Caller(NamedTuple):
    """Whom a certificate names: a server or a client, and its node if it tells."""

    server: bool
    """Of our datacenter."""
    node: str
    """In lower case; empty when the certificate names no node."""
    abroad: str = ""
    """The other datacenter that it is a server of; empty for our own."""


class Names:
    """The names in the certificates of one datacenter, and what those of others look like."""

    def __init__(self, datacenter: str, domain: str) -> None:
        self._domain = domain.removesuffix(".").lower()
        self.server = f"server.{datacenter}.{self._domain}".lower()
        self.client = f"client.{datacenter}.{self._domain}".lower()

    def of(self, datacenter: str) -> Names:
        """The names of another datacenter."""
        return Names(datacenter, self._domain)

    def node(self, name: str) -> str:
        """What the certificate of the server with this node name carries."""
        return f"{name.lower()}.{self.server}"

    def read_own(self, certificate: Mapping[str, Any]) -> Caller:
        """Whom the certificate names in our datacenter. Raises Denied when nobody."""
        caller = self.read(certificate)
        if caller.abroad:
            raise self._stranger()
        return caller

    def _stranger(self) -> Denied:
        return Denied(f"the certificate carries neither {self.server} nor {self.client}")

    def read(self, certificate: Mapping[str, Any]) -> Caller:
        """Whom the certificate names, as `ssl` decodes it. Raises Denied for a stranger."""
        pairs = certificate.get("subjectAltName", ())
        found = {value.lower() for kind, value in pairs if kind == "DNS"}
        for role in (self.server, self.client):
            nodes = [one.removesuffix(f".{role}") for one in found if one.endswith(f".{role}")]
            if len(nodes) > 1:
                raise Denied(f"the certificate names more than one node: {', '.join(nodes)}")
            if nodes or role in found:
                return Caller(role == self.server, nodes[0] if nodes else "")
        return self._read_abroad(found)

    def _read_abroad(self, found: set[str]) -> Caller:
        """The server of another datacenter; it may be that of one only, and no client of any."""
        roles: dict[tuple[str, str], set[str]] = {}
        for name in found:
            labels = name.removesuffix(f".{self._domain}").split(".")
            if name.endswith(f".{self._domain}") and len(labels) >= 2:
                nodes = roles.setdefault((labels[-2], labels[-1]), set())
                nodes.update({".".join(labels[:-2])} - {""})
        servers = [datacenter for role, datacenter in roles if role == "server"]
        if len(servers) != 1 or any(role == "client" for role, _ in roles):
            raise self._stranger()
        nodes = roles["server", servers[0]]
        if len(nodes) > 1 or any("*" in one for one in (servers[0], *nodes)):
            raise Denied(f"the certificate names more than one node: {', '.join(sorted(nodes))}")
        return Caller(server=False, node="".join(nodes), abroad=servers[0])


class Loaded(NamedTuple):
    """Certificates that were read and found fit for use."""

    options: Options
    listening: ssl.SSLContext
    calling: ssl.SSLContext
    serving: ssl.SSLContext
    ends: list[tuple[Setting, float]]
    """When each certificate expires, in seconds since the Unix epoch."""
    digest: str
    """Of what the files hold."""
    own: Named
    """The certificate that is shown."""


class Credentials:
    """What a node shows and whom it trusts. New connections use what was loaded last."""

    def __init__(self, loaded: Loaded, clock: Clock) -> None:
        self._clock, self._loaded = clock, loaded
        self.names = Names(loaded.options.datacenter, loaded.options.domain)
        self._revocations = Revocations()
        self._dialled: WeakSet[asyncio.StreamWriter] = WeakSet()
        self.warn()

    def use(self, loaded: Loaded) -> bool:
        """Show and trust these from the next connection on; whether they are others.

        Warns of what expires soon.
        """
        before, self._loaded = self._loaded.digest, loaded
        self.warn()
        return before != loaded.digest

    @property
    def own(self) -> Named:
        """The certificate that is shown from the next connection on."""
        return self._loaded.own

    def distrust(self, revocations: Revocations) -> None:
        """Refuse these from now on, and end the connections to servers that show one of them.

        What was accepted is for whoever did: `check` tells.
        """
        if revocations.has(self.own) and not self._revocations.has(self.own):
            log.error("the certificate of this node (%s) is revoked", self.own.serial)
        self._revocations = revocations
        for writer in list(self._dialled):
            try:
                self.check(writer)
            except Revoked as error:
                log.warning("closing a connection to a server: its %s", error)
                writer.transport.abort()

    def believes(self, certificate: Named) -> bool:
        """Whether it is not revoked, as far as is known here."""
        return not self._revocations.has(certificate)

    def check(self, writer: asyncio.StreamWriter) -> None:
        """Raise Revoked when the certificate at the other end is revoked by now."""
        if len(self._revocations):
            shown = writer.get_extra_info("ssl_object")
            self._revocations.check(None if shown is None else shown.getpeercert(True))

    def warn(self) -> None:
        """Log a warning for each certificate that expires within 30 days."""
        now = self._clock.wall()
        for setting, end in self._loaded.ends:
            if end <= now:
                log.warning("%s: a certificate in it has expired", setting)
            elif end - now < EXPIRES_SOON_SECONDS:
                days = int((end - now) // 86400)
                log.warning("%s: a certificate in it expires in %d days", setting, days)

    @property
    def ends(self) -> list[tuple[Setting, float]]:
        """When each certificate expires, in seconds since the Unix epoch."""
        return self._loaded.ends

    @property
    def listening(self) -> ssl.SSLContext:
        """For who accepts a connection."""
        return self._loaded.listening

    @property
    def serving(self) -> ssl.SSLContext:
        """For who accepts a connection of a client that shows no certificate."""
        return self._loaded.serving

    def caller(self, writer: asyncio.StreamWriter) -> Caller:
        """Who is at the other end.

        Raises Denied when its certificate names nobody we know, Revoked when it is revoked.
        """
        self.check(writer)
        return self.names.read(writer.get_extra_info("peercert") or {})

    def server_node(self, writer: asyncio.StreamWriter) -> str:
        """The node name of the server at the other end, in lower case. Raises Denied."""
        caller = self.caller(writer)
        if not caller.server:
            raise Denied(f"the certificate is no server's: it does not carry {self.names.server}")
        if not caller.node:
            raise Denied("the certificate is a server's, but names no node")
        return caller.node

    async def connect(
        self, host: str, port: int, node: str = "", datacenter: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a server, or only to the one with this node name, or of another datacenter.

        Raises Unreachable, saying why, when there is none, or not the one.
        """
        names = self.names.of(datacenter) if datacenter else self.names
        name = names.node(node) if node else names.server
        try:  # asyncio would leave a connection open behind the error.
            self._loaded.calling.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)
        except ValueError as error:
            raise Unreachable(f'"{node}" cannot stand in a certificate: {error}') from error
        try:
            reader, writer = await asyncio.open_connection(
                host,
                port,
                ssl=self._loaded.calling,
                server_hostname=name,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError as error:
            raise Unreachable(explain(error)) from error
        try:
            self.check(writer)
            found = self.server_node(writer) if node else ""
            if datacenter:  # A certificate for every name would do for TLS.
                self._check_abroad(writer, datacenter)
        except Denied as error:
            writer.transport.abort()
            raise Unreachable(error.message) from error
        # More than TLS looks at: a certificate for every name would do for that.
        if found != node.lower():
            writer.transport.abort()
            raise Unreachable(f"the certificate there is that of {found}, not of {node}")
        self._dialled.add(writer)
        return reader, writer

    def _check_abroad(self, writer: asyncio.StreamWriter, datacenter: str) -> None:
        if self.caller(writer).abroad != datacenter.lower():
            raise Denied(f"the certificate there is not that of a server of {datacenter}")


def explain(error: OSError) -> str:
    """Why a connection or its handshake failed, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate there is refused: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError):
        reason = _reason(error)
        plain = " (no TLS?)" if "wrong version" in reason or "http request" in reason else ""
        return f"TLS: {reason}{plain}"
    if isinstance(error, ConnectionError) and error.errno in {None, 104}:
        return str(error) or "the connection was closed in the TLS handshake"
    return str(error)


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def load(options: Options) -> Loaded:
    """Read the files and try them on ourselves.

    Raises Invalid, naming key and file, for anything with which no other node would speak.
    """
    trusted = list(_authorities(options.authorities))
    listening, calling = _contexts(options, trusted)
    end = _own_end(options)
    try:
        _rehearse(options, listening, calling)
    except ssl.SSLError as error:
        raise Invalid(_blame_chain(options, error)) from error
    ends = [(options.certificate, end)]
    ends += [(options.authorities, _end(one)) for one in calling.get_ca_certs()]
    content = "".join([*(text for _, text in trusted), _text(options.certificate)])
    digest = hashlib.sha256(content.encode()).hexdigest()
    own = read(ssl.PEM_cert_to_DER_cert(pem_blocks(_text(options.certificate))[0]))
    return Loaded(options, listening, calling, _for_strangers(options), ends, digest, own)


def _for_strangers(options: Options) -> ssl.SSLContext:
    """For clients that are no nodes: they check our certificate if they want to, and show none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[options.oldest]
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load_own(context, options)
    return context


def _own_end(options: Options) -> float:
    """When our certificate expires; it must be valid by itself, and carry the right names."""
    itself = _text(options.certificate)
    try:
        certificate = _rehearse(options, *_contexts(options, [(options.certificate, itself)]))
    except ssl.SSLError as error:
        raise Invalid(_blame(options.certificate, error)) from error
    names = Names(options.datacenter, options.domain)
    kind = "-server" if options.server else "-client"
    advice = f"make one with: meshctl tls cert create {kind} -dc {options.datacenter}"
    if (domain := options.domain.removesuffix(".")) != "mesh":
        advice += f" -domain {domain}"
    if options.server:
        advice += f" -node {options.node}"
    try:
        caller = names.read_own(certificate)
    except Denied as error:
        raise Invalid(f"{options.certificate}: {error.message}; {advice}") from error
    if options.server:
        _check_server(options, caller, names, advice)
    return _end(certificate)


def _check_server(options: Options, caller: Caller, names: Names, advice: str) -> None:
    where = options.certificate
    if not caller.server:
        raise Invalid(f"{where}: a server needs a certificate with {names.server}; {advice}")
    if caller.node != options.node.lower():
        named = f'names the node "{caller.node}"' if caller.node else "names no node"
        raise Invalid(f'{where}: it {named}, but node_name is "{options.node}"; {advice}')


def _end(certificate: Mapping[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _bytes(setting: Setting) -> bytes:
    path = Path(setting.path)
    try:
        if path.exists() and not path.is_file():  # To open a pipe would wait for somebody.
            raise Invalid(f"{setting}: is no file")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{setting}: cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise Invalid(f"{setting}: larger than {FILE_BYTES_MAX} bytes, so no certificate")
    return data


def _text(setting: Setting) -> str:
    """The certificates of a PEM file, without what people write between them."""
    text = _bytes(setting).decode("ascii", "replace")
    blocks = pem_blocks(text)
    if not blocks:
        raise Invalid(f"{setting}: holds no certificate in PEM form")
    return "\n".join(blocks) + "\n"


def pem_blocks(text: str) -> list[str]:
    """The certificates in a text, without what stands between them, such as a key."""
    parts = text.split(_BEGIN)[1:]
    return [f"{_BEGIN}{part.partition(_END)[0]}{_END}" for part in parts if _END in part]


def _authorities(setting: Setting) -> Iterator[tuple[Setting, str]]:
    path = Path(setting.path)
    if not path.is_dir():
        yield setting, _text(setting)
        return
    try:
        files = sorted(file for file in path.iterdir() if file.is_file())
    except OSError as error:
        raise Invalid(f"{setting}: cannot be read: {error.strerror}") from error
    if not files:
        raise Invalid(f"{setting}: no file in it")
    for file in files:
        inside = Setting(setting.key, str(file))
        yield inside, _text(inside)


def _contexts(
    options: Options, trusted: list[tuple[Setting, str]]
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    found = []
    for purpose in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(purpose)
        context.minimum_version = VERSIONS[options.oldest]
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        if trusted[0][0] == options.certificate:  # It vouches for itself, whoever signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        for setting, text in trusted:
            try:
                context.load_verify_locations(cadata=text)
            except ssl.SSLError as error:
                raise Invalid(f"{setting}: a certificate in it is damaged") from error
        _load_own(context, options)
        found.append(context)
    listening, calling = found
    listening.num_tickets = 0  # A resumed session would not be checked against new authorities.
    return listening, calling


def _load_own(context: ssl.SSLContext, options: Options) -> None:
    certificate, key = options.certificate, options.key
    _text(certificate)
    if b"PRIVATE KEY-----" not in _bytes(key):
        raise Invalid(f"{key}: holds no private key in PEM form")

    def password() -> str:
        raise Invalid(f"{key}: the key is encrypted; mesh needs one without a password")

    try:
        context.load_cert_chain(certificate.path, key.path, password)
    except ssl.SSLError as error:
        raise Invalid(_blame_pair(options, error)) from error
    except OSError as error:  # It was there a moment ago.
        raise Invalid(f"{certificate}: cannot be read: {error.strerror}") from error


def _blame_pair(options: Options, error: ssl.SSLError) -> str:
    certificate, key = options.certificate, options.key
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key}: is not the key of {certificate.path}"
    if str(error.reason).endswith(("_TOO_SMALL", "_TOO_WEAK")):  # It may be None.
        return f"{certificate}: TLS does not take it: {_reason(error)}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_text(certificate))
    except ssl.SSLError:
        return f"{certificate}: a certificate in it is damaged"
    return f"{key}: the private key in it is damaged"


def _rehearse(
    options: Options, listening: ssl.SSLContext, calling: ssl.SSLContext
) -> Mapping[str, Any]:
    """A handshake with ourselves, in memory: our certificate as other nodes will see it.

    Only a server is judged as one that is called. Raises ssl.SSLError.
    """
    calling_check = calling.check_hostname, calling.verify_mode
    calling.check_hostname = False
    if not options.server:
        calling.verify_mode = ssl.CERT_NONE
    here, there = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = listening.wrap_bio(here, there, server_side=True)
    client = calling.wrap_bio(there, here)
    try:
        for side in (client, server, client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    finally:
        calling.verify_mode = ssl.CERT_REQUIRED
        calling.check_hostname, calling.verify_mode = calling_check
    return server.getpeercert() or {}


def _blame(where: Setting, error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"{where}: TLS does not take it: {_reason(error)}"
    if error.verify_code == _EXPIRED:
        return f"{where}: the certificate has expired"
    if error.verify_code == _NOT_YET_VALID:
        return f"{where}: the certificate is not valid yet; is the clock right?"
    if error.verify_code == _WRONG_PURPOSE:
        return f"{where}: the certificate is not for this use (extended key usage)"
    return f"{where}: {error.verify_message}"


def _blame_chain(options: Options, error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _UNKNOWN_ISSUER:
        return f"{options.certificate}: no CA in {options.authorities.path} has signed it"
    return _blame(options.authorities, error)  # Ours was tried alone before.
