"""Definitions of services and checks: their key names and durations. The agent checks the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mesh.config.problems import shown, suggestion
from mesh.durations import parse_duration
from mesh.errors import Invalid

Report = Callable[[str, str], None]
"""Takes a dotted key and what is wrong with it."""

_Spec = str | dict[str, Any]
_ANY, _DURATION = "any", "duration"
_EACH = "each value of a map"
_ITEMS = "each item of a list"


def _keys(names: str, **special: _Spec) -> dict[str, Any]:
    return dict.fromkeys(names.split(), _ANY) | special


def _map(spec: _Spec) -> dict[str, Any]:
    return {_EACH: spec}


def _list(spec: _Spec) -> dict[str, Any]:
    return {_ITEMS: spec}


CHECK = _keys(
    """id name notes service_id token status args shell docker_container_id http header method body
    disable_redirects tcp tcp_use_tls udp grpc grpc_use_tls h2ping h2ping_use_tls os_service
    alias_node alias_service tls_server_name tls_skip_verify success_before_passing
    failures_before_warning failures_before_critical output_max_size namespace partition""",
    interval=_DURATION,
    timeout=_DURATION,
    ttl=_DURATION,
    deregister_critical_service_after=_DURATION,
)
"""Keys of a check."""

_GATEWAY = _keys("mode")
_UPSTREAM = _keys(
    """destination_type destination_name destination_namespace destination_partition
    destination_peer datacenter local_bind_address local_bind_port local_bind_socket_path
    local_bind_socket_mode config""",
    mesh_gateway=_GATEWAY,
)
_PROXY = _keys(
    """destination_service_name destination_service_id local_service_address local_service_port
    local_service_socket_path mode config envoy_extensions""",
    transparent_proxy=_keys("outbound_listener_port dialed_directly"),
    upstreams=_list(_UPSTREAM),
    mesh_gateway=_GATEWAY,
    expose=_keys("checks", paths=_list(_keys("path local_path_port listener_port protocol"))),
    access_logs=_keys("enabled disable_listener_logs type path json_format text_format"),
)
SERVICE = _keys(
    """id name tags meta port address socket_path token enable_tag_override kind namespace
    partition""",
    weights=_keys("passing warning"),
    tagged_addresses=_map(_keys("address port")),
    check=_list(CHECK),
    checks=_list(CHECK),
    proxy=_PROXY,
    locality=_keys("region zone"),
)
"""Keys of a service."""
SERVICE["connect"] = _keys("native", sidecar_service=SERVICE)

_OLD = {"checkid": "id", "scriptargs": "args", "ns": "namespace"}
"""Other names, without underscores, from HTTP bodies."""


def service(raw: Any, key: str, report: Report) -> dict[str, Any]:
    """A service definition with its keys in snake_case; `check` is folded into `checks`.

    `key` is where it stands, such as services[0]. What is wrong goes to `report`.
    """
    found = _read(raw, SERVICE, key, report)
    return _folded(found) if isinstance(found, dict) else {}


def check(raw: Any, key: str, report: Report) -> dict[str, Any]:
    """A check definition with its keys in snake_case."""
    found = _read(raw, CHECK, key, report)
    return found if isinstance(found, dict) else {}


def _folded(service: dict[str, Any]) -> dict[str, Any]:
    checks = [*service.pop("check", []), *service.pop("checks", [])]
    if checks:
        service["checks"] = checks
    sidecar = service.get("connect", {}).get("sidecar_service")
    if sidecar:
        service["connect"]["sidecar_service"] = _folded(sidecar)
    return service


def _read(raw: Any, spec: _Spec, key: str, report: Report) -> Any:
    if spec == _ANY:
        return raw
    if isinstance(spec, str):
        return _duration(raw, key, report)
    if _ITEMS in spec:
        items = raw if isinstance(raw, list) else [raw]
        return [_read(item, spec[_ITEMS], f"{key}[{at}]", report) for at, item in enumerate(items)]
    if isinstance(raw, list) and all(isinstance(item, dict) for item in raw):
        raw = {name: value for item in raw for name, value in item.items()}  # Blocks of HCL.
    if not isinstance(raw, dict):
        report(key, f"expected a block of keys, got {shown(raw)}")
        return {}
    if _EACH in spec:
        return {name: _read(raw[name], spec[_EACH], f"{key}.{name}", report) for name in raw}
    return _block(raw, spec, key, report)


def _block(
    raw: dict[str, Any], spec: Mapping[str, _Spec], key: str, report: Report
) -> dict[str, Any]:
    known = {name.replace("_", ""): name for name in spec} | _OLD
    found: dict[str, Any] = {}
    for name, value in raw.items():
        canonical = known.get(name.replace("_", "").lower(), "")
        if canonical not in spec:
            near = suggestion(name, spec, f"{key}.")
            report(f"{key}.{name}", f"unknown key{near}")
        elif canonical in found:
            report(f"{key}.{name}", f"given twice, as {canonical} in another spelling")
        elif value is not None:
            found[canonical] = _read(value, spec[canonical], f"{key}.{canonical}", report)
    return found


def _duration(raw: Any, key: str, report: Report) -> Any:
    try:
        if not isinstance(raw, str) or parse_duration(raw or "0") < 0:
            report(key, f"expected a duration such as 30s, got {shown(raw)}")
    except Invalid as error:
        report(key, error.message)
    return raw
