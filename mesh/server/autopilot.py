"""Autopilot: what the leader changes about who votes, and how the servers fare.

It gives a vote to servers that stay healthy, takes it of those that left or failed for good, and
writes down new addresses; all that is due in one change. It never takes more votes at once than a
majority of the present voters can spare, since that majority has to agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from mesh.raft.epochs import VOTERS_MAX, Peer
from mesh.registry.autopilot import Settings
from mesh.registry.orders import Health, ServerHealth

Status: TypeAlias = Literal["alive", "leaving", "left", "failed", "none"]

FAILED_SECONDS = 60.0
"""A failed voter keeps its vote for as long as a restart or a short outage takes: the way out and
back costs two epochs and sending it the whole state."""
TOGETHER_SECONDS = 5.0
"""A server that is ready waits so long for others that soon are: one change instead of several,
and no even number of voters between."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server as the leader sees it at this moment."""

    id: str
    name: str
    address: str
    """`ip:port` as gossip shows it; as the voters have it when gossip does not know."""
    status: Status
    version: str = ""
    read_replica: bool = False
    connected: bool = True
    """Whether Raft is connected to it."""
    caught_up: bool = True
    observes: bool = False
    """It is a voter that lost its disk: only the next epoch gives it its vote back."""
    last_contact: float = 0.0
    last_index: int = 0
    trouble: str = ""
    """Why it is unhealthy; empty when it is not."""
    steady_seconds: float = 0.0
    """How long it has been healthy, or unhealthy."""
    moved_seconds: float = 0.0
    """How long gossip has shown this name and address."""
    dead_seconds: float = 0.0
    """How long gossip has not called it alive and Raft has not heard it; 0 when one of both did."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision rests on."""

    leader: str
    voters: tuple[Peer, ...]
    servers: tuple[Server, ...]
    """Every voter, and everyone else who might become one."""
    settings: Settings = Settings()
    barred: tuple[str, ...] = ()
    confirmed: bool = True
    """Whether this server surely leads at this moment."""
    changing: bool = False
    """Whether a change is under way."""
    term: int = 0
    doing: str = ""


class Change(msgspec.Struct, frozen=True):
    """The voters there should be, ordered by id, and why."""

    voters: tuple[Peer, ...]
    reasons: tuple[str, ...]


def decide(view: View) -> Change | None:
    """The change that is due now, or None."""
    ids = {voter.id for voter in view.voters}
    if not view.confirmed or view.changing or view.leader not in ids:
        return None
    ready = _ready(view)
    removed = _removed(view, ready)
    room = VOTERS_MAX - (len(ids) - len(removed))
    added = ready[: max(0, room)]
    kept = [voter for voter in view.voters if voter.id not in removed]
    moved = _moved(view, kept)
    voters = [moved.get(voter.id, voter) for voter in kept]
    voters += [Peer(server.id, server.name, server.address) for server in added]
    reasons = [f"{server.name} has been healthy for its time and gets a vote" for server in added]
    reasons += [removed[voter.id] for voter in view.voters if voter.id in removed]
    reasons += [f"{voter.name} is at {voter.address} now" for voter in moved.values()]
    reasons += [f"{name} is whole again and gets its vote back" for name in _whole_again(view)]
    if not reasons or not _can_commit(view, voters):
        return None
    return Change(tuple(sorted(voters, key=lambda voter: voter.id)), tuple(reasons))


def hindrance(view: View, server: Server) -> str:
    """Why this server is not given a vote now; empty when it is ready."""
    needed = view.settings.server_stabilization_time
    if server.read_replica:
        return "a read replica never votes"
    if server.id in view.barred:
        return "an operator removed it; only an operator can add it again"
    if server.trouble:
        return server.trouble
    if not server.caught_up:
        return "it still receives the state"
    if server.steady_seconds < needed:
        return f"healthy for {server.steady_seconds:.0f} of {needed:.0f} s"
    return ""


def _ready(view: View) -> list[Server]:
    """Who gets a vote now: first those who take the place of a dead server of their name."""
    voters = {voter.id for voter in view.voters}
    names = {voter.name.lower() for voter in view.voters}
    others = [server for server in view.servers if server.id and server.id not in voters]
    ready = [server for server in others if not hindrance(view, server)]
    needed = view.settings.server_stabilization_time
    sooner = msgspec.structs.replace(
        view.settings, server_stabilization_time=needed - TOGETHER_SECONDS
    )
    at_that_time = msgspec.structs.replace(view, settings=sooner)
    coming = any(hindrance(view, one) and not hindrance(at_that_time, one) for one in others)
    if coming and all(one.steady_seconds < needed + TOGETHER_SECONDS for one in ready):
        return []
    return sorted(ready, key=lambda one: (one.name.lower() not in names, one.name, one.id))


