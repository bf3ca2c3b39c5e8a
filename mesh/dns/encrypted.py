"""Encrypted: connections of DNS over TLS, accepted and seen through their handshake (RFC 7858)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import TypeAlias

from mesh.accepting import Accepting, Hears, Serve
from mesh.tls import HANDSHAKE_SECONDS

HANDSHAKES_MAX = 128

Serving: TypeAlias = Callable[[], ssl.SSLContext]
"""What to show to the next client."""


class Encrypted(Hears):
    """A listening socket whose connections are welcomed once they speak TLS.

    `counters` counts `tls_connections`, and in `tls_failed` those that never got that far.
    """

    def __init__(
        self, listening: socket.socket, serving: Serving, welcome: Serve, counters: dict[str, int]
    ) -> None:
        self._socket, self._counters = listening, counters
        self.accepting = Accepting(
            "dns over TLS",
            welcome,
            serving,
            self,
            handshakes_max=HANDSHAKES_MAX,
            handshake_seconds=HANDSHAKE_SECONDS,
        )

    def start(self) -> None:
        """Accept from now on."""
        self.accepting.start(self._socket)

    async def stop(self) -> None:
        """Listen no more, and end what is left of the connections."""
        await self.accepting.stop()

    def crowded_out(self) -> None:
        """Count it."""
        self._counters["tls_failed"] += 1

    def welcomed(self) -> None:
        """Count it."""
        self._counters["tls_connections"] += 1

    def failed(self, *_: object) -> None:
        """Count it."""
        self._counters["tls_failed"] += 1
