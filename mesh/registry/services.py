"""Services: the table of instances, which maintenance rests on."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from mesh.registry.checks import folded
from mesh.store.table import Row, Table


class TaggedAddress(msgspec.Struct, frozen=True):
    """Where an instance is reached from elsewhere (`lan`, `wan`, `lan_ipv4`, `virtual` ...)."""

    address: str
    port: int = 0


class Weights(msgspec.Struct, frozen=True):
    """SRV weights by health."""

    passing: int = 1
    warning: int = 1


class Service(Row, frozen=True, kw_only=True):
    """One instance of a service on a node. An empty address means the node's."""

    history: ClassVar[str] = "service"
    node: str
    id: str
    name: str
    kind: str = ""
    tags: list[str] = []
    address: str = ""
    port: int = 0
    tagged_addresses: dict[str, TaggedAddress] = {}
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    enable_tag_override: bool = False
    socket_path: str = ""
    proxy: dict[str, Any] = {}
    """The proxy block as registered, with Consul's key names; empty for plain services."""
    connect: dict[str, Any] = {}


SERVICES: Table[Service] = Table(
    "services",
    Service,
    key=lambda service: (service.node.lower(), service.id),
    indexes={
        "node": lambda service: folded(service.node),
        "name": lambda service: folded(service.name),
        "address": lambda service: folded(service.address),
    },
)
