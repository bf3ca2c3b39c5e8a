"""An agent behind a real HTTP server, and a node that remembers what it was asked."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from mesh.agent.differences import Change
from mesh.agent.events import Events
from mesh.agent.explained import Asking, Explanation
from mesh.agent.local import Agent, Options
from mesh.agent.operations import (
    DampedInfo,
    GuardInfo,
    KeyAct,
    KeyringInfo,
    MemberInfo,
    MeshOperations,
    SecretsInfo,
)
from mesh.agent.reachability import Reachability, judge
from mesh.clock import SeededDice, SystemClock
from mesh.connect.acks import Acks
from mesh.connect.leaves import Leaves
from mesh.errors import Conflict, Invalid, NotFound, Unreachable
from mesh.gossip.diagnosis import Examination
from mesh.gossip.doctor import Heard, Row, Sheet
from mesh.gossip.figures import Figures
from mesh.http.options import Options as HttpOptions
from mesh.http.server import HttpServer, Parts
from mesh.telemetry.metrics import Metrics, gauge
from tests.compat.conftest import Api
from tests.registry_memory import MemoryRegistry

MEMBER = MemberInfo("n0", "10.0.0.1", 8301, {"role": "consul"}, 1, (1, 5, 2), (2, 5, 4))

SELF: dict[str, Any] = {
    "Config": {
        "Datacenter": "dc1",
        "PrimaryDatacenter": "dc1",
        "NodeName": "n0",
        "NodeID": "",
        "Revision": "",
        "Server": False,
        "Version": "1",
        "BuildDate": "",
    },
    "DebugConfig": {},
    "Coord": None,
    "Member": {
        "Name": "n0",
        "Addr": "10.0.0.1",
        "Port": 8301,
        "Tags": {},
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    },
    "Meta": {},
    "Stats": {},
}

FIGURES = Figures(
    incarnation=3, state="alive", state_seconds=60.0, rtt_seconds=0.00041, score=0, accusers=()
)


class Node:
    """The node as a whole: remembers what it was asked. The mesh is off."""

    mesh = None

    async def meshed(self) -> MeshOperations:
        raise Invalid("the mesh is off on this agent (connect.enabled)")

    def __init__(self) -> None:
        self.serial = "0A"
        self.leaves: Leaves  # Set with the registry that they ask.
        self.events = Events("n0", dict, lambda *_: 1)
        self.measured = Metrics(SystemClock())
        self.measured.add(lambda: [gauge("mesh.raft.term", 7, "Present term")])
        self.asked: list[tuple[object, ...]] = []
        self.tags = MEMBER.tags
        self.others: list[MemberInfo] = []
        self.listeners: list[Callable[[int, str, str], None]] = []

    def figures(self, wan: bool) -> dict[str, Figures]:
        return {} if wan else {"n0": FIGURES}

    def members(self, wan: bool) -> list[MemberInfo]:
        return [] if wan else [msgspec.structs.replace(MEMBER, tags=self.tags), *self.others]

    async def join(self, addresses: Sequence[str], wan: bool) -> int:
        self.asked.append(("join", *addresses, wan))
        if addresses == ["10.9.9.9"]:
            raise Unreachable("nobody there")
        return 1

    async def reach(self, seconds: float | None, relay_factor: int) -> Reachability:
        self.asked.append(("reach", seconds, relay_factor))
        return judge(["n0", "n1"], ["n0"])

    async def keyring(self, act: KeyAct, key: bytes, relay_factor: int) -> list[KeyringInfo]:
        self.asked.append(("keyring", act, key, relay_factor))
        if len(self.asked) > 3:
            raise Conflict("the gossip of this node is not encrypted: it has no keyring to change")
        messages = {"n2": "no answer in time"} if act == "remove" else {}
        return [KeyringInfo(False, "dc1", 3, {"k1": 3, "k2": 1}, {"k1": 3}, messages)]

    def shows(self, serial: str, issuer: str) -> bool:
        return (serial, issuer) == (self.serial, "")

    async def leave(self) -> None:
        self.asked.append(("leave",))

    async def force_leave(self, name: str, prune: bool, wan: bool) -> None:
        self.asked.append(("force-leave", name, prune, wan))
        if name == "none":
            raise NotFound("No node found with name 'none'")

    def guard(self) -> GuardInfo:
        damped = [DampedInfo("n2", 4.256, 1_700_000_900.0)]
        if ("release",) in self.asked:
            return GuardInfo(False, "many", "soon", damped)
        return GuardInfo(
            True,
            "many",
            "soon",
            damped,
            since=1_700_000_000.4,
            latest=1_700_000_300.0,
            vanished=3,
            pool=5,
            held=["n1"],
        )

    async def explain(self, asking: Asking) -> Explanation:
        raise Invalid(f"{asking.name}: nothing is explained here")

    async def release_guard(self) -> bool:
        released = ("release",) not in self.asked
        self.asked.append(("release",))
        return released

    async def examine_network(self, names: Sequence[str]) -> Examination:
        if "n9" in names:
            raise Invalid("n9: no such member")
        self.asked.append(("examine", *names))
        sheet = Sheet("10.0.0.2:8301", 0.0, 0, [Heard("n0", 0, 0)])
        row = Row("n1", "10.0.0.2:8301", 20, 0, None, 3, 0, 0.0012344)
        return Examination(
            asker="n0",
            total=2,
            addresses={"n0": "10.0.0.1:8301", "n1": "10.0.0.2:8301"},
            rows={"n0": [row], "n1": []},
            sheets={"n1": sheet},
            silent={"n0": "busy"},
            clocks={"n1": (0.25, 0.01)},
        )

    async def reload(self) -> list[Change]:
        self.asked.append(("reload",))
        if len(self.asked) == 1:
            return [Change("service", "web", "changed", "port", "80", "81")]
        raise Invalid("ports: expected a number")

    def secrets(self) -> SecretsInfo:
        return SecretsInfo({"tls.cert_file": 1_700_000_000.0}, 2)

    def metrics(self) -> Metrics:
        return self.measured

    def self_info(self) -> dict[str, Any]:
        return SELF

    def listen_logs(
        self, listener: Callable[[int, str, str], None], since: float = math.inf
    ) -> Callable[[], None]:
        if since < math.inf:
            listener(20, "before", "{}")
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def log(self, level: int, text: str) -> None:
        for listener in self.listeners:
            listener(level, text, f'{{"@message":"{text}"}}')


class AgentApi(Api):
    """A client of a server with an agent."""

    def __init__(self, server: HttpServer, registry: MemoryRegistry, agent: Agent) -> None:
        super().__init__(server, registry)
        self.agent, self.node = agent, Node()
        world = (SystemClock(), SeededDice(1))
        self.node.leaves = Leaves(registry, "dc1", Acks(registry, "n0", world), world)
        self.node.leaves.get_seconds = 0.5  # No test waits for servers that there are none of.
        agent.operations = self.node

    async def done(self, path: str, body: Any = b"") -> None:
        got = await self.put(path, body)
        assert (got.status, got.body) == (200, b""), got

    async def service(self, **fields: Any) -> None:
        await self.done("/v1/agent/service/register", fields)


@asynccontextmanager
async def serving(
    registry: MemoryRegistry | None = None,
    http: dict[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[AgentApi]:
    """A server with an agent, on loopback; with a registry, that is the server's only.

    The changes are of the agent's options; `http` of the edge's.
    """
    agents, world = MemoryRegistry(), (SystemClock(), SeededDice(1))
    registry = registry or agents
    node: dict[str, Any] = {"node_name": "n0", "datacenter": "dc1", "address": "10.0.0.1"}
    agent = Agent(agents, Options(node_id="", **(node | changes)), *world, cluster_size=lambda: 1)
    await agent.start()
    given = {"addresses": [("127.0.0.1", 0)], "datacenter": "dc1", "node_name": "n0"} | (http or {})
    server = HttpServer(Parts(registry, *world, agent), HttpOptions(**given))
    await server.start()
    api = AgentApi(server, registry, agent)
    await api.node.leaves.start()
    yield api
    await api.node.leaves.stop()
    await server.stop()
    await agent.stop()
