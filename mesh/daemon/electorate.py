"""The electorate of a Raft node whose voters cannot change yet."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mesh.clock import Clock
from mesh.errors import Conflict, NoLeader
from mesh.raft.node import Node, Peer


class Known(msgspec.Struct, frozen=True):
    """What the leader knows of another voter."""

    match: int
    last_contact: float
    connected: bool
    caught_up: bool = True
    observes: bool = False


class FixedVoters:
    """Implements Electorate for a Raft node that keeps its first voters for good."""

    learners: Sequence[Peer] = ()
    barred: Sequence[str] = ()

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node, self._clock = node, clock

    @property
    def me(self) -> Peer:
        """This server."""
        return self._node.me

    @property
    def cluster_id(self) -> str:
        """The id of the cluster."""
        return self._node.cluster_id

    @property
    def voters(self) -> Sequence[Peer]:
        """The voters."""
        return self._node.voters

    @property
    def leader(self) -> Peer | None:
        """Who leads."""
        return self._node.leader

    @property
    def is_leader(self) -> bool:
        """Whether this node leads."""
        return self._node.is_leader

    @property
    def term(self) -> int:
        """The present term."""
        return self._node.term

    @property
    def epoch(self) -> int:
        """The number of the present epoch."""
        number = self._node.status()["epoch"]
        assert isinstance(number, int)
        return number

    @property
    def commit_index(self) -> int:
        """Highest log index known to be committed."""
        return self._node.commit_index

    def leased(self) -> bool:
        """Whether this node surely leads."""
        return self._node.leased()

    def progress(self) -> dict[str, Known]:
        """On the leader, every other voter by id."""
        leading = self._node._leading()  # noqa: SLF001 - until the node shows it itself.
        if leading is None:
            return {}
        now = self._clock.monotonic()
        return {
            name: Known(peer.match, now - peer.heard.sent, peer.connected)
            for name, peer in leading.peers.items()
        }

    async def change(
        self,
        voters: Sequence[Peer],  # noqa: ARG002
        barred: Sequence[str] = (),  # noqa: ARG002
        reason: str = "",  # noqa: ARG002
    ) -> int:
        """Refuse."""
        raise Conflict("the voters cannot change yet")

    async def transfer(self, to: str = "") -> Peer:  # noqa: ARG002
        """Refuse."""
        if self._node.leader is None:
            raise NoLeader("No cluster leader")
        raise Conflict("leadership cannot be handed over yet")

    def follow(self, learners: Sequence[Peer]) -> None:
        """Nobody follows without a vote yet."""

    def status(self) -> dict[str, object]:
        """What an operator wants to see."""
        return self._node.status()