def _removed(view: View, ready: Iterable[Server]) -> dict[str, str]:
    """Whose vote is taken now, by id, with the reason: the most certain first, up to the limit."""
    servers = {server.id: server for server in view.servers}
    voters = {voter.id for voter in view.voters}
    ready = list(ready)
    able = {one.name.lower(): one.id for one in ready}
    able |= {one.name.lower(): one.id for one in servers.values() if _votes(one, voters)}
    found: list[tuple[int, float, str, str]] = []
    for voter in view.voters:
        server = servers.get(voter.id)
        if server is None or voter.id == view.leader:
            continue
        successor = able.get(voter.name.lower(), voter.id)
        if server.status == "left":
            found.append((0, 0.0, voter.id, f"{voter.name} left"))
        elif server.dead_seconds > 0 and successor != voter.id:
            reason = f"{voter.name} came back with another node id"
            found.append((1, 0.0, voter.id, reason))
        elif view.settings.cleanup_dead_servers and server.dead_seconds >= FAILED_SECONDS:
            reason = f"{voter.name} has failed for {server.dead_seconds:.0f} s"
            found.append((2, -server.dead_seconds, voter.id, reason))
    chosen = sorted(found)[: (len(voters) - 1) // 2]
    while chosen and len(voters) - len(chosen) + len(ready) < view.settings.min_quorum:
        chosen.pop()
    return {name: reason for _, _, name, reason in chosen}


def _votes(server: Server, voters: Iterable[str]) -> bool:
    return server.id in voters and server.connected and server.status == "alive"


def _moved(view: View, kept: Iterable[Peer]) -> dict[str, Peer]:
    """The voters whose name or address has long been another, by id, as they are now."""
    servers = {server.id: server for server in view.servers}
    taken = {voter.address for voter in view.voters}
    moved = {}
    for voter in kept:
        server = servers.get(voter.id)
        if server is None or server.status != "alive":
            continue
        now = Peer(voter.id, server.name, server.address)
        lasting = server.moved_seconds >= view.settings.server_stabilization_time
        free = now.address == voter.address or now.address not in taken
        if now != voter and lasting and free:
            taken.add(now.address)
            moved[voter.id] = now
    return moved


def _whole_again(view: View) -> list[str]:
    """Voters that lost their disk and have been healthy for long enough: the same again counts."""
    ids = {voter.id for voter in view.voters}
    needed = view.settings.server_stabilization_time
    return [
        server.name
        for server in view.servers
        if server.id in ids
        and server.observes
        and server.caught_up
        and not server.trouble
        and server.steady_seconds >= needed
    ]


def _can_commit(view: View, voters: Iterable[Peer]) -> bool:
    """Whether majorities of the present and of the new voters are there to agree."""
    there = {server.id for server in view.servers if server.connected} | {view.leader}
    deciding = there - {server.id for server in view.servers if server.observes}
    present, following = ([voter.id for voter in some] for some in (view.voters, voters))
    enough = len(deciding.intersection(present)) > len(present) // 2
    return enough and len(there.intersection(following)) > len(following) // 2


def health(view: View, wall: float) -> Health:
    """How the servers fare at this time (Unix seconds), ordered by name."""
    voters = {voter.id for voter in view.voters}
    shown = [_health(view, server, wall) for server in view.servers]
    healthy = sum(server.healthy for server in shown if server.voter)
    return Health(
        healthy=view.confirmed and all(server.healthy for server in shown),
        failure_tolerance=max(0, healthy - (len(voters) // 2 + 1)),
        servers=sorted(shown, key=lambda server: (server.name, server.id)),
        leader=view.leader,
        doing=view.doing,
    )


def _health(view: View, server: Server, wall: float) -> ServerHealth:
    voter = any(server.id == voter.id for voter in view.voters)
    heard = server.connected and server.last_contact != float("inf")
    return ServerHealth(
        id=server.id,
        name=server.name,
        address=server.address,
        status=server.status,
        version=server.version,
        leader=server.id == view.leader,
        voter=voter,
        healthy=not server.trouble and not server.observes,
        read_replica=server.read_replica,
        last_contact=server.last_contact if heard else None,
        last_term=view.term if heard else 0,
        last_index=server.last_index,
        stable_since=wall - server.steady_seconds,
        reason=_reason(view, server, voter=voter),
    )


def _reason(view: View, server: Server, *, voter: bool) -> str:
    if not voter:
        return hindrance(view, server)
    if server.observes and not server.trouble:
        return "it lost its disk and gets its vote back when it is whole"
    return server.trouble
