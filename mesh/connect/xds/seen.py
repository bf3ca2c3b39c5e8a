"""What a sidecar tells of a call that its rules refuse, or would if dry runs were enforced."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from mesh.registry.intentions import Policy


class Held(NamedTuple):
    """What a sidecar was told to enforce."""

    policy: Policy
    default_allow: bool


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a sidecar tells of."""

    at: float = math.inf
    """When it began, or ended: seconds since the Unix epoch; by default just now."""
    caller: str
    """The URI in its certificate."""
    denied: bool
    """Whether it was really refused."""
    ended: bool = False
    """Whether it was let in and has ended: it was cut if its caller was denied by then."""
    shadow: str = ""
    """What shadow rules say: allowed, denied, or nothing where none are tried."""
    by_token: bool = False
    """Whether it was refused because it had no token that every request needs."""
    method: str = ""
    """Of a request; empty for a connection."""
    path: str = ""
    connection: str = ""
    """The id of a connection, which may be told of several times."""
    count: int = 1
    """How many such calls there were."""
