"""What is special about a key: applied by a reload, secret, renamed, not acted on yet."""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FILLED = frozenset({"dev", "warnings", "not_yet", "files"})
"""Fields that no file sets."""

NOT_YET = _names(
    """
    acl
    advertise_reconnect_timeout audit auto_config auto_encrypt
    autopilot.disable_upgrade_migration autopilot.redundancy_zone_tag
    autopilot.upgrade_version_tag cache
    cloud connect.enable_mesh_gateway_wan_federation
    connect.enable_serverless_plugin
    enable_central_service_config enable_syslog
    experiments license_path
    limits.https_handshake_timeout limits.request_limits limits.rpc_max_burst limits.rpc_rate
    locality log_rotate_bytes log_rotate_duration log_rotate_max_files partition peering
    ports.grpc_tls ports.https
    ports.proxy_max_port ports.proxy_min_port
    primary_datacenter primary_gateways primary_gateways_interval
    raft_logstore raft_prevote_disabled raft_protocol
    reporting
    rpc segment segments
    serf_wan_allowed_cidrs serf_lan_allowed_cidrs server_name server_rejoin_age_max snapshot_agent
    syslog_facility telemetry.disable_hostname telemetry.prefix_filter telemetry.filter_default
    telemetry.statsd_address telemetry.statsite_address telemetry.dogstatsd_addr
    telemetry.dogstatsd_tags telemetry.retry_failed_connection telemetry.enable_host_metrics
    telemetry.disable_per_tenancy_usage_metrics telemetry.disable_compat_1_9
    telemetry.circonus_api_app tls.defaults.tls_cipher_suites
    tls.defaults.use_auto_cert tls.grpc tls.https tls.internal_rpc.tls_cipher_suites
    tls.internal_rpc.use_auto_cert
    ui_config.metrics_provider ui_config.metrics_provider_files
    ui_config.metrics_provider_options_json
    unix_sockets use_streaming_backend xds
    addresses.https addresses.grpc_tls protocol
    dns_config.prefer_namespace
    performance.grpc_keepalive_interval performance.grpc_keepalive_timeout
    performance.enable_xds_load_balancing performance.leave_drain_time
    raft_trailing_logs
    limits.rpc_max_conns_per_client
    """
)
"""Keys, with all below them, that are read and checked but change nothing yet."""

RELOADABLE = _names(
    """
    check_update_interval checks discard_check_output dns_config history http_config
    limits.dns_udp_rate limits.http_max_conns_per_client limits.kv_max_value_size
    limits.txn_max_req_len log_level node_meta raft_disk_floor recursors services snapshots watches
    tls.defaults.ca_file tls.defaults.ca_path tls.defaults.cert_file tls.defaults.key_file
    tls.internal_rpc.ca_file tls.internal_rpc.ca_path tls.internal_rpc.cert_file
    tls.internal_rpc.key_file
    """
)
"""Keys, with all below them, that a reload applies; the others need a restart."""

SECRET = frozenset({"acl.tokens", "encrypt", "auto_config.intro_token", "connect.ca_config"})
"""Keys, with all below them, that are never shown."""

OLD_NAMES = {
    "acl.tokens.agent_master": "acl.tokens.agent_recovery",
    "acl.tokens.master": "acl.tokens.initial_management",
    "acl_datacenter": "primary_datacenter",
    "ca_file": "tls.defaults.ca_file",
    "ca_path": "tls.defaults.ca_path",
    "cert_file": "tls.defaults.cert_file",
    "check": "checks",
    "key_file": "tls.defaults.key_file",
    "serf_lan_bind": "serf_lan",
    "serf_wan_bind": "serf_wan",
    "service": "services",
    "start_join": "retry_join",
    "start_join_wan": "retry_join_wan",
    "tls_cipher_suites": "tls.defaults.tls_cipher_suites",
    "tls_min_version": "tls.defaults.tls_min_version",
    "ui": "ui_config.enabled",
    "ui_content_path": "ui_config.content_path",
    "ui_dir": "ui_config.dir",
    "verify_incoming": "tls.defaults.verify_incoming",
    "verify_incoming_https": "tls.https.verify_incoming",
    "verify_incoming_rpc": "tls.internal_rpc.verify_incoming",
    "verify_outgoing": "tls.defaults.verify_outgoing",
    "verify_server_hostname": "tls.internal_rpc.verify_server_hostname",
}
"""Other names of keys, read as the newer ones."""

IN_USE = frozenset({"check", "service"})
"""Other names that are as good as the first one, and so no reason for a warning."""


def under(key: str, keys: frozenset[str]) -> bool:
    """Whether a dotted key, or one it is below, is among these."""
    parts = key.split(".")
    return any(".".join(parts[:count]) in keys for count in range(1, len(parts) + 1))
