"""Orders: what may be asked of the servers themselves, who votes, who leads, how they fare."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.errors import Invalid
from mesh.registry.levels import DEFAULTS, FEDERATED
from mesh.registry.port import Order


class Server(msgspec.Struct, frozen=True):
    """A server: its node id, its name, and `ip:port` of its server port."""

    id: str
    name: str
    address: str


class RaftServer(msgspec.Struct, frozen=True):
    """A server that keeps the log."""

    id: str
    name: str
    address: str
    voter: bool
    leader: bool = False
    last_index: int = 0
    """The last log index it is known to have; 0 when the server asked does not know."""
    barred: bool = False
    """An operator removed it from the voters: it votes again only when an operator adds it."""


class RaftServers(msgspec.Struct, frozen=True):
    """Everyone who keeps the log: voters first, each ordered by name."""

    servers: list[RaftServer]
    epoch: int
    """Counts the sets of voters there have been."""
    commit_index: int = 0


class Figures(msgspec.Struct, frozen=True):
    """What a server's consensus says of itself, or why it could not be asked."""

    server: Server
    figures: dict[str, Any] = {}
    error: str = ""


class ServerHealth(msgspec.Struct, frozen=True):
    """How a server fares, as the leader sees it."""

    id: str
    name: str
    address: str
    status: str
    """In gossip: alive, leaving, left, failed or none."""
    version: str
    leader: bool
    voter: bool
    healthy: bool
    read_replica: bool = False
    last_contact: float | None = 0.0
    """Seconds since the leader heard it; None when it did not."""
    last_term: int = 0
    last_index: int = 0
    stable_since: float = 0.0
    """When it became healthy or unhealthy, in seconds since the Unix epoch."""
    reason: str = ""
    """Why it is not healthy, or why it does not vote."""


class Health(msgspec.Struct, frozen=True):
    """How the servers fare, ordered by name."""

    healthy: bool
    failure_tolerance: int
    """Voters that may yet fail while a majority stays."""
    servers: list[ServerHealth]
    leader: str = ""
    """Its id."""
    doing: str = ""
    """The change of voters that is under way or was made last, and why."""


class RaftConfiguration(Order[RaftServers], frozen=True, tag="raft.configuration"):
    """Who keeps the log. Any server knows; how far each one is only the leader."""

    outcome = RaftServers
    repeatable = True


class AddPeer(Order[int], frozen=True, tag="raft.add-peer"):
    """Give a server a vote, by its id or name, or by its address. Returns the log index of that."""

    outcome = int
    id: str = ""
    address: str = ""

    def validate(self) -> None:
        """Exactly one of both."""
        _one_of(self.id, self.address, "add")


class RemovePeer(Order[int], frozen=True, tag="raft.remove-peer"):
    """Take a server's vote, by its id or name, or by its address. Returns the log index of that.

    It is not given a vote again except by `AddPeer`, unless it asked itself because it leaves.
    """

    outcome = int
    id: str = ""
    address: str = ""
    leaving: bool = False

    def validate(self) -> None:
        """Exactly one of both."""
        _one_of(self.id, self.address, "remove")


class TransferLeader(Order[Server], frozen=True, tag="raft.transfer"):
    """Hand leadership to a voter, by its id or name; to the fittest when empty. Says to whom."""

    outcome = Server
    to: str = ""


class RaftStatus(Order[list[Figures]], frozen=True, tag="raft.status"):
    """The figures of every server that keeps the log, or of one, by its id or name."""

    outcome = list[Figures]
    repeatable = True
    server: str = ""


class OwnStatus(Order[Figures], frozen=True, tag="raft.own-status"):
    """The figures of the server that is asked."""

    outcome = Figures
    repeatable = True


class AppliedIndex(Order[int], frozen=True, tag="raft.applied-index"):
    """The highest log index that the server asked has applied.

    Whoever sends a write to another datacenter needs one of its log; see `WriteOptions.since`.
    """

    outcome = int
    needs = FEDERATED
    repeatable = True


class Datacenters(Order[list[str]], frozen=True, tag="datacenters"):
    """The names of all datacenters that the server asked knows: its own first, then by distance."""

    outcome = list[str]
    needs = FEDERATED
    repeatable = True


class AutopilotHealth(Order[Health], frozen=True, tag="autopilot.health"):
    """How the servers fare. Only the leader knows."""

    outcome = Health
    repeatable = True


class FireEvent(Order[int], frozen=True, tag="event.fire"):
    """Fire an event in the pool of the server that is asked; its Lamport time."""

    outcome = int
    needs = FEDERATED
    name: str
    payload: bytes
    """As it travels in the pool, filters included."""


class DefaultAllow(Order[bool], frozen=True, tag="intentions.default-allow"):
    """Whether calls that no intention names are allowed, as the server asked is configured."""

    outcome = bool
    needs = DEFAULTS
    repeatable = True


def _one_of(name: str, address: str, verb: str) -> None:
    if not name and not address:
        raise Invalid(
            f"Must specify either ?id with the server's ID or ?address with IP:port of peer to "
            f"{verb}"
        )
    if name and address:
        raise Invalid("Must specify only one of ?id or ?address")
