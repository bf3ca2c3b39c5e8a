"""What a workload proves itself with, and what it checks others against."""

from __future__ import annotations

import msgspec


class Leaf(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of a service and its private key, which never leaves the node. PEM."""

    service: str
    uri: str
    serial: str
    """As colon-separated hex bytes."""
    certificate: str
    """The leaf, then the intermediates that lead to the root."""
    key: str
    valid_after: float
    valid_before: float
    """Seconds since the Unix epoch."""
    root: str = ""
    """The id of the root it was signed under."""
    index: int = 1


class Bundle(msgspec.Struct, frozen=True):
    """The roots that a trust domain is checked against."""

    trust_domain: str
    roots: dict[str, str] = {}
    """PEM by id, all of them trusted."""
    active: str = ""
    """The id of the root under which leaves are signed now."""
