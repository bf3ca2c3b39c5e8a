"""Profiles: the timing of memberlist's WAN and local presets; `Options` itself is that of a LAN."""

from __future__ import annotations

from mesh.gossip.driver import Options


class WanOptions(Options, frozen=True, kw_only=True):
    """Between datacenters: slower verdicts, longer patience."""

    probe_interval_seconds: float = 5.0
    probe_timeout_seconds: float = 3.0
    gossip_interval_seconds: float = 0.5
    gossip_nodes: int = 4
    gossip_to_the_dead_seconds: float = 60.0
    suspicion_mult: int = 6
    push_pull_interval_seconds: float = 60.0
    stream_timeout_seconds: float = 30.0


class LocalOptions(Options, frozen=True, kw_only=True):
    """On one machine: fast verdicts, no patience."""

    probe_timeout_seconds: float = 0.2
    indirect_checks: int = 1
    gossip_interval_seconds: float = 0.1
    gossip_to_the_dead_seconds: float = 15.0
    suspicion_mult: int = 3
    retransmit_mult: int = 2
    push_pull_interval_seconds: float = 15.0
    stream_timeout_seconds: float = 1.0
