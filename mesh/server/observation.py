"""Observation: what gossip and Raft show of the servers, and for how long it has been so."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

import msgspec

from mesh.raft.epochs import Peer
from mesh.registry.autopilot import Settings
from mesh.server.autopilot import Server, Status
from mesh.server.electorate import PeerProgress


class Sighting(msgspec.Struct, frozen=True):
    """A server of the datacenter as gossip shows it."""

    id: str
    name: str
    address: str
    """`ip:port` of its server port."""
    status: Status
    cluster: str = ""
    """Id of the cluster whose log it holds; empty when it has none yet."""
    read_replica: bool = False
    version: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What the leader's Raft node says."""

    leader: str
    voters: Sequence[Peer]
    progress: Mapping[str, PeerProgress]
    last_index: int
    heartbeat_seconds: float


class Observation:
    """A leader's memory of the servers. A new leader begins with none, so it decides late."""

    def __init__(self) -> None:
        self._steady: dict[str, tuple[Hashable, float]] = {}
        self._shown: dict[str, tuple[Hashable, float]] = {}
        self._dead: dict[str, tuple[Hashable, float]] = {}
        self._voters: set[str] = set()

    def look(
        self, facts: Facts, sightings: Iterable[Sighting], settings: Settings, now: float
    ) -> tuple[Server, ...]:
        """Every voter and every live server that follows, at this monotonic time."""
        seen = by_id(sightings)
        voters = {voter.id: voter for voter in facts.voters}
        # Who just lost its vote has to prove itself anew, however healthy it was as a voter.
        for name in self._voters - set(voters):
            self._steady.pop(name, None)
        self._voters = set(voters)
        found = []
        for name in sorted({*voters, *facts.progress} & {*voters, *seen}):
            known = seen.get(name)
            if known is None:
                voter = voters[name]
                known = Sighting(name, voter.name, voter.address, "none")
            found.append(self._server(facts, known, settings, now))
        for memory in (self._steady, self._shown, self._dead):
            for name in set(memory) - {server.id for server in found}:
                del memory[name]
        return tuple(found)

    def _server(self, facts: Facts, seen: Sighting, settings: Settings, now: float) -> Server:
        server = _at_this_moment(facts, seen)
        allowed = settings.last_contact_threshold + facts.heartbeat_seconds
        behind = facts.last_index - server.last_index
        trouble = ""
        if seen.status != "alive":
            trouble = f"gossip: {seen.status}" if seen.status != "none" else "gossip misses it"
        elif not server.connected:
            trouble = "not connected"
        elif server.last_contact > allowed:
            trouble = "not heard in time"
        elif behind > settings.max_trailing_logs:
            trouble = "too many log entries behind"
        gone = seen.status != "alive" and not server.connected
        since_gone = _since(self._dead, server.id, gone, now)
        shown = (seen.name, seen.address)
        return msgspec.structs.replace(
            server,
            trouble=trouble,
            steady_seconds=_since(self._steady, server.id, not trouble, now),
            moved_seconds=_since(self._shown, server.id, shown, now),
            dead_seconds=since_gone if gone else 0.0,
        )


def by_id(sightings: Iterable[Sighting]) -> dict[str, Sighting]:
    """The sightings that mean one server each: with an id that no other live server has."""
    found: dict[str, Sighting] = {}
    twins = set()
    for sighting in sightings:
        other = found.get(sighting.id)
        if other is not None and other.status == sighting.status == "alive":
            twins.add(sighting.id)
        elif other is None or other.status != "alive":
            found[sighting.id] = sighting
    return {name: one for name, one in found.items() if name and name not in twins}


def followers(sightings: Iterable[Sighting], voters: Iterable[Peer], cluster: str) -> list[Peer]:
    """The live servers of this cluster, or of none yet, that have no vote, ordered by id."""
    voting = {voter.id for voter in voters}
    return [
        Peer(one.id, one.name, one.address)
        for name, one in sorted(by_id(sightings).items())
        if name not in voting and one.status == "alive" and one.cluster in {"", cluster}
    ]


def _at_this_moment(facts: Facts, seen: Sighting) -> Server:
    server = Server(
        id=seen.id,
        name=seen.name,
        address=seen.address,
        status=seen.status,
        version=seen.version,
        read_replica=seen.read_replica,
        last_index=facts.last_index,
    )
    if seen.id == facts.leader:
        return server
    progress = facts.progress.get(seen.id)
    if progress is None:
        return msgspec.structs.replace(
            server, connected=False, caught_up=False, last_contact=float("inf"), last_index=0
        )
    return msgspec.structs.replace(
        server,
        connected=progress.connected,
        caught_up=progress.caught_up,
        observes=progress.observes,
        last_contact=progress.last_contact,
        last_index=progress.match,
    )


def _since(
    memory: dict[str, tuple[Hashable, float]], name: str, state: Hashable, now: float
) -> float:
    """For how long the server's state has been this one."""
    before = memory.get(name)
    if before is None or before[0] != state:
        before = memory[name] = (state, now)
    return now - before[1]
