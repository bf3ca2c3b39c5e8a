"""Every option, with Consul's names and defaults: one `Config` for the whole node."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.config import edges as e
from mesh.config import sections as s
from mesh.config.calm import FlapDamping, MassFailure
from mesh.config.history import History
from mesh.config.sections import Bytes, Seconds
from mesh.config.snapshots import Snapshots


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A node's whole configuration, checked. Durations are seconds; empty text means not set."""

    server: bool = False
    """Run a server rather than a client."""
    bootstrap: bool = False
    """Lead alone at first start. Servers only."""
    bootstrap_expect: int = 0
    """Found the cluster once so many servers see each other. Servers only."""
    datacenter: str = "dc1"
    """The datacenter's name."""
    node_name: str = ""
    """The node's name; the host name when not set."""
    node_id: str = ""
    """The node's UUID; a random one is kept in data_dir when not set."""
    node_meta: dict[str, str] = {}
    """Metadata of the node, at most 64 pairs."""
    data_dir: str = ""
    """Directory of state; required except with -dev."""
    bind_addr: str = "0.0.0.0"  # noqa: S104  # Consul's default; what is advertised is one address.
    """IP address for traffic of the cluster."""
    advertise_addr: str = ""
    """IP address that other nodes use; the bind address when not set."""
    advertise_addr_ipv4: str = ""
    """The same, IPv4."""
    advertise_addr_ipv6: str = ""
    """The same, IPv6."""
    advertise_addr_wan: str = ""
    """IP address that other datacenters use."""
    advertise_addr_wan_ipv4: str = ""
    """The same, IPv4."""
    advertise_addr_wan_ipv6: str = ""
    """The same, IPv6."""
    client_addr: str = "127.0.0.1"
    """IP addresses for HTTP, DNS and gRPC, space separated."""
    addresses: e.Addresses = e.Addresses()
    """What each listener binds."""
    ports: e.Ports = e.Ports()
    """Port of each listener."""
    serf_lan: str = ""
    """IP address for gossip in the datacenter; bind_addr when not set."""
    serf_wan: str = ""
    """IP address for gossip between datacenters; bind_addr when not set."""
    serf_lan_allowed_cidrs: tuple[str, ...] = ()
    """Networks whose members may join; empty for all."""
    serf_wan_allowed_cidrs: tuple[str, ...] = ()
    """The same between datacenters."""
    retry_join: tuple[str, ...] = ()
    """Addresses or names, with or without port, of nodes to join; tried until one answers."""
    retry_interval: Seconds = 30.0
    """Time between attempts to join."""
    retry_max: int = 0
    """Attempts to join before the node gives up and ends; 0 for no limit."""
    retry_join_wan: tuple[str, ...] = ()
    """Servers of other datacenters to join."""
    retry_interval_wan: Seconds = 30.0
    """Time between attempts to join them."""
    retry_max_wan: int = 0
    """Attempts to join them; 0 for no limit."""
    rejoin_after_leave: bool = False
    """Join the known members again after a leave."""
    reconnect_timeout: Seconds = 72 * 3600.0
    """Forget a failed member after this time; 8h at least."""
    reconnect_timeout_wan: Seconds = 72 * 3600.0
    """The same between datacenters."""
    advertise_reconnect_timeout: Seconds = 0.0
    """What this client asks others to use instead; 0 for nothing."""
    encrypt: str = ""
    """Key that gossip is encrypted with: 16, 24 or 32 bytes in base64, from `meshctl keygen`, the
    same on every node. It begins the keyring in data_dir, which counts from then on."""
    encrypt_verify_incoming: bool = True
    """With a key, refuse gossip in plain text; false while a running cluster begins to encrypt."""
    encrypt_verify_outgoing: bool = True
    """With a key, send no gossip in plain text; false while not every node has the key yet."""
    disable_keyring_file: bool = False
    """Do not keep the keys of gossip in data_dir (serf/local.keyring, serf/remote.keyring)."""
    gossip_label: str = ""
    """Name that all gossip carries, at most 251 bytes; nodes with another one, or none, are not
    heard. Keeps clusters apart that can reach each other (memberlist's Label)."""
    leave_on_terminate: bool | None = None
    """Leave the cluster on SIGTERM; when not set, true for a client and false for a server."""
    skip_leave_on_interrupt: bool | None = None
    """Do not leave on SIGINT; when not set, false for a client and true for a server."""
    server_rejoin_age_max: Seconds = 168 * 3600.0
    """A server that was away for longer does not start."""
    log_level: str = "INFO"
    """TRACE, DEBUG, INFO, WARN or ERROR."""
    log_json: bool = False
    """Log one JSON object a line."""
    log_file: str = ""
    """Log to this file as well; a path that ends in / is a directory."""
    log_rotate_duration: Seconds = 24 * 3600.0
    """Begin a new log file after this time."""
    log_rotate_bytes: int = 0
    """Begin a new log file after so many bytes; 0 for no limit."""
    log_rotate_max_files: int = 0
    """Old log files to keep; 0 for all, -1 for none."""
    enable_syslog: bool = False
    """Log to syslog as well."""
    syslog_facility: str = "LOCAL0"
    """Facility for syslog."""
    pid_file: str = ""
    """File to hold the process id."""
    enable_debug: bool = False
    """Serve profiles under /debug/pprof."""
    disable_host_node_id: bool = True
    """Do not derive node_id from the host."""
    disable_update_check: bool = False
    """mesh never asks for updates."""
    disable_anonymous_signature: bool = False
    """mesh never asks for updates."""
    check_update_interval: Seconds = 300.0
    """How long a change of only a check's output may wait."""
    check_output_max_size: int = 4096
    """Bytes of a check's output to keep."""
    discard_check_output: bool = False
    """Keep no output of checks."""
    enable_script_checks: bool = False
    """Run scripts of checks, also those that came through the API."""
    enable_local_script_checks: bool = False
    """Run scripts of checks that the configuration defines."""
    enable_agent_tls_for_checks: bool = False
    """Show the agent's certificate to what is checked."""
    services: list[dict[str, Any]] = []
    """Service definitions (also `service`), keys in snake_case."""
    checks: list[dict[str, Any]] = []
    """Check definitions (also `check`), keys in snake_case."""
    watches: tuple[dict[str, Any], ...] = ()
    """Watches to run: `type` with its keys, and `args`, or `handler_type = "http"` with
    `http_handler_config`."""
    enable_central_service_config: bool = True
    """Merge config entries into proxies."""
    config_entries: dict[str, Any] = {}
    """Config entries to create when missing, under `bootstrap`."""
    session_ttl_min: Seconds = 10.0
    """Shortest TTL of a session."""
    disable_coordinates: bool = False
    """Tell no network coordinate, and answer none."""
    disable_remote_exec: bool = True
    """Run no commands that `meshctl exec` asks for."""
    disable_http_unprintable_char_filter: bool = False
    """Allow unprintable characters in URLs."""
    default_query_time: Seconds = 300.0
    """How long a blocking query without `wait` waits."""
    max_query_time: Seconds = 600.0
    """Longest wait of a blocking query."""
    discovery_max_stale: Seconds = 0.0
    """Let discovery requests be so stale; 0 for what the request says."""
    translate_wan_addrs: bool = False
    """Answer with `wan` addresses for other datacenters."""
    tagged_addresses: dict[str, str] = {}
    """Addresses of the node by tag, such as lan and wan."""
    domain: str = "mesh."
    """Domain of DNS, in lower case with a dot at the end. Consul's default is consul."""
    alt_domain: str = ""
    """A second domain."""
    dns_config: e.Dns = e.Dns()
    """How DNS answers."""
    recursors: tuple[str, ...] = ()
    """Upstream DNS servers for other names."""
    http_config: e.Http = e.Http()
    """The HTTP API."""
    unix_sockets: e.UnixSockets = e.UnixSockets()
    """Owner and mode of unix sockets."""
    limits: s.Limits = s.Limits()
    """Limits against overload."""
    performance: s.Performance = s.Performance()
    """Timing of the cluster."""
    upgrade: s.Upgrade = s.Upgrade()
    """Upgrades of the cluster; see docs/upgrades.md."""
    raft_protocol: int = 3
    """Version of raft's messages; only 3."""
    raft_snapshot_threshold: int = 16384
    """Entries between snapshots of the log."""
    raft_snapshot_interval: Seconds = 30.0
    """Time between them, unless there are 8 times as many entries."""
    raft_trailing_logs: int = 10240
    """Entries to keep behind a snapshot."""
    raft_disk_floor: Bytes | None = None
    """Free disk space, such as 512MiB, below which a server takes no writes; 0 for none. When not
    set, 256MiB or 1 % of the disk, whichever is less."""
    raft_prevote_disabled: bool = False
    """Campaign without asking first."""
    raft_logstore: dict[str, Any] = {}
    """Options of Consul's log files."""
    autopilot: s.Autopilot = s.Autopilot()
    """Care for the set of servers."""
    gossip_lan: s.GossipLan = s.GossipLan()
    """Timing of gossip in the datacenter."""
    gossip_wan: s.GossipWan = s.GossipWan()
    """Timing of gossip between datacenters."""
    mass_failure: MassFailure = MassFailure()
    """When much of the pool seems to vanish at once; see docs/calm.md."""
    flap_damping: FlapDamping = FlapDamping()
    """Members and checks that come and go again and again; see docs/calm.md."""
    snapshots: Snapshots = Snapshots()
    """Snapshots that the leader takes by itself; see docs/snapshots.md."""
    history: History = History()
    """How much of what was changed is kept; see docs/history.md."""
    primary_datacenter: str = ""
    """The datacenter that holds ACLs and the certificate authority."""
    acl: s.Acl = s.Acl()
    """Access control."""
    default_intention_policy: str = ""
    """allow or deny what no intention names; empty for what the ACLs say."""
    tls: s.Tls = s.Tls()
    """TLS certificates and rules."""
    server_name: str = ""
    """Name in TLS certificates; node_name when not set."""
    auto_encrypt: s.AutoEncrypt = s.AutoEncrypt()
    """Certificates for clients from servers."""
    auto_config: s.AutoConfig = s.AutoConfig()
    """Configuration for clients from servers."""
    connect: s.Connect = s.Connect()
    """The service mesh."""
    primary_gateways: tuple[str, ...] = ()
    """Gateways of the primary datacenter."""
    primary_gateways_interval: Seconds = 30.0
    """Time between attempts to reach them."""
    peering: s.Switch = s.Switch()
    """Peering with other clusters."""
    xds: s.Xds = s.Xds()
    """The proxies' control protocol."""
    rpc: s.Rpc = s.Rpc()
    """RPC of servers."""
    use_streaming_backend: bool = True
    """Clients watch health over event streams."""
    cache: s.Cache = s.Cache()
    """The agent's cache."""
    ui_config: s.Ui = s.Ui()
    """The web UI."""
    telemetry: s.Telemetry = s.Telemetry()
    """Where metrics go."""
    locality: s.Locality = s.Locality()
    """Where the node is."""
    auto_reload_config: bool = False
    """Reload when a file of the configuration changes."""
    protocol: int = 2
    """Version of the cluster's protocol."""
    experiments: tuple[str, ...] = ()
    """Experimental features of Consul."""
    cloud: dict[str, Any] = {}
    """HCP, not in mesh."""
    reporting: dict[str, Any] = {}
    """Enterprise only."""
    snapshot_agent: dict[str, Any] = {}
    """Enterprise only."""
    license_path: str = ""
    """Enterprise only."""
    audit: dict[str, Any] = {}
    """Enterprise only."""
    segment: str = ""
    """Enterprise only."""
    segments: tuple[dict[str, Any], ...] = ()
    """Enterprise only."""
    partition: str = ""
    """Enterprise only."""
    read_replica: bool = False
    """Follow the log and answer reads, but never vote. Servers only."""
    dev: bool = False
    """Set by -dev: a server alone, in memory, on the loopback interface."""
    warnings: tuple[str, ...] = ()
    """Filled while loading: what works but is likely a mistake."""
    not_yet: tuple[str, ...] = ()
    """Filled while loading: dotted keys that were set and that mesh does not act on yet."""
    files: tuple[str, ...] = ()
    """Filled while loading: paths of the files read, in order."""

    @property
    def leaves_on_terminate(self) -> bool:
        """Whether SIGTERM makes the node leave."""
        return not self.server if self.leave_on_terminate is None else self.leave_on_terminate

    @property
    def leaves_on_interrupt(self) -> bool:
        """Whether SIGINT makes the node leave."""
        skip = self.skip_leave_on_interrupt
        return not (self.server if skip is None else skip)
