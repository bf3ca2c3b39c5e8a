"""Relays: copies of an answer that others carry, should the direct way be blocked."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.gossip.bodies import RESPONSE, Relay
from mesh.gossip.members import Member, Status
from mesh.gossip.messages import User
from mesh.gossip.swim import Swim

RELAY_PROTOCOL = 5


def carriers(swim: Swim, members: Sequence[Member], factor: int) -> list[Member]:
    """Who shall carry a copy: as many live members as asked for, nobody in a smaller pool."""
    if len(members) < factor + 1:
        return []
    able = [
        member
        for member in members
        if member.status == Status.ALIVE
        and member.protocol[1] >= RELAY_PROTOCOL
        and member.name != swim.name
    ]
    return swim.dice.sample(able, factor)


def forward(swim: Swim, relay: Relay) -> bool:
    """Carry an answer to whom it is for; False for what this node does not carry."""
    # Answers to members only: otherwise who can send here could have us send anything anywhere.
    if relay.body[:1] != bytes((RESPONSE,)):
        return False
    known = swim.peers.values()
    if not any((peer.host, peer.port) == (relay.address, relay.port) for peer in known):
        return False
    swim.send(relay.address, relay.port, User(relay.body))
    return True
