"""Definitions: services and checks as people write them, in files or in HTTP bodies."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mesh.agent.checks import Thresholds
from mesh.codec import convert
from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.registry.catalog import SERF_HEALTH, STATUSES, TaggedAddress, Weights
from mesh.registry.health import GOSSIP_HEALTH, RAFT_HEALTH

META_PAIRS_MAX = 64
RESERVED_META = "consul-"
DEPTH_MAX = 64
LATER = {
    "udp": "UDP",
    "grpc": "gRPC",
    "h2ping": "H2PING",
    "docker_container_id": "Docker",
    "os_service": "OS service",
}
GATEWAYS_WITH_PORT = ("mesh-gateway", "terminating-gateway")
GATEWAYS = (*GATEWAYS_WITH_PORT, "ingress-gateway", "api-gateway")
KINDS = ("", "connect-proxy", *GATEWAYS)


class CheckDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A check. Fields are Consul's; durations are seconds."""

    id: str = ""
    name: str = ""
    notes: str = ""
    service_id: str = ""
    status: str = ""
    token: str = ""
    interval: float = 0.0
    timeout: float = 0.0
    ttl: float = 0.0
    http: str = ""
    method: str = ""
    header: dict[str, list[str]] = {}
    body: str = ""
    disable_redirects: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    h2ping: str = ""
    h2ping_use_tls: bool = True
    args: list[str] = []
    docker_container_id: str = ""
    shell: str = ""
    os_service: str = ""
    alias_service: str = ""
    alias_node: str = ""
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_critical_service_after: float = 0.0
    output_max_size: int = 0

    @property
    def kind(self) -> str:
        """What the check does: `http`, `tcp`, `ttl`, `script`, `alias`, or "" for nothing."""
        for kind in ("http", "tcp", "ttl"):
            if getattr(self, kind):
                return kind
        if self.args:
            return "script"
        return "alias" if self.alias_service or self.alias_node else ""


class ServiceDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A service. Fields are Consul's."""

    name: str
    id: str = ""
    kind: str = ""
    tags: list[str] = []
    address: str = ""
    port: int = 0
    socket_path: str = ""
    tagged_addresses: dict[str, TaggedAddress] = {}
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    enable_tag_override: bool = False
    token: str = ""
    proxy: dict[str, Any] = {}
    connect: dict[str, Any] = {}
    checks: list[CheckDefinition] = []


_DURATIONS = {"interval", "timeout", "ttl", "deregister_critical_service_after"}
_CHECK_NAMES = {"checkid": "id", "scriptargs": "args"}
_SERVICE_NAMES = {"service": "name"}
_IGNORED = {"namespace", "partition", "locality", "ports", "sessionname"}


def check_definition(given: Mapping[str, Any]) -> CheckDefinition:
    """Read a check from keys in either spelling; durations are Go strings or nanoseconds.

    Raises Invalid, naming every field at fault and what it should be.
    """
    check, problems = _check(given)
    if problems:
        raise Invalid("; ".join(problems))
    return check


def service_definition(given: Mapping[str, Any]) -> ServiceDefinition:
    """Read a service with its checks from keys in either spelling.

    Raises Invalid, naming every field at fault and what it should be.
    """
    checks: list[CheckDefinition] = []
    in_checks: list[str] = []
    plain = {}
    for key, value in given.items():
        if _folded(key) not in {"check", "checks"}:
            plain[key] = value
            continue
        for one in value if isinstance(value, Sequence) else [value]:
            if isinstance(one, Mapping) and one:
                check, found = _check(one)
                checks.append(check)
                in_checks += found
            elif one:
                in_checks.append(f"{key}: expected the fields of a check")
    fields, problems = _fields(plain, ServiceDefinition, _SERVICE_NAMES)
    service = ServiceDefinition(**{"name": "", **fields, "checks": checks})
    problems = _more(problems, _service_problems(service))
    problems = _labelled("service", service.id or service.name, problems) + in_checks
    if problems:
        raise Invalid("; ".join(problems))
    return service


