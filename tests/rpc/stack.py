"""A real server on loopback: log on disk, tables, gate, routes and the listener around them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from mesh.clock import SeededDice, SystemClock
from mesh.daemon.consensus import RaftConsensus
from mesh.daemon.encryption import secure
from mesh.raft.node import RAFT_BYTE, Node, Options, Peer
from mesh.registry.envelope import ENTRY_MAX_BYTES
from mesh.rpc import wire
from mesh.rpc.abroad import Abroad, Remote
from mesh.rpc.abroad import Options as AbroadOptions
from mesh.rpc.client import Client
from mesh.rpc.client import Options as ClientOptions
from mesh.rpc.forwarded import Forwarded
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader
from mesh.rpc.router import AgentRouter, ServerRouter
from mesh.rpc.router import Options as RouterOptions
from mesh.rpc.server import Options as RpcOptions
from mesh.rpc.server import RpcServer
from mesh.server.electorate import Changes, Electorate
from mesh.server.machine import Machine
from mesh.server.observation import Sighting
from mesh.server.operator import ServerOperator
from mesh.server.pilot import Options as PilotOptions
from mesh.server.pilot import Pilot
from mesh.tls import Credentials

WORLD = (SystemClock(), SeededDice())
HOLD = 0.4
BIG = b"x" * (ENTRY_MAX_BYTES + 1)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def client(
    call_seconds: float = 5.0,
    connect_seconds: float = 1.0,
    credentials: Credentials | None = None,
    abroad: str = "",
) -> Client:
    return Client(ClientOptions("a1", "dc1", connect_seconds, call_seconds, credentials, abroad))


class Neighbours:
    """The other datacenters that a server is told of, with the addresses of their servers."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.known: dict[str, list[Remote]] = {}

    def datacenters(self) -> list[str]:
        return [self.own, *self.known]

    def servers(self, datacenter: str) -> Sequence[Remote] | None:
        return self.known.get(datacenter)


class Stack:
    """One voter, as mesh/daemon/replica.py puts it together."""

    def __init__(
        self,
        directory: Path,
        name: str = "s1",
        hold: float = HOLD,
        credentials: Credentials | None = None,
        handshake_seconds: float = 20.0,
        *,
        datacenter: str = "dc1",
        federated: bool = True,
    ) -> None:
        self.machine = Machine()
        self.fatal: list[BaseException] = []
        self.me = Peer(name, name, "127.0.0.1:1")
        options = Options(str(directory), election_seconds=(0.2, 0.4), heartbeat_seconds=0.04)
        self.raft = Node(self.me, options, self.machine, *WORLD, self.fatal.append)
        self.client = client(credentials=credentials)
        if credentials is not None:
            secure(self.raft, credentials, lambda peer: peer.address)
        consensus = RaftConsensus(self.raft, lambda peer: peer.address)
        self.reader = LocalReader(self.machine.answers)
        self.audit: list[str] = []
        self.gate = Gate(WORLD[0], self.machine.database, audit=self.audit.append)
        self.forwarded = Forwarded(consensus, self.reader, self.gate, WORLD[1])
        self.sightings: list[Sighting] = []
        self.operate_on(self.raft)
        local = (self.reader, self.forwarded)
        self.neighbours = Neighbours(datacenter)
        self.abroad = Abroad(
            AbroadOptions(name, hold),
            self.neighbours,
            lambda there: client(2.0, credentials=credentials, abroad=there),
            WORLD,
        )
        self.router = ServerRouter(
            RouterOptions(datacenter, name, hold),
            consensus,
            local,
            self.client,
            WORLD,
            self.abroad,
        )
        self.rpc = RpcServer(
            RpcOptions(
                "127.0.0.1",
                0,
                name,
                datacenter,
                credentials,
                handshake_seconds,
                federated=federated,
            ),
            self.router,
            self.forwarded,
            {RAFT_BYTE: self.raft.serve},
        )

    def operate_on(self, node: Electorate, options: PilotOptions | None = None) -> None:
        """Have autopilot and operators act on this electorate."""
        self.changes = Changes(node)
        electorate = (node, self.changes)
        seen = self.sightings.copy
        self.pilot = Pilot(self.forwarded, electorate, seen, options or PilotOptions(), WORLD)
        reach = (self.client, lambda peer: peer.address)
        self.forwarded.operator = ServerOperator(electorate, self.pilot, seen, reach, WORLD[0])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.rpc.port}"

    @property
    def sessions(self) -> int:
        return len(self.rpc._open)

    async def listen(self) -> Stack:
        """Serve without a log."""
        await self.rpc.start()
        await self.raft.start()
        self.raft.listen(lambda _: self.reader.interrupt())
        return self

    async def start(self) -> Stack:
        """Serve and lead."""
        await self.listen()
        self.raft.bootstrap([Peer(self.me.id, self.me.name, self.address)])
        await until(self.raft.leased)
        return self

    async def stop(self) -> None:
        await self.raft.stop()
        await self.rpc.stop()
        await self.client.stop()
        await self.abroad.stop()
        assert not self.fatal


def agent(asks: Client, *servers: Stack, hold: float = HOLD) -> AgentRouter:
    """A router as an agent has it, that knows these servers."""
    options = RouterOptions("dc1", "a1", hold)
    return AgentRouter(options, lambda: [server.address for server in servers], asks, WORLD)


Serve = Callable[..., Awaitable[Stack]]


class Raw:
    """A connection whose bytes the test makes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = wire.Frames(wire.REPLY_MAX_BYTES)

    @classmethod
    async def open(
        cls, server: Stack, first: bytes = wire.RPC_BYTE, tls: ssl.SSLContext | None = None
    ) -> Raw:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.rpc.port, ssl=tls)
        writer.write(first)
        return cls(reader, writer)

    def send(self, message: wire.Request) -> None:
        self.writer.write(wire.frame(message))

    async def replies(self, count: int) -> list[wire.Reply]:
        found: list[wire.Reply] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                data = await self.reader.read(65536)
                assert data, f"closed after {found}"
                found += [wire.reply(body) for body in self._frames.feed(data)]
        return found

    async def closed(self) -> bool:
        """Wait until the server closes; whatever it sent before is dropped."""
        async with asyncio.timeout(30):
            try:
                while await self.reader.read(65536):
                    pass
            except OSError:
                pass
        self.writer.close()
        return True
