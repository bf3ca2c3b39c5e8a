"""Missed news: what a node learned while it exchanged state, and has to tell once more.

What it says in a push/pull it took down before the other side heard it, which may be busy for
seconds. News that comes meanwhile is passed on a few times and then no more, in a small pool within
a second; whoever the exchange brings into its list was not there to be told. Without this they
would find out with the next periodic push/pull, up to a minute later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mesh.gossip.messages import Alive, Dead
from mesh.gossip.peers import Peer
from mesh.gossip.streams import ALIVE, LEFT, SUSPECT, NodeState


def missed(
    said: Sequence[NodeState], heard: Sequence[NodeState], peers: Mapping[str, Peer], me: str
) -> list[Alive | Dead]:
    """What neither side of an exchange said, by the members as they are after it.

    Nothing when the other side named nobody who was not thought alive before: all of them were told
    when the news came. Suspicions are left out, since each ends in news of its own.
    """
    before = {one.name: one for one in said}
    if all(one.state != ALIVE or _lives(before.get(one.name)) for one in heard):
        return []
    theirs = {one.name: one for one in heard}
    return list(_news(before, theirs, peers.values(), me))


def _news(
    before: Mapping[str, NodeState],
    theirs: Mapping[str, NodeState],
    peers: Iterable[Peer],
    me: str,
) -> Iterator[Alive | Dead]:
    for peer in peers:
        old = before.get(peer.name)
        if _is(old, peer) or _is(theirs.get(peer.name), peer):
            continue
        if peer.state == ALIVE:
            yield peer.alive()
        elif peer.gone and _lives(old):
            yield Dead(peer.incarnation, peer.name, peer.name if peer.state == LEFT else me)


def _lives(state: NodeState | None) -> bool:
    return state is not None and state.state in {ALIVE, SUSPECT}


def _is(state: NodeState | None, peer: Peer) -> bool:
    return state is not None and (state.incarnation, state.state) == (peer.incarnation, peer.state)
