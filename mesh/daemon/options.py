"""Options: what each part needs to know, taken from the configuration."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mesh.agent.local import Options as AgentOptions
from mesh.agent.state import Certificates
from mesh.config import certificates, connect, entries
from mesh.config.addresses import advertised, advertised_wan, bound, parse_ip, recursor
from mesh.config.certificates import FILES
from mesh.config.schema import Config
from mesh.daemon.membership import JoinOptions
from mesh.dns.options import Options as DnsOptions
from mesh.gossip.driver import Options as GossipOptions
from mesh.gossip.guard import Rule
from mesh.gossip.profiles import WanOptions
from mesh.http.options import Options as HttpOptions
from mesh.raft.node import Options as RaftOptions
from mesh.registry.autopilot import Settings
from mesh.registry.config import Write
from mesh.registry.damping import Settings as Damping
from mesh.registry.history import Limit
from mesh.server.authority import Options as AuthorityOptions
from mesh.server.pilot import Options as PilotOptions
from mesh.server.shelf import Settings as Scheduled

HEARTBEAT_SECONDS = 0.1
ELECTION_SECONDS = (0.5, 1.0)
WAN_LABEL = "wan"
WORKERS_DEFAULT_MAX = 8
"""Each takes 25 MB; more are for who asks for them."""


def gossip(config: Config, snapshot_path: str) -> GossipOptions:
    """For the LAN pool, whose members are remembered at the path."""
    timing = config.gossip_lan
    return GossipOptions(
        bind_address=bound(config, "serf_lan")[0],
        bind_port=config.ports.serf_lan,
        advertise_address=advertised(config),
        probe_interval_seconds=timing.probe_interval,
        probe_timeout_seconds=timing.probe_timeout,
        gossip_interval_seconds=timing.gossip_interval,
        gossip_nodes=timing.gossip_nodes,
        suspicion_mult=timing.suspicion_mult,
        retransmit_mult=timing.retransmit_mult,
        reconnect_timeout_seconds=config.reconnect_timeout,
        coordinates=not config.disable_coordinates,
        label=config.gossip_label,
        verify_incoming=config.encrypt_verify_incoming,
        verify_outgoing=config.encrypt_verify_outgoing,
        snapshot_path=snapshot_path,
        rejoin_after_leave=config.rejoin_after_leave,
    )


def wan(config: Config, snapshot_path: str) -> WanOptions:
    """For the pool of all datacenters' servers, who are remembered at the path.

    Its label keeps it apart from the pool of a datacenter, whatever address people join.
    """
    timing = config.gossip_wan
    label = config.gossip_label
    return WanOptions(
        bind_address=bound(config, "serf_wan")[0],
        bind_port=config.ports.serf_wan,
        advertise_address=advertised_wan(config),
        probe_interval_seconds=timing.probe_interval,
        probe_timeout_seconds=timing.probe_timeout,
        gossip_interval_seconds=timing.gossip_interval,
        gossip_nodes=timing.gossip_nodes,
        suspicion_mult=timing.suspicion_mult,
        retransmit_mult=timing.retransmit_mult,
        reconnect_timeout_seconds=config.reconnect_timeout_wan,
        label=f"{label}.{WAN_LABEL}" if label else WAN_LABEL,
        verify_incoming=config.encrypt_verify_incoming,
        verify_outgoing=config.encrypt_verify_outgoing,
        snapshot_path=snapshot_path,
        rejoin_after_leave=config.rejoin_after_leave,
    )


def guard(config: Config) -> Rule:
    """When removals from discovery are frozen."""
    knobs = config.mass_failure
    return Rule(
        enabled=knobs.enabled,
        share=knobs.share,
        least=knobs.min_members,
        window_seconds=knobs.window,
        hold_max_seconds=knobs.hold_max,
    )


def damping(config: Config, *, enabled: bool) -> Damping:
    """How falls of members, or of checks, are counted."""
    knobs = config.flap_damping
    return Damping(
        enabled=enabled,
        half_life_seconds=knobs.half_life,
        suppress=knobs.suppress,
        reuse=knobs.reuse,
        hold_max_seconds=knobs.hold_max,
    )


def join(config: Config) -> JoinOptions:
    """Whom to join."""
    return JoinOptions(config.retry_join, config.retry_interval, config.retry_max)


def join_wan(config: Config) -> JoinOptions:
    """Whom to join of other datacenters."""
    return JoinOptions(config.retry_join_wan, config.retry_interval_wan, config.retry_max_wan)


def raft(config: Config, directory: str) -> RaftOptions:
    """For the replicated log."""
    scale = config.performance.raft_multiplier
    return RaftOptions(
        directory=directory,
        election_seconds=(ELECTION_SECONDS[0] * scale, ELECTION_SECONDS[1] * scale),
        heartbeat_seconds=HEARTBEAT_SECONDS * scale,
        snapshot_threshold=config.raft_snapshot_threshold,
        snapshot_seconds=config.raft_snapshot_interval,
        disk_floor=config.raft_disk_floor,
    )


def pilot(config: Config) -> PilotOptions:
    """For the care of the voters."""
    knobs = config.autopilot
    settings = Settings(
        cleanup_dead_servers=knobs.cleanup_dead_servers,
        last_contact_threshold=knobs.last_contact_threshold,
        max_trailing_logs=knobs.max_trailing_logs,
        min_quorum=knobs.min_quorum,
        server_stabilization_time=knobs.server_stabilization_time,
        redundancy_zone_tag=knobs.redundancy_zone_tag,
        disable_upgrade_migration=knobs.disable_upgrade_migration,
        upgrade_version_tag=knobs.upgrade_version_tag,
    )
    return PilotOptions(settings, HEARTBEAT_SECONDS * config.performance.raft_multiplier)


def snapshots(config: Config) -> Scheduled:
    """For the leader's own snapshots."""
    knobs = config.snapshots
    return Scheduled(knobs.interval, knobs.directory, knobs.retain, knobs.verify)


