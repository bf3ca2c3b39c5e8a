"""Consensus for routing: the Raft node, with addresses that follow gossip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.raft.node import Node, Peer
from mesh.raft.waiting import Told


class RaftConsensus:
    """Shows a Raft node to the router. `find` gives a server's present address by its id."""

    def __init__(self, node: Node, find: Callable[[Peer], str]) -> None:
        self._node, self._find = node, find
        self.leased = node.leased
        """Whether this server leads and surely nobody else does at this moment."""

    @property
    def is_leader(self) -> bool:
        """Whether this server leads."""
        return self._node.is_leader

    @property
    def knows_leader(self) -> bool:
        """Whether somebody is known to lead."""
        return self._node.leader is not None

    @property
    def leader_address(self) -> str:
        """`ip:port` of the leader's server port; empty when there is none."""
        leader = self._node.leader
        return self._find(leader) if leader is not None else ""

    @property
    def peer_addresses(self) -> Sequence[str]:
        """`ip:port` of every voter, ordered by name."""
        voters = sorted(self._node.voters, key=lambda voter: voter.name)
        return [self._find(voter) for voter in voters]

    @property
    def last_contact(self) -> float:
        """Seconds since the leader was heard; 0 on the leader, infinite if never."""
        return self._node.last_contact

    @property
    def applied_index(self) -> int:
        """Highest log index applied here."""
        return self._node.applied_index

    def leased_until(self) -> float:
        """Until when that is sure, by the monotonic clock; 0 when it is not. See Node."""
        return self._node.leased_until()

    async def barrier(self) -> None:
        """Return when everything acknowledged before the call is applied here."""
        await self._node.barrier()

    async def propose(self, entry: bytes) -> object:
        """Commit a log entry; its result, or the MeshError it was refused with."""
        _, result = await self._node.propose(entry)
        return result

    def begin(self, entry: bytes, tell: Told) -> bool:
        """As `propose`; `tell` is called once, later: with log index and result, or an error.

        False when this server does not lead.
        """
        return self._node.begin(entry, tell)
