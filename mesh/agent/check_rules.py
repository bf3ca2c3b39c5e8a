"""The rules for checks: what a definition may say, and how a mistake is put right."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mesh.agent.definitions import PROBES, CheckDefinition
from mesh.registry.catalog import SERF_HEALTH, STATUSES
from mesh.registry.health import ASIDE, RAFT_HEALTH
from mesh.registry.maintenance import CLUSTER_MAINTENANCE

NOTHING_TO_DO = (
    "needs one of HTTP, TCP, UDP, GRPC, H2PING, TTL, Args, DockerContainerID with Args, OSService "
    "or AliasService"
)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,255}")
_ADDRESSES = {
    "tcp": ("TCP", "127.0.0.1:5432"),
    "udp": ("UDP", "127.0.0.1:53"),
    "h2ping": ("H2PING", "127.0.0.1:8443"),
}


def check_problems(check: CheckDefinition) -> list[str]:
    """Everything that is wrong with a check, each beginning with the field at fault."""
    found = []
    if (own := check.id or check.name) in {SERF_HEALTH, RAFT_HEALTH, *ASIDE}:
        found.append(f"CheckID: {own} belongs to the servers; choose another id")
    if own.startswith(CLUSTER_MAINTENANCE):
        found.append(f"CheckID: {own} is how cluster-wide maintenance shows; choose another id")
    if check.status and check.status not in STATUSES:
        found.append(f'Status: expected one of {", ".join(STATUSES)}, got "{check.status}"')
    if check.docker_container_id and not check.args:
        found.append("Args: a check in a Docker container needs the command to run there")
    elif not found and not check.kind:
        found.append(NOTHING_TO_DO)
    return found + _timing_problems(check) + _threshold_problems(check) + _target_problems(check)


def _timing_problems(check: CheckDefinition) -> list[str]:
    found = [
        f"{label}: must not be negative"
        for label, seconds in (
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("TTL", check.ttl),
            ("DeregisterCriticalServiceAfter", check.deregister_critical_service_after),
        )
        if seconds < 0
    ]
    if check.ttl and check.interval:
        found.append("TTL and Interval exclude each other; leave one out")
    elif check.kind in PROBES and not check.interval:
        found.append(f"Interval: must be longer than 0s for {check.kind} checks, such as 10s")
    if (check.alias_service or check.alias_node) and (check.interval or check.ttl):
        found.append("Interval and TTL: alias checks take none; leave them out")
    return found


def _threshold_problems(check: CheckDefinition) -> list[str]:
    found = [
        f"{label}: must not be negative"
        for label, number in (
            ("SuccessBeforePassing", check.success_before_passing),
            ("FailuresBeforeWarning", check.failures_before_warning),
            ("FailuresBeforeCritical", check.failures_before_critical),
            ("OutputMaxSize", check.output_max_size),
        )
        if number < 0
    ]
    if check.failures_before_warning > check.failures_before_critical:
        found.append(
            "FailuresBeforeWarning: must not exceed FailuresBeforeCritical "
            f"({check.failures_before_critical}), got {check.failures_before_warning}"
        )
    return found


def _target_problems(check: CheckDefinition) -> list[str]:
    found = []
    if check.http and not _is_url(check.http):
        found.append(
            f'HTTP: expected a URL such as http://127.0.0.1:8080/health, got "{check.http}"'
        )
    for kind, (label, example) in _ADDRESSES.items():
        address = getattr(check, kind)
        if address and not is_address(address):
            found.append(f'{label}: expected host:port such as {example}, got "{address}"')
    if check.grpc and not is_address(check.grpc.partition("/")[0]):
        found.append(
            "GRPC: expected host:port or host:port/service such as 127.0.0.1:9000/orders, "
            f'got "{check.grpc}"'
        )
    if check.os_service and not _UNIT.fullmatch(check.os_service):
        found.append(
            "OSService: expected the name of a systemd unit such as nginx, "
            f'got "{check.os_service}"'
        )
    return found


def is_address(text: str) -> bool:
    """Whether it is host:port, an IPv6 address in brackets."""
    host, _, port = text.rpartition(":")
    if not host or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        return False
    return port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
