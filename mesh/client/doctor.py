"""Calls that have members test the network between them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh.client.call import Call, decode_json
from mesh.client.shapes import Shape

TEST_SECONDS = 30.0
"""How long a test may take, of members that hardly answer."""


class Member(Shape, frozen=True):
    """A member that took part. Times are seconds; clocks are compared with the asker's."""

    name: str
    address: str = ""
    score: int | None = None
    clock_ahead: float | None = None
    clock_uncertain: float | None = None
    silent: str = ""
    """Why it told nothing; empty when it did."""


class Path(Shape, frozen=True):
    """One direction between two members. Times are milliseconds."""

    source: str
    target: str
    address: str = ""
    sent: int = 0
    heard: int | None = None
    """Datagrams that arrived; None where the target does not tell."""
    answered: int = 0
    large_sent: int = 0
    large_heard: int = 0
    udp_ms: float | None = msgspec.field(name="UDPMs", default=None)
    tcp_ms: float | None = msgspec.field(name="TCPMs", default=None)
    tcp_error: str = msgspec.field(name="TCPError", default="")
    shown: str = ""
    """In a few characters, for a matrix."""


class Finding(Shape, frozen=True):
    """One sentence; not every remark is a fault."""

    kind: str
    text: str
    fault: bool = True
    source: str = ""
    target: str = ""


class Report(Shape, frozen=True):
    """A test of the network and what it showed."""

    healthy: bool
    asker: str
    total: int
    members: list[Member]
    paths: list[Path]
    findings: list[Finding]


def network(nodes: Sequence[str] = ()) -> Call[Report]:
    """Test the paths between these members; between all, or some of very many, when none."""
    return Call(
        method="GET",
        path="/v1/agent/doctor/network",
        decode=lambda response: decode_json(response.body, Report),
        params=tuple(("node", name) for name in nodes),
        wait_seconds=TEST_SECONDS,
    )
