"""The node's part in the service mesh: leaves, proxies, their configuration and their Envoys."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mesh.agent.following import Following
from mesh.agent.local import Agent
from mesh.agent.operations import ProxyInfo
from mesh.agent.proxies import Proxies
from mesh.agent.proxyless import Files, Programs
from mesh.config.addresses import advertised, bound
from mesh.config.schema import Config
from mesh.connect.composing import Place
from mesh.connect.grpc_bootstrap import PREFIX
from mesh.connect.launcher import Launcher, short_folder
from mesh.connect.launcher import Options as LaunchOptions
from mesh.connect.refusals import Refusals
from mesh.connect.xds.blueprint import Blueprint, Proxyless
from mesh.connect.xds.seen import Held, Seen
from mesh.daemon.ground import Ground
from mesh.daemon.identities import Identities
from mesh.daemon.options import sidecar_bind
from mesh.registry.port import Answer, Query, Registry
from mesh.registry.refusals import Refusal
from mesh.registry.services import PROXY
from mesh.tasks import Tasks
from mesh.telemetry.metrics import Reading, counter

log = logging.getLogger(__name__)
T = TypeVar("T")

SOCKET = "xds.sock"
ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Fedora and others have the roots of the public web."""
CONFIGURATION, NAME = "mesh-configuration", "Mesh configuration"
"""The check of a proxy that refused something: it goes on with what it had."""