def _check(given: Mapping[str, Any]) -> tuple[CheckDefinition, list[str]]:
    fields, problems = _fields(given, CheckDefinition, _CHECK_NAMES)
    check = CheckDefinition(**fields)
    problems = _more(problems, _check_problems(check))
    return check, _labelled("check", check.id or check.name, problems)


def _more(problems: list[str], others: list[str]) -> list[str]:
    """Both, but one complaint about a field is enough."""
    named = {_folded(problem.partition(":")[0]) for problem in problems}
    return problems + [one for one in others if _folded(one.partition(":")[0]) not in named]


def _labelled(what: str, name: str, problems: Iterable[str]) -> list[str]:
    label = f'{what} "{name}"' if name else what
    return [f"{label}: {problem}" for problem in problems]


# Reading


def _folded(key: str) -> str:
    return key.replace("_", "").lower()


def _fields(
    given: Mapping[str, Any], kind: type[msgspec.Struct], names: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The values by field of `kind`, and what is wrong with the others."""
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    known = {_folded(name): name for name in types} | dict(names)
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in given.items():
        name = known.get(_folded(key))
        if name is None:
            if value or _folded(key) not in _IGNORED:
                problems.append(f"unknown field {key}")
        elif not _storable(value):
            problems.append(f"{key}: holds a number beyond 64 bits, or is nested too deeply")
        elif value is not None:
            try:
                found[name] = _value(name, value, types[name])
            except Invalid as error:
                problems.append(f"{key}: {error}")
    return found, problems


def _storable(value: Any) -> bool:
    """Whether disk, log and wire can hold it: finite 64-bit numbers, limited depth."""
    waiting = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, int) and not -(2**63) <= one < 2**63:
            return False
        if isinstance(one, float) and not math.isfinite(one):
            return False
        inner = one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ()
        if inner and depth >= DEPTH_MAX:
            return False
        waiting += [(each, depth + 1) for each in inner]
    return True


def _value(name: str, value: Any, kind: Any) -> Any:
    if name in _DURATIONS:
        return _seconds(value)
    if name == "weights":
        return _nested(value, Weights)
    if name == "tagged_addresses" and isinstance(value, Mapping):
        return {label: _nested(one, TaggedAddress) for label, one in value.items()}
    if name == "header" and isinstance(value, Mapping):
        value = {key: one if isinstance(one, list) else [one] for key, one in value.items()}
    return convert(value, kind)


def _nested(value: Any, kind: type[msgspec.Struct]) -> Any:
    if not isinstance(value, Mapping):
        raise Invalid(f"expected {' and '.join(kind.__struct_fields__)}")
    fields, problems = _fields(value, kind, {})
    if problems:
        raise Invalid(", ".join(problems))
    return convert(fields, kind)


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) >= 2**63:
            raise Invalid("expected at most 292 years, which is 2^63 nanoseconds")
        return value / 1e9
    return parse_duration(str(value)) if value else 0.0


# Checks


def _check_problems(check: CheckDefinition) -> list[str]:
    found = [
        f"{kind} checks are not available yet"
        for field, kind in LATER.items()
        if getattr(check, field)
    ]
    if (own := check.id or check.name) in {SERF_HEALTH, RAFT_HEALTH, GOSSIP_HEALTH}:
        found.append(f"CheckID: {own} belongs to the servers; choose another id")
    if check.status and check.status not in STATUSES:
        found.append(f'Status: expected one of {", ".join(STATUSES)}, got "{check.status}"')
    if not found and not check.kind:
        found.append("needs one of HTTP, TCP, TTL, Args or AliasService")
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
    elif check.kind in {"http", "tcp", "script"} and not check.interval:
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
    host, _, port = check.tcp.rpartition(":")
    if check.tcp and not (host and port.isascii() and port.isdigit() and int(port) < 65536):
        found.append(f'TCP: expected host:port such as 127.0.0.1:5432, got "{check.tcp}"')
    return found


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


# Services


def _service_problems(service: ServiceDefinition) -> list[str]:
    found = []
    if not service.name:
        found.append("Name: a service needs a name")
    if service.kind not in KINDS:
        found.append(f'Kind: expected one of {", ".join(KINDS[1:])}, got "{service.kind}"')
    if not 0 <= service.port <= 65535:
        found.append(f"Port: expected 0 to 65535, got {service.port}")
    weights = service.weights
    if not 1 <= weights.passing <= 65535 or not 0 <= weights.warning <= 65535:
        found.append("Weights: Passing is 1 to 65535 and Warning 0 to 65535")
    named = [check.id for check in service.checks if check.id]
    found += [
        f"Checks: the id {check_id} is there {named.count(check_id)} times"
        for check_id in sorted(set(named))
        if named.count(check_id) > 1
    ]
    found += _address_problems(service) + _meta_problems(service.meta)
    return found + _connect_problems(service) + _kind_problems(service)


def _address_problems(service: ServiceDefinition) -> list[str]:
    every = {"Address": service.address}
    for label, tagged in service.tagged_addresses.items():
        every[f"TaggedAddresses.{label}"] = tagged.address
    found = []
    for label, address in every.items():
        wanted = {"ipv4": 4, "ipv6": 6}.get(label.rpartition("_")[2])
        try:
            read = ipaddress.ip_address(address)
        except ValueError:
            if wanted:
                found.append(f'{label}: expected an IPv{wanted} address, got "{address}"')
            continue
        if read.is_unspecified:
            found.append(f"{label}: expected an address others can reach, got {address}")
        elif wanted and read.version != wanted:
            found.append(f'{label}: expected an IPv{wanted} address, got "{address}"')
    return found


def _meta_problems(meta: Mapping[str, str]) -> list[str]:
    found = []
    if len(meta) > META_PAIRS_MAX:
        found.append(f"Meta: {len(meta)} pairs; the limit is {META_PAIRS_MAX}")
    for key, value in meta.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key):
            found.append(f'Meta: expected a key of 1 to 128 letters, digits, _ or -, got "{key}"')
        elif key.startswith(RESERVED_META):
            found.append(f"Meta.{key}: keys that begin with {RESERVED_META} are reserved")
        if len(value) > 512:
            found.append(f"Meta.{key}: {len(value)} characters; the limit is 512")
    return found


def _connect_problems(service: ServiceDefinition) -> list[str]:
    found = []
    for key, value in service.connect.items():
        if _folded(key) == "sidecarservice":
            if value is not None:
                found.append("Connect.SidecarService: sidecars are not available yet")
        elif _folded(key) != "native":
            found.append(f"Connect: unknown field {key}")
    return found


def _kind_problems(service: ServiceDefinition) -> list[str]:
    proxy = {_folded(key): value for key, value in service.proxy.items()}
    destination = proxy.get("destinationservicename")
    found = []
    if service.kind == "connect-proxy":
        if not destination or destination == "*":
            found.append("Proxy.DestinationServiceName: a connect-proxy needs one service")
        if not service.port and not service.socket_path:
            found.append("Port: a connect-proxy needs a Port or a SocketPath")
    elif service.kind in GATEWAYS:
        if service.kind in GATEWAYS_WITH_PORT and not service.port:
            found.append(f"Port: a {service.kind} needs one")
        if destination or proxy.get("upstreams"):
            found.append(f"Proxy: a {service.kind} has no destination and no Upstreams")
    return found


def thresholds(check: CheckDefinition) -> Thresholds:
    """Of results of runs: what an API call or another check says holds at once."""
    if check.kind not in {"http", "tcp", "script"}:
        return Thresholds()
    return Thresholds(
        check.success_before_passing,
        check.failures_before_warning,
        check.failures_before_critical,
    )
