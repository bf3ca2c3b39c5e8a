"""A replica: what makes a node a server, the log, the tables and the port others reach them at."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from mesh.agent.events import PREFIX
from mesh.config.addresses import advertised
from mesh.daemon import options
from mesh.daemon.consensus import RaftConsensus
from mesh.daemon.encryption import enforce, secure, spares
from mesh.daemon.ground import Ground
from mesh.daemon.membership import bootstrap
from mesh.errors import MeshError
from mesh.raft.epochs import cluster_id
from mesh.raft.journal import save_durably
from mesh.raft.node import RAFT_BYTE, Peer
from mesh.raft.node import Node as RaftNode
from mesh.raft.packer import unhurried
from mesh.registry.levels import LOWEST, level_of
from mesh.registry.orders import Datacenters, DefaultAllow, FireEvent, RemovePeer
from mesh.registry.port import Registry
from mesh.registry.sessions import ttl_at_least
from mesh.rpc.abroad import Abroad
from mesh.rpc.abroad import Options as AbroadOptions
from mesh.rpc.client import Client
from mesh.rpc.client import Options as ClientOptions
from mesh.rpc.forwarded import Forwarded
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader
from mesh.rpc.router import Options as RouterOptions
from mesh.rpc.router import ServerRouter
from mesh.rpc.server import Options as RpcOptions
from mesh.rpc.server import RpcServer
from mesh.rpc.servers import ServerTags, endpoint
from mesh.server.authority import Authority
from mesh.server.bootstrap import Bootstrap, Verdict
from mesh.server.caretaker import Caretaker
from mesh.server.cartographer import Cartographer
from mesh.server.electorate import Changes
from mesh.server.expiry import Expiry
from mesh.server.founding import Founding
from mesh.server.historian import Historian
from mesh.server.janitor import Janitor
from mesh.server.leader import Leader
from mesh.server.machine import Machine
from mesh.server.observation import followers
from mesh.server.operator import ServerOperator
from mesh.server.pilot import Pilot
from mesh.server.schedule import Peers, Schedule
from mesh.server.snapshots import Place, Snapshots
from mesh.tasks import Tasks
from mesh.telemetry.timers import Timers

log = logging.getLogger(__name__)
audit = logging.getLogger("mesh.audit")

RESIGN_SECONDS = 5.0
WRITTEN = (
    "kv",
    "txn",
    "catalog.register",
    "catalog.deregister",
    "sessions",
    "prepared",
    "config",
    "intentions",
)
"""What writes are told apart by in the metrics, which are there before the first of them."""


class Replica:
    """The server part of a node."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._tasks = Tasks(on_fatal=ground.fatal)
        self.timers = Timers(ground.clock, WRITTEN)
        self._members_changed = asyncio.Event()
        self.level_max = ground.config.upgrade.level_max
        self.machine = Machine(self.level_max)
        self.machine.on_level = self._level_changed
        self.machine.on_restored = self._restored
        self.machine.on_dropped = self._free
        self._stops: list[Callable[[], Awaitable[None]]] = [self._tasks.stop]
        self.raft: RaftNode
        self._proposal = self._shown_cluster = self._followed = ""

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
        self.raft.founding = options.expected_voters(self._ground.config) > 0
        self._proposal_file = Path(directory, "proposal")
        consensus = RaftConsensus(self.raft, self._find)
        reader = LocalReader(self.machine.answers)
        levels = (self._speaking, self.level_max)
        gate = Gate(ground.clock, self.machine.database, *levels, audit=audit.info)
        gate.rules.append(ttl_at_least(config.session_ttl_min))
        forwarded = Forwarded(consensus, reader, gate, ground.dice, self.timers)
        abroad = self._way_abroad(routing)
        local = (reader, forwarded)
        router = ServerRouter(routing, consensus, local, ground.client, world, abroad)
        self.rpc = RpcServer(
            RpcOptions(
                config.bind_addr,
                self.rpc_port,
                config.node_name,
                config.datacenter,
                ground.credentials,
                config.limits.rpc_handshake_timeout,
                federated=abroad is not None,
            ),
            router,
            forwarded,
            {RAFT_BYTE: self.raft.serve},
        )
        self._encrypt(gate)
        # Before anybody can connect and give an order.
        self.leader = Leader(forwarded, consensus, ground.membership.seen, world)
        self.expiry = Expiry(forwarded, consensus, self._reign, self.machine.database, world)
        self.machine.on_commit = self.expiry.committed
        self.caretaker = Caretaker(forwarded, consensus, self.machine.database, world)
        self._care(forwarded, consensus)
        self._stops += [self.raft.stop, self.rpc.stop]
        # Listening first tells a second process on the same port apart before any file is read.
        await self.rpc.start()
        self.rpc_port = self.rpc.port
        await self.raft.start()
        self.reader, self._router = reader, router
        self.raft.listen(self._leadership_changed)
        return router

    def _encrypt(self, gate: Gate) -> None:
        credentials, distrusted = self._ground.credentials, self._ground.distrusted
        if credentials is not None and distrusted is not None:
            certificates = secure(self.raft, credentials, self._find)
            gate.rules.append(spares(credentials, certificates))
            enforce(self.machine.answers, distrusted, self.rpc.look_again)

    def _way_abroad(self, routing: RouterOptions) -> Abroad | None:
        """How to reach the servers of other datacenters; None where nobody gossips with them."""
        ground, config = self._ground, self._ground.config
        if ground.wan is None:
            return None

        def connect(datacenter: str) -> Client:
            seconds = config.limits.rpc_client_timeout
            return Client(
                ClientOptions(
                    config.node_name,
                    config.datacenter,
                    call_seconds=seconds,
                    credentials=ground.credentials,
                    abroad=datacenter,
                )
            )

        options = AbroadOptions(routing.origin, routing.hold_seconds)
        world = (ground.clock, ground.dice)
        abroad = Abroad(options, ground.wan.datacenters, connect, world)
        ground.wan.forget = abroad.forget
        self._stops.append(abroad.stop)
        return abroad

    def _leadership_changed(self, leader: Peer | None) -> None:
        self.reader.interrupt()
        # Between two epochs there is no leader for a moment, and what was forwarded to it, such
        # as the order that ended the first of them, is answered after that.
        now = self._find(leader) if leader is not None else self._followed
        if self._followed and self._followed != now:
            # What was forwarded to it may never be answered: it is asked again elsewhere.
            self._ground.client.let_go(self._followed)
        self._followed = now
        if self.raft.cluster_id != self._shown_cluster:
            self._show()
        self._follow()
        self.leader.wake()
        self.expiry.wake()
        self.pilot.wake()
        self.authority.wake()

    def _reign(self) -> str:
        """Tells one leadership of this server from the next; empty while it does not lead."""
        raft = self.raft
        return f"{raft.epoch}/{raft.term}" if raft.is_leader else ""

    def _care_for_voters(self, forwarded: Forwarded) -> None:
        ground, node = self._ground, self.raft
        electorate = (node, Changes(node))
        sightings = ground.membership.sightings
        self.pilot = Pilot(
            forwarded,
            electorate,
            sightings,
            options.pilot(ground.config),
            (ground.clock, ground.dice),
        )
        reach = (ground.client, self._find)
        operator = ServerOperator(electorate, self.pilot, sightings, reach, ground.clock)
        level = partial(level_of, self.machine.database)
        self.cartographer = Cartographer(forwarded, level, (ground.clock, ground.dice))
        operator.also(self.cartographer.orders)
        operator.also(self.expiry.orders)
        self.historian = Historian(
            forwarded,
            lambda: node.is_leader,
            level,
            options.history(ground.config),
            (ground.clock, ground.dice),
        )
        self.founding = Founding(
            forwarded,
            lambda: node.is_leader,
            level,
            options.bootstrap_entries(ground.config),
            (ground.clock, ground.dice),
        )
        operator.also(
            {
                Datacenters: self._datacenters,
                DefaultAllow: self._default_allow,
                FireEvent: self._fire,
            }
        )
        self._operator = operator
        if ground.wan is not None:
            self.cartographer.datacenters = ground.wan.datacenters.maps
        forwarded.operator = operator

    def _care_for_snapshots(self, forwarded: Forwarded, consensus: RaftConsensus) -> None:
        ground, config = self._ground, self._ground.config
        world = (ground.clock, ground.dice)
        folder = ground.directory.folder("spool")
        place = Place(ground.node_id, config.node_name, config.datacenter, folder)
        reach = (ground.client, self._address)
        self.snapshots = Snapshots(place, self.machine, (consensus, self.raft), reach, world)
        self._operator.also(self.snapshots.orders)
        self._stops.append(self.snapshots.stop)
        self.schedule = Schedule(
            self.snapshots,
            consensus,
            options.snapshots(config),
            Peers(ground.client, self._other_servers),
            ground.clock,
        )
        self._operator.also(self.schedule.orders)
        self.janitor = Janitor(forwarded, consensus, world)

    def _care(self, forwarded: Forwarded, consensus: RaftConsensus) -> None:
        self._care_for_voters(forwarded)
        self._care_for_snapshots(forwarded, consensus)
        self._care_for_trust(forwarded, consensus)

    def _care_for_trust(self, forwarded: Forwarded, consensus: RaftConsensus) -> None:
        ground, made = self._ground, options.authority(self._ground.config)
        world = (ground.clock, ground.dice)
        self.authority = Authority(forwarded, consensus, self.machine.database, made, world)
        self._operator.also(self.authority.orders)

    def _restored(self) -> None:
        """All tables were replaced by somebody's snapshot: begin as a new leader would."""
        log.warning("all data was replaced by a snapshot, at log index %d", self.raft.applied_index)
        self.leader.wake()
        self.pilot.wake()

    def _free(self, steps: Iterator[None]) -> None:
        async def free() -> None:
            await asyncio.to_thread(deque, unhurried(steps), 0)

        self._tasks.start(free(), name="freeing tables")

    def _other_servers(self) -> list[tuple[str, str]]:
        """Name and address of every other server that is alive."""
        return [
            (member.name, endpoint(member.address, tags.port))
            for member, tags in self._ground.membership.servers()
            if tags.id != self._ground.node_id
        ]

    def _address(self, node_id: str) -> str:
        """Where the server with this node id is reached; empty when it is not there."""
        for member, tags in self._ground.membership.servers():
            if tags.id == node_id:
                return endpoint(member.address, tags.port)
        return ""

    async def _datacenters(self, _: Datacenters) -> list[str]:
        wan = self._ground.wan
        return [self._ground.config.datacenter] if wan is None else wan.datacenters.datacenters()

    async def _default_allow(self, _: DefaultAllow) -> bool:
        return self._ground.config.default_intention_policy != "deny"

    async def _fire(self, order: FireEvent) -> int:
        return self._ground.gossip.fire(PREFIX + order.name, order.payload)

    def join_pool(self) -> None:
        """Show this server in gossip, and help to start the cluster if there is none yet."""
        self._show()
        self._follow()
        self._tasks.start(self.leader.run(), name="leader duties", fatal=True)
        self._tasks.start(self.pilot.run(), name="autopilot", fatal=True)
        self._tasks.start(self.expiry.run(), name="expiry of sessions", fatal=True)
        self._tasks.start(self.cartographer.run(), name="coordinates", fatal=True)
        self._tasks.start(self.caretaker.run(), name="maintenance", fatal=True)
        self._tasks.start(self.historian.run(), name="history", fatal=True)
        self._tasks.start(self.authority.run(), name="certificate authority", fatal=True)
        self._tasks.start(self.founding.run(), name="bootstrap entries", fatal=True)
        self._tasks.start(self.janitor.run(), name="remains of restores", fatal=True)
        self._tasks.start(self.snapshots.run(), name="snapshots", fatal=True)
        if self.raft.bootstrapped:
            return
        agreement = Bootstrap(
            self._ground.node_id, options.expected_voters(self._ground.config), cluster_id
        )
        membership, changed = self._ground.membership, self._members_changed
        self._tasks.start(
            bootstrap(self, agreement, membership, changed), name="bootstrap", fatal=True
        )

    def members_changed(self) -> None:
        """Membership changed: the leader reconciles, bootstrap looks again."""
        self._members_changed.set()
        if self._ground.wan is not None:
            self._ground.wan.lan_changed()
        self._follow()
        self.leader.wake()
        self.pilot.wake()

    async def resign(self) -> None:
        """Give up this server's vote before it leaves for good, unless nobody else has one.

        Bounded in time; when it cannot, the others take the vote of the server that left.
        """
        me, voters = self._ground.node_id, self.raft.voters
        if len(voters) < 2 or all(voter.id != me for voter in voters):
            return
        try:
            async with asyncio.timeout(RESIGN_SECONDS):
                await self._router.operate(RemovePeer(id=me, leaving=True))
        except TimeoutError:
            log.warning("leaving as a voter: nobody took this vote in %.0f s", RESIGN_SECONDS)
        except MeshError as error:
            log.warning("leaving as a voter: %s", error)

    def _follow(self) -> None:
        """Whoever leads sends the log to every server of this cluster, or of none yet."""
        node, sightings = self.raft, self._ground.membership.sightings()
        if node.bootstrapped:
            node.follow(followers(sightings, node.voters, node.cluster_id))

    @property
    def bootstrapped(self) -> bool:
        """Whether this server belongs to a cluster."""
        return self.raft.bootstrapped

    def propose(self, proposal: str) -> None:
        """Remember this proposal on disk, and show it to the others."""
        save_durably(self._proposal_file, proposal.encode())
        self._proposal = proposal
        self._show()

    def begin(self, verdict: Verdict) -> None:
        """Start the log with these voters.

        Where the others started first, and this disk knows of no agreement with them, it may have
        been lost after it gave votes: then this server has none until the next epoch.
        """
        voters = [Peer(voter.id, voter.name, voter.address) for voter in verdict.voters]
        file = self._proposal_file
        remembers = file.exists() and file.read_text() == verdict.proposal
        self.raft.bootstrap(voters, observes=verdict.followed and not remembers)
        self._follow()
        self._show()

    def _show(self) -> None:
        config = self._ground.config
        shown = ServerTags(
            id=self._ground.node_id,
            datacenter=config.datacenter,
            port=self.rpc_port,
            expect=options.expected_voters(self._ground.config),
            proposal=self._proposal,
            cluster=self.raft.cluster_id,
            level_min=LOWEST,
            level_max=self.level_max,
            read_replica=config.read_replica,
        )
        self._shown_cluster = shown.cluster
        if (wan := self._ground.wan) is not None:
            wan.show(msgspec.structs.replace(shown, expect=0, proposal="", cluster=""))
            shown = msgspec.structs.replace(shown, wan_join_port=wan.port)
        self._ground.gossip.set_tags(shown.tags())

    def _speaking(self) -> dict[str, int]:
        return self._ground.membership.speaking(self.raft.voters)

    def _level_changed(self, level: int) -> None:
        # Before anything of that level is written here: an older program must not start on it.
        self._ground.directory.raise_level(level)
        log.info("feature level is %d", level)
        self.authority.wake()

    def _find(self, peer: Peer) -> str:
        return self._address(peer.id) or peer.address

    async def stop(self) -> None:
        """Stop the duties, the log, then the port."""
        for stop in self._stops:
            await stop()
