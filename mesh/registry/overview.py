"""Overviews: the whole catalog at a glance, as the UI shows it, and how much there is of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from mesh.registry.catalog import CHECKS, NODES, SERVICES, Check, Node, Service
from mesh.registry.health import Instance, Instances
from mesh.registry.levels import OVERVIEWS
from mesh.registry.port import Query
from mesh.registry.services import PROXY
from mesh.store.database import View

GATEWAYS = ("api-gateway", "ingress-gateway", "mesh-gateway", "terminating-gateway")
NATIVE = "connect-native"
UNBILLED = "consul"
"""A service that Consul's servers register of themselves."""


class NodeDump(msgspec.Struct, frozen=True):
    """A node with all that is on it."""

    node: Node
    services: list[Service]
    checks: list[Check]


class Nodes(Query[list[NodeDump]], frozen=True, tag="overview.nodes"):
    """Every node with its instances and checks, or the one of this name."""

    needs: ClassVar[int] = OVERVIEWS
    answer = list[NodeDump]
    name: str = ""

    def run(self, view: View) -> list[NodeDump]:
        """Join nodes with what is on them."""
        if self.name:
            found = view.get(NODES, self.name.lower())
            nodes = [found] if found is not None else []
        else:
            nodes = view.every(NODES)
        return [
            NodeDump(
                node,
                view.select(SERVICES, "node", node.name.lower()),
                view.select(CHECKS, "node", node.name.lower()),
            )
            for node in nodes
        ]


class Tally(msgspec.Struct, frozen=True):
    """How many of something there are, by the worst of their checks."""

    name: str = ""
    total: int = 0
    passing: int = 0
    warning: int = 0
    critical: int = 0


def tally(name: str, statuses: Iterable[str]) -> Tally:
    """Count statuses; maintenance is critical."""
    counts = Counter(statuses)
    critical = counts["critical"] + counts["maintenance"]
    return Tally(name, counts.total(), counts["passing"], counts["warning"], critical)


class Health(msgspec.Struct, frozen=True):
    """How many instances there are by health; what is in maintenance is nothing else."""

    passing: int = 0
    warning: int = 0
    critical: int = 0
    maintenance: int = 0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A service at a glance. Its checks are those of its instances and of their nodes."""

    name: str
    kind: str = ""
    tags: list[str] = []
    nodes: list[str] = []
    external_sources: list[str] = []
    instances: int = 0
    checks: Tally = Tally()
    transparent: bool = False
    """Whether a sidecar of it takes traffic without being addressed."""
    native: bool = False
    proxied: bool = False
    """Whether an instance has a sidecar."""
    health: Health = Health()
    """Of its instances, each by the worst of its checks."""
    serves: list[str] = []
    """The services that it is a sidecar of."""


class Services(Query[list[Summary]], frozen=True, tag="overview.services"):
    """Every service at a glance, ordered by name."""

    needs: ClassVar[int] = OVERVIEWS
    answer = list[Summary]

    def run(self, view: View) -> list[Summary]:
        """Each service is a part of its own: of thousands, few change at a time."""
        found = [one for name in view.values(SERVICES, "name") for one in view.part(_Named(name))]
        return sorted(found, key=lambda one: one.name)


class _Named(msgspec.Struct, frozen=True):
    """The services of this name, which is in lower case: one for each spelling."""

    name: str

    def run(self, view: View) -> list[Summary]:
        """Read the instances together, which is cheaper than one by one."""
        rows = view.select(SERVICES, "connect", self.name)
        sidecars = [row for row in rows if row.kind == PROXY and not row.native]
        groups: dict[str, list[Instance]] = {}
        for one in Instances(self.name).run(view):
            groups.setdefault(one.service.name, []).append(one)
        return [summary(name, instances, sidecars) for name, instances in groups.items()]


def summary(name: str, instances: list[Instance], sidecars: list[Service]) -> Summary:
    """The instances of a service at a glance; these sidecars stand before them."""
    rows = [one.service for one in instances]
    checks = {(one.node.lower(), one.id): one.status for i in instances for one in i.checks}
    sources = {row.meta.get("external-source", "") for row in rows} - {""}
    return Summary(
        name=name,
        kind=rows[0].kind if rows else "",
        tags=sorted({tag for row in rows for tag in row.tags}),
        nodes=sorted({one.node.name for one in instances}),
        external_sources=sorted(sources),
        instances=len(instances),
        checks=tally("", checks.values()),
        transparent=any(one.proxy_field("mode") == "transparent" for one in sidecars),
        native=any(row.native for row in rows),
        proxied=bool(sidecars),
        health=_counted(one.status for one in instances),
        serves=sorted({row.destination for row in rows if row.kind == PROXY} - {""}),
    )


def _counted(statuses: Iterable[str]) -> Health:
    counts = Counter(statuses)
    return Health(*(counts[one] for one in Health.__struct_fields__))


class Totals(msgspec.Struct, frozen=True):
    """Nodes, the instances of each service, and checks by their name, by health."""

    nodes: Tally
    services: list[Tally]
    checks: list[Tally]


class Overall(Query[Totals], frozen=True, tag="overview.health"):
    """How many nodes, instances and checks are well."""

    needs: ClassVar[int] = OVERVIEWS
    answer = Totals

    def run(self, view: View) -> Totals:
        """Count everything by its worst check."""
        checks = view.every(CHECKS)
        of_nodes: dict[str, list[str]] = {}
        of_instances: dict[tuple[str, str], list[str]] = {}
        by_name: dict[str, list[str]] = {}
        for check in checks:
            node = check.node.lower()
            if check.service_id:
                of_instances.setdefault((node, check.service_id), []).append(check.status)
            else:
                of_nodes.setdefault(node, []).append(check.status)
            by_name.setdefault(check.name or check.id, []).append(check.status)
        nodes = [_worst(of_nodes.get(node.name.lower(), [])) for node in view.every(NODES)]
        services: dict[str, list[str]] = {}
        for row in view.every(SERVICES):
            node = row.node.lower()
            statuses = of_nodes.get(node, []) + of_instances.get((node, row.id), [])
            services.setdefault(row.name, []).append(_worst(statuses))
        return Totals(
            tally("", nodes),
            [tally(name, services[name]) for name in sorted(services)],
            [tally(name, by_name[name]) for name in sorted(by_name)],
        )


def _worst(statuses: Iterable[str]) -> str:
    found = set(statuses)
    return "critical" if "critical" in found else "warning" if "warning" in found else "passing"


class Amounts(msgspec.Struct, frozen=True):
    """How much a datacenter has registered."""

    nodes: int
    services: int
    instances: int
    billable: int
    """Instances that are no proxies, no gateways and no servers."""
    connect: dict[str, int]
    """Instances in the mesh, by kind."""


class Usage(Query[Amounts], frozen=True, tag="overview.usage"):
    """How much is registered."""

    needs: ClassVar[int] = OVERVIEWS
    answer = Amounts

    def run(self, view: View) -> Amounts:
        """Count rows."""
        rows = view.every(SERVICES)
        connect = dict.fromkeys((*GATEWAYS, NATIVE, PROXY), 0)
        for row in rows:
            if row.kind in connect:
                connect[row.kind] += 1
            if row.native:
                connect[NATIVE] += 1
        billable = sum(not row.kind and row.name.lower() != UNBILLED for row in rows)
        names = {row.name.lower() for row in rows}
        return Amounts(len(view.every(NODES)), len(names), len(rows), billable, connect)
