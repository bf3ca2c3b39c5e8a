"""The electorate: what autopilot and operators need of a server's Raft node."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from mesh.errors import Busy, OutcomeUnknown
from mesh.raft.epochs import Peer

log = logging.getLogger(__name__)


class PeerProgress(Protocol):
    """What the leader knows of another server."""

    @property
    def match(self) -> int:
        """Its log equals the leader's up to this index."""
        ...

    @property
    def last_contact(self) -> float:
        """Seconds since it answered; infinite if never."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection to it."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether it has a recent snapshot and follows the log from there."""
        ...

    @property
    def observes(self) -> bool:
        """Whether it is a voter that lost its disk: it has a vote again in the next epoch."""
        ...


class Electorate(Protocol):
    """A Raft node: who votes, who follows without a vote, who leads, and how to change that."""

    @property
    def me(self) -> Peer:
        """This server."""
        ...

    @property
    def cluster_id(self) -> str:
        """The id of the cluster; empty before the first election."""
        ...

    @property
    def voters(self) -> Sequence[Peer]:
        """The voters of the present epoch."""
        ...

    @property
    def learners(self) -> Sequence[Peer]:
        """Known servers that follow the log without a vote."""
        ...

    @property
    def barred(self) -> Sequence[str]:
        """Ids that an operator took the vote of: not to be given one by itself."""
        ...

    @property
    def leader(self) -> Peer | None:
        """Who leads, as far as this node knows."""
        ...

    @property
    def is_leader(self) -> bool:
        """Whether this node leads; `leased` says whether that is certain."""
        ...

    @property
    def term(self) -> int:
        """The present term."""
        ...

    @property
    def epoch(self) -> int:
        """The number of the present epoch."""
        ...

    @property
    def commit_index(self) -> int:
        """Highest log index known to be committed."""
        ...

    @property
    def applied_index(self) -> int:
        """Highest log index applied here."""
        ...

    def leased(self) -> bool:
        """Whether this node leads, and surely no other does at this moment."""
        ...

    def progress(self) -> Mapping[str, PeerProgress]:
        """On the leader, every other voter and learner by id; elsewhere nothing."""
        ...

    async def change(
        self, voters: Sequence[Peer], barred: Sequence[str] = (), reason: str = ""
    ) -> int:
        """End the epoch and begin one with these voters; returns the log index of that.

        Raises NoLeader, Conflict, Invalid or Busy, having changed nothing; OutcomeUnknown.
        """
        ...

    async def transfer(self, to: str = "") -> Peer:
        """Hand leadership to the voter of this id, or the fittest; returns who leads now.

        Raises NoLeader, Invalid when it is no voter, Unreachable when it did not take over.
        """
        ...

    def follow(self, learners: Sequence[Peer]) -> None:
        """Send the log to these servers too; they have no vote."""
        ...

    def status(self) -> dict[str, object]:
        """What an operator wants to see."""
        ...


class Changes:
    """One change of the voters at a time, whoever wants it."""

    def __init__(self, node: Electorate) -> None:
        self._node = node
        self.doing = ""
        """The change under way or made last, and why."""
        self.under_way = False

    async def make(self, voters: Sequence[Peer], barred: Sequence[str], reason: str) -> int:
        """Change the voters; returns the log index of that. Raises Busy during another change."""
        if self.under_way:
            raise Busy(f"another change of the voters is under way: {self.doing}")
        self.under_way, self.doing = True, reason
        try:
            index = await self._node.change(voters, barred, reason)
            log.info("the voters changed: %s", reason)
        except TimeoutError as error:
            raise OutcomeUnknown(f"the voters may or may not have changed: {reason}") from error
        finally:
            self.under_way = False
        return index
