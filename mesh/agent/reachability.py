"""Reachability: who of the pool says, when asked, that a query reached it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

QUERY = "_serf_ping"
"""Asks for acknowledgements and nothing else; Serf's own agents know it too."""
SECONDS_MAX = 60.0


class Reachability(msgspec.Struct, frozen=True):
    """What came of asking everybody. Names are in order."""

    acknowledged: list[str]
    missing: list[str]
    """Alive as gossip has it, but no acknowledgement came."""
    strangers: list[str]
    """They answered, but gossip does not hold them for alive."""
    advice: list[str]


def judge(alive: Iterable[str], acknowledged: Iterable[str]) -> Reachability:
    """Compare who should answer with who did."""
    members, heard = set(alive), set(acknowledged)
    missing, strangers = sorted(members - heard), sorted(heard - members)
    advice = []
    if missing:
        advice += [
            "Datagrams from or to the missing members are lost, or their way back is blocked: see "
            "that the gossip port is open for UDP and TCP in both directions on both sides.",
            "A member that is overloaded or paused answers late: ask again, with a longer --wait.",
            "Members that are wrongly held for alive appear here until gossip finds out; see "
            "meshctl members.",
        ]
    if strangers:
        advice.append(
            "Strangers answer although gossip counts them as failed or left: they hear this node, "
            "but their own messages do not reach everybody, or two nodes share a name."
        )
    return Reachability(sorted(heard & members), missing, strangers, advice)
