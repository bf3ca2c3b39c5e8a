"""Figures: what one member knows about each of the others, for people who ask why."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh.gossip.pool import Pool
from mesh.gossip.vivaldi import estimate

FORGOTTEN = "forgotten"
STATES = ("alive", "suspect", "dead", "left")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One member, as SWIM and the measurements of this node have it. Times are seconds."""

    incarnation: int
    """How often it joined or objected to being suspected; only the member itself raises it."""
    state: str
    """SWIM's: alive, suspect, dead, left; forgotten when news is no longer sent to it."""
    state_seconds: float | None = None
    """Since when."""
    rtt_seconds: float | None = None
    """How long the last direct answer to a probe of this node took; None before the first."""
    answered_seconds: float | None = None
    """How long ago that was."""
    distance_seconds: float | None = None
    """The round trip that both coordinates lead to expect."""
    accusers: Sequence[str] = ()
    """Who suspects it, the first one first."""
    verdict_seconds: float | None = None
    """How long it may still object; less if more members accuse it."""
    score: int | None = None
    """This node's own health score, 0 to 7; None of others, who keep theirs to themselves."""


def figures(pool: Pool, now: float) -> dict[str, Figures]:
    """The figures of every member listed, by name."""
    listed = pool.intents.members()
    return {member.name: _of(pool, member.name, member.incarnation, now) for member in listed}


def _of(pool: Pool, name: str, incarnation: int, now: float) -> Figures:
    swim, vivaldi = pool.swim, pool.vivaldi
    peer = swim.me if name == pool.name else swim.peers.get(name)
    if peer is None:
        return Figures(incarnation=incarnation, state=FORGOTTEN)
    suspicion = swim.suspicions.get(name)
    there, contact = vivaldi.others.get(name), pool.contacts.last(name)
    return Figures(
        incarnation=peer.incarnation,
        state=STATES[peer.state],
        state_seconds=now - peer.changed,
        rtt_seconds=None if contact is None else contact[1],
        answered_seconds=None if contact is None else now - contact[0],
        distance_seconds=None if there is None else estimate(vivaldi.here, there),
        accusers=() if suspicion is None else tuple(suspicion.accusers),
        verdict_seconds=None if suspicion is None else max(0.0, suspicion.deadline - now),
        score=swim.awareness if peer is swim.me else None,
    )
