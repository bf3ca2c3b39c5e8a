"""Membership: what gossip means for the other parts, and how a node finds its way in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mesh.clock import Clock
from mesh.daemon.calm import Calm
from mesh.errors import MeshError
from mesh.gossip.driver import Gossip
from mesh.gossip.members import Member, MemberEvent, Status
from mesh.raft.node import Peer
from mesh.registry.levels import LOWEST
from mesh.rpc.servers import ServerTags, endpoint, read_tags
from mesh.server.autopilot import Status as ServerState
from mesh.server.bootstrap import Bootstrap, Candidate, Verdict
from mesh.server.observation import Sighting
from mesh.server.reconcile import Seen, State

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.25
MEET_ENOUGH = 3


class JoinOptions(msgspec.Struct, frozen=True):
    """Whom to join at start."""

    addresses: Sequence[str] = ()
    retry_seconds: float = 30.0
    attempts_max: int = 0
    """0: never give up."""


class Membership:
    """A view of the pool for one datacenter: servers to ask, nodes to reconcile."""

    def __init__(self, gossip: Gossip, datacenter: str, calm: Calm) -> None:
        self._gossip, self._datacenter, self._calm = gossip, datacenter, calm
        self._servers: list[tuple[Member, ServerTags]] | None = None
        self._lowest: int | None = None
        gossip.listen(self._changed)

    def _changed(self, _: MemberEvent) -> None:
        self._servers = self._lowest = None

    def members(self) -> list[Member]:
        """Every member of the pool."""
        return self._gossip.members()

    def size(self) -> int:
        """How many members are alive."""
        return sum(member.status == Status.ALIVE for member in self._gossip.members())

    def absent(self) -> frozenset[str]:
        """Names of members that discovery must leave out now: failed or left, and not frozen."""
        held = self._calm.held
        return frozenset(
            one.name
            for one in self._gossip.members()
            if one.status in _GONE and one.name not in held
        )

    def present(self) -> frozenset[str]:
        """Names of members that discovery takes for alive, whatever the catalog says of them."""
        return frozenset(
            one.name
            for one in self._gossip.members()
            if one.status == Status.ALIVE and one.tags.get("dc", "") == self._datacenter
        )

    def damped(self) -> frozenset[str]:
        """Names of members that the leader may leave out, although they are alive."""
        return self._calm.kept_out()

    def servers(self) -> list[tuple[Member, ServerTags]]:
        """The live servers of the datacenter, ordered by name."""
        if self._servers is None:
            self._servers = self._find_servers()
        return self._servers

    def _find_servers(self) -> list[tuple[Member, ServerTags]]:
        found = []
        for member in self._gossip.members():
            tags = read_tags(member.tags)
            if member.status == Status.ALIVE and tags and tags.datacenter == self._datacenter:
                found.append((member, tags))
        return found

    def speaking(self, voters: Sequence[Peer]) -> dict[str, int]:
        """The highest level of every server that has not left, by name; 1 of voters never met."""
        found: dict[str, int] = {}
        met: set[str] = set()
        for member in self._gossip.members():
            tags = read_tags(member.tags)
            if tags is None or tags.datacenter != self._datacenter:
                continue
            if member.status in _STAYING:
                met.add(tags.id)
                found[member.name] = tags.level_max
        return found | {one.name: LOWEST for one in voters if one.id not in met}

    def all_speak(self, level: int) -> bool:
        """Whether there are servers, and all that have not left speak this level."""
        if self._lowest is None:  # Requests ask it, and the pool may be large.
            self._lowest = min(self.speaking(()).values(), default=0)
        return self._lowest >= level

    def server_addresses(self) -> list[str]:
        """`ip:port` of the live servers of the datacenter."""
        return [endpoint(member.address, tags.port) for member, tags in self.servers()]

    def candidates(self) -> list[Candidate]:
        """The live servers, as bootstrap wants them."""
        return [
            Candidate(
                id=tags.id,
                name=member.name,
                address=endpoint(member.address, tags.port),
                expect=tags.expect,
                proposal=tags.proposal,
                cluster=tags.cluster,
            )
            for member, tags in self.servers()
        ]

    def sightings(self) -> list[Sighting]:
        """The servers of the datacenter whatever their state, as autopilot wants them."""
        found = []
        for member in self._gossip.members():
            tags = read_tags(member.tags)
            if tags is None or tags.datacenter != self._datacenter:
                continue
            found.append(
                Sighting(
                    id=tags.id,
                    name=member.name,
                    address=endpoint(member.address, tags.port),
                    status=_SHOWN[member.status],
                    cluster=tags.cluster,
                    read_replica=tags.read_replica,
                    version=tags.build,
                )
            )
        return found

    def seen(self) -> list[Seen]:
        """The members of the datacenter, as reconciling wants them."""
        found = []
        held, damped = self._calm.held, self.damped()
        for member in self._gossip.members():
            if member.tags.get("dc", "") != self._datacenter or member.status == Status.NONE:
                continue
            tags = read_tags(member.tags)
            status = _KNOWN[member.status]
            if member.name in held:
                status = "frozen"
            elif status == "alive" and member.name in damped:
                status = "damped"
            found.append(
                Seen(
                    name=member.name,
                    id=member.tags.get("id", ""),
                    address=member.address,
                    datacenter=self._datacenter,
                    status=status,
                    server_port=tags.port if tags else 0,
                )
            )
        return found


_GONE = {Status.FAILED, Status.LEFT}
_STAYING = {Status.ALIVE, Status.LEAVING, Status.FAILED}
_KNOWN: dict[Status, State] = {
    Status.ALIVE: "alive",
    Status.LEAVING: "alive",
    Status.FAILED: "failed",
    Status.LEFT: "left",
}
_SHOWN: dict[Status, ServerState] = {
    Status.NONE: "none",
    Status.ALIVE: "alive",
    Status.LEAVING: "leaving",
    Status.LEFT: "left",
    Status.FAILED: "failed",
}


async def meet_again(gossip: Gossip) -> None:
    """Join through members met before the restart; a few are enough.

    Without them servers that all restart would meet each other but none of their agents.
    """
    before = len(gossip.previous)
    joined = await gossip.rejoin(MEET_ENOUGH, ignore_old=True)
    log.info("met %d of %d members from before the restart", joined, before)


async def keep_joining(
    gossip: Gossip, options: JoinOptions, clock: Clock, give_up: Callable[[str], None]
) -> None:
    """Join the pool through any of the addresses; tries again until one answers.

    The first pauses are short, since servers that start together wait for each other.
    """
    attempt, pause = 0, FIRST_RETRY_SECONDS
    while options.addresses:
        attempt += 1
        try:
            # Or handlers and jobs of before the restart would run once more.
            joined = await gossip.join(options.addresses, ignore_old=True)
        except MeshError as error:
            log.warning("joining: %s; next try in %.1f s", error, pause)
        else:
            log.info("joined the pool through %d of %d", joined, len(options.addresses))
            return
        if options.attempts_max and attempt >= options.attempts_max:
            give_up(f"could not join any of {', '.join(options.addresses)}")
            return
        await clock.sleep(pause)
        pause = min(2 * pause, options.retry_seconds)


class Founding(Protocol):
    """A server that may become one of the first voters."""

    @property
    def bootstrapped(self) -> bool:
        """Whether it belongs to a cluster."""
        ...

    def propose(self, proposal: str) -> None:
        """Remember this proposal on disk, and show it to the others."""
        ...

    def begin(self, verdict: Verdict) -> None:
        """Write the first voters to disk and start the log."""
        ...


async def bootstrap(
    founding: Founding, agreement: Bootstrap, membership: Membership, changed: asyncio.Event
) -> None:
    """Agree with the other servers on the first voters, then start the log with them.

    Ends too when this server was made part of a cluster that is there already.
    """
    told, reason = "", ""
    while not founding.bootstrapped:
        verdict = agreement.decide(membership.candidates())
        if verdict.voters:
            founding.begin(verdict)
            return
        if verdict.proposal != told:
            told = verdict.proposal
            founding.propose(told)
        if verdict.reason != reason:
            reason = verdict.reason
            log.info("bootstrap: %s", reason)
        await changed.wait()
        changed.clear()
