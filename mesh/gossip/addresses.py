"""Addresses of gossip, as people write them."""

from __future__ import annotations

from mesh.errors import Invalid


def parse_address(address: str, default_port: int) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[v6]:port`. Raises Invalid."""
    host, port = address, str(default_port)
    if address.startswith("["):
        host, end, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or port
        if not end:
            host = ""
    elif address.count(":") == 1:
        host, port = address.split(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Invalid(f'"{address}": expected host, host:port or [address]:port')
    return host, int(port)
