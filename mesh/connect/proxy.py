"""The built-in proxy: mutual TLS before a service and on its way to others, without Envoy.

It knows connections, and no requests: intentions that need requests to decide deny. Certificates,
verdicts and endpoints come from whoever makes it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from mesh.accepting import Accepting, Hears
from mesh.connect import identity
from mesh.connect.traffic import Reason, Traffic
from mesh.connect.tunnel import Gone, Plain, Secure, splice
from mesh.errors import Invalid, explained

log = logging.getLogger(__name__)

DryRun: TypeAlias = Literal["", "allowed", "denied"]
"""What dry runs say of a connection; empty where none is there."""
ATTEMPTS_MAX = 8
"""Endpoints that are tried for one connection."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one listener. Times in seconds."""

    connections: int = 4096
    handshakes: int = 256
    """Of more at a time the oldest gives way."""
    handshake_seconds: float = 10.0
    connect_seconds: float = 5.0


class Verdict(NamedTuple):
    """Whether a caller may connect, and the rule that says so."""

    allowed: bool
    why: str
    reason: Reason = "denied"
    """If not: under what that is counted."""
    dry_run: DryRun = ""
    """What it were if dry runs were enforced."""


class Endpoint(NamedTuple):
    """Where a service is reached, and who must be there."""

    address: str
    port: int
    uri: str
    server_name: str
    tier: int = 0
    """Those of a higher one are for when all others fail."""


class Target(NamedTuple):
    """The application itself: an address and port, or a unix socket."""

    address: str = "127.0.0.1"
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """As people write it."""
        return self.path or f"{self.address}:{self.port}"


Judge: TypeAlias = Callable[[str, str], Awaitable[Verdict]]
"""Says whether who has this SPIFFE ID and serial number may connect."""
Contexts: TypeAlias = Callable[[], ssl.SSLContext]
"""The context for the next connection. It checks chains; names are checked here."""


class Door(Hears):
    """A listener, and the connections that came in by it."""

    def __init__(self, name: str, limits: Limits) -> None:
        self.name, self.limits = name, limits
        self.open: set[Conversation] = set()
        self.traffic = Traffic("public", name)
        """What is counted; may be replaced before it starts."""
        self.accepting = Accepting(
            name,
            self._welcome,
            lambda: None,  # TLS is done by the tunnel, which can end by half.
            self,
            handshakes_max=limits.handshakes,
            handshake_seconds=limits.handshake_seconds,
        )

    def start(self, listening: socket.socket, where: str) -> None:
        """Accept from this socket, which is bound there, from now on."""
        listening.listen(128)
        self.accepting.start(listening)
        log.info("%s: listening at %s", self.name, where)

    def shut(self) -> None:
        """Accept nobody any more; what is open goes on."""
        self.accepting.shut()

    async def stop(self) -> None:
        """End all connections."""
        await self.accepting.stop()

    def exhausted(self, error: OSError) -> None:
        """Nobody can be accepted for a while."""
        log.warning("%s: cannot accept connections: %s", self.name, explained(error))

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller, most = Plain(reader, writer), self.limits.connections
        if len(self.open) >= most:
            self.refuse("full", f"{most} connections are open, which is the limit")
            caller.abort()
            return
        conversation = Conversation(caller, str(writer.get_extra_info("peername")))
        self.open.add(conversation)
        self.traffic.opened += 1
        try:
            await self.serve(conversation)
        except OSError as error:
            log.debug("%s: %s: %s", self.name, conversation.address, explained(error))
            caller.abort()
        except asyncio.CancelledError:
            caller.abort()
            raise
        finally:
            self.open.discard(conversation)
            self.traffic.closed += 1

    async def serve(self, conversation: Conversation) -> None:
        """What is done with a connection. Raises OSError when that came to nothing."""
        raise NotImplementedError

    def refuse(self, reason: Reason, why: str) -> None:
        """Count and log it."""
        self.traffic.refuse(reason)
        log.warning("%s: refused: %s", self.name, why)


class Conversation:
    """A connection that came in."""

    def __init__(self, plain: Plain, address: str) -> None:
        self.plain, self.address = plain, address
        self.caller = self.serial = ""
        """The SPIFFE ID and serial number, once they are proved."""
        self.tried = False
        """Whether it was told that dry runs would deny it."""