class Mesh:
    """Starts what the mesh needs here, as soon as something here needs the mesh."""

    def __init__(
        self, ground: Ground, registry: Registry, agent: Agent, identities: Identities
    ) -> None:
        self._ground, self._agent, self._acks = ground, agent, identities.acks
        config, world = ground.config, (ground.clock, ground.dice)
        self._folder = Path(ground.directory.folder("proxies")).resolve()
        self.following = Following(registry, ground.clock)
        self.control = Control(config, self._folder, ground)
        self.control.heard = self._heard
        self._refusals = Refusals(registry, config.node_name, world)
        self.control.saw = self._refusals.note
        self.control.composed = lambda blueprint: self._refusals.settle(blueprint.policy)
        self._tasks = Tasks()
        self._current: set[str] = set()
        self.launcher = (
            Launcher(self._folder, _launching(config), world)
            if config.connect.manage_sidecars
            else None
        )
        self.keeper = Proxies(
            agent,
            self.following,
            identities.leaves,
            (self.control, self.launcher),
            self._place,
            ground.clock,
        )
        self.programs = Programs(
            agent,
            self.following,
            identities.leaves,
            self.control,
            self._place,
            Files(Path(ground.directory.folder("grpc")), identities.acks, ground.clock),
        )

    async def start(self) -> None:
        """Begin with the proxies that are registered."""
        if self._ground.config.ports.grpc >= 0:
            await self.control.start()
        self._tasks.start(self._refusals.run(), name="what was refused")
        self.keeper.start()
        self.programs.start()

    async def stop(self, *, keep: bool) -> None:
        """Stop. Envoys that are kept go on, and are found by the next life of this node."""
        await self.keeper.stop()
        await self.programs.stop()
        if self.launcher is not None:
            await self.launcher.stop(keep=keep)
            self.launcher = None
        await self.following.stop()
        await self.control.stop()
        await self._tasks.stop()

    async def retire(self) -> None:
        """Drain and stop the Envoys: the node leaves for good, and others know it."""
        await self.keeper.stop()
        await self.programs.stop()
        if self.launcher is not None:
            await self.launcher.stop(keep=False)
            self.launcher = None

    def _heard(self, proxy: str) -> None:
        """A proxy acknowledged or refused something, came or went."""
        if proxy.startswith(PREFIX):
            self.programs.heard(proxy)
            return
        found = self.control.what_heard(proxy)
        if proxy not in self._agent.services():
            self._acks.proxy_gone(proxy)
            self._current.discard(proxy)
            return
        if found is None:
            self._current.discard(proxy)
            return
        self._acks.proxy(proxy, found.roots, found.leaf)
        self.keeper.opened(proxy)
        if found.current and proxy not in self._current:
            # Its listeners are open: nobody has to wait until the next check says so.
            self._current.add(proxy)
            self._agent.recheck(proxy)
        elif not found.current:
            self._current.discard(proxy)
        check_id = f"{CONFIGURATION}:{proxy}"
        if found.refused:
            self._agent.tell(check_id, NAME, "warning", found.refused, service_id=proxy)
        elif check_id in self._agent.checks():
            self._agent.deregister_check(check_id)

    def last(self, query: Query[T]) -> Answer[T] | None:
        """See MeshOperations.last."""
        return self.following.last(query)

    def refusals(self, told: Iterable[Refusal] = ()) -> list[Refusal]:
        """See MeshOperations.refusals."""
        return self._refusals.here(told)

    def measures(self) -> Iterator[Reading]:
        """What there is to say of proxies' streams, and of the calls that they refused."""
        yield from self.control.measures()
        about = "Calls that sidecars here refused (denied), or would by dry runs"
        for kind, count in self._refusals.calls.items():
            yield counter("mesh.connect.calls", count, about, kind=kind)
        lost = {**self._refusals.dropped, "no_proxy": self.control.unplaced}
        about = "What is neither in the report of refused calls nor in the log"
        for reason, count in lost.items():
            yield counter("mesh.connect.calls_dropped", count, about, reason=reason)

    def saw(self, held: Sequence[Held], seen: Seen) -> None:
        """See MeshOperations.saw."""
        self._refusals.note(held, seen)

    def proxies(self) -> list[ProxyInfo]:
        """See MeshOperations.proxies."""
        envoys = {one.proxy: one for one in self.launcher.sidecars()} if self.launcher else {}
        streams, problems = self.control.status(), self.keeper.problems()
        found = []
        for local in self._agent.services().values():
            row = local.row
            if row.kind != PROXY:
                continue
            own = [one for one in streams if one.proxy == row.id]
            said = [problems[row.id]] if row.id in problems else []
            info = ProxyInfo(
                id=row.id,
                service=row.destination,
                port=row.port,
                managed=self.keeper.manages(row.id),
                envoy=envoys.get(row.id),
                problems=[*dict.fromkeys([*said, *(text for one in own for text in one.problems)])],
                streams=own,
            )
            found.append(info)
        found += self._programs(streams)
        return sorted(found, key=lambda info: info.id)

    def _programs(self, streams: list[Any]) -> list[ProxyInfo]:
        """The gRPC programs without sidecars, those of a service together."""
        return [
            ProxyInfo(
                id=f"{PREFIX}{service}",
                service=service,
                port=0,
                managed=False,
                envoy=None,
                problems=problems,
                streams=[one for one in streams if one.proxy == f"{PREFIX}{service}"],
            )
            for service, problems in self.programs.problems().items()
        ]

    def bootstrap(
        self,
        proxy: str,
        *,
        admin_bind: str,
        grpc_addr: str,
        ready_bind: str,
        prometheus_backend_port: str,
        prometheus_scrape_path: str,
    ) -> dict[str, Any]:
        """See MeshOperations.bootstrap."""
        more = {
            "admin": admin_bind,
            "agent": grpc_addr,
            "ready": ready_bind,
            "prometheus_backend_port": prometheus_backend_port,
            "prometheus_scrape_path": prometheus_scrape_path,
        }
        said = {name: value for name, value in more.items() if value}
        return self.keeper.bootstrap(proxy, said)

    async def manage(self, proxy: str, *, enable: bool) -> None:
        """See MeshOperations.manage."""
        self.keeper.manage(proxy, enable=enable)
        if not enable and self.launcher is not None:
            await self.launcher.gone(proxy)

    async def grpc_bootstrap(self, service: str, grpc_addr: str) -> dict[str, Any]:
        """See MeshOperations.grpc_bootstrap."""
        return await self.programs.bootstrap(service, grpc_addr)

    def _place(self) -> Place:
        config = self._ground.config
        return Place(
            node=config.node_name,
            datacenter=config.datacenter,
            bind=sidecar_bind(config) or _anywhere(config),
            addresses=(advertised(config),),
            default_allow=config.default_intention_policy != "deny",
            public_roots=_public_roots(),
        )


