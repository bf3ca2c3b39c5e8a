"""Reading: definitions of services and checks out of files and HTTP bodies, or what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mesh.agent.check_rules import check_problems
from mesh.agent.definitions import CheckDefinition, ServiceDefinition, folded
from mesh.agent.service_rules import service_problems
from mesh.agent.sidecars import named
from mesh.codec import convert
from mesh.connect import registration
from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.registry.catalog import Locality, TaggedAddress, Weights

DEPTH_MAX = 64

_DURATIONS = {"interval", "timeout", "ttl", "deregister_critical_service_after"}
_CHECK_NAMES = {"checkid": "id", "scriptargs": "args"}
_SERVICE_NAMES = {"service": "name"}
OURS = {"sidecar", "sidecar_of"}
"""Fields that no definition sets."""
_NESTED: dict[str, type[msgspec.Struct]] = {"weights": Weights, "locality": Locality}
_IGNORED = {"namespace", "partition", "ports", "sessionname"}


def check_definition(given: Mapping[str, Any]) -> CheckDefinition:
    """Read a check from keys in either spelling; durations are Go strings or nanoseconds.

    Raises Invalid, naming every field at fault and what it should be.
    """
    check, problems = read_check(given)
    if problems:
        raise Invalid("; ".join(problems))
    return check


def service_definition(given: Mapping[str, Any]) -> ServiceDefinition:
    """Read a service with its checks and its sidecar from keys in either spelling.

    Raises Invalid, naming every field at fault and what it should be.
    """
    service, problems = read_service(given)
    if problems:
        raise Invalid("; ".join(problems))
    return service


def read_service(given: Mapping[str, Any], parent: str = "") -> tuple[ServiceDefinition, list[str]]:
    """A service, or the sidecar of the service with this name, and all that is wrong with it."""
    checks: list[CheckDefinition] = []
    inside: list[str] = []
    plain = {}
    for key, value in given.items():
        if folded(key) not in {"check", "checks"}:
            plain[key] = value
            continue
        for one in value if isinstance(value, Sequence) else [value]:
            if isinstance(one, Mapping) and one:
                check, found = read_check(one)
                checks.append(check)
                inside += found
            elif one:
                inside.append(f"{key}: expected the fields of a check")
    fields, problems = _fields(plain, ServiceDefinition, _SERVICE_NAMES)
    service = ServiceDefinition(**{"name": "", **fields, "checks": checks})
    if parent:
        service = named(service, parent)
    service, in_sidecar = _with_sidecar(service)
    problems = _more(problems, service_problems(service))
    label = "Connect.SidecarService" if parent else "service"
    return service, _labelled(label, service.id or service.name, problems) + inside + in_sidecar


def _with_sidecar(service: ServiceDefinition) -> tuple[ServiceDefinition, list[str]]:
    """The service with what its block `Connect` says of a sidecar, and what is wrong with that."""
    plain: dict[str, Any] = {}
    sidecar: ServiceDefinition | None = None
    problems: list[str] = []
    for key, value in service.connect.items():
        if folded(key) != "sidecarservice":
            plain[key] = value
        elif isinstance(value, Mapping):
            sidecar, problems = read_service(value, service.name or "?")
        elif value is not None:
            problems.append("Connect.SidecarService: expected the fields of a service, or none")
    return msgspec.structs.replace(service, connect=plain, sidecar=sidecar), problems


def read_check(given: Mapping[str, Any]) -> tuple[CheckDefinition, list[str]]:
    """A check, and all that is wrong with it."""
    fields, problems = _fields(given, CheckDefinition, _CHECK_NAMES)
    check = CheckDefinition(**fields)
    problems = _more(problems, check_problems(check))
    return check, _labelled("check", check.id or check.name, problems)


def _more(problems: list[str], others: list[str]) -> list[str]:
    """Both, but one complaint about a field is enough."""
    named = {folded(problem.partition(":")[0]) for problem in problems}
    return problems + [one for one in others if folded(one.partition(":")[0]) not in named]


def _labelled(what: str, name: str, problems: Iterable[str]) -> list[str]:
    label = f'{what} "{name}"' if name else what
    return [f"{label}: {problem}" for problem in problems]


# Reading


def _fields(
    given: Mapping[str, Any], kind: type[msgspec.Struct], names: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """The values by field of `kind`, and what is wrong with the others."""
    found_fields = (field for field in msgspec.structs.fields(kind) if field.name not in OURS)
    types = {field.name: field.type for field in found_fields}
    known = {folded(name): name for name in types} | dict(names)
    found: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in given.items():
        name = known.get(folded(key))
        if name is None:
            if value or folded(key) not in _IGNORED:
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
    if name in _NESTED:
        return _nested(value, _NESTED[name])
    if name == "tagged_addresses" and isinstance(value, Mapping):
        return {label: _nested(one, TaggedAddress) for label, one in value.items()}
    if name == "header" and isinstance(value, Mapping):
        value = {key: one if isinstance(one, list) else [one] for key, one in value.items()}
    if name == "proxy" and isinstance(value, Mapping):
        value = registration.listed(value)
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
