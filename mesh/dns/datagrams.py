"""Datagrams: a UDP socket that answers from the address it was asked at."""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from typing import Any, TypeAlias

BYTES_MAX = 65_535
_ANCILLARY_BYTES = 128
_IP_PKTINFO = 8  # Linux, ip(7); the socket module names it from Python 3.14 on.
_INFO4 = struct.Struct("@I4s4s")

# What sendmsg is told about the source, empty when the kernel may choose.
Source: TypeAlias = list[tuple[int, int, bytes]]


class Datagrams:
    """A bound UDP socket. One bound to every address remembers which of them was asked.

    Otherwise the kernel would choose the source by the route back, and a client that asked
    another of our addresses takes no answer from that one.
    """

    def __init__(self, bound: socket.socket) -> None:
        self.socket = bound
        host: str = bound.getsockname()[0]
        self._everywhere = ipaddress.ip_address(host).is_unspecified
        if self._everywhere and bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif self._everywhere and sys.platform == "linux":
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def receive(self) -> tuple[bytes, Any, Source]:
        """The next datagram, its sender and what to answer from. Raises OSError as recvfrom."""
        if not self._everywhere:
            data, peer = self.socket.recvfrom(BYTES_MAX)
            return data, peer, []
        data, ancillary, _, peer = self.socket.recvmsg(BYTES_MAX, _ANCILLARY_BYTES)
        return data, peer, [_source(*item) for item in ancillary]

    def send(self, data: bytes, peer: Any, source: Source) -> None:
        """Answer, from the address the question was sent to. Raises OSError as sendto."""
        if source:
            self.socket.sendmsg([data], source, 0, peer)
        else:
            self.socket.sendto(data, peer)


def _source(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
        # The route may lead out by another interface than the question came in by.
        _, local, _ = _INFO4.unpack(data)
        data = _INFO4.pack(0, local, bytes(4))
    return level, kind, data