class Public(Door):
    """Where other services come in: who they are is proved by TLS and judged by intentions."""

    def __init__(
        self, service: str, target: Target, contexts: Contexts, judge: Judge, limits: Limits
    ) -> None:
        super().__init__(f"public listener of {service}", limits)
        self.traffic = Traffic("public", service)
        self.service, self.target, self.most = service, target, 0
        """`most`: how many connections the application gets at a time at most; 0: no limit but
        that of the listener. It and the target may change, for connections that come then."""
        self.judged: Callable[[str, Verdict], None] = lambda _, __: None
        """Is told the SPIFFE ID of each caller that intentions refuse, or dry runs would."""
        self._contexts, self._judge = contexts, judge
        self._greeting: dict[Conversation, None] = {}  # Oldest first.
        self._inside = 0

    async def serve(self, conversation: Conversation) -> None:
        """Shake hands, judge, connect to the application, carry bytes."""
        secure = await self._greeted(conversation)
        if secure is None or not await self._admitted(conversation):
            conversation.plain.abort()
            return
        self._inside += 1
        try:
            await self._let_in(secure)
        finally:
            self._inside -= 1

    async def _let_in(self, secure: Secure) -> None:
        target = self.target
        try:
            application = await _connected(target, self.limits.connect_seconds)
        except OSError as error:
            why = f"{self.service} does not answer at {target}: {explained(error)}"
            self.refuse("application", why)
            raise
        await splice(secure, application, self.traffic.heard, self.traffic.said)

    async def _greeted(self, conversation: Conversation) -> Secure | None:
        """TLS with whoever is there; None when it has given way or says nothing of use."""
        if len(self._greeting) >= self.limits.handshakes:
            oldest = next(iter(self._greeting))
            self._greeting.pop(oldest)
            self.refuse("crowded", f"{oldest.address}: gives way to others that shake hands")
            oldest.plain.abort()
        self._greeting[conversation] = None
        try:
            secure = Secure(conversation.plain, self._contexts(), None)
            async with asyncio.timeout(self.limits.handshake_seconds):
                await secure.shake_hands()
            conversation.caller, conversation.serial = _proved(secure.tls)
        except TimeoutError:
            self.refuse("slow", f"{conversation.address}: no handshake in time")
        except Gone:  # As health checks do that only look whether somebody listens.
            log.debug("%s: %s: closed again", self.name, conversation.address)
        except (OSError, Invalid) as error:
            self._say_strange(conversation, error)
        else:
            return secure
        finally:
            self._greeting.pop(conversation, None)
        return None

    async def _admitted(self, conversation: Conversation) -> bool:
        verdict = await self._judge(conversation.caller, conversation.serial)
        if not verdict.allowed:
            self._say_refused(conversation, verdict)
            return False
        if self.most and self._inside >= self.most:
            who = _named(conversation.caller)
            why = f"{self.service} has {self.most} connections, which is its limit"
            self.refuse("full", f"{who}: {why}")
            return False
        self._try(conversation, verdict)
        return True

    def _try(self, conversation: Conversation, verdict: Verdict) -> None:
        """Tell of a connection that is let in if dry runs deny it, once as long as they do."""
        would = verdict.dry_run == "denied"
        if would and not conversation.tried:
            self.judged(conversation.caller, verdict)
        conversation.tried = would

    def _say_strange(self, conversation: Conversation, error: OSError | Invalid) -> None:
        if conversation.plain.aborted:  # It gave way, which was said.
            return
        self.refuse(_kind(error), f"{conversation.address}: {_reason(error)}")

    def _say_refused(self, conversation: Conversation, verdict: Verdict) -> None:
        caller = _named(conversation.caller)
        self.refuse(verdict.reason, f"{caller} may not connect to {self.service}: {verdict.why}")
        if verdict.reason == "denied":
            self.judged(conversation.caller, verdict)

    async def judge_again(self) -> None:
        """Intentions have changed: cut off at once who may not be here any more."""
        callers = {one.caller: one.serial for one in self.open if one.caller}
        for caller, serial in sorted(callers.items()):
            verdict = await self._judge(caller, serial)
            for one in [each for each in self.open if each.caller == caller]:
                if verdict.allowed:
                    self._try(one, verdict)
                    continue
                self._say_refused(one, verdict)
                one.plain.abort()


