"""What servers refuse, as the API tells it."""

from __future__ import annotations

from mesh.client.shapes import Shape


class Revoked(Shape, frozen=True):
    """A certificate of a node that servers refuse. Times are RFC 3339."""

    serial_number: str = ""
    """In hexadecimal, as openssl prints it."""
    issuer: str = ""
    """Who signed it; empty: whoever did."""
    names: list[str] = []
    """The DNS names in it, if they are known."""
    reason: str = ""
    by: str = ""
    """Who revoked it: a token's accessor, or where the request came in."""
    time: str = ""
    expires: str = ""
    """When it ends anyway; empty if nobody knows."""
    create_index: int = 0
    modify_index: int = 0
