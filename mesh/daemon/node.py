"""A node: every part built from the configuration, started and stopped in order."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

from mesh import __version__
from mesh.agent.announcer import Announcer
from mesh.agent.differences import Change
from mesh.agent.local import Agent
from mesh.agent.own import hear_of_own, own_part
from mesh.agent.reading import check_definition, service_definition
from mesh.agent.reloading import reload
from mesh.clock import Clock, Dice, SeededDice, SystemClock
from mesh.config.describe import reloaded
from mesh.config.schema import Config
from mesh.daemon import encryption, mesh, options, workloads
from mesh.daemon.calm import Calm
from mesh.daemon.distrusted import Distrusted
from mesh.daemon.ground import Ground
from mesh.daemon.health import Health
from mesh.daemon.hearsay import Hearsay
from mesh.daemon.identities import Identities
from mesh.daemon.keyrings import WAN, open_keyring
from mesh.daemon.measures import measure
from mesh.daemon.membership import Membership, keep_joining, meet_again
from mesh.daemon.messaging import Messaging
from mesh.daemon.operations import Operations
from mesh.daemon.reloading import FileWatch, option_changes
from mesh.daemon.replica import Replica
from mesh.daemon.wan import Wan, wan_name
from mesh.datadir import open_directory
from mesh.dns.server import DnsServer
from mesh.dns.server import Options as DnsOptions
from mesh.errors import explained
from mesh.front.fronts import Fronts
from mesh.gossip.driver import Gossip
from mesh.gossip.members import MemberEvent, Status
from mesh.http.server import HttpServer, Parts
from mesh.registry.health import CA_HEALTH, GOSSIP_HEALTH, SNAPSHOT_HEALTH
from mesh.registry.port import Query, Registry
from mesh.rpc.client import Client
from mesh.rpc.client import Options as ClientOptions
from mesh.rpc.discovery import Discovery, Holding
from mesh.rpc.held import HeldAnswers
from mesh.rpc.router import AgentRouter
from mesh.rpc.router import Options as RouterOptions
from mesh.rpc.servers import agent_tags, endpoint, read_tags
from mesh.tasks import Tasks
from mesh.telemetry.logs import LEVELS, LiveLines
from mesh.telemetry.metrics import Metrics
from mesh.tls import load

log = logging.getLogger(__name__)


class Node:
    """A server or a client agent.

    `reread` gives the configuration anew, for a reload. `finish` asks the process to end, with an
    error when something failed that nobody can mend.
    """

    def __init__(
        self,
        config: Config,
        reread: Callable[[], Config],
        live: LiveLines,
        finish: Callable[[BaseException | None], None],
    ) -> None:
        self.config, self.live = config, live
        self._reread, self._finish = reread, finish
        self._tasks = Tasks(on_fatal=finish)
        self._stops: list[Callable[[], object]] = []
        self._temporary = ""
        self.metrics = Metrics(SystemClock(), config.telemetry.metrics_prefix)
        self.replica: Replica | None = None
        self.held: HeldAnswers | None = None
        self.fronts: Fronts | None = None
        self.mesh: mesh.Mesh | None = None
        self.has_mesh = asyncio.Event()

    async def start(self) -> None:
        """Build and start everything. Raises a MeshError with one clear line when it cannot."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        config = self.config
        ground = self.ground = self._lay_ground()
        self._stops.append(ground.client.stop)
        self.hearsay = Hearsay(ground.gossip, ground.membership, ground.clock)
        self.registry = await self._build_registry()
        self._stops.append(ground.gossip.stop)
        await ground.gossip.start()
        ground.gossip.listen(self._member_event)
        ground.gossip.on_conflict_lost(self._give_up)
        if ground.wan is not None:
            self._stops.append(ground.wan.gossip.stop)
            await ground.wan.gossip.start()
        if self.replica is not None:
            self.replica.join_pool()
        await self._start_agent()
        self._tell_of_health()
        if self.replica is not None:
            self._tell_of_servers(self.replica)
        ground.calm.listen(self._calm_changed)
        self._tasks.start(ground.calm.run(), name="calm")
        await self._start_edges()
        self.mesh = await mesh.start(
            ground, self.discovery, self.agent, self.identities, self._stops
        )
        self.has_mesh.set()
        measure(self, self.metrics)
        self._tasks.start(self.metrics.run(), name="metrics")
        self._tasks.start(meet_again(ground.gossip), name="meeting again")
        self._watch_files()
        self._tasks.start(
            keep_joining(ground.gossip, options.join(config), ground.clock, self._give_up),
            name="joining",
            fatal=True,
        )
        if ground.wan is not None:
            self._find_datacenters(ground.wan)
        self._say_that_it_is_up()

    def _say_that_it_is_up(self) -> None:
        config, ground = self.config, self.ground
        log.info(
            "%s %s is up: gossip %s:%d, HTTP %s, DNS %s",
            "server" if config.server else "agent",
            config.node_name,
            *ground.gossip.address,
            options.names(self.http.addresses),
            options.names(self.dns.addresses),
        )
        if self.dns.tls_addresses:
            log.info("DNS over TLS: %s", options.names(self.dns.tls_addresses))

    def _tell_of_servers(self, replica: Replica) -> None:
        election = options.raft(self.config, "").election_seconds[1]
        health = Health(replica.raft, self.agent, election, self.ground.clock)
        self._tasks.start(health.run(), name="health of the log")
        replica.schedule.tell = partial(self.agent.tell, SNAPSHOT_HEALTH, "Snapshots")
        self._tasks.start(replica.schedule.run(), name="scheduled snapshots")
        replica.authority.tell = partial(self.agent.tell, CA_HEALTH, "Mesh authority")

    def _watch_files(self) -> None:
        ground = self.ground
        if self.config.auto_reload_config:
            files = FileWatch(lambda: self.config, self.reload, ground.clock)
            self._tasks.start(files.run(), name="watching the configuration")
        if ground.credentials is not None:
            watching = encryption.watch(ground.credentials, ground.clock)
            self._tasks.start(watching, name="watching certificates")
        if (known := ground.distrusted) is not None:
            alone = self.replica is None
            learning = known.learn(self.registry, ground.clock) if alone else known.keep_up()
            self._tasks.start(learning, name="learning what is revoked")

    def _find_datacenters(self, wan: Wan) -> None:
        join = options.join_wan(self.config)
        joining = keep_joining(wan.gossip, join, self.ground.clock, self._give_up)
        self._tasks.start(meet_again(wan.gossip), name="meeting datacenters again")
        self._tasks.start(joining, name="joining datacenters", fatal=True)
        self._tasks.start(wan.bring_in(), name="bringing in servers", fatal=True)

    def _lay_ground(self) -> Ground:
        config, clock, dice = self.config, SystemClock(), SeededDice()
        credentials = encryption.credentials(config, clock)
        path = config.data_dir
        if not path:
            path = self._temporary = tempfile.mkdtemp(prefix="mesh-dev-")
        node_id = config.node_id or dice.uuid()
        directory = open_directory(path, node_id, config.upgrade.level_max)
        self._stops.append(directory.close)
        tags = agent_tags(directory.node_id, config.datacenter)
        distrusted = None
        if credentials is not None:
            distrusted = Distrusted(directory.folder("tls"), credentials)
            distrusted.recall()
        folder = directory.folder("serf")
        keyring = open_keyring(config, folder)
        made = options.gossip(config, f"{folder}/local.snapshot")
        gossip = Gossip(config.node_name, made, clock, dice, tags, keyring=keyring)
        seconds = config.limits.rpc_client_timeout
        client = Client(
            ClientOptions(
                config.node_name,
                config.datacenter,
                call_seconds=seconds,
                credentials=credentials,
            )
        )
        damping = options.damping(config, enabled=config.flap_damping.enabled)
        calm = Calm(gossip, options.guard(config), damping, clock)
        membership = Membership(gossip, config.datacenter, calm)
        return Ground(
            config,
            directory,
            clock,
            dice,
            gossip,
            membership,
            calm,
            client,
            credentials,
            distrusted,
            self._wan(directory.folder("serf"), membership, (clock, dice)),
            self._fatal,
        )

    def _wan(self, folder: str, membership: Membership, world: tuple[Clock, Dice]) -> Wan | None:
        config = self.config
        if not config.server or config.ports.serf_wan < 0:
            return None
        name = wan_name(config.node_name, config.datacenter)
        keyring = open_keyring(config, folder, WAN)
        gossip = Gossip(
            name, options.wan(config, f"{folder}/remote.snapshot"), *world, keyring=keyring
        )
        return Wan(gossip, membership, config.datacenter, world[0])

    def _router_options(self) -> RouterOptions:
        config = self.config
        return RouterOptions(
            config.datacenter,
            config.node_name,
            config.performance.rpc_hold_timeout,
            self.ground.membership.all_speak,
        )

    async def _build_registry(self) -> Registry:
        ground = self.ground
        if not self.config.server:
            servers = ground.membership.server_addresses
            world = (ground.clock, ground.dice)
            router = AgentRouter(self._router_options(), servers, ground.client, world)
            self.held = HeldAnswers(router.read_once, world)
            self._stops.append(self.held.stop)
            self.discovery = self._over(router, Holding(router, self.held, self._own_part))
            return router
        self.replica = Replica(ground)
        self._stops.append(self.replica.stop)
        registry = await self.replica.start(self._router_options())
        self.discovery = self._over(registry, None)
        return registry

    def _over(self, registry: Registry, holding: Holding | None) -> Discovery:
        """What the edges ask: the registry with what gossip knows of health on top."""
        made = Discovery(
            registry,
            self.hearsay.overlay,
            self.hearsay.standing,
            self.config.datacenter,
            self.ground.clock,
            holding,
        )
        self.hearsay.on_news = made.heard
        return made

    def _own_part(self, query: Query[Any]) -> Any:
        return own_part(self.agent, query)

    def _tell_of_health(self) -> None:
        hearsay, news = self.hearsay, self.agent.news
        hearsay.of_own = lambda now, said: hear_of_own(self.agent, news, now, said)
        announcer = Announcer(news, hearsay.fire, self.ground.clock)
        self._tasks.start(announcer.run(), name="news of health")
        self._tasks.start(hearsay.run(), name="forgetting who left")

    async def _start_agent(self) -> None:
        config, ground = self.config, self.ground
        made = options.agent(config, ground.node_id, ground.directory.folder("agent"))
        self.agent = Agent(
            self.registry, made, ground.clock, ground.dice, cluster_size=ground.membership.size
        )
        self.messaging = Messaging(ground, self.registry, self.agent)
        self._stops.append(self.messaging.stop)
        self.identities = Identities(ground, self.registry, self.agent)
        self._stops.append(self.identities.stop)
        self.agent.operations = Operations(ground, self)
        for service in config.services:
            self.agent.register_service(service_definition(service), source="config")
        for check in config.checks:
            self.agent.register_check(check_definition(check), source="config")
        self._stops.append(self.agent.stop)
        await self.agent.start()
        await self.identities.start()
        await workloads.start(self.ground, self.agent, self.identities.leaves, self._stops)

    async def _start_edges(self) -> None:
        clock, copies = self.ground.clock, options.workers(self.config)
        parts = Parts(self.discovery, clock, self.ground.dice, self.agent)
        self.http = HttpServer(parts, options.http(self.config), copies=copies)
        made = options.shared(options.dns(self.config), copies + 1)
        credentials = self.ground.credentials
        self.dns = DnsServer(
            self.discovery,
            made,
            clock,
            self.ground.dice,
            None if credentials is None else lambda: credentials.serving,
            copies=copies,
        )
        self._stops += [self.http.stop, self.dns.stop]
        await self.http.start()
        await self.dns.start()
        if copies:
            await self._start_fronts(made)
        await self.messaging.watch(self.config.watches, self.http)

    async def _start_fronts(self, made: DnsOptions) -> None:
        """Have other processes answer beside this one."""
        raft = None if self.replica is None else self.replica.raft
        self.fronts = Fronts(
            (self.http, self.dns, made),
            self.discovery,
            self.ground.clock,
            raft.leased_until if raft is not None else lambda: 0.0,
        )
        if raft is not None:
            raft.lease_lost = self.fronts.lease_lost
        # Told to finish before the edges stop, ended after them.
        self._stops.insert(self._stops.index(self.http.stop), self.fronts.stop)
        self._stops.append(self.fronts.halt)
        await self.fronts.start()

    def _member_event(self, event: MemberEvent) -> None:
        member = event.member
        log.info("member %s (%s): %s", member.name, member.address, event.kind)
        if event.kind in {"failed", "leave"} and (tags := read_tags(member.tags)):
            self.ground.client.forget(endpoint(member.address, tags.port))
        if self.replica is not None:
            self.replica.members_changed()

    def _calm_changed(self) -> None:
        """A freeze began or ended, or a damped member is let in."""
        self.hearsay.look_again()
        if self.replica is None:
            return
        self.replica.members_changed()
        # Only servers: a check that every agent wrote at once would be a storm of its own.
        if self.ground.calm.text:
            status = "warning" if self.ground.calm.frozen else "passing"
            self.agent.tell(GOSSIP_HEALTH, "Gossip", status, self.ground.calm.text)

    def _give_up(self, reason: str) -> None:
        self._finish(ConnectionError(reason))

    async def leave(self) -> None:
        """Leave the pool, then ask the process to end."""
        await self.depart()
        self._finish(None)

    async def depart(self) -> None:
        """Tell the pool that this node leaves for good."""
        log.info("leaving the pool")
        # Or it would tell a catalog that has just forgotten this node about it once more.
        await self.agent.stop()
        if self.replica is not None:
            await self.replica.resign()
        if self.ground.wan is not None:
            await self.ground.wan.gossip.leave()
        await self.ground.gossip.leave()
        if self.mesh is not None:
            await self.mesh.retire()

    async def reload(self) -> list[Change]:
        """Read the configuration anew and apply what can be; says what changed.

        Raises ConfigError, changing nothing, when it has errors.
        """
        config = self._reread()
        changed = option_changes(self.config, config)
        config = reloaded(self.config, config)
        # First what may be refused, so that a refusal changes nothing.
        credentials, files = self.ground.credentials, encryption.options(config)
        loaded = load(files) if credentials is not None and files is not None else None
        if credentials is None and files is not None:
            log.warning("reload: to begin with TLS on the server port needs a restart")
        defined = reload(
            self.agent,
            options.agent(config, self.ground.node_id, self.agent.options.data_dir),
            [service_definition(service) for service in config.services],
            [check_definition(check) for check in config.checks],
        )
        applied = {change.name for change in changed if not change.restart}
        self.config = config
        logging.getLogger("mesh").setLevel(LEVELS[config.log_level])
        if credentials is not None and loaded is not None and credentials.use(loaded):
            changed.append(Change("tls", "certificates", "changed"))
        made = options.shared(options.dns(config), len(self.http.shares) + 1)
        self.dns.reload(made)
        self.http.reload(options.http(config))
        if self.fronts is not None:
            self.fronts.reload(made)
        if "watches" in applied:
            await self.messaging.watch(config.watches, self.http)
        if self.replica is not None:
            self.replica.raft.disk.set_floor(config.raft_disk_floor)
            self.replica.schedule.settings = options.snapshots(config)
            self.replica.historian.wanted = options.history(config)
        changed = [*defined, *changed]
        log.info("reload: %s", "; ".join(map(str, changed)) or "nothing changed")
        return changed

    def stats(self) -> dict[str, dict[str, object]]:
        """Figures of every part, for people."""
        ground = self.ground
        stats: dict[str, dict[str, object]] = {
            "agent": {"services": len(self.agent.services()), "checks": len(self.agent.checks())},
            "build": {"version": __version__},
            "runtime": {"tasks": len(asyncio.all_tasks())},
            "serf_lan": {
                "members": len(ground.gossip.members()),
                "alive": ground.membership.size(),
                "encrypted": "false" if ground.gossip.keyring is None else "true",
                "health_score": ground.gossip.health_score,
                "frozen": len(ground.calm.held),
                "guard": ground.calm.text or "never frozen",
                **ground.gossip.counters,
            },
            "http": dict(self.http.counters),
            "dns": dict(self.dns.counters),
            "discovery": self._discovery_stats(),
        }
        if self.fronts is not None:
            stats["workers"] = self.fronts.stats()
        if ground.wan is not None:
            members = ground.wan.gossip.members()
            stats["serf_wan"] = {
                "members": len(members),
                "alive": sum(one.status == Status.ALIVE for one in members),
                "datacenters": ",".join(ground.wan.datacenters.datacenters()),
                "encrypted": "false" if ground.wan.gossip.keyring is None else "true",
                "health_score": ground.wan.gossip.health_score,
                **ground.wan.gossip.counters,
            }
        if self.replica is not None:
            stats["raft"] = self.replica.raft.status()
            stats["rpc"] = dict(self.replica.rpc.counters)
        return stats

    def _discovery_stats(self) -> dict[str, object]:
        overlay, news = self.hearsay.overlay, self.agent.news
        stats: dict[str, object] = {
            "overlay_entries": overlay.entries,
            "overlay_refused": overlay.refused,
            "absent_members": len(self.hearsay.standing().absent),
            "news_open": len(news),
            **{f"heard_{name}": count for name, count in self.hearsay.counters.items()},
            **{f"told_{name}": count for name, count in news.counters.items()},
            **self.discovery.counters,
        }
        if self.held is not None:
            stats["held_answers"] = len(self.held)
            stats["held_bytes"] = self.held.bytes
            stats["followed_answers"] = self.held.followed
        return stats

    async def stop(self) -> None:
        """Stop everything, the edges first."""
        await self._tasks.stop()
        for stop in reversed(self._stops):
            try:
                waiting = stop()
                if asyncio.iscoroutine(waiting):
                    await waiting
            except Exception:
                log.exception("stopping: a part failed; going on with the others")
        self._stops.clear()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _fatal(self, error: BaseException) -> None:
        log.critical("stopping: %s", explained(error))
        self._finish(error)
