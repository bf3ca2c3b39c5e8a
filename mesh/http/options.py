"""The options of the HTTP edge."""

from __future__ import annotations

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides about the HTTP API. Names in brackets are Consul's settings."""

    addresses: list[tuple[str, int]]
    """Where to listen: IP address and port; port 0 takes any free one."""
    datacenter: str
    node_name: str
    default_query_seconds: float = 300.0
    """How long a blocking query waits when it does not say [default_query_time]."""
    max_query_seconds: float = 600.0
    """How long it may wait at most, before jitter [max_query_time]."""
    discovery_max_stale_seconds: float = 0.0
    """Above 0: catalog and health reads that do not say otherwise may be this stale."""
    pretty_always: bool = False
    """Indent every JSON answer, as `-dev` does."""
    response_headers: dict[str, str] = {}
    """Headers added to every response [http_config.response_headers]."""
    block_endpoints: list[str] = []
    """Path prefixes that answer 403 [http_config.block_endpoints]."""
    allow_write_from: list[str] = []
    """CIDR networks that may do more than read; empty: all [http_config.allow_write_http_from]."""
    allowed_hosts: list[str] = []
    """Names by which browsers may ask, also as `*.example.com`; `*` for any
    [http_config.allowed_hosts]. Empty: any, unless all addresses are loopback ones."""
    own_hosts: list[str] = []
    """The same by which they may ask anyhow: those of the node and of its DNS domains."""
    default_acl_policy: str = "allow"
    """Shown in `X-Consul-Default-ACL-Policy`."""
    default_intention_policy: str = ""
    """allow or deny what no intention is about; empty for allow, as long as there are no ACLs."""
    kv_value_max_bytes: int = 512 * 1024
    """Largest value of a key [limits.kv_max_value_size]."""
    txn_max_bytes: int = 512 * 1024
    """Largest body of a transaction: the larger of limits.txn_max_req_len and kv_max_value_size."""
    body_max_bytes: int = 1024 * 1024
    """Largest body of any other request."""
    snapshot_max_bytes: int = 8 << 30
    """Largest snapshot that is taken for a restore, compressed as it is."""
    spool_folder: str = ""
    """Where such snapshots lie until they are in the log; empty: the system's folder."""
    max_connections_per_client: int = 200
    """Open connections of one IP address; more get a 429 [limits.http_max_conns_per_client].

    0 means no limit.
    """
    head_max_bytes: int = 1024 * 1024
    """Largest request line with its headers, a line of it 64 KiB [http_config.max_header_bytes]."""
    idle_seconds: float = 180.0
    """How long a connection may be open without the whole head of a request."""
    body_stall_seconds: float = 30.0
    """How long a body may take, beside a second for each KiB of it."""
    write_stall_seconds: float = 60.0
    """How long a client may take nothing of what it is sent."""
    use_cache: bool = True
    """Whether `cached` has an effect [http_config.use_cache]."""
    access_log: str = ""
    """File with a line for every request; empty for none [http_config.access_log]."""
    gzip_min_bytes: int = 1400
    """Smallest body that is compressed for clients that accept gzip."""
    allow_unprintable_paths: bool = False
    """Accept unprintable characters in paths [disable_http_unprintable_char_filter]."""
    prometheus: bool = True
    """Show metrics to Prometheus, else 415 [telemetry.prometheus_retention_time]."""
    enable_debug: bool = False
    """Serve profiles under /debug/pprof."""
    metrics_url: str = ""
    """Where the UI's metrics come from [ui_config.metrics_proxy.base_url]; empty for nowhere."""
    metrics_headers: tuple[tuple[str, str], ...] = ()
    """Headers to add to what is asked there [ui_config.metrics_proxy.add_headers]."""
    metrics_paths: tuple[str, ...] = ()
    """Paths that may be asked there [ui_config.metrics_proxy.path_allowlist]."""
    disable_coordinates: bool = False
    """Answer 401 about coordinates, and let `near` have no effect [disable_coordinates]."""
    ui_path: str = ""
    """Where the web UI lies, with a slash at its end [ui_config.content_path]; empty: nowhere."""
    ui_folder: str = ""
    """Folder of another UI to serve [ui_config.dir]; empty for mesh's own."""
    dashboard_urls: dict[str, str] = {}
    """Links to dashboards, by what they are of [ui_config.dashboard_url_templates]."""