class Local(Door):
    """Where the application finds another service: its own side of mutual TLS."""

    def __init__(
        self,
        service: str,
        endpoints: Callable[[], Sequence[Endpoint]],
        contexts: Contexts,
        limits: Limits,
    ) -> None:
        super().__init__(f"upstream {service}", limits)
        self.traffic = Traffic("upstream", service)
        self.service, self._endpoints, self._contexts = service, endpoints, contexts
        self._turn = 0

    async def serve(self, conversation: Conversation) -> None:
        """Find somebody who answers, carry bytes."""
        for endpoint in self._in_turn():
            try:
                secure = await self._reached(endpoint)
            except (OSError, Invalid) as error:
                where = f"{endpoint.address}:{endpoint.port}"
                log.warning("%s: %s: %s", self.name, where, _reason(error))
                continue
            traffic = self.traffic
            await splice(conversation.plain, secure, traffic.heard, traffic.said)
            return
        self.refuse("unreachable", f"no instance of {self.service} can be reached")
        conversation.plain.abort()

    def _in_turn(self) -> list[Endpoint]:
        """Each connection begins with another one of the best."""
        found = sorted(self._endpoints())
        self._turn += 1
        tiers: dict[int, list[Endpoint]] = {}
        for one in found:
            tiers.setdefault(one.tier, []).append(one)
        chosen: list[Endpoint] = []
        for tier in sorted(tiers):
            ones = tiers[tier]
            start = self._turn % len(ones)
            chosen += ones[start:] + ones[:start]
        return chosen[:ATTEMPTS_MAX]

    async def _reached(self, endpoint: Endpoint) -> Secure:
        """TLS with just this service. Raises OSError or Invalid."""
        target = Target(endpoint.address, endpoint.port)
        plain = await _connected(target, self.limits.connect_seconds)
        secure = Secure(plain, self._contexts(), endpoint.server_name)
        try:
            async with asyncio.timeout(self.limits.handshake_seconds):
                await secure.shake_hands()
            _expect(endpoint.uri, secure)
        except BaseException:
            plain.abort()
            raise
        return secure


def _expect(uri: str, secure: Secure) -> None:
    found, _ = _proved(secure.tls)
    if not identity.is_same(found, uri):
        raise Invalid(f"it is {found} that answered, and {uri} was called")


async def _connected(target: Target, seconds: float) -> Plain:
    async with asyncio.timeout(seconds):
        if target.path:
            return Plain(*await asyncio.open_unix_connection(target.path))
        return Plain(*await asyncio.open_connection(target.address, target.port))


def _proved(tls: ssl.SSLObject) -> tuple[str, str]:
    """The SPIFFE ID and the serial number of the other side. Raises Invalid."""
    certificate = tls.getpeercert() or {}
    names: Sequence[Any] = certificate.get("subjectAltName", ())
    found = [str(value) for kind, value in names if kind == "URI"]
    if len(found) != 1:
        raise Invalid(f"the certificate has {len(found)} URIs, where a SPIFFE ID is one")
    identity.parse(found[0])
    serial = str(certificate.get("serialNumber", "")).lower()
    return found[0], bytes.fromhex(serial.zfill(len(serial) + len(serial) % 2)).hex(":")


def _named(uri: str) -> str:
    """The service, and its whole SPIFFE ID."""
    who = identity.parse(uri)
    return f"{who.name} ({uri})" if who.name else uri


def _kind(error: OSError | Invalid) -> Reason:
    """Under what it is counted that TLS came to nothing."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "expired" if error.verify_code == _EXPIRED else "untrusted"
    if isinstance(error, Invalid):
        return "untrusted"
    if not isinstance(error, ssl.SSLError):
        return "handshake"
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no-certificate"
    return "plain" if error.reason in _NOT_TLS else "handshake"


def _reason(error: Exception) -> str:
    """Why TLS came to nothing, in the words of OpenSSL where they are good."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return "it does not speak TLS"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.message if isinstance(error, Invalid) else explained(error)


_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_NOT_TLS = {"HTTP_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "UNSUPPORTED_PROTOCOL"}
