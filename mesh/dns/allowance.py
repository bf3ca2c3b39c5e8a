"""Allowances: how much more than it asked with a network of clients gets over UDP each second."""

from __future__ import annotations

import socket

# Fixed, so that made-up addresses cost no memory. Networks that share a place share its
# bytes; Python hashes text and bytes by a secret, so nobody can choose with whom.
PLACES = 8192
_NET6_BYTES = 7  # /56: what one site has at least (RFC 6177).


class Allowance:
    """Bytes for each network: a /24 of IPv4, a /56 of IPv6. Loopback has no limit.

    Whoever forges the address of a victim gets nothing at the victim's cost beyond these bytes.
    """

    def __init__(self, most: int) -> None:
        """So many bytes until the next `renew`; 0 for no limit."""
        self.most = most
        self._taken = [0] * PLACES

    def renew(self) -> None:
        """Another second begins."""
        self._taken = [0] * PLACES

    def take(self, host: str, count: int) -> bool:
        """Whether so many bytes more than it asked with may be sent to this IP address."""
        if not self.most or host.startswith("127.") or host == "::1":
            return True
        place = _place(host)
        taken = self._taken[place] + count
        if taken > self.most:
            return False
        self._taken[place] = taken
        return True


def _place(host: str) -> int:
    if ":" in host:
        start = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:_NET6_BYTES]
        return hash(start) % PLACES
    return hash(host.rpartition(".")[0]) % PLACES
