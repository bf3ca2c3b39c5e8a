"""Figures: what one member knows of each other one, for people who wonder about a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh.gossip.peers import Peer
from mesh.gossip.suspicion import Suspicion

STATES = ("alive", "suspect", "dead", "left")


class Accusation(msgspec.Struct, frozen=True):
    """Who suspects a member, and how long it has to refute."""

    accusers: Sequence[str]
    """The first one, and those that confirmed it."""
    awaited: int
    """How many more confirmations would shorten it."""
    running_seconds: float
    left_seconds: float


class PeerFigures(msgspec.Struct, frozen=True):
    """A member as this one sees it. Seconds are ago, but for the round trip."""

    node: str
    state: str
    incarnation: int
    """Raised by the member itself each time it refutes, and when its tags change."""
    state_seconds: float
    """Since when it is in this state."""
    rtt_seconds: float | None
    """How long its last direct answer in time took; none since this node's start."""
    answered_seconds: float | None
    """When that was."""
    accusation: Accusation | None
    """While it is suspected."""


class Contacts:
    """When each member answered last, directly and in time; one entry a member."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, float]] = {}

    def note(self, node: str, now: float, seconds: float) -> None:
        """It answered after so many seconds."""
        self._last[node] = now, seconds

    def forget(self, node: str) -> None:
        """It is no member any more."""
        self._last.pop(node, None)

    def figures(self, now: float, peer: Peer, suspicion: Suspicion | None) -> PeerFigures:
        """All that is known of a member."""
        when, rtt = self._last.get(peer.name, (None, None))
        accusation = None
        if suspicion is not None:
            accusation = Accusation(
                tuple(suspicion.accusers),
                max(0, suspicion.expected - suspicion.confirmed),
                now - suspicion.started,
                max(0.0, suspicion.deadline - now),
            )
        return PeerFigures(
            node=peer.name,
            state=STATES[peer.state],
            incarnation=peer.incarnation,
            state_seconds=now - peer.changed,
            rtt_seconds=rtt,
            answered_seconds=None if when is None else now - when,
            accusation=accusation,
        )
