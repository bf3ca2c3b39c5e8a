"""The parts of the configuration about what clients reach: listeners, DNS and the HTTP API."""

from __future__ import annotations

import msgspec

from mesh.config.sections import Seconds


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """What each listener binds; empty for client_addr."""

    dns: str = ""
    """IP addresses for DNS, over TLS too, space separated."""
    http: str = ""
    """IP addresses, or unix:// paths, for HTTP."""
    https: str = ""
    """IP addresses, or unix:// paths, for HTTPS."""
    grpc: str = ""
    """IP addresses, or unix:// paths, for gRPC."""
    grpc_tls: str = ""
    """IP addresses, or unix:// paths, for gRPC with TLS."""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Port numbers; -1 for no listener, 0 for any free port."""

    dns: int = 8600
    """DNS, UDP and TCP."""
    dns_tls: int = -1
    """DNS over TLS, usually 853; needs certificates as the server port does."""
    http: int = 8500
    """HTTP."""
    https: int = -1
    """HTTPS."""
    grpc: int = -1
    """gRPC; 8502 with -dev."""
    grpc_tls: int = -1
    """gRPC with TLS."""
    serf_lan: int = 8301
    """Gossip in the datacenter, UDP and TCP."""
    serf_wan: int = 8302
    """Gossip between datacenters, UDP and TCP."""
    server: int = 8300
    """Servers, for RPC."""
    sidecar_min_port: int = 21000
    """First port for sidecars without one."""
    sidecar_max_port: int = 21255
    """Last port for sidecars without one."""
    expose_min_port: int = 21500
    """First port for checks through a sidecar."""
    expose_max_port: int = 21755
    """Last port for checks through a sidecar."""
    proxy_min_port: int = 20000
    """Old name of nothing mesh has."""
    proxy_max_port: int = 20255
    """Old name of nothing mesh has."""


class Soa(msgspec.Struct, frozen=True, kw_only=True):
    """Times in the SOA record, in seconds as plain numbers."""

    refresh: int = 3600
    """REFRESH."""
    retry: int = 600
    """RETRY."""
    expire: int = 86400
    """EXPIRE."""
    min_ttl: int = 0
    """MINIMUM: how long a negative answer may be kept."""


class Dns(msgspec.Struct, frozen=True, kw_only=True):
    """How DNS answers."""

    allow_stale: bool = True
    """Any server may answer, leader or not."""
    max_stale: Seconds = 87600 * 3600.0
    """An answer staler than this is asked of the leader."""
    node_ttl: Seconds = 0.0
    """TTL of answers about nodes."""
    service_ttl: dict[str, Seconds] = {}
    """TTL by service name; `web*` means every name so begun, `*` every other."""
    only_passing: bool = False
    """Leave out instances in warning as well as critical ones."""
    enable_truncate: bool = False
    """Set the TC bit when answers were left out."""
    udp_answer_limit: int = 3
    """Answers to a UDP question without EDNS."""
    a_record_limit: int = 0
    """Addresses in an answer to A, AAAA or ANY; 0 for no limit."""
    disable_compression: bool = False
    """Write every name in full."""
    recursor_strategy: str = "sequential"
    """Order in which recursors are asked: sequential or random."""
    recursor_timeout: Seconds = 2.0
    """How long a recursor may take."""
    soa: Soa = Soa()
    """The SOA record."""
    use_cache: bool | None = None
    """Let an agent answer with what it holds, which implies allow_stale; false: ask a server each
    time. When not set, as allow_stale says; Consul's default is false."""
    cache_max_age: Seconds = 0.0
    """How old what it holds may be, else a server is asked; 0 for any age."""
    enable_additional_node_meta_txt: bool = True
    """Add node metadata as TXT records."""
    prefer_namespace: bool = False
    """Enterprise only."""


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP API."""

    response_headers: dict[str, str] = {}
    """Headers added to every answer."""
    block_endpoints: tuple[str, ...] = ()
    """Path prefixes answered with 403."""
    allow_write_http_from: tuple[str, ...] = ()
    """Networks (CIDR) that may write; empty for all."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names by which browsers may ask, such as mesh.example.com or *.example.com; * for any.
    IP addresses, localhost, the node's names, names without a dot, private ones (.internal, .local,
    .home.arpa, .test) and those in domain may always. Empty: any, but on nodes that listen for HTTP
    on loopback addresses only, none besides."""
    use_cache: bool = True
    """Let ?cached answer from the agent's cache."""
    max_header_bytes: int = 0
    """Largest request header in bytes; 0 for 1 MiB."""
    access_log: str = ""
    """File to write a line of JSON to for every request; a reload opens it anew. Empty for none."""


class UnixSockets(msgspec.Struct, frozen=True, kw_only=True):
    """Owner and mode of unix sockets."""

    user: str = ""
    """User name or number."""
    group: str = ""
    """Group name or number."""
    mode: str = ""
    """Mode, octal."""