class Control:
    """The xDS server, whose parts are loaded when it is first needed: they take 27 MB."""

    def __init__(self, config: Config, folder: Path, ground: Ground) -> None:
        self._config, self._folder, self._ground = config, folder, ground
        self._control: Any = None
        self._starting = asyncio.Lock()
        self.heard: Callable[[str], None] = lambda _: None
        self.composed: Callable[[Blueprint], None] = lambda _: None
        self.saw: Callable[[list[Held], Seen], None] = lambda _, __: None
        self.socket = ""

    async def start(self) -> str:
        """Serve; returns where, as a bootstrap names it."""
        async with self._starting:
            if self._control is None:
                module = await asyncio.to_thread(
                    importlib.import_module, "mesh.connect.xds.control"
                )
                folder = await asyncio.to_thread(short_folder, self._folder, len(SOCKET))
                self.socket = f"unix:{folder / SOCKET}"
                control = module.Control(
                    self._ground.clock, self.heard, self.saw, self._folder / "judged"
                )
                await control.start([self.socket, *_listeners(self._config)])
                self._control = control
        return self.socket

    def put(self, blueprint: Blueprint) -> None:
        """Tell a proxy this from now on."""
        self.composed(blueprint)
        self._control.put(blueprint)

    def put_proxyless(self, wanted: Proxyless) -> dict[str, str]:
        """Tell gRPC programs this from now on; returns what is wrong with it."""
        found: dict[str, str] = self._control.put_proxyless(wanted)
        return found

    def hold(self, proxy: str) -> None:
        """Tell nothing more until there is something new."""
        self._control.hold(proxy)

    def asked(self, proxy: str) -> set[str]:
        """The listeners that a node id's streams ask for."""
        found: set[str] = self._control.asked(proxy)
        return found

    def drop(self, proxy: str) -> None:
        """The proxy is gone."""
        self._control.drop(proxy)
        self.heard(proxy)  # What it acknowledged counts no more, whether it is still connected.

    def what_heard(self, proxy: str) -> Any:
        """What a proxy acknowledged; None while it has no stream."""
        return None if self._control is None else self._control.heard(proxy)

    def open_ports(self, proxy: str) -> set[int]:
        """The ports for exposed paths on which the proxy listens as it was told."""
        found: set[int] = set() if self._control is None else self._control.open_ports(proxy)
        return found

    def status(self) -> list[Any]:
        """What each proxy was told and acknowledged."""
        return [] if self._control is None else list(self._control.status())

    def measures(self) -> Iterator[Reading]:
        """Figures of all streams together; none before there is one."""
        return iter(()) if self._control is None else self._control.measures()

    @property
    def unplaced(self) -> int:
        """Calls told of by proxies that are not known here, or not any more."""
        return 0 if self._control is None else self._control.unplaced

    def addresses(self) -> list[str]:
        """Where it serves."""
        return [] if self._control is None else list(self._control.addresses)

    async def stop(self) -> None:
        """End all streams."""
        if self._control is not None:
            await self._control.stop()
            self._control = None


def _anywhere(config: Config) -> str:
    """All addresses, as the node itself: of IPv6 too where others are told such a one."""
    return "::" if ":" in advertised(config) else "0.0.0.0"  # noqa: S104


def _public_roots() -> str:
    """The file with the roots of the public web on this machine; empty where there is none."""
    found = (ssl.get_default_verify_paths().cafile, *ROOTS)
    return next((path for path in found if path and os.path.exists(path)), "")


def _listeners(config: Config) -> list[str]:
    port = config.ports.grpc
    if port < 0:
        return []
    found = []
    for address in bound(config, "grpc"):
        if address.startswith("unix:"):
            found.append(address)
        else:
            found.append(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    return found


def _launching(config: Config) -> LaunchOptions:
    connect = config.connect
    return LaunchOptions(
        binary=connect.envoy_binary,
        concurrency=connect.envoy_concurrency,
        drain_seconds=connect.envoy_drain_time,
        tcp_drain_seconds=connect.envoy_tcp_drain_time,
        log_level=connect.envoy_log_level,
    )


async def start(
    ground: Ground,
    registry: Registry,
    agent: Agent,
    identities: Identities,
    stops: list[Callable[[], object]],
) -> Mesh | None:
    """Start the node's part in the mesh, to be stopped with the rest; None where it is off."""
    if not ground.config.connect.enabled:
        return None
    mesh = Mesh(ground, registry, agent, identities)
    # Nobody would find an Envoy again whose files go with the data directory.
    stops.append(lambda: mesh.stop(keep=bool(ground.config.data_dir)))
    await mesh.start()
    return mesh
