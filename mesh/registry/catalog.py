"""The catalog: nodes, service instances and checks; register and deregister them, list them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from sys import intern
from uuid import UUID

import msgspec

from mesh.codec import check_depth
from mesh.errors import Conflict, Invalid
from mesh.registry import coordinates, maintenance, sessions
from mesh.registry.checks import CHECKS as CHECKS  # noqa: PLC0414  # Part of this noun too.
from mesh.registry.checks import SERF_HEALTH as SERF_HEALTH  # noqa: PLC0414
from mesh.registry.checks import STATUSES as STATUSES  # noqa: PLC0414
from mesh.registry.checks import Check as Check  # noqa: PLC0414
from mesh.registry.checks import put_check
from mesh.registry.levels import FILTERED, LOCALITIES, SEQUENCED
from mesh.registry.nodes import NODES as NODES  # noqa: PLC0414  # Part of this noun too.
from mesh.registry.nodes import Locality as Locality  # noqa: PLC0414
from mesh.registry.nodes import Node as Node  # noqa: PLC0414
from mesh.registry.port import Command, Query
from mesh.registry.services import SERVICES as SERVICES  # noqa: PLC0414
from mesh.registry.services import Service as Service  # noqa: PLC0414
from mesh.registry.services import TaggedAddress as TaggedAddress  # noqa: PLC0414
from mesh.registry.services import Weights as Weights  # noqa: PLC0414
from mesh.store.database import Transaction, View

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""What a name must be to be asked for in DNS, as one label."""


class NodeServices(msgspec.Struct, frozen=True):
    """A node and its instances, ordered by id."""

    node: Node
    services: list[Service]


class ServiceNode(msgspec.Struct, frozen=True):
    """An instance with the node it runs on."""

    node: Node
    service: Service


class Nodes(Query[list[Node]], frozen=True, tag="catalog.nodes"):
    """Every node, ordered by name."""

    answer = list[Node]

    def run(self, view: View) -> list[Node]:
        """Read the table."""
        return view.every(NODES)


class NodeNamed(Query[NodeServices | None], frozen=True, tag="catalog.node"):
    """A node by name, or by a prefix of its id of at least two characters if only one has it."""

    answer = NodeServices | None
    name: str

    def run(self, view: View) -> NodeServices | None:
        """Find the node, then its instances."""
        node = view.get(NODES, self.name.lower()) or self._by_id(view)
        if node is None:
            return None
        return NodeServices(node, view.select(SERVICES, "node", node.name.lower()))

    def _by_id(self, view: View) -> Node | None:
        prefix = self.name.lower()
        if len(prefix) < 2 or not re.fullmatch(r"[0-9a-f-]+", prefix):
            return None
        found = [node for node in view.every(NODES) if node.id.startswith(prefix)]
        return found[0] if len(found) == 1 else None


class Services(Query[dict[str, list[str]]], frozen=True, tag="catalog.services"):
    """Every service name with the tags its instances have, both in order.

    With node_meta, only instances on nodes that have all these pairs.
    """

    answer = dict[str, list[str]]
    node_meta: tuple[tuple[str, str], ...] = ()

    def run(self, view: View) -> dict[str, list[str]]:
        """Collect the tags of every instance; those of each name are a part of their own."""
        if self.node_meta:
            rows = view.every(SERVICES)
            nodes = (view.get(NODES, row.node.lower()) for row in rows)
            found = _tags(row for row, node in zip(rows, nodes, strict=True) if self._matches(node))
        else:
            found = {}
            for name in view.values(SERVICES, "name"):
                found |= view.part(_Tags(name))
        return {name: found[name] for name in sorted(found)}

    def _matches(self, node: Node | None) -> bool:
        return node is not None and all(
            node.meta.get(key) == value for key, value in self.node_meta
        )


class _Tags(msgspec.Struct, frozen=True):
    """The tags of the services of this name, which is in lower case, by how each spells it."""

    name: str

    def run(self, view: View) -> dict[str, list[str]]:
        """Collect them."""
        return _tags(view.select(SERVICES, "name", self.name))


def _tags(rows: Iterable[Service]) -> dict[str, list[str]]:
    tags: dict[str, set[str]] = {}
    for row in rows:
        tags.setdefault(row.name, set()).update(row.tags)
    return {name: sorted(found) for name, found in tags.items()}


