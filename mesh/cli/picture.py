"""What the demo's cluster looks like from outside, and what differs from a moment ago."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple

from mesh.cli import resolver
from mesh.cli.compose import Process
from mesh.client import Client, ReadOptions, Settings
from mesh.errors import MeshError

HTTP_PORT = 8500
DNS_PORT = 8600
SHOP_PORT = 8080
ANSWER_SECONDS = 1.0
# The servers register themselves; the demo is about the rest.
OWN_SERVICES = {"mesh", "consul"}
STALE = ReadOptions(consistency="stale")
WATCHED = "payments"
DOMAIN = "mesh"
NO_ANSWER = "no answer"


class Member(NamedTuple):
    """A node, as gossip sees it."""

    name: str
    address: str
    kind: str
    state: str


class Instance(NamedTuple):
    """One instance of a service."""

    service: str
    id: str
    address: str
    health: str
    reason: str


class Edge(NamedTuple):
    """Whether one service gets through to another by their sidecars."""

    source: str
    destination: str
    state: str
    """open, denied or broken."""
    said: str
    """What the called one answered, or why nothing came."""


class Picture(NamedTuple):
    """The cluster at one moment. What could not be asked is empty."""

    leader: str = ""
    asked: str = ""
    """The node that told members and services; empty when nobody answers."""
    members: tuple[Member, ...] = ()
    instances: tuple[Instance, ...] = ()
    dns: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Node, response code or error, and the instances in the answer, sorted."""
    edges: tuple[Edge, ...] = ()

    def agrees_on(self, count: int) -> bool:
        """True when there is a leader and every node's DNS names so many instances."""
        return bool(
            self.leader and self.dns and all(len(found) == count for _, _, found in self.dns)
        )

    def after(self, seen: Picture) -> Picture:
        """What is known with `seen` too: who is there stays as it was when nobody tells."""
        if seen.asked:
            return seen
        return self._replace(leader="", dns=seen.dns, edges=seen.edges)


class Observer:
    """Asks the nodes of the cluster, as any client would."""

    def __init__(self, nodes: Sequence[Process], callers: Sequence[Process]) -> None:
        """`callers` are the processes that ask another service by their sidecar."""
        self._nodes, self._callers = list(nodes), list(callers)
        self._clients = {
            node.name: Client(
                Settings(address=f"{node.address}:{HTTP_PORT}", timeout_seconds=ANSWER_SECONDS)
            )
            for node in nodes
        }

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def look(self) -> Picture:
        """Ask everybody. Who does not answer is left out."""
        edges = tuple(_edge(process) for process in self._callers)
        picture = Picture(leader=self._leader(), dns=tuple(self._dns()), edges=edges)
        # Agents first: what they know is what the services on them see.
        for node in sorted(self._nodes, key=lambda node: node.is_server):
            client = self._clients[node.name]
            try:
                return picture._replace(
                    asked=node.name,
                    members=tuple(self._members(client)),
                    instances=tuple(self._instances(client)),
                )
            except MeshError:
                continue
        return picture

    def _leader(self) -> str:
        for client in self._clients.values():
            try:
                address = client.status.leader().rpartition(":")[0]
            except MeshError:
                continue
            if name := next((one.name for one in self._nodes if one.address == address), address):
                return name
        return ""

    def _members(self, client: Client) -> Iterator[Member]:
        for member in sorted(client.agent.members(), key=lambda member: member.name):
            kind = "server" if member.is_server else "agent"
            yield Member(member.name, member.address, kind, member.state)

    def _instances(self, client: Client) -> Iterator[Instance]:
        names = client.catalog.services(STALE).value
        for name in sorted(set(names) - OWN_SERVICES):
            for instance in client.health.service(name, options=STALE).value:
                failing = [one for one in instance.checks if one.status != "passing"]
                yield Instance(
                    name,
                    instance.service.id,
                    f"{instance.address}:{instance.service.port}",
                    instance.status,
                    failing[0].output.strip().partition("\n")[0] if failing else "",
                )

    def _dns(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        for node in self._nodes:
            try:
                answer = resolver.ask((node.address, DNS_PORT), f"{WATCHED}.service.{DOMAIN}")
            except MeshError:
                yield node.name, NO_ANSWER, ()
            else:
                yield node.name, answer.code, tuple(sorted(answer.instances))


def _edge(process: Process) -> Edge:
    connection = HTTPConnection(process.address, SHOP_PORT, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        said = response.read(500).decode("utf-8", "replace").strip()
    except (OSError, HTTPException) as error:
        return Edge(process.name, WATCHED, "broken", str(error) or "no answer")
    finally:
        connection.close()
    if response.status == 200:
        return Edge(process.name, WATCHED, "open", said.rpartition(": ")[2])
    state = "denied" if "RBAC" in said or "denied" in said else "broken"
    return Edge(process.name, WATCHED, state, said.rpartition(": ")[2])


def changes(old: Picture, new: Picture) -> list[str]:
    """What happened between two pictures, in words."""
    found = []
    if old.leader != new.leader:
        found.append(f"{new.leader} leads" if new.leader else "nobody leads")
    if new.asked:
        found += _member_changes(old, new)
        found += _instance_changes(old, new)
    found += _dns_changes(old, new)
    found += _edge_changes(old, new)
    return found


def _edge_changes(old: Picture, new: Picture) -> Iterator[str]:
    before = {(one.source, one.destination): one.state for one in old.edges}
    for edge in new.edges:
        if before.get((edge.source, edge.destination)) != edge.state:
            why = "" if edge.state == "open" else f" ({edge.said})"
            yield f"{edge.source} -> {edge.destination} is {edge.state}{why}"


def _member_changes(old: Picture, new: Picture) -> Iterator[str]:
    before = {member.name: member.state for member in old.members}
    after = {member.name: member.state for member in new.members}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield f"{name} joined"
        elif name not in after:
            yield f"{name} is forgotten"
        elif before[name] != after[name]:
            yield f"{name} is {after[name]}"


def _instance_changes(old: Picture, new: Picture) -> Iterator[str]:
    before = {(one.service, one.id): one for one in old.instances}
    after = {(one.service, one.id): one for one in new.instances}
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            yield f"{key[1]} is deregistered"
        elif key not in before or before[key].health != after[key].health:
            reason = f" ({after[key].reason})" if after[key].reason else ""
            yield f"{key[1]} is {after[key].health}{reason}"


def _dns_changes(old: Picture, new: Picture) -> Iterator[str]:
    before = {node: (code, found) for node, code, found in old.dns}
    moved: dict[str, list[str]] = {}
    for node, code, found in new.dns:
        if before.get(node, (NO_ANSWER, ())) != (code, found):
            count = len(found)
            said = f"{count} instance{'s' * (count != 1)}" if found else code
            moved.setdefault(said, []).append(node)
    for said, nodes in moved.items():
        yield f"DNS of {', '.join(nodes)}: {said} for {WATCHED}.service.{DOMAIN}"
