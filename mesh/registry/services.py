"""Services: the table of instances, which maintenance rests on."""

from __future__ import annotations

from sys import intern
from typing import Any, ClassVar

import msgspec

from mesh.registry.checks import CHECKS, folded
from mesh.registry.levels import OVERVIEWS
from mesh.registry.nodes import NODES, Locality
from mesh.store.joint import Joint
from mesh.store.table import Row, Table

PROXY = "connect-proxy"


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
    locality: Locality | msgspec.UnsetType = msgspec.UNSET
    """Written by no cluster below level 4."""

    def proxy_field(self, name: str) -> Any:
        """A field of the proxy block, its name in lower case without underscores."""
        return _field(self.proxy, name)

    @property
    def destination(self) -> str:
        """The service that this is a sidecar of; empty for what is none."""
        name = self.proxy_field("destinationservicename") if self.kind == PROXY else ""
        return name if isinstance(name, str) else ""

    @property
    def reached(self) -> str:
        """The service that the mesh reaches through this instance, in lower case; or empty."""
        return (self.name if self.native else self.destination).lower()

    @property
    def native(self) -> bool:
        """Whether it speaks for itself in the mesh, without a sidecar."""
        return _field(self.connect, "native") is True

    @property
    def upstreams(self) -> list[str]:
        """The services that it calls through this sidecar."""
        found = self.proxy_field("upstreams") if self.kind == PROXY else None
        names = (
            _field(one, "destinationname")
            for one in (found if isinstance(found, list) else [found])
            if isinstance(one, dict) and _field(one, "destinationtype") in {None, "", "service"}
        )
        return [name for name in names if isinstance(name, str) and name]


def _field(block: dict[str, Any], name: str) -> Any:
    for key, value in block.items():
        if key.replace("_", "").lower() == name:
            return value
    return None


SERVICES: Table[Service] = Table(
    "services",
    Service,
    key=lambda service: (intern(service.node.lower()), service.id),
    indexes={
        "node": lambda service: folded(service.node),
        "name": lambda service: folded(service.name),
        "address": lambda service: folded(service.address),
        "connect": lambda service: (service.reached,) if service.reached else (),
    },
    later={"connect": OVERVIEWS},
)
# The instances of a service are read together, each with its node and the checks of the node.
SERVICES.joint = Joint("name", "node", NODES, CHECKS, "instance", lambda node: (node, ""))
