"""Reconcile: what the leader writes so that the catalog says what gossip knows of members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from mesh.registry.catalog import SERF_HEALTH, Check, Deregister, Node, Register, Service
from mesh.registry.health import DAMPED
from mesh.registry.port import Command

SERVER_SERVICE = "mesh"
ALIVE = "Agent alive and reachable"
FAILED = "Agent not live or unreachable"
FROZEN = "Agent not live or unreachable, but so are many: kept by the mass-failure guard"
State: TypeAlias = Literal["alive", "failed", "left", "frozen", "damped"]
"""Frozen: failed with so many others that it is to stay as it was. Damped: alive, and failed so
often lately that it is to stay out."""


class Seen(msgspec.Struct, frozen=True):
    """A member of the pool."""

    name: str
    id: str
    address: str
    datacenter: str
    status: State
    server_port: int = 0
    """Above 0 for servers."""


class Recorded(msgspec.Struct, frozen=True):
    """What the catalog says of members: nodes, their gossip checks, the servers' own service."""

    nodes: list[Node]
    checks: list[Check]
    servers: list[Service]


class Absence:
    """How long members of the catalog have been missing from the pool, as far as this leader saw.

    Servers that restarted meet the others again one by one: who is not there yet is given time,
    then taken for failed, and forgotten only after as long as a failed member is.
    """

    def __init__(self, grace_seconds: float, forget_seconds: float) -> None:
        self._grace, self._forget = grace_seconds, forget_seconds
        self._since: dict[str, float] = {}

    def judge(self, missing: Iterable[str], now: float) -> dict[str, Literal["failed", "left"]]:
        """The missing that count as failed or left by now (monotonic seconds)."""
        self._since = {name: self._since.get(name, now) for name in missing}
        verdicts: dict[str, Literal["failed", "left"]] = {}
        for name, since in self._since.items():
            if now - since >= self._forget:
                verdicts[name] = "left"
            elif now - since >= self._grace:
                verdicts[name] = "failed"
        return verdicts


def missing(members: Iterable[Seen], recorded: Recorded) -> list[str]:
    """Nodes with a gossip check that the pool does not know, in lower case."""
    known = {member.name.lower() for member in members}
    return sorted({check.node.lower() for check in recorded.checks} - known)


def plan(
    members: Iterable[Seen],
    recorded: Recorded,
    absent: Mapping[str, Literal["failed", "left"]],
) -> list[Command[Any]]:
    """The commands that make the catalog right, ordered by node; none when it is.

    `absent` says what to make of members missing from the pool; those it does not name stay as
    they are. Nodes registered without a gossip check belong to somebody outside the pool.
    """
    seen = {member.name.lower(): member for member in members}
    nodes = {node.name.lower(): node for node in recorded.nodes}
    checks = {check.node.lower(): check for check in recorded.checks}
    servers = {service.node.lower(): service for service in recorded.servers}
    commands: list[Command[Any]] = []
    for key in sorted({*seen, *checks}):
        member, check, node = seen.get(key), checks.get(key), nodes.get(key)
        status = member.status if member else absent.get(key)
        # An agent that leaves may have written its node again after the check was gone.
        own = member is not None and node is not None and node.id == member.id
        if member is not None and status == "alive":
            commands += _alive(member, node, check, servers.get(key))
        elif member is not None and status == "damped":
            commands += _damped(member, node, check, servers.get(key))
        elif status == "frozen" and check is not None and _fell(check):
            # It failed as one of the first, before it was clear that it was one of many.
            commands.append(_say(check, "passing", FROZEN))
        elif status == "left" and (check is not None or own):
            commands.append(Deregister(node=node.name if node else key))
        elif status == "failed" and check is not None and check.status != "critical":
            commands.append(_say(check, "critical", FAILED))
    return commands


def _fell(check: Check) -> bool:
    """Whether it is out because it failed; who was damped was out before."""
    return check.status == "critical" and check.output != DAMPED


def _say(check: Check, status: str, output: str) -> Register:
    changed = msgspec.structs.replace(check, status=status, output=output)
    return Register(node=Node(name=check.node), checks=[changed], skip_node_update=True)


def _damped(
    member: Seen, node: Node | None, check: Check | None, service: Service | None
) -> list[Command[Any]]:
    """All of it is in the catalog, but out of discovery."""
    written = _register(member, node, service)
    same = written.skip_node_update and written.service is None
    if same and check is not None and (check.status, check.output) == ("critical", DAMPED):
        return []
    critical = msgspec.structs.replace(written.checks[0], status="critical", output=DAMPED)
    return [msgspec.structs.replace(written, checks=[critical])]


def _alive(
    member: Seen, node: Node | None, check: Check | None, service: Service | None
) -> list[Command[Any]]:
    written = _register(member, node, service)
    healthy = check is not None and check.status == "passing" and check.output != FROZEN
    if healthy and written.skip_node_update and written.service is None:
        return []
    return [written]


def _register(member: Seen, node: Node | None, service: Service | None) -> Register:
    wanted = None
    if member.server_port and (service is None or service.port != member.server_port):
        wanted = Service(
            node=member.name, id=SERVER_SERVICE, name=SERVER_SERVICE, port=member.server_port
        )
    same = node is not None and (node.id, node.address) == (member.id, member.address)
    fresh = Check(
        node=member.name,
        id=SERF_HEALTH,
        name="Serf Health Status",
        status="passing",
        output=ALIVE,
    )
    row = Node(name=member.name, id=member.id, address=member.address, datacenter=member.datacenter)
    if node is not None:
        row = msgspec.structs.replace(node, id=member.id, address=member.address)
    return Register(node=row, service=wanted, checks=[fresh], skip_node_update=same)


def describe(command: Command[Any]) -> str:
    """One line for the log."""
    if isinstance(command, Register):
        return f"node {command.node.name} is {command.checks[0].status}"
    if isinstance(command, Deregister):
        return f"node {command.node} is removed"
    return type(command).__name__
