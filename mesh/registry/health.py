"""Health: the checks of nodes and services, and the instances of a service with theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from mesh.registry.catalog import CHECKS, NODES, SERVICES, Check, Node, Service
from mesh.registry.levels import OVERVIEWS
from mesh.registry.maintenance import CLUSTER_MAINTENANCE
from mesh.registry.port import Query
from mesh.store.database import View

NODE_MAINTENANCE = "_node_maintenance"
SERVICE_MAINTENANCE = "_service_maintenance:"
_MAINTENANCE = (SERVICE_MAINTENANCE, CLUSTER_MAINTENANCE)
RAFT_HEALTH = "mesh-raft"
GOSSIP_HEALTH = "mesh-gossip"
"""Says that removals are frozen. It is shown with its node, and decides no instance's health: or
the guard, which warns on many nodes at once, would take out of discovery what it means to keep."""
SNAPSHOT_HEALTH = "mesh-snapshots"
"""Says that the leader's snapshots fail. What runs beside it is no worse for that."""
CA_HEALTH = "mesh-ca"
"""Says that the root of the mesh ends, or is not cared for. What runs beside it is no worse yet."""
LEAF_HEALTH = "mesh-leaf"
"""With the id of an instance after a colon: its certificate in the mesh ends soon, or has ended."""
ASIDE = frozenset({GOSSIP_HEALTH, SNAPSHOT_HEALTH, CA_HEALTH})
"""Checks of a node that decide no instance's health."""


DAMPED = "Agent alive, but it failed again and again: left out until it has been quiet for a while"
"""The output of a member's gossip check while flap damping leaves it out."""


class Instance(msgspec.Struct, frozen=True, gc=False):
    """An instance, its node, and the checks that decide its health: the node's and its own."""

    node: Node
    service: Service
    checks: list[Check]

    @property
    def status(self) -> str:
        """The worst of its checks: maintenance, critical, warning or passing."""
        return worst(self.checks)


def worst(checks: Iterable[Check]) -> str:
    """Aggregate checks: maintenance > critical > warning > passing; none at all is passing."""
    found = "passing"
    for check in checks:
        identity, status = check.id, check.status
        if identity[:1] == "_" and (
            identity == NODE_MAINTENANCE or identity.startswith(_MAINTENANCE)
        ):
            return "maintenance"
        if status != "passing" and (status == "critical" or found == "passing"):
            found = status
    return found


class Instances(Query[list[Instance]], frozen=True, tag="health.instances"):
    """The instances of a service with their health, ordered by node and id.

    The one shared answer behind DNS and `/v1/health/service`: tags, health and distance are
    filtered by whoever asks.
    """

    answer = list[Instance]
    service: str

    def run(self, view: View) -> list[Instance]:
        """Join instances, nodes and checks."""
        name = self.service.lower()
        rows = view.items(SERVICES, "name", name)
        if not rows:
            return []
        # All at once: an answer that rests on fewer buckets costs less.
        own: dict[str, list[Check]] = {}
        for (on, identity), check in view.items(CHECKS, "service", name):
            if identity in ASIDE:
                continue
            if on in own:
                own[on].append(check)
            else:
                own[on] = [check]
        found = []
        nodes = view.joined(SERVICES, name, [key[0] for key, _ in rows])
        for ((on, identity), service), (node, checks, _) in zip(rows, nodes, strict=True):
            deciding = [check for check in checks if check.id not in ASIDE] if checks else []
            for check in own.get(on, ()):
                if check.service_id == identity:
                    deciding.append(check)  # noqa: PERF401  (a call costs more, for one or two)
            found.append(Instance(node, service, deciding))
        return found


def with_checks(view: View, service: Service) -> Instance:
    """An instance with its node and the checks that decide its health."""
    own = view.select(CHECKS, "instance", (service.node.lower(), service.id))
    return _joined(view, service, own)


def _joined(view: View, service: Service, own: list[Check]) -> Instance:
    name = service.node.lower()
    node = view.get(NODES, name)
    assert node is not None, "an instance has a node"
    checks = view.select(CHECKS, "instance", (name, "")) + own
    return Instance(node, service, [check for check in checks if check.id not in ASIDE])


class Connected(Query[list[Instance]], frozen=True, tag="health.connected"):
    """The instances by which the mesh reaches a service: its sidecars, and itself where native."""

    needs: ClassVar[int] = OVERVIEWS
    answer = list[Instance]
    service: str

    def run(self, view: View) -> list[Instance]:
        """Join instances, nodes and checks."""
        rows = view.select(SERVICES, "connect", self.service.lower())
        return [with_checks(view, row) for row in rows]


class OfKind(Query[list[Instance]], frozen=True, tag="health.of-kind"):
    """The instances of one kind, such as `mesh-gateway`."""

    needs: ClassVar[int] = OVERVIEWS
    answer = list[Instance]
    kind: str

    def run(self, view: View) -> list[Instance]:
        """Join instances, nodes and checks."""
        rows = [row for row in view.every(SERVICES) if row.kind == self.kind]
        return [with_checks(view, row) for row in rows]


class NodeChecks(Query[list[Check]], frozen=True, tag="health.node"):
    """Every check on a node, of its services too."""

    answer = list[Check]
    node: str

    def run(self, view: View) -> list[Check]:
        """Read the node's bucket."""
        return view.select(CHECKS, "node", self.node.lower())


class ServiceChecks(Query[list[Check]], frozen=True, tag="health.service-checks"):
    """The checks of a service's instances, without those of their nodes."""

    answer = list[Check]
    service: str

    def run(self, view: View) -> list[Check]:
        """Read the service's bucket."""
        return view.select(CHECKS, "service", self.service.lower())


class ChecksInState(Query[list[Check]], frozen=True, tag="health.state"):
    """Every check with this status; `any` means all."""

    answer = list[Check]
    status: str

    def run(self, view: View) -> list[Check]:
        """Read the status' bucket."""
        if self.status == "any":
            return view.every(CHECKS)
        return view.select(CHECKS, "status", self.status)


class GossipChecks(Query[list[Check]], frozen=True, tag="health.gossip"):
    """The check that says of each member whether gossip holds it for alive."""

    answer = list[Check]

    def run(self, view: View) -> list[Check]:
        """Read their bucket."""
        return view.select(CHECKS, "gossip", "")
