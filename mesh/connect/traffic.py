"""What passes a listener of the built-in proxy, and what it refuses, counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mesh.telemetry.metrics import Reading, counter, gauge

Reason = Literal[
    "denied",
    "foreign",
    "unjudged",
    "plain",
    "no-certificate",
    "expired",
    "untrusted",
    "handshake",
    "slow",
    "crowded",
    "full",
    "application",
    "unreachable",
]
"""Why a connection is refused:

- `denied` by intentions; `foreign`: the caller is of another trust domain; `unjudged`: the agent
  was away, and had never said of this caller whether it may;
- `plain`: no TLS; `no-certificate`; `expired`; `untrusted`: a certificate that is not believed for
  another reason; `handshake`: TLS came to nothing else;
- `slow`: no handshake in time; `crowded`: more handshakes at a time than allowed; `full`: as many
  connections as allowed;
- `application`, `unreachable`: the own application, or every instance of an upstream, was away.
"""


class Traffic:
    """Of one listener. It outlives the socket, as when the port changes."""

    def __init__(self, listener: Literal["public", "upstream"], service: str, dc: str = "") -> None:
        self._labels = {"listener": listener, "service": service}
        if dc:
            self._labels["datacenter"] = dc
        self.opened = self.closed = 0
        self.received = self.sent = 0
        """Bytes without those of TLS, from callers and to them."""
        self.refused: dict[Reason, int] = {}

    def heard(self, count: int) -> None:
        """A caller said so many bytes, which went on."""
        self.received += count

    def said(self, count: int) -> None:
        """A caller was told so many bytes."""
        self.sent += count

    def refuse(self, reason: Reason) -> None:
        """A connection was refused, or cut off because it would be by now."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def readings(self) -> Iterator[Reading]:
        """All of it as metrics."""
        labels = self._labels
        yield counter("mesh.proxy.opened", self.opened, "Connections that came in", **labels)
        yield counter(
            "mesh.proxy.closed", self.closed, "Of these, connections that ended", **labels
        )
        active = self.opened - self.closed
        yield gauge("mesh.proxy.active", active, "Connections that are open", **labels)
        what = "Bytes that callers said, without those of TLS"
        yield counter("mesh.proxy.received_bytes", self.received, what, **labels)
        what = "Bytes that callers were told, without those of TLS"
        yield counter("mesh.proxy.sent_bytes", self.sent, what, **labels)
        for reason, count in sorted(self.refused.items()):
            what = "Connections refused or cut off, by reason"
            yield counter("mesh.proxy.refused", count, what, reason=reason, **labels)
