"""The options: every key a configuration may hold, its type and its default.

Keys and meanings are Consul's (https://developer.hashicorp.com/consul/docs/agent/config).
Durations are seconds here, and Go durations (`30s`) or nanoseconds in files.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

Duration: TypeAlias = Annotated[float, "duration"]


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where each service of the node listens; -1 turns it off, 0 takes any free port."""

    dns: int = 8600
    http: int = 8500
    https: int = -1
    grpc: int = -1
    grpc_tls: int = -1
    serf_lan: int = 8301
    serf_wan: int = 8302
    server: int = 8300


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that differ from client_addr, space separated."""

    dns: str = ""
    http: str = ""
    https: str = ""
    grpc: str = ""


class Soa(msgspec.Struct, frozen=True, kw_only=True):
    """The SOA record, in seconds."""

    refresh: int = 3600
    retry: int = 600
    expire: int = 86400
    min_ttl: int = 0


class DnsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How DNS answers."""

    allow_stale: bool = True
    max_stale: Duration = 87600 * 3600.0
    node_ttl: Duration = 0.0
    service_ttl: dict[str, Duration] = {}
    only_passing: bool = False
    enable_truncate: bool = False
    udp_answer_limit: int = 3
    a_record_limit: int = 0
    disable_compression: bool = False
    enable_additional_node_meta_txt: bool = True
    soa: Soa = Soa()


class HttpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the HTTP API adds, refuses and allows."""

    response_headers: dict[str, str] = {}
    block_endpoints: list[str] = []
    allow_write_http_from: list[str] = []


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on what clients may ask for."""

    http_max_conns_per_client: int = 200
    kv_max_value_size: int = 524288
    rpc_client_timeout: Duration = 60.0


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of Raft and of leaving."""

    raft_multiplier: int = 1
    """Scales election and heartbeat times; 1 to 10. Consul's default is 5."""
    leave_drain_time: Duration = 5.0
    rpc_hold_timeout: Duration = 7.0


class GossipLan(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of gossip."""

    gossip_interval: Duration = 0.2
    gossip_nodes: int = 3
    probe_interval: Duration = 1.0
    probe_timeout: Duration = 0.5
    suspicion_mult: int = 4
    retransmit_mult: int = 4


class UiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The web UI."""

    enabled: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All options of a node."""

    server: bool = False
    """Keep the replicated state; otherwise this node is a client agent."""
    bootstrap: bool = False
    """Start a cluster alone, as bootstrap_expect = 1 does."""
    bootstrap_expect: int = 0
    """Servers to wait for before the first leader is elected."""
    datacenter: str = "dc1"
    """The datacenter this node belongs to."""
    node_name: str = ""
    """Name in the catalog; the host name when empty."""
    node_id: str = ""
    """A UUID; made at first start and kept in data_dir when empty."""
    node_meta: dict[str, str] = {}
    """Key-value pairs shown with the node."""
    data_dir: str = ""
    """Where the node keeps its state. Needed except with -dev."""
    bind_addr: str = "0.0.0.0"  # noqa: S104 - Consul's default.
    """Address for gossip and the server port."""
    advertise_addr: str = ""
    """Address other nodes reach this one at; bind_addr, or the host's own, when empty."""
    client_addr: str = "127.0.0.1"
    """Addresses of HTTP and DNS, space separated."""
    addresses: Addresses = Addresses()
    """Addresses of single services, where they differ from client_addr."""
    ports: Ports = Ports()
    """Ports of all services."""
    retry_join: list[str] = []
    """Addresses of members to join; tried until one answers."""
    retry_interval: Duration = 30.0
    """Longest pause between two tries to join."""
    retry_max: int = 0
    """Tries to join before giving up; 0 is for ever."""
    reconnect_timeout: Duration = 72 * 3600.0
    """When a failed member is forgotten."""
    leave_on_terminate: bool | None = None
    """Leave the pool on SIGTERM; by default agents do and servers do not."""
    skip_leave_on_interrupt: bool | None = None
    """Do not leave on SIGINT; by default servers do not leave and agents do."""
    log_level: str = "INFO"
    """TRACE, DEBUG, INFO, WARN or ERROR."""
    log_json: bool = False
    """Log one JSON object a line."""
    log_file: str = ""
    """Also log into this file."""
    pid_file: str = ""
    """Write the process id into this file."""
    check_update_interval: Duration = 300.0
    """How often the mere output of a steady check is written to the catalog."""
    check_output_max_size: int = 4096
    """Bytes of check output kept."""
    discard_check_output: bool = False
    """Keep no check output at all."""
    enable_script_checks: bool = False
    """Allow checks that run programs, from files and from the API."""
    enable_local_script_checks: bool = False
    """Allow checks that run programs, from files only."""
    services: list[dict[str, Any]] = []
    """Services of this node. `service` adds one."""
    checks: list[dict[str, Any]] = []
    """Checks of this node. `check` adds one."""
    default_query_time: Duration = 300.0
    """How long a blocking query waits when it does not say."""
    max_query_time: Duration = 600.0
    """How long a blocking query may wait at most."""
    discovery_max_stale: Duration = 0.0
    """Above 0: discovery reads may be answered by any server this stale."""
    domain: str = "mesh."
    """The DNS domain."""
    alt_domain: str = ""
    """A second DNS domain, such as consul."""
    dns_config: DnsConfig = DnsConfig()
    """How DNS answers."""
    http_config: HttpConfig = HttpConfig()
    """How the HTTP API answers."""
    limits: Limits = Limits()
    """Limits on clients."""
    performance: Performance = Performance()
    """Timing of Raft and of leaving."""
    raft_snapshot_threshold: int = 16384
    """Log entries after which a snapshot is taken."""
    gossip_lan: GossipLan = GossipLan()
    """Timing of gossip."""
    ui_config: UiConfig = UiConfig()
    """The web UI."""
    translate_wan_addrs: bool = False
    """Answer with WAN addresses for other datacenters."""
    tagged_addresses: dict[str, str] = {}
    """Further addresses of the node, such as lan and wan."""
    dev: bool = False
    """A server for development: alone, in memory, on loopback. Set by the flag -dev only."""
    not_yet: tuple[str, ...] = ()
    """Keys that were set, that Consul has, and that mesh does not act on yet."""
    warnings: tuple[str, ...] = ()
    """What is allowed but probably not meant."""


RELOADABLE = {
    "check_update_interval",
    "checks",
    "discard_check_output",
    "dns_config",
    "log_level",
    "node_meta",
    "services",
}
"""Keys that a reload applies; others need a restart."""
