"""The JSON shapes of the API, with the field names that users rely on, made from rows."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from mesh.registry.catalog import Check, Node, NodeServices, Service, ServiceNode
from mesh.registry.health import Instance
from mesh.registry.kv import Pair

_CAPITALS = {"id": "ID", "tls": "TLS", "http": "HTTP", "tcp": "TCP", "udp": "UDP", "ttl": "TTL"}
_CAPITALS |= {
    "grpc": "GRPC",
    "os": "OS",
    "h2ping": "H2PING",
    "ca": "CA",
    "uri": "URI",
    "kv": "KV",
    "dns": "DNS",
    "pem": "PEM",
}

Maybe: TypeAlias = str | UnsetType


def api_name(name: str) -> str:
    """The API's name of a field: `check_id` is `CheckID`."""
    return "".join(_CAPITALS.get(part, part.capitalize()) for part in name.split("_"))


class Shape(msgspec.Struct, frozen=True, rename=api_name):
    """A JSON object; fields are written in order, those that are UNSET not at all."""


class LocalityShape(Shape, frozen=True):
    """A region and a zone."""

    region: str
    zone: str


class NodeShape(Shape, frozen=True):
    """A node."""

    id: str
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str]
    meta: dict[str, str]
    create_index: int
    modify_index: int
    locality: LocalityShape | UnsetType = UNSET


class AddressShape(Shape, frozen=True):
    """A tagged address of an instance."""

    address: str
    port: int


class WeightsShape(Shape, frozen=True):
    """SRV weights."""

    passing: int
    warning: int


class ServiceShape(Shape, frozen=True, kw_only=True):
    """An instance, as `NodeService`."""

    kind: Maybe = UNSET
    id: str
    service: str
    tags: list[str]
    address: str
    tagged_addresses: dict[str, AddressShape] | UnsetType = UNSET
    meta: dict[str, str]
    port: int
    socket_path: Maybe = UNSET
    weights: WeightsShape
    enable_tag_override: bool
    proxy: Any
    connect: dict[str, Any]
    locality: LocalityShape | UnsetType = UNSET
    peer_name: str = ""
    create_index: int
    modify_index: int


class ServiceNodeShape(Shape, frozen=True, kw_only=True):
    """An instance with its node's fields, as `ServiceNode`."""

    id: str
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str]
    node_meta: dict[str, str]
    service_kind: str
    service_id: str
    service_name: str
    service_tags: list[str]
    service_address: str
    service_tagged_addresses: dict[str, AddressShape] | UnsetType = UNSET
    service_weights: WeightsShape
    service_meta: dict[str, str]
    service_port: int
    service_socket_path: str
    service_enable_tag_override: bool
    service_proxy: Any
    service_connect: dict[str, Any]
    service_locality: LocalityShape | UnsetType = UNSET
    create_index: int
    modify_index: int


class CheckShape(Shape, frozen=True):
    """A check, as `HealthCheck`."""

    node: str
    check_id: str
    name: str
    status: str
    notes: str
    output: str
    service_id: str
    service_name: str
    service_tags: list[str]
    type: str
    interval: str
    timeout: str
    exposed_port: int
    definition: dict[str, Any]
    create_index: int
    modify_index: int


class InstanceShape(Shape, frozen=True):
    """An instance with its node and checks, as `/v1/health/service` lists them."""

    node: NodeShape
    service: ServiceShape
    checks: list[CheckShape]


class PairShape(Shape, frozen=True, kw_only=True):
    """A key and its value; an empty value is null."""

    lock_index: int
    key: str
    flags: int
    value: bytes | None
    session: Maybe = UNSET
    create_index: int
    modify_index: int


class NodeServicesShape(Shape, frozen=True):
    """A node and its instances by id; both null for a node that does not exist."""

    node: NodeShape | None
    services: dict[str, ServiceShape] | None


class NodeServiceListShape(Shape, frozen=True):
    """A node and its instances as a list; both null for a node that does not exist."""

    node: NodeShape | None
    services: list[ServiceShape] | None


