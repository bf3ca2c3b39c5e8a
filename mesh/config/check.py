"""Checks: what each value has to be, and which values do not go together."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from uuid import UUID

import msgspec

from mesh.config.schema import Config

META_PAIRS_MAX = 64
LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

Found = Iterator[tuple[str, str]]


def checked(config: Config) -> tuple[Config, list[tuple[str, str]]]:
    """The configuration made complete, with (key, what is wrong) for every fault."""
    config = _complete(config)
    problems = [
        *_names(config),
        *_meta(config),
        *_addresses(config),
        *_ports(config),
        *_bootstrap(config),
        *_numbers(config),
    ]
    return msgspec.structs.replace(config, warnings=tuple(_warnings(config))), problems


def _complete(config: Config) -> Config:
    return msgspec.structs.replace(
        config,
        node_name=config.node_name or socket.gethostname(),
        log_level=config.log_level.upper(),
        domain=_domain(config.domain),
        alt_domain=_domain(config.alt_domain) if config.alt_domain else "",
    )


def _domain(text: str) -> str:
    return text.lower().strip(".") + "."


def _names(config: Config) -> Found:
    if not config.data_dir and not config.dev:
        yield "data_dir", "must name a directory; only -dev needs none"
    if config.node_id:
        try:
            UUID(config.node_id)
        except ValueError:
            yield "node_id", f'expected a UUID, got "{config.node_id}"'
    if not config.datacenter:
        yield "datacenter", "must not be empty"
    if config.log_level not in LEVELS:
        yield "log_level", f'expected one of {", ".join(LEVELS)}, got "{config.log_level}"'
    for key in ("domain", "alt_domain"):
        labels = getattr(config, key).rstrip(".").split(".")
        if getattr(config, key) and not all(_LABEL.fullmatch(label) for label in labels):
            yield key, f'expected a DNS domain, got "{getattr(config, key)}"'


def _meta(config: Config) -> Found:
    if len(config.node_meta) > META_PAIRS_MAX:
        yield "node_meta", f"has {len(config.node_meta)} pairs; the limit is {META_PAIRS_MAX}"
    for name, value in config.node_meta.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name) or len(value) > 512:
            yield (
                f"node_meta.{name}",
                "a key has 1 to 128 of A-Z a-z 0-9 _ - and a value at most 512 characters",
            )


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _addresses(config: Config) -> Found:
    if _ip(config.bind_addr) is None:
        yield "bind_addr", f'expected an IP address, got "{config.bind_addr}"'
    if config.advertise_addr:
        address = _ip(config.advertise_addr)
        if address is None or address.is_unspecified:
            yield (
                "advertise_addr",
                f'expected the IP address others reach this node at, got "{config.advertise_addr}"',
            )
    for key, value in (
        ("client_addr", config.client_addr),
        ("addresses.http", config.addresses.http),
        ("addresses.dns", config.addresses.dns),
    ):
        for part in value.split():
            if _ip(part) is None:
                yield key, f'expected IP addresses separated by spaces, got "{part}"'


def _ports(config: Config) -> Found:
    taken: dict[tuple[str, int], str] = {}
    for name in config.ports.__struct_fields__:
        port = getattr(config.ports, name)
        key = f"ports.{name}"
        if not -1 <= port <= 65535:
            yield key, f"expected a port from 1 to 65535, 0 for any, or -1 for none, got {port}"
        if port <= 0 or name in {"https", "grpc", "grpc_tls", "serf_wan"}:
            continue
        local = name in {"http", "dns"}
        for address in config.client_addr.split() if local else [config.bind_addr]:
            other = taken.setdefault((address, port), key)
            if other != key:
                yield key, f"{address}:{port} is the address of {other} already"
    if config.ports.serf_lan < 0:
        yield "ports.serf_lan", "gossip cannot be turned off"
    if config.server and config.ports.server < 0:
        yield "ports.server", "a server needs its server port"


def _bootstrap(config: Config) -> Found:
    if config.bootstrap_expect < 0:
        yield "bootstrap_expect", f"expected a number of servers, got {config.bootstrap_expect}"
    if config.bootstrap and config.bootstrap_expect:
        yield "bootstrap_expect", "cannot be set together with bootstrap"
    if (config.bootstrap or config.bootstrap_expect) and not config.server:
        key = "bootstrap" if config.bootstrap else "bootstrap_expect"
        yield key, "is for servers; set server to true"
    if config.dev and config.bootstrap_expect:
        yield "bootstrap_expect", "cannot be set together with -dev, which is alone"


def _numbers(config: Config) -> Found:
    if not 1 <= config.performance.raft_multiplier <= 10:
        yield (
            "performance.raft_multiplier",
            f"expected 1 to 10, got {config.performance.raft_multiplier}",
        )
    timing = config.gossip_lan
    for name in ("gossip_interval", "probe_interval", "probe_timeout"):
        if getattr(timing, name) <= 0:
            yield f"gossip_lan.{name}", "must be longer than 0s"
    for name in ("gossip_nodes", "suspicion_mult", "retransmit_mult"):
        if getattr(timing, name) < 1:
            yield f"gossip_lan.{name}", "must be at least 1"
    for key in ("retry_interval", "default_query_time", "max_query_time"):
        if getattr(config, key) <= 0:
            yield key, "must be longer than 0s"
    if config.check_output_max_size < 0:
        yield "check_output_max_size", "must not be below 0"


def _warnings(config: Config) -> Iterator[str]:
    if config.bootstrap_expect == 2:
        yield "bootstrap_expect 2: a cluster of two servers survives no failure"
    elif config.bootstrap_expect and config.bootstrap_expect % 2 == 0:
        yield (
            f"bootstrap_expect {config.bootstrap_expect}: an even number of servers survives no "
            "more failures than one fewer"
        )
    if not _LABEL.fullmatch(config.node_name):
        yield f'node_name "{config.node_name}" is not a DNS label; DNS cannot find the node'
