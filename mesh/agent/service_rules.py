"""The rules for services: what a definition may say, and how a mistake is put right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from mesh.agent.definitions import ServiceDefinition, folded
from mesh.connect import registration

META_PAIRS_MAX = 64
RESERVED_META = "consul-"
GATEWAYS_WITH_PORT = ("mesh-gateway", "terminating-gateway")
GATEWAYS = (*GATEWAYS_WITH_PORT, "ingress-gateway", "api-gateway")
KINDS = ("", "connect-proxy", *GATEWAYS)


def service_problems(service: ServiceDefinition) -> list[str]:
    """Everything that is wrong with a service, each beginning with the field at fault."""
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
    found = [f"Connect: unknown field {key}" for key in service.connect if folded(key) != "native"]
    native = any(service.connect.values())
    if service.kind and native:
        found.append(f"Connect.Native: a {service.kind} is a proxy; leave it out")
    sidecar = service.sidecar
    if sidecar is None:
        return found
    label = "Connect.SidecarService"
    if service.kind:
        found.append(f"{label}: a {service.kind} has no sidecar")
    if sidecar.id:
        found.append(f"{label}.ID: the agent gives it an id; leave it out")
    if sidecar.sidecar is not None:
        found.append(f"{label}: a sidecar has no sidecar of its own")
    return found


def _kind_problems(service: ServiceDefinition) -> list[str]:
    proxy = {folded(key): value for key, value in service.proxy.items()}
    destination = proxy.get("destinationservicename")
    found = []
    if service.kind == "connect-proxy":
        if not destination or destination == "*":
            found.append("Proxy.DestinationServiceName: a connect-proxy needs one service")
        if not (service.port or service.socket_path or service.sidecar_of):
            found.append("Port: a connect-proxy needs a Port or a SocketPath")
        found += registration.problems(service.proxy)
    elif service.kind in GATEWAYS:
        if service.kind in GATEWAYS_WITH_PORT and not service.port:
            found.append(f"Port: a {service.kind} needs one")
        if destination or proxy.get("upstreams"):
            found.append(f"Proxy: a {service.kind} has no destination and no Upstreams")
    return found
