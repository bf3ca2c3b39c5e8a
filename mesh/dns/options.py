"""The options of the DNS edge, with Consul's defaults except for the domain."""

from __future__ import annotations

import msgspec

from mesh.registry.port import ReadOptions

TEN_YEARS_SECONDS = 87_600 * 3600.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the DNS edge listens on and how it answers. All but the addresses can change live."""

    addresses: tuple[tuple[str, int], ...] = (("127.0.0.1", 8600),)
    """IP addresses and ports to listen on, UDP and TCP each; port 0 takes any free one."""
    tls_addresses: tuple[tuple[str, int], ...] = ()
    """Those to listen on for DNS over TLS."""
    domain: str = "mesh."
    """The domain this edge answers for."""
    alt_domain: str = ""
    """A second domain, answered under its own name; empty for none."""
    datacenter: str = "dc1"
    """Our datacenter: what a name without one means, and what answers name."""
    node_name: str = ""
    """This node: what `_agent` means in a prepared query."""
    disable_coordinates: bool = False
    """Prepared queries put nothing first by distance."""
    abroad_seconds: float = 2.0
    """How long another datacenter may take; then SERVFAIL, before most clients give up."""
    token: str = ""
    """The ACL token that lookups use; empty for the anonymous one."""
    node_ttl_seconds: int = 0
    """TTL of answers about nodes and of NS records."""
    service_ttls: dict[str, int] = {}
    """TTL in seconds by service name; `web*` means every name so begun, `*` every other."""
    only_passing: bool = False
    """Leave out instances whose health is warning, as critical ones always are."""
    allow_stale: bool = True
    """Any server may answer, leader or not."""
    max_stale_seconds: float = TEN_YEARS_SECONDS
    """With allow_stale: an answer staler than this is asked of the leader again. From ten years on
    none is: a server that was restarted and met no leader yet cannot say how old its answer is."""
    use_cache: bool | None = None
    """Whether an agent may answer with what it holds, whatever `allow_stale` says; None for what
    that says."""
    cache_max_age_seconds: float = 0.0
    """How old what it holds may be; 0 for any age."""
    udp_answer_limit: int = 3
    """Answers to a UDP question without EDNS; never more than 8."""
    a_record_limit: int = 0
    """Addresses in an answer to A, AAAA or ANY; 0 for no limit. SRV has none."""
    enable_truncate: bool = False
    """Set the TC bit when answers were left out, so that clients ask again over TCP."""
    disable_compression: bool = False
    """Write every name in full."""
    enable_additional_node_meta_txt: bool = True
    """Add a node's metadata as TXT records to answers that name the node."""
    translate_wan_addresses: bool = False
    """Answer with `wan` tagged addresses for instances of other datacenters."""
    soa_refresh_seconds: int = 3600
    """REFRESH of the SOA record."""
    soa_retry_seconds: int = 600
    """RETRY of the SOA record."""
    soa_expire_seconds: int = 86_400
    """EXPIRE of the SOA record."""
    soa_min_ttl_seconds: int = 0
    """TTL and MINIMUM of the SOA record: how long resolvers keep a negative answer."""
    recursors: tuple[tuple[str, int], ...] = ()
    """IP addresses and ports of servers that are asked for names outside our domains."""
    recursor_strategy: str = "sequential"
    """In which order: `sequential` or `random`."""
    recursor_timeout_seconds: float = 2.0
    """How long each of them may take."""
    udp_rate: int = 8_000_000
    """Bytes a second that a network of clients, a /24 or a /56, gets over UDP beyond those it asks
    with; then answers only say that all is to be had over TCP. 0 for none; loopback has none."""
    tcp_connections: int = 512
    """TCP connections at a time; more are closed as they come."""
    tcp_idle_seconds: float = 10.0
    """A TCP connection without a question or an accepted answer for so long is closed."""

    @property
    def reads(self) -> ReadOptions:
        """How the registry is read."""
        held = self.allow_stale if self.use_cache is None else self.use_cache
        stale = self.allow_stale or held  # As in Consul, the second implies the first.
        limited = stale and self.max_stale_seconds < TEN_YEARS_SECONDS
        max_age = 0.0 if stale else None
        if held:
            max_age = self.cache_max_age_seconds or None
        return ReadOptions(
            consistency="stale" if stale else "default",
            max_stale=self.max_stale_seconds if limited else None,
            token=self.token,
            cached=held,
            max_age=max_age,
        )