def history(config: Config) -> Limit:
    """How much of what was changed is kept."""
    return Limit(config.history.max_bytes, config.history.max_age)


def bootstrap_entries(config: Config) -> list[Write]:
    """The config entries that are created when they are missing."""
    return entries.wanted(config)


def expected_voters(config: Config) -> int:
    """How many servers found the cluster, this one among them; 0 when it does not help."""
    if config.read_replica:
        return 0
    return 1 if config.bootstrap or config.dev else config.bootstrap_expect


def workers(config: Config) -> int:
    """How many processes answer beside the main one."""
    asked = config.performance.workers
    if asked is not None:
        return asked
    return min(_cores() - 1, WORKERS_DEFAULT_MAX) if config.server and not config.dev else 0


def _cores() -> int:
    """Cores that this process may use, also by the quota of its control group."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # There is none, or it is `max`.
        return cores


def shared(made: DnsOptions, processes: int) -> DnsOptions:
    """The options of each of so many processes that answer DNS together."""
    return msgspec.structs.replace(
        made,
        udp_rate=-(-made.udp_rate // processes),
        tcp_connections=-(-made.tcp_connections // processes),
    )


def _listeners(config: Config, name: str, port: int) -> list[tuple[str, int]]:
    return [(address, port) for address in bound(config, name)] if port >= 0 else []


def _own_hosts(config: Config) -> list[str]:
    domains = [one.rstrip(".") for one in (config.domain, config.alt_domain)]
    return [config.node_name, socket.gethostname(), *(f"*.{one}" for one in domains if one)]


def http(config: Config) -> HttpOptions:
    """For the HTTP edge."""
    return HttpOptions(
        addresses=_listeners(config, "http", config.ports.http),
        datacenter=config.datacenter,
        node_name=config.node_name,
        default_query_seconds=config.default_query_time,
        max_query_seconds=config.max_query_time,
        discovery_max_stale_seconds=config.discovery_max_stale,
        default_intention_policy=config.default_intention_policy,
        pretty_always=config.dev,
        response_headers=config.http_config.response_headers,
        block_endpoints=list(config.http_config.block_endpoints),
        allow_write_from=list(config.http_config.allow_write_http_from),
        allowed_hosts=list(config.http_config.allowed_hosts),
        own_hosts=_own_hosts(config),
        kv_value_max_bytes=config.limits.kv_max_value_size,
        txn_max_bytes=max(config.limits.txn_max_req_len, config.limits.kv_max_value_size),
        head_max_bytes=config.http_config.max_header_bytes or 1024 * 1024,
        use_cache=config.http_config.use_cache,
        access_log=config.http_config.access_log,
        max_connections_per_client=config.limits.http_max_conns_per_client,
        disable_coordinates=config.disable_coordinates,
        spool_folder=config.data_dir,
        prometheus=config.telemetry.prometheus_retention_time > 0,
        enable_debug=config.enable_debug,
        metrics_url=config.ui_config.metrics_proxy.base_url,
        metrics_headers=tuple(
            (str(one.get("name", "")), str(one.get("value", "")))
            for one in config.ui_config.metrics_proxy.add_headers
        ),
        metrics_paths=config.ui_config.metrics_proxy.path_allowlist,
        ui_path=f"/{config.ui_config.content_path.strip('/')}/" if config.ui_config.enabled else "",
        ui_folder=config.ui_config.dir,
        dashboard_urls=config.ui_config.dashboard_url_templates,
    )


def dns(config: Config) -> DnsOptions:
    """For the DNS edge."""
    knobs = config.dns_config
    return DnsOptions(
        addresses=tuple(_listeners(config, "dns", config.ports.dns)),
        tls_addresses=tuple(_listeners(config, "dns_tls", config.ports.dns_tls)),
        domain=config.domain,
        alt_domain=config.alt_domain,
        datacenter=config.datacenter,
        node_name=config.node_name,
        disable_coordinates=config.disable_coordinates,
        node_ttl_seconds=int(knobs.node_ttl),
        service_ttls={name: int(ttl) for name, ttl in knobs.service_ttl.items()},
        only_passing=knobs.only_passing,
        allow_stale=knobs.allow_stale,
        max_stale_seconds=knobs.max_stale,
        use_cache=knobs.use_cache,
        cache_max_age_seconds=knobs.cache_max_age,
        udp_answer_limit=knobs.udp_answer_limit,
        a_record_limit=knobs.a_record_limit,
        enable_truncate=knobs.enable_truncate,
        disable_compression=knobs.disable_compression,
        enable_additional_node_meta_txt=knobs.enable_additional_node_meta_txt,
        translate_wan_addresses=config.translate_wan_addrs,
        soa_refresh_seconds=knobs.soa.refresh,
        soa_retry_seconds=knobs.soa.retry,
        soa_expire_seconds=knobs.soa.expire,
        soa_min_ttl_seconds=knobs.soa.min_ttl,
        udp_rate=config.limits.dns_udp_rate,
        recursors=tuple(recursor(text) for text in config.recursors),
        recursor_strategy=knobs.recursor_strategy,
        recursor_timeout_seconds=knobs.recursor_timeout,
    )


def authority(config: Config) -> AuthorityOptions:
    """For the mesh's certificate authority."""
    return AuthorityOptions(
        datacenter=config.datacenter,
        enabled=config.connect.enabled,
        wanted=connect.wanted(config),
    )


