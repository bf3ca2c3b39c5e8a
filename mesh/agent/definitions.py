"""Definitions: services and checks as people write them, in files or in HTTP bodies."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mesh.codec import convert
from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.registry.catalog import STATUSES, TaggedAddress, Weights

META_PAIRS_MAX = 64
DEREGISTER_MIN_SECONDS = 60.0
LATER = {
    "udp": "UDP",
    "grpc": "gRPC",
    "h2ping": "H2PING",
    "docker_container_id": "Docker",
    "os_service": "OS service",
}


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
_CHECK_NAMES = {"checkid": "id", "scriptargs": "args", "script_args": "args"}
_SERVICE_NAMES = {"service": "name"}
_IGNORED = {"namespace", "partition", "locality", "ports"}


def _folded(key: str) -> str:
    return key.replace("_", "").lower()


def _fields(
    given: Mapping[str, Any], kind: type[msgspec.Struct], names: Mapping[str, str], label: str
) -> dict[str, Any]:
    known = {_folded(name): name for name in kind.__struct_fields__}
    known |= {_folded(name): field for name, field in names.items()}
    found = {}
    for key, value in given.items():
        field = known.get(_folded(key))
        if field is None:
            if _folded(key) in _IGNORED and not value:
                continue
            raise Invalid(f"{label}: unknown field {key}")
        if value is not None:
            found[field] = value
    return found


def _seconds(label: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1e9
    try:
        return parse_duration(str(value)) if value else 0.0
    except Invalid as error:
        raise Invalid(f"{label}: {error}") from None


def check_definition(given: Mapping[str, Any]) -> CheckDefinition:
    """Read a check from keys in either spelling. Raises Invalid, naming the field."""
    fields = _fields(given, CheckDefinition, _CHECK_NAMES, "check")
    for name in _DURATIONS & set(fields):
        fields[name] = _seconds(name, fields[name])
    if isinstance(fields.get("header"), dict):
        fields["header"] = {
            key: value if isinstance(value, list) else [value]
            for key, value in fields["header"].items()
        }
    check = convert(fields, CheckDefinition)
    _validate_check(check)
    return check


def _validate_check(check: CheckDefinition) -> None:
    label = f'check "{check.id or check.name}"' if check.id or check.name else "check"
    for field, kind in LATER.items():
        if getattr(check, field):
            raise Invalid(f"{label}: {kind} checks are not available yet")
    if check.status and check.status not in STATUSES:
        raise Invalid(f"{label}: Status: expected one of {', '.join(STATUSES)}")
    _validate_timing(check, label)
    critical = check.failures_before_critical
    if critical and check.failures_before_warning > critical:
        raise Invalid(f"{label}: FailuresBeforeWarning must not exceed FailuresBeforeCritical")
    if min(check.output_max_size, check.success_before_passing, critical) < 0:
        raise Invalid(f"{label}: OutputMaxSize and thresholds must not be negative")


def _validate_timing(check: CheckDefinition, label: str) -> None:
    if check.ttl < 0 or check.interval < 0 or check.timeout < 0:
        raise Invalid(f"{label}: durations must not be negative")
    if check.ttl and check.interval:
        raise Invalid(f"{label}: TTL and Interval exclude each other")
    if check.kind in {"http", "tcp", "script"} and not check.interval:
        raise Invalid(f"{label}: Interval: must be longer than 0s for {check.kind} checks")
    if check.kind == "alias" and check.interval:
        raise Invalid(f"{label}: Interval: alias checks take none")
    if not check.kind:
        raise Invalid(f"{label}: needs one of HTTP, TCP, TTL, Args or AliasService")


def service_definition(given: Mapping[str, Any]) -> ServiceDefinition:
    """Read a service from keys in either spelling. Raises Invalid, naming the field."""
    plain = dict(given)
    checks: list[CheckDefinition] = []
    for key in list(plain):
        if _folded(key) in {"check", "checks"}:
            value = plain.pop(key)
            many = value if isinstance(value, Sequence) else [value]
            if not all(isinstance(one, Mapping | None) for one in many):
                raise Invalid(f"{key}: expected the fields of a check")
            checks += [check_definition(one) for one in many if one]
    fields = _fields(plain, ServiceDefinition, _SERVICE_NAMES, "service")
    fields.setdefault("name", "")
    for name, kind in (("weights", Weights), ("tagged_addresses", None)):
        if isinstance(fields.get(name), Mapping):
            fields[name] = _lowered(fields[name], deep=kind is None)
    service = convert(fields, ServiceDefinition)
    service = msgspec.structs.replace(service, checks=checks)
    _validate_service(service)
    return service


def _lowered(value: Mapping[str, Any], *, deep: bool) -> dict[str, Any]:
    if deep:
        return {
            key: _lowered(inner, deep=False) if isinstance(inner, Mapping) else inner
            for key, inner in value.items()
        }
    return {key.lower(): inner for key, inner in value.items()}


def _validate_service(service: ServiceDefinition) -> None:
    if not service.name:
        raise Invalid("Name: a service needs a name")
    label = f'service "{service.id or service.name}"'
    if service.address:
        try:
            unspecified = ipaddress.ip_address(service.address).is_unspecified
        except ValueError:
            unspecified = False
        if unspecified:
            raise Invalid(f"{label}: Address: must be reachable, not {service.address}")
    if not 0 <= service.port <= 65535:
        raise Invalid(f"{label}: Port: expected 0 to 65535, got {service.port}")
    if not 1 <= service.weights.passing <= 65535 or not 0 <= service.weights.warning <= 65535:
        raise Invalid(f"{label}: Weights: Passing is 1 to 65535 and Warning 0 to 65535")
    _validate_meta(service.meta, label)
    if service.connect.get("SidecarService") or service.connect.get("sidecar_service"):
        raise Invalid(f"{label}: Connect.SidecarService: sidecars are not available yet")


def _validate_meta(meta: Mapping[str, str], label: str) -> None:
    if len(meta) > META_PAIRS_MAX:
        raise Invalid(f"{label}: Meta: {len(meta)} pairs; the limit is {META_PAIRS_MAX}")
    for key, value in meta.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", key) or len(value) > 512:
            raise Invalid(f"{label}: Meta.{key}: 1 to 128 of A-Z a-z 0-9 _ -, value up to 512")
