"""Options of SWIM, of Serf's layer above it and of the whole member, each with its unit."""

from __future__ import annotations

from typing import ClassVar, TypeAlias

import msgspec

from mesh.errors import Invalid

Bounds: TypeAlias = dict[str, tuple[float, float]]
DAY = 86400.0


class SwimOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How this node gossips. Defaults are memberlist's for a LAN; times are seconds.

    All members of a pool should have the same; `check` says what makes no sense anywhere.
    """

    bounds: ClassVar[Bounds] = {
        "probe_interval_seconds": (0.01, 3600.0),
        "probe_timeout_seconds": (0.001, 3600.0),
        "indirect_checks": (0, 32),
        "gossip_interval_seconds": (0.01, 3600.0),
        "gossip_nodes": (1, 32),
        "gossip_to_the_dead_seconds": (0.0, DAY),
        "suspicion_mult": (1, 100),
        "retransmit_mult": (1, 100),
        "push_pull_interval_seconds": (0.0, DAY),
        "dead_node_reclaim_seconds": (0.0, DAY),
    }

    probe_interval_seconds: float = 1.0
    """How often some member is probed. Shorter finds failures sooner and sends more."""
    probe_timeout_seconds: float = 0.5
    """How long a direct answer may take before others are asked to help: more than nearly all round
    trips of a healthy pool, and no more than the interval."""
    indirect_checks: int = 3
    """How many others are asked; 0 leaves only the stream."""
    gossip_interval_seconds: float = 0.2
    """How often news is sent on its own, while there is any."""
    gossip_nodes: int = 3
    """To how many members."""
    gossip_to_the_dead_seconds: float = 30.0
    """How long news still goes to a dead member, so that it can refute; then it is forgotten."""
    suspicion_mult: int = 4
    """Longer suspicion gives a slow node more time to refute, and takes longer to find who died."""
    retransmit_mult: int = 4
    """How often each piece of news is passed on, times the logarithm of the pool's size."""
    push_pull_interval_seconds: float = 30.0
    """How often all state is exchanged with some member, seldomer above 32 members; 0 for never."""
    dead_node_reclaim_seconds: float = 30.0
    """After how long a dead member's name may come back from another address; 0 for never."""

    def check(self) -> None:
        """Raise Invalid, naming the field, for a value that makes no sense."""
        for field, (low, high) in self.bounds.items():
            value = getattr(self, field)
            if not low <= value <= high:
                raise Invalid(f"{field}: {value:g} is not between {low:g} and {high:g}")
        if self.probe_timeout_seconds > self.probe_interval_seconds:
            raise Invalid(
                f"probe_timeout_seconds: {self.probe_timeout_seconds:g} is longer than "
                f"probe_interval_seconds, {self.probe_interval_seconds:g}; nobody would be asked "
                "to help in time"
            )


class Options(SwimOptions, frozen=True, kw_only=True):
    """How Serf's layer behaves."""

    bounds: ClassVar[Bounds] = SwimOptions.bounds | {
        "reconnect_timeout_seconds": (1.0, 3650 * DAY),
        "tombstone_timeout_seconds": (1.0, 3650 * DAY),
        "reconnect_interval_seconds": (0.1, DAY),
        "reconnect_longest_seconds": (0.1, 30 * DAY),
        "event_bytes_max": (16, 9 * 1024),
        "query_bytes_max": (64, 9 * 1024),
        "answer_bytes_max": (64, 9 * 1024),
        "queue_depth_min": (1, 2**20),
    }

    reconnect_timeout_seconds: float = 72 * 3600.0
    """A failed member is forgotten after this."""
    tombstone_timeout_seconds: float = 24 * 3600.0
    """A member that left is forgotten after this."""
    reconnect_interval_seconds: float = 30.0
    """How often one failed member is tried again, by chance as likely as failed to living ones."""
    reconnect_longest_seconds: float = 960.0
    """The pause between tries of the same member doubles up to this."""
    event_bytes_max: int = 512
    """What name and payload of a user event, and all of it encoded, may take; at most 9 kB."""
    query_bytes_max: int = 1024
    """What a query may take, encoded."""
    answer_bytes_max: int = 1024
    """What an answer to a query may take, encoded."""
    resolve_conflicts: bool = True
    """When another node has this node's name, ask the pool, and end if it knows the other one."""
    coordinates: bool = True
    """Tell others in acks where this node is in the network, and learn it from theirs."""
    queue_depth_min: int = 4096
    """Messages that wait to be passed on, of one kind, before any is dropped; in a large pool
    twice as many as it has members."""


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """What is compressed. Everybody can unpack it, but in Python packing takes its time."""

    packets: bool = False
    """Datagrams that become smaller; 0.2 ms for a full one."""
    streams_from_bytes: int = 1024 * 1024
    """Streams of this size or more, in a thread: the state of 7,000 members. 0 for none."""


class MemberOptions(Options, frozen=True, kw_only=True):
    """How this node takes part in the pool."""

    bind_address: str
    bind_port: int = 0
    """0 takes any port that is free for datagrams and streams."""
    advertise_address: str = ""
    """The address others reach this node at; the bound one when empty."""
    advertise_port: int = 0
    label: str = ""
    """Names the pool: nodes with another label, or none, are not heard. At most 255 bytes."""
    verify_incoming: bool = True
    """With a keyring, hear nothing in plain text."""
    verify_outgoing: bool = True
    """With a keyring, say nothing in plain text."""
    compression: Compression = Compression()
    """What is sent compressed."""
    stream_timeout_seconds: float = 10.0
    """How long one exchange over a stream may take."""
    leave_timeout_seconds: float = 5.0
    """How long leaving waits for each of its two messages to spread."""
    leave_propagate_seconds: float = 1.0
    """How long a node that left goes on answering, so that the news spreads."""
    snapshot_path: str = ""
    """A file in which this node remembers members and clocks; none when empty."""
    rejoin_after_leave: bool = False
    """Leaving forgets nothing of it."""