def agent(config: Config, node_id: str, directory: str) -> AgentOptions:
    """For what this node runs."""
    address, wide = advertised(config), advertised_wan(config)
    found = {"lan": address, "wan": wide}
    for side, one in list(found.items()):
        found[f"{side}_ipv6" if ":" in one else f"{side}_ipv4"] = one
    return AgentOptions(
        node_name=config.node_name,
        node_id=node_id,
        datacenter=config.datacenter,
        address=address,
        tagged_addresses=found | config.tagged_addresses,
        node_meta=config.node_meta,
        data_dir=directory,
        enable_script_checks=config.enable_script_checks,
        enable_local_script_checks=config.enable_local_script_checks,
        check_update_interval_seconds=config.check_update_interval,
        check_output_max_bytes=config.check_output_max_size,
        discard_check_output=config.discard_check_output,
        check_certificates=_check_certificates(config),
        sidecar_address=sidecar_bind(config) or "127.0.0.1",
        sidecar_ports=(config.ports.sidecar_min_port, config.ports.sidecar_max_port),
        expose_ports=(config.ports.expose_min_port, config.ports.expose_max_port),
        damping=damping(config, enabled=config.flap_damping.checks),
    )


def sidecar_bind(config: Config) -> str:
    """The address that the node binds, for its sidecars; empty when it binds them all."""
    address = bound(config, "serf_lan")[0]
    found = parse_ip(address)
    return "" if found is None or found.is_unspecified else address


def _check_certificates(config: Config) -> Certificates | None:
    """What checks over TLS show and trust, if they are to."""
    if not config.enable_agent_tls_for_checks:
        return None
    return Certificates(**{name: certificates.given(config, name).path for name in FILES})


def names(listeners: Sequence[tuple[str, int]]) -> str:
    """Addresses for a log line."""
    return ", ".join(f"{host}:{port}" for host, port in listeners) or "nowhere"
