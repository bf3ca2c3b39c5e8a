"""A replica: what makes a node a server, the log, the tables and the port others reach them at."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mesh.config.addresses import advertised
from mesh.daemon import options
from mesh.daemon.consensus import RaftConsensus
from mesh.daemon.ground import Ground
from mesh.daemon.membership import bootstrap
from mesh.raft.epochs import cluster_id
from mesh.raft.node import RAFT_BYTE, Peer
from mesh.raft.node import Node as RaftNode
from mesh.registry.levels import LOWEST
from mesh.registry.port import Registry
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader
from mesh.rpc.router import Forwarded, ServerRouter
from mesh.rpc.router import Options as RouterOptions
from mesh.rpc.server import Options as RpcOptions
from mesh.rpc.server import RpcServer
from mesh.rpc.servers import ServerTags, endpoint
from mesh.server.bootstrap import Bootstrap, Candidate
from mesh.server.leader import Leader
from mesh.server.machine import Machine
from mesh.tasks import Tasks

log = logging.getLogger(__name__)


class Replica:
    """The server part of a node."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._tasks = Tasks(on_fatal=ground.fatal)
        self._members_changed = asyncio.Event()
        self.level_max = ground.config.upgrade.level_max
        self.machine = Machine(self.level_max)
        self.machine.on_level = self._level_changed
        self._stops: list[Callable[[], Awaitable[None]]] = [self._tasks.stop]
        self.raft: RaftNode
        self._proposal = ""

    async def start(self, routing: RouterOptions) -> Registry:
        """Read the log, listen on the server port; the registry answers from then on."""
        ground, config = self._ground, self._ground.config
        world = (ground.clock, ground.dice)
        self.rpc_port = config.ports.server
        address = advertised(config)
        me = Peer(ground.node_id, config.node_name, endpoint(address, self.rpc_port))
        directory = ground.directory.folder("raft")
        self.raft = RaftNode(
            me,
            options.raft(config, directory),
            self.machine,
            *world,
            ground.fatal,
        )
        self.raft.resolve = self._find
        consensus = RaftConsensus(self.raft, self._find)
        reader = LocalReader(self.machine.answers)
        gate = Gate(ground.clock, self.machine.database, self._speaking, self.level_max)
        forwarded = Forwarded(consensus, reader, gate, ground.dice)
        router = ServerRouter(routing, consensus, (reader, forwarded), ground.client, world)
        self.rpc = RpcServer(
            RpcOptions(config.bind_addr, self.rpc_port, config.node_name, config.datacenter),
            router,
            forwarded,
            {RAFT_BYTE: self.raft.serve},
        )
        self._stops += [self.raft.stop, self.rpc.stop]
        # Listening first tells a second process on the same port apart before any file is read.
        await self.rpc.start()
        self.rpc_port = self.rpc.port
        await self.raft.start()
        self.leader = Leader(forwarded, consensus, ground.membership.seen, world)

        followed = ""

        def leadership_changed(leader: Peer | None) -> None:
            nonlocal followed
            reader.interrupt()
            now = self._find(leader) if leader is not None else ""
            if followed and followed != now:
                # What was forwarded to it may never be answered: it is asked again elsewhere.
                ground.client.forget(followed)
            followed = now
            self.leader.wake()

        self.raft.listen(leadership_changed)
        return router

    def join_pool(self) -> None:
        """Show this server in gossip, and help to start the cluster if there is none yet."""
        self._show()
        self._tasks.start(self.leader.run(), name="leader duties", fatal=True)
        if self.raft.bootstrapped:
            return
        config = self._ground.config
        expect = 1 if config.bootstrap or config.dev else config.bootstrap_expect
        agreement = Bootstrap(self._ground.node_id, expect, cluster_id)
        look = (agreement, self._ground.membership)
        self._tasks.start(
            bootstrap(self._propose, self._begin, look, self._members_changed),
            name="bootstrap",
            fatal=True,
        )

    def members_changed(self) -> None:
        """Membership changed: the leader reconciles, bootstrap looks again."""
        self._members_changed.set()
        self.leader.wake()

    def _propose(self, proposal: str) -> None:
        self._proposal = proposal
        self._show()

    def _begin(self, voters: Sequence[Candidate]) -> None:
        self.raft.bootstrap([Peer(voter.id, voter.name, voter.address) for voter in voters])
        self._show()

    def _show(self) -> None:
        config = self._ground.config
        expect = 1 if config.bootstrap or config.dev else config.bootstrap_expect
        shown = ServerTags(
            id=self._ground.node_id,
            datacenter=config.datacenter,
            port=self.rpc_port,
            expect=expect,
            proposal=self._proposal,
            cluster=self.raft.cluster_id,
            level_min=LOWEST,
            level_max=self.level_max,
        )
        self._ground.gossip.set_tags(shown.tags())

    def _speaking(self) -> dict[str, int]:
        return self._ground.membership.speaking(self.raft.voters)

    def _level_changed(self, level: int) -> None:
        # Before anything of that level is written here: an older program must not start on it.
        self._ground.directory.raise_level(level)
        log.info("feature level is %d", level)

    def _find(self, peer: Peer) -> str:
        for member, tags in self._ground.membership.servers():
            if tags.id == peer.id:
                return endpoint(member.address, tags.port)
        return peer.address

    async def stop(self) -> None:
        """Stop the duties, the log, then the port."""
        for stop in self._stops:
            await stop()
