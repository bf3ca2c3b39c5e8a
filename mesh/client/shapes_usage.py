"""How much is registered, as the API tells it."""

from __future__ import annotations

from mesh.client.shapes import Shape


class Amounts(Shape, frozen=True):
    """How much a datacenter has registered."""

    services: int = 0
    service_instances: int = 0
    connect_service_instances: dict[str, int] = {}
    """Instances in the mesh, by kind."""
    billable_service_instances: int = 0
    """Instances that are no proxies, no gateways and no servers."""
    nodes: int = 0


class Usage(Shape, frozen=True):
    """How much is registered, by datacenter."""

    usage: dict[str, Amounts] = {}
