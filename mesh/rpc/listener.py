"""Accepting connections on the server port, over mutual TLS where there are credentials."""

from __future__ import annotations

import logging
import socket
import ssl
from collections import Counter

from mesh.accepting import Accepting, Hears, Serve
from mesh.errors import Conflict
from mesh.rpc.turning import Turned, kind_of
from mesh.tls import HANDSHAKE_SECONDS, Credentials, explain

log = logging.getLogger(__name__)

BACKLOG = 512
HANDSHAKES_MAX = 512


class Listener(Hears):
    """Hands each connection to `serve` once its handshake is done; the others are counted."""

    def __init__(
        self,
        serve: Serve,
        credentials: Credentials | None,
        counters: Counter[str],
        handshake_seconds: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._credentials, self._counters = credentials, counters
        self.turned = Turned()
        self.accepting = Accepting(
            "rpc connection",
            serve,
            self._serving,
            self,
            handshakes_max=HANDSHAKES_MAX,
            handshake_seconds=handshake_seconds,
        )

    def start(self, host: str, port: int) -> int:
        """Listen; the port. Raises Conflict, naming the address, when it cannot."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port} (server port): {error}") from error
        self.accepting.start(listening)
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        await self.accepting.stop()

    def _serving(self) -> ssl.SSLContext | None:
        return None if self._credentials is None else self._credentials.listening

    def accepted(self) -> None:
        """Count it."""
        self._counters["connections"] += 1

    def crowded_out(self) -> None:
        """Count it."""
        self._counters["refused"] += 1

    def exhausted(self, error: OSError) -> None:
        """Warn of it."""
        log.warning("cannot accept connections on the server port: %s", error)

    def failed(self, address: tuple[object, ...], error: OSError) -> None:
        """Count it; warn of the first of a while."""
        self._counters["handshakes_failed"] += 1
        host, port, *_ = address
        text = f"TLS handshake with {host}:{port} failed: {explain(error)}"
        self.turned.note(kind_of(error), text)
