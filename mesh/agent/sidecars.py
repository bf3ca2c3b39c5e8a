"""Sidecars: the proxies that services ask for in their definitions, completed and given a port."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Any

import msgspec

from mesh.agent.definitions import CheckDefinition, ServiceDefinition, folded
from mesh.errors import Invalid

KIND = "connect-proxy"
SUFFIX = "-sidecar-proxy"
LOCAL = "127.0.0.1"
CHECK_SECONDS = 10.0


def named(sidecar: ServiceDefinition, service: str) -> ServiceDefinition:
    """As written for a service of this name, with kind, name and destination filled in."""
    proxy = dict(sidecar.proxy)
    if not _has(proxy, "destinationservicename"):
        proxy["DestinationServiceName"] = service
    return msgspec.structs.replace(
        sidecar,
        name=sidecar.name or f"{service}{SUFFIX}",
        kind=sidecar.kind or KIND,
        proxy=proxy,
        sidecar_of=service,
    )


def sidecar_id(service_id: str) -> str:
    """The id of a service's sidecar."""
    return f"{service_id}{SUFFIX}"


def complete(service: ServiceDefinition, port: int, reached: str = LOCAL) -> ServiceDefinition:
    """The sidecar of a service as the agent registers it, at this port if it names none.

    `reached` is where it is checked when nobody gave it an address.
    """
    sidecar, own = service.sidecar, service.id or service.name
    assert sidecar is not None, "callers checked"
    proxy = dict(sidecar.proxy)
    if not _has(proxy, "destinationserviceid"):
        proxy["DestinationServiceID"] = own
    if service.port and not _has(proxy, "localserviceport"):
        proxy["LocalServicePort"] = service.port
        if not _has(proxy, "localserviceaddress"):
            proxy["LocalServiceAddress"] = LOCAL
    port = sidecar.port or (0 if sidecar.socket_path else port)
    return msgspec.structs.replace(
        sidecar,
        id=sidecar_id(own),
        tags=sidecar.tags or service.tags,
        meta=sidecar.meta or service.meta,
        address=sidecar.address or _ip(service.address),
        token=sidecar.token or service.token,
        enable_tag_override=sidecar.enable_tag_override or service.enable_tag_override,
        port=port,
        proxy=proxy,
        checks=sidecar.checks
        or _checks(own, sidecar.address or _ip(service.address) or reached, port),
        sidecar_of=own,
    )


def _ip(address: str) -> str:
    """The address, if it is one: Envoy listens on no names."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return ""
    return address


def _checks(service_id: str, address: str, port: int) -> list[CheckDefinition]:
    host = f"[{address}]" if ":" in address else address
    listening = CheckDefinition(
        name="Connect Sidecar Listening", tcp=f"{host}:{port}", interval=CHECK_SECONDS
    )
    alias = CheckDefinition(name=f"Connect Sidecar Aliasing {service_id}", alias_service=service_id)
    return [listening, alias] if port else [alias]


def free_port(used: Collection[int], ports: tuple[int, int]) -> int:
    """The lowest port of the range that nobody uses. Raises Invalid."""
    lowest, highest = ports
    for port in range(lowest, highest + 1):
        if port > 0 and port not in used:
            return port
    raise Invalid(
        f"Connect.SidecarService.Port: every port from {lowest} to {highest} is in use; give one, "
        "or widen ports.sidecar_min_port and ports.sidecar_max_port"
    )


def _has(proxy: dict[str, Any], name: str) -> bool:
    return any(folded(key) == name and value for key, value in proxy.items())
