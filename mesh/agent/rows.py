"""Rows: definitions as the catalog shows them, with the default ids, names and addresses."""

from __future__ import annotations

import ipaddress

import msgspec

from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.agent.state import Options
from mesh.durations import format_duration
from mesh.registry.catalog import Check, Node, Service, TaggedAddress
from mesh.registry.health import NODE_MAINTENANCE, SERVICE_MAINTENANCE


def node(options: Options) -> Node:
    """The node itself."""
    return Node(
        name=options.node_name,
        id=options.node_id,
        address=options.address,
        datacenter=options.datacenter,
        tagged_addresses=options.tagged_addresses,
        meta=options.node_meta,
    )


def service_id(service: ServiceDefinition) -> str:
    """Its id; the name when it has none."""
    return service.id or service.name


def check_id(check: CheckDefinition) -> str:
    """Its id; the name when it has none."""
    return check.id or check.name


def own_checks(service: ServiceDefinition) -> list[CheckDefinition]:
    """The checks of a service, complete: `service:<id>`, or `service:<id>:1` when several."""
    owner, many = service_id(service), len(service.checks) > 1
    return [
        msgspec.structs.replace(
            check,
            id=check.id or (f"service:{owner}:{number}" if many else f"service:{owner}"),
            name=check.name or f"Service '{service.name}' check",
            service_id=owner,
        )
        for number, check in enumerate(service.checks, 1)
    ]


def service_row(options: Options, service: ServiceDefinition) -> Service:
    """The service in the catalog."""
    return Service(
        node=options.node_name,
        id=service_id(service),
        name=service.name,
        kind=service.kind,
        tags=service.tags,
        address=service.address,
        port=service.port,
        socket_path=service.socket_path,
        tagged_addresses=_tagged_addresses(service),
        meta=service.meta,
        weights=service.weights,
        enable_tag_override=service.enable_tag_override,
        proxy=service.proxy,
        connect=service.connect,
        locality=msgspec.UNSET if service.locality is None else service.locality,
    )


def _tagged_addresses(service: ServiceDefinition) -> dict[str, TaggedAddress]:
    try:
        version = ipaddress.ip_address(service.address).version
    except ValueError:
        return service.tagged_addresses
    own = TaggedAddress(service.address, service.port)
    return {f"lan_ipv{version}": own, f"wan_ipv{version}": own, **service.tagged_addresses}


def check_row(
    options: Options, check: CheckDefinition, service: Service | None, said: tuple[str, str]
) -> Check:
    """The check in the catalog, with the status and output it has now."""
    interval = max(check.interval, options.interval_min_seconds) if check.interval else 0.0
    return Check(
        node=options.node_name,
        id=check_id(check),
        name=check.name or check.id,
        status=said[0],
        notes=check.notes,
        output=said[1],
        service_id=check.service_id,
        service_name=service.name if service else "",
        service_tags=service.tags if service else [],
        kind=check.kind or "maintenance",
        interval=format_duration(interval) if interval else "",
        timeout=format_duration(check.timeout) if check.timeout else "",
    )


def maintenance(owner: str, reason: str) -> CheckDefinition:
    """The check that says a service, or with "" the node, is in maintenance."""
    what = "service" if owner else "node"
    return CheckDefinition(
        id=f"{SERVICE_MAINTENANCE}{owner}" if owner else NODE_MAINTENANCE,
        name=f"{what.title()} Maintenance Mode",
        notes=reason or f"The {what} is in maintenance; whoever put it there gave no reason.",
        service_id=owner,
    )