class ServiceNodes(Query[list[ServiceNode]], frozen=True, tag="catalog.service"):
    """The instances of a service, healthy or not, with their nodes."""

    answer = list[ServiceNode]
    service: str

    def run(self, view: View) -> list[ServiceNode]:
        """Join instances with nodes."""
        found = []
        for service in view.select(SERVICES, "name", self.service.lower()):
            node = view.get(NODES, service.node.lower())
            assert node is not None, "an instance has a node"
            found.append(ServiceNode(node, service))
        return found


class Everything(Query[list[ServiceNode]], frozen=True, tag="catalog.instances"):
    """Every instance of every service, with its node, ordered by node and id."""

    answer = list[ServiceNode]
    needs = FILTERED

    def run(self, view: View) -> list[ServiceNode]:
        """Join the tables."""
        nodes = {node.name.lower(): node for node in view.every(NODES)}
        return [ServiceNode(nodes[one.node.lower()], one) for one in view.every(SERVICES)]


class AddressOwner(msgspec.Struct, frozen=True):
    """Who has an address: a node, else the service of an instance, else nobody."""

    node: str = ""
    service: str = ""
    datacenter: str = ""

    def __bool__(self) -> bool:
        """Whether it is anybody."""
        return bool(self.node or self.service)


class Owner(Query[AddressOwner], frozen=True, tag="catalog.owner"):
    """Who has this IP address, for reverse DNS."""

    answer = AddressOwner
    address: str

    def run(self, view: View) -> AddressOwner:
        """Look for a node first, then for an instance."""
        for node in view.select(NODES, "address", self.address.lower()):
            return AddressOwner(node=node.name, datacenter=node.datacenter)
        for service in view.select(SERVICES, "address", self.address.lower()):
            return AddressOwner(service=service.name)
        return AddressOwner()


def check_uuid(field: str, value: str) -> None:
    """Raise Invalid, naming the field, unless the value is empty or a UUID."""
    if not value:
        return
    try:
        UUID(value)
    except ValueError as error:
        raise Invalid(f'{field}: expected a UUID, got "{value}"') from error


def _refuse_reserved(field: str, check_id: str) -> None:
    if check_id.startswith(maintenance.CLUSTER_MAINTENANCE):
        raise Invalid(
            f"{field}: {check_id} belongs to cluster-wide maintenance, which is begun and ended at "
            "/v1/maintenance or with meshctl maint"
        )


class Register(Command[bool], frozen=True, tag="catalog.register"):
    """Write a node, an instance on it and checks. What is not mentioned stays.

    `Service.node` and `Check.node` may be empty: they are the node's. With skip_node_update an
    existing node keeps its row.
    """

    result = bool
    node: Node
    service: Service | None = None
    checks: list[Check] = []
    skip_node_update: bool = False

    def validate(self) -> None:
        """Names, address, id and status must make sense."""
        if not self.node.name:
            raise Invalid("Node: must not be empty")
        if not self.node.address and not self.skip_node_update:
            raise Invalid("Address: must not be empty unless SkipNodeUpdate is set")
        check_uuid("ID", self.node.id)
        if self.service is not None and not self.service.name:
            raise Invalid("Service.Service: a service needs a name")
        if self.service is not None:
            check_depth("Service.Proxy", self.service.proxy)
            check_depth("Service.Connect", self.service.connect)
        for check in self.checks:
            if not check.id and not check.name:
                raise Invalid("Check: needs a CheckID or a Name")
            if check.node and check.node.lower() != self.node.name.lower():
                raise Invalid(
                    f'Check.Node: "{check.node}" is not the node registered, "{self.node.name}"'
                )
            _refuse_reserved("Check.CheckID", check.id or check.name)
            check_depth("Check.Definition", check.definition)
            if check.status not in STATUSES:
                raise Invalid(
                    f'Check.Status: expected one of {", ".join(STATUSES)}, got "{check.status}"'
                )

    def at(self, level: int) -> Register:
        """No sequence of checks below level 3, no locality below 4: older programs know neither."""
        if level >= LOCALITIES:
            return self
        node, service = self.node, self.service
        if node.locality is not msgspec.UNSET:
            node = msgspec.structs.replace(node, locality=msgspec.UNSET)
        if service is not None and service.locality is not msgspec.UNSET:
            service = msgspec.structs.replace(service, locality=msgspec.UNSET)
        checks = self.checks
        if level < SEQUENCED and any(one.sequence is not msgspec.UNSET for one in checks):
            checks = [msgspec.structs.replace(one, sequence=msgspec.UNSET) for one in checks]
        if node is self.node and service is self.service and checks is self.checks:
            return self
        return msgspec.structs.replace(self, node=node, service=service, checks=checks)

    def apply(self, transaction: Transaction) -> bool:
        """Write node, instance, then checks."""
        node, service = self._put_node(transaction), self.service
        if service is not None:
            service = msgspec.structs.replace(
                service, node=node.name, id=service.id or service.name
            )
            transaction.put(SERVICES, service)
            _rename_checks(transaction, service)
        for check in self.checks:
            _put_check(transaction, node, check)
        if transaction.every(maintenance.TABLE):
            maintenance.cover(transaction, node, [service] if service is not None else [])
        return True

    def _put_node(self, transaction: Transaction) -> Node:
        key = self.node.name.lower()
        old = transaction.get(NODES, key)
        if old is not None and self.skip_node_update:
            return old
        if not self.node.address:
            raise Invalid(f"Address: node {self.node.name} is new and needs one")
        if old is not None and old.id and self.node.id and old.id != self.node.id:
            _refuse_impostor(transaction, old)
        if self.node.id:
            for other in transaction.select(NODES, "id", self.node.id.lower()):
                if other.name.lower() != key:
                    remove_node(transaction, other.name)
        node = self.node
        if old is not None and old.id and not node.id:
            node = msgspec.structs.replace(node, id=old.id)
        return transaction.put(NODES, node)


