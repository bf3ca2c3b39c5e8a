"""Rules over a whole configuration: every violation at once, and what is likely a mistake."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterator
from itertools import combinations

from mesh.agent.watches import read_watch
from mesh.config import calm, certificates, connect, entries, history, snapshots
from mesh.config.addresses import CLIENT_LISTENERS, bound, parse_ip, recursor
from mesh.config.problems import shown, suggestion
from mesh.config.schema import Config
from mesh.config.shape import value_at
from mesh.errors import Invalid
from mesh.gossip.keytext import read_key
from mesh.gossip.sealing import LABEL_MAX_BYTES
from mesh.registry.levels import HIGHEST, LOWEST

Complaint = tuple[str, str]
"""A dotted key and what is wrong with its value."""

LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
META_PAIRS_MAX, META_KEY_MAX, META_VALUE_MAX = 64, 128, 512
RECONNECT_SECONDS_MIN = 8 * 3600.0

_META_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DOMAIN_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_CONTENT_PATH = re.compile(r"[/A-Za-z0-9._~-]*")
_RESERVED_LABELS = frozenset({"service", "connect", "node", "query", "addr"})

CHOICES: dict[str, tuple[str, ...]] = {
    "log_level": LOG_LEVELS,
    "dns_config.recursor_strategy": ("sequential", "random"),
    "limits.request_limits.mode": ("disabled", "permissive", "enforcing"),
    "acl.default_policy": ("allow", "deny"),
    "acl.down_policy": ("allow", "deny", "extend-cache", "async-cache"),
    "default_intention_policy": ("", "allow", "deny"),
    "connect.envoy_log_level": (
        *("trace", "debug", "info", "warning", "error", "critical", "off"),
    ),
}
"""Options that are one of a few words."""

_BIG = 2**31
RANGES: dict[str, tuple[int, int]] = {
    "bootstrap_expect": (0, 99),
    "performance.raft_multiplier": (1, 10),
    "performance.workers": (0, 64),
    "connect.envoy_concurrency": (1, 256),
    "upgrade.level_max": (LOWEST, HIGHEST),
    "raft_protocol": (3, 3),
    "autopilot.max_trailing_logs": (0, _BIG),
    "autopilot.min_quorum": (0, 99),
    "protocol": (2, 3),
    "check_output_max_size": (1, 1 << 20),
    "raft_snapshot_threshold": (1, _BIG),
    "raft_trailing_logs": (1, _BIG),
    "retry_max": (0, _BIG),
    "retry_max_wan": (0, _BIG),
    "gossip_lan.gossip_nodes": (1, 1000),
    "gossip_lan.suspicion_mult": (1, 1000),
    "gossip_lan.retransmit_mult": (1, 1000),
    "dns_config.udp_answer_limit": (0, 65535),
    "dns_config.a_record_limit": (0, 65535),
    "dns_config.soa.refresh": (0, _BIG - 1),
    "dns_config.soa.retry": (0, _BIG - 1),
    "dns_config.soa.expire": (0, _BIG - 1),
    "dns_config.soa.min_ttl": (0, _BIG - 1),
    "limits.dns_udp_rate": (0, _BIG),
    "limits.http_max_conns_per_client": (0, _BIG),
    "limits.rpc_max_conns_per_client": (0, _BIG),
    "limits.kv_max_value_size": (1, 1 << 26),
    "limits.txn_max_req_len": (1, 1 << 26),
    "log_rotate_bytes": (0, 1 << 62),
    "log_rotate_max_files": (-1, _BIG),
}
"""Options that are whole numbers within bounds."""

POSITIVE = (
    "retry_interval",
    "retry_interval_wan",
    "gossip_lan.gossip_interval",
    "gossip_lan.probe_interval",
    "gossip_lan.probe_timeout",
    "default_query_time",
    "max_query_time",
    "dns_config.recursor_timeout",
    "limits.rpc_client_timeout",
    "limits.rpc_handshake_timeout",
)
"""Durations that cannot be 0."""

ADVERTISED = (
    "advertise_addr",
    "advertise_addr_ipv4",
    "advertise_addr_ipv6",
    "advertise_addr_wan",
    "advertise_addr_wan_ipv4",
    "advertise_addr_wan_ipv6",
)
PORTS = (*CLIENT_LISTENERS, "dns_tls", "serf_lan", "serf_wan", "server")
_PORT_RANGES = (
    ("sidecar_min_port", "sidecar_max_port"),
    ("expose_min_port", "expose_max_port"),
)
NETWORKS = ("serf_lan_allowed_cidrs", "serf_wan_allowed_cidrs", "http_config.allow_write_http_from")


def problems(config: Config) -> Iterator[Complaint]:
    """Everything that keeps this configuration from being used."""
    for rules in (
        _role,
        _names,
        _meta,
        _domains,
        _choices,
        _numbers,
        _addresses,
        _ports,
        _watches,
        _hosts,
        _rest,
    ):
        yield from rules(config)
    yield from certificates.problems(config)
    yield from calm.problems(config)
    yield from snapshots.problems(config)
    yield from history.problems(config)
    yield from connect.problems(config)
    yield from entries.problems(config)


def warnings(config: Config) -> Iterator[Complaint]:
    """What works but is likely a mistake."""
    expect = config.bootstrap_expect
    if expect == 2:
        yield "bootstrap_expect", "2 servers survive no failure; use 3 or 5"
    elif expect and expect % 2 == 0:
        yield "bootstrap_expect", f"{expect} servers survive no more failures than {expect - 1}"
    if config.bootstrap and not config.dev:
        yield "bootstrap", "no other server may have this set; bootstrap_expect is safer"
    for key in ("retry_join", "retry_join_wan"):
        if any(part.startswith("provider=") for part in value_at(config, key)):
            yield key, "mesh cannot ask cloud providers for addresses; use names or addresses"
    for key, name in (("node_name", config.node_name), ("datacenter", config.datacenter)):
        if not _LABEL.fullmatch(name):
            yield key, f"{shown(name)} cannot be looked up in DNS; use letters, digits and -"
    yield from certificates.warnings(config)


def _role(config: Config) -> Iterator[Complaint]:
    if not config.data_dir and not config.dev:
        yield "data_dir", "required: the directory that holds the node's state"
    if config.bootstrap and config.bootstrap_expect:
        yield "bootstrap", "cannot be set together with bootstrap_expect"
    if config.bootstrap and not config.server:
        yield "bootstrap", "only a server can; set server = true"
    if config.bootstrap_expect and not config.server:
        yield "bootstrap_expect", "only a server can; set server = true"
    if config.bootstrap_expect and config.dev:
        yield "bootstrap_expect", "cannot be set with -dev, which runs one server alone"
    if config.read_replica and not config.server:
        yield "read_replica", "only a server can; set server = true"
    if config.read_replica and (config.bootstrap or config.dev):
        yield "read_replica", "a server that starts a cluster alone must vote; remove bootstrap"
    if config.auto_encrypt.tls and config.server:
        yield "auto_encrypt.tls", "is for clients; a server sets auto_encrypt.allow_tls"
    if config.auto_encrypt.allow_tls and not config.server:
        yield "auto_encrypt.allow_tls", "is for servers; a client sets auto_encrypt.tls"


def _names(config: Config) -> Iterator[Complaint]:
    if not config.node_name.strip():
        yield "node_name", "cannot be empty"
    elif len(config.node_name) > 255 or not config.node_name.isprintable():
        yield "node_name", "expected at most 255 printable characters"
    if not re.fullmatch(r"[a-z0-9_-]{1,63}", config.datacenter):
        expected = "expected 1 to 63 letters, digits, - and _"
        yield "datacenter", f"{expected}, got {shown(config.datacenter)}"
    if config.node_id:
        try:
            uuid.UUID(config.node_id)
        except ValueError:
            yield "node_id", f"expected a UUID, got {shown(config.node_id)}"


def _meta(config: Config) -> Iterator[Complaint]:
    if len(config.node_meta) > META_PAIRS_MAX:
        yield "node_meta", f"at most {META_PAIRS_MAX} pairs, got {len(config.node_meta)}"
    for name, value in config.node_meta.items():
        if len(name) > META_KEY_MAX or not _META_KEY.fullmatch(name):
            yield f"node_meta.{name}", "a key has 1 to 128 letters, digits, - and _"
        elif name.startswith("consul-"):
            yield f"node_meta.{name}", "keys beginning with consul- are reserved"
        if len(value) > META_VALUE_MAX:
            yield f"node_meta.{name}", f"a value has at most {META_VALUE_MAX} characters"


def _domains(config: Config) -> Iterator[Complaint]:
    for key, domain in (("domain", config.domain), ("alt_domain", config.alt_domain)):
        if key == "alt_domain" and not domain:
            continue
        labels = domain.removesuffix(".").split(".")
        if len(domain) > 200 or not all(map(_DOMAIN_LABEL.fullmatch, labels)):
            yield key, f"expected a DNS domain such as mesh., got {shown(domain)}"
        elif key == "alt_domain" and labels[0] in _RESERVED_LABELS | {config.datacenter}:
            yield key, f"cannot begin with {labels[0]}, which has a meaning in names"


def _choices(config: Config) -> Iterator[Complaint]:
    for key, choices in CHOICES.items():
        value = value_at(config, key)
        if value not in choices:
            expected = ", ".join(choice or '""' for choice in choices)
            near = suggestion(value, choices)
            yield key, f"expected one of {expected}, got {shown(value)}{near}"


def _numbers(config: Config) -> Iterator[Complaint]:
    for key, (least, most) in RANGES.items():
        value = value_at(config, key)
        if value is not None and not least <= value <= most:
            expected = f"{least}" if least == most else f"{least} to {most}"
            yield key, f"expected {expected}, got {value}"
    for key in POSITIVE:
        if value_at(config, key) <= 0:
            yield key, "expected a duration above 0"
    for key in ("reconnect_timeout", "reconnect_timeout_wan"):
        if value_at(config, key) < RECONNECT_SECONDS_MIN:
            yield key, "expected 8h or more"
    timeout = config.advertise_reconnect_timeout
    if timeout and config.server:
        yield "advertise_reconnect_timeout", "is for clients"
    if config.default_query_time > config.max_query_time:
        yield "default_query_time", "cannot be longer than max_query_time"


def _addresses(config: Config) -> Iterator[Complaint]:
    for key in ("bind_addr", "serf_lan", "serf_wan"):
        value = value_at(config, key)
        if (value or key == "bind_addr") and parse_ip(value) is None:
            yield key, f"expected one IP address, got {shown(value)}"
    for key in ADVERTISED:
        if value := value_at(config, key):
            yield from _one_address(key, value)
    for key in ("client_addr", *(f"addresses.{name}" for name in CLIENT_LISTENERS)):
        for part in value_at(config, key).split():
            unix = part.startswith("unix://") and key not in {"addresses.dns", "client_addr"}
            if parse_ip(part) is None and not unix:
                yield key, f"expected IP addresses separated by spaces, got {shown(part)}"
    if not config.client_addr.split():
        yield "client_addr", "expected at least one IP address"
    yield from _recursors(config)


def _recursors(config: Config) -> Iterator[Complaint]:
    for part in config.recursors:
        try:
            host, port = recursor(part)
        except Invalid:
            yield "recursors", f"expected IP addresses with or without port, got {shown(part)}"
            continue
        if ipaddress.ip_address(host).is_unspecified:
            yield "recursors", f"{part} is every address; name one"
        elif port == config.ports.dns and host in bound(config, "dns"):
            yield "recursors", f"{part} is where this agent answers DNS; name another server"


def _one_address(key: str, value: str) -> Iterator[Complaint]:
    address = parse_ip(value)
    if address is None:
        yield key, f"expected one IP address, got {shown(value)}"
    elif address.is_unspecified:
        yield key, f"{value} is every address; other nodes need one they can reach"
    elif key.endswith(("_ipv4", "_ipv6")) and not key.endswith(str(address.version)):
        yield key, f"expected an IPv{key[-1]} address, got {shown(value)}"


def _ports(config: Config) -> Iterator[Complaint]:
    taken: list[tuple[str, str, int]] = []
    for name in PORTS:
        port = getattr(config.ports, name)
        if not -1 <= port <= 65535:
            yield f"ports.{name}", f"expected a port, 0 to 65535, or -1 for none, got {port}"
        elif port > 0 and (config.server or name not in {"serf_wan", "server"}):
            taken += [
                (name, address, port) for address in bound(config, name) if "://" not in address
            ]
    for (name, address, port), (other, other_address, other_port) in combinations(taken, 2):
        if port == other_port and name != other and _overlap(address, other_address):
            yield f"ports.{other}", f"{other_address}:{port} is taken by ports.{name}"
    for low, high in _PORT_RANGES:
        if not 0 <= getattr(config.ports, low) <= getattr(config.ports, high) <= 65535:
            yield f"ports.{low}", f"expected a port not above ports.{high}"


def _overlap(left: str, right: str) -> bool:
    one, other = parse_ip(left), parse_ip(right)
    if one is None or other is None:
        return False
    if one.version != other.version:
        return (one if one.version == 6 else other).is_unspecified
    return one == other or one.is_unspecified or other.is_unspecified


def _watches(config: Config) -> Iterator[Complaint]:
    for place, given in enumerate(config.watches):
        try:
            if read_watch(given).handler is None:
                yield f"watches[{place}]", "nobody is told; it needs args or a handler"
        except Invalid as error:
            name, _, complaint = error.message.partition(": ")
            yield f"watches[{place}].{name}", complaint


def _hosts(config: Config) -> Iterator[Complaint]:
    for name in config.http_config.allowed_hosts:
        if not _HOST.fullmatch(name):
            expected = (
                "expected names without scheme and port, such as a.example.com, *.example.com"
            )
            yield "http_config.allowed_hosts", f"{expected} or *, got {shown(name)}"


def _rest(config: Config) -> Iterator[Complaint]:
    for key in NETWORKS:
        for part in value_at(config, key):
            try:
                ipaddress.ip_network(part, strict=False)
            except ValueError:
                yield key, f"expected networks such as 10.0.0.0/8, got {shown(part)}"
    yield from _gossip_secrets(config)
    if not _CONTENT_PATH.fullmatch(config.ui_config.content_path):
        yield "ui_config.content_path", "expected letters, digits, / - _ . and ~"
    for name, url in config.ui_config.dashboard_url_templates.items():
        if not url.startswith(("http://", "https://")):
            key = f"ui_config.dashboard_url_templates.{name}"
            yield key, "expected a URL with http:// or https://"
    base_url = config.ui_config.metrics_proxy.base_url
    if base_url and not base_url.startswith(("http://", "https://")):
        yield "ui_config.metrics_proxy.base_url", "expected a URL with http:// or https://"
    for key in ("retry_join", "retry_join_wan"):
        if not all(part.strip() for part in value_at(config, key)):
            yield key, "an address is empty"


def _gossip_secrets(config: Config) -> Iterator[Complaint]:
    if config.encrypt:
        try:
            read_key(config.encrypt)
        except Invalid as problem:
            yield "encrypt", problem.message
    most = LABEL_MAX_BYTES - len(".wan")  # What the WAN pool adds.
    if len(config.gossip_label.encode()) > most:
        yield "gossip_label", f"expected at most {most} bytes"