def node(row: Node) -> NodeShape:
    """The shape of a node."""
    return NodeShape(
        row.id,
        row.name,
        row.address,
        row.datacenter,
        row.tagged_addresses,
        row.meta,
        row.create_index,
        row.modify_index,
        locality(row),
    )


def locality(row: Node | Service) -> LocalityShape | UnsetType:
    """Where a node or an instance is, if it was told."""
    if row.locality is UNSET:
        return UNSET
    return LocalityShape(row.locality.region, row.locality.zone)


def _addresses(row: Service) -> dict[str, AddressShape] | UnsetType:
    if not row.tagged_addresses:
        return UNSET
    return {name: AddressShape(a.address, a.port) for name, a in row.tagged_addresses.items()}


_NO_PROXY = msgspec.Raw(b'{"Mode":"","MeshGateway":{},"Expose":{}}')


def _proxy(row: Service) -> Any:
    if not row.proxy:
        return _NO_PROXY
    return {"Mode": "", "MeshGateway": {}, "Expose": {}} | row.proxy


def service(row: Service) -> ServiceShape:
    """The shape of an instance."""
    return ServiceShape(
        kind=row.kind or UNSET,
        id=row.id,
        service=row.name,
        tags=row.tags,
        address=row.address,
        tagged_addresses=_addresses(row),
        meta=row.meta,
        port=row.port,
        socket_path=row.socket_path or UNSET,
        weights=WeightsShape(row.weights.passing, row.weights.warning),
        enable_tag_override=row.enable_tag_override,
        proxy=_proxy(row),
        connect=row.connect,
        locality=locality(row),
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


def service_node(found: ServiceNode) -> ServiceNodeShape:
    """The shape of an instance with its node."""
    host, row = found.node, found.service
    return ServiceNodeShape(
        id=host.id,
        node=host.name,
        address=host.address,
        datacenter=host.datacenter,
        tagged_addresses=host.tagged_addresses,
        node_meta=host.meta,
        service_kind=row.kind,
        service_id=row.id,
        service_name=row.name,
        service_tags=row.tags,
        service_address=row.address,
        service_tagged_addresses=_addresses(row),
        service_weights=WeightsShape(row.weights.passing, row.weights.warning),
        service_meta=row.meta,
        service_port=row.port,
        service_socket_path=row.socket_path,
        service_enable_tag_override=row.enable_tag_override,
        service_proxy=_proxy(row),
        service_connect=row.connect,
        service_locality=locality(row),
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


def check(row: Check) -> CheckShape:
    """The shape of a check."""
    return CheckShape(
        row.node,
        row.id,
        row.name,
        row.status,
        row.notes,
        row.output,
        row.service_id,
        row.service_name,
        row.service_tags,
        row.kind,
        row.interval,
        row.timeout,
        row.exposed_port,
        row.definition,
        row.create_index,
        row.modify_index,
    )


def instance(found: Instance) -> InstanceShape:
    """The shape of an instance with its health."""
    return InstanceShape(
        node(found.node), service(found.service), [check(row) for row in found.checks]
    )


def pair(row: Pair) -> PairShape:
    """The shape of a pair."""
    return PairShape(
        lock_index=row.lock_index,
        key=row.key,
        flags=row.flags,
        value=row.value or None,
        session=row.session or UNSET,
        create_index=row.create_index,
        modify_index=row.modify_index,
    )


def node_services(found: NodeServices | None) -> NodeServicesShape | None:
    """A node with its instances by id; null when there is none."""
    if found is None:
        return None
    return NodeServicesShape(node(found.node), {row.id: service(row) for row in found.services})


def node_service_list(found: NodeServices | None) -> NodeServiceListShape:
    """A node with its instances in a list; an object of nulls when there is none."""
    if found is None:
        return NodeServiceListShape(None, None)
    return NodeServiceListShape(node(found.node), [service(row) for row in found.services])