def _refuse_impostor(transaction: Transaction, old: Node) -> None:
    serf = transaction.get(CHECKS, (old.name.lower(), SERF_HEALTH))
    if serf is not None and serf.status != "critical":
        raise Conflict(
            f"node name {old.name} is taken by a live node with id {old.id}; choose another name"
        )


def _rename_checks(transaction: Transaction, service: Service) -> None:
    for check in transaction.select(CHECKS, "instance", (service.node.lower(), service.id)):
        transaction.put(
            CHECKS,
            msgspec.structs.replace(check, service_name=service.name, service_tags=service.tags),
        )


def _put_check(transaction: Transaction, node: Node, check: Check) -> None:
    name, tags, owner = "", list[str](), ""
    if check.service_id:
        service = transaction.get(SERVICES, (node.name.lower(), check.service_id))
        if service is None:
            raise Invalid(
                f'Check.ServiceID: node {node.name} has no service with the id "{check.service_id}"'
            )
        name, tags, owner = service.name, service.tags, service.id
    check = msgspec.structs.replace(
        check,
        node=node.name,
        id=check.id or check.name,
        # Texts that others hold already: less memory, and whoever reads the rows meets one of each.
        status=intern(check.status),
        service_id=owner,
        service_name=name,
        service_tags=tags,
    )
    check = put_check(transaction, sessions.judged(transaction, check))
    if check.status == "critical":
        sessions.check_failed(transaction, check)


def _delete_check(transaction: Transaction, check: Check) -> None:
    transaction.delete(CHECKS, CHECKS.key(check))
    sessions.check_failed(transaction, check)


def remove_node(transaction: Transaction, name: str) -> None:
    """Delete a node with its sessions, instances, checks and coordinate."""
    key = name.lower()
    sessions.node_left(transaction, key)
    transaction.delete(coordinates.TABLE, key)
    for check in transaction.select(CHECKS, "node", key):
        transaction.delete(CHECKS, CHECKS.key(check))
    for service in transaction.select(SERVICES, "node", key):
        transaction.delete(SERVICES, SERVICES.key(service))
    transaction.delete(NODES, key)


class Deregister(Command[bool], frozen=True, tag="catalog.deregister"):
    """Delete an instance with its checks, or one check, or the whole node. Absent is fine."""

    result = bool
    node: str
    service_id: str = ""
    check_id: str = ""

    def validate(self) -> None:
        """A node is needed, and a check that it may be asked to delete."""
        if not self.node:
            raise Invalid("Node: must not be empty")
        _refuse_reserved("CheckID", self.check_id)

    def apply(self, transaction: Transaction) -> bool:
        """A service id beats a check id."""
        node = self.node.lower()
        if self.service_id:
            for check in transaction.select(CHECKS, "instance", (node, self.service_id)):
                _delete_check(transaction, check)
            transaction.delete(SERVICES, (node, self.service_id))
        elif self.check_id:
            found = transaction.get(CHECKS, (node, self.check_id))
            if found is not None:
                _delete_check(transaction, found)
        else:
            remove_node(transaction, node)
        return True
