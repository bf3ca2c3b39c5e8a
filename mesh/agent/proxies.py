"""The proxies of this node: what each needs to know, put together and given to its Envoy.

A blueprint is made of answers that all proxies of the node share (`following`), of the proxy's own
registration and of its leaf. It is made anew when one of these changes; one that comes out equal
goes no further.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from mesh.agent.exposing import Exposing
from mesh.agent.following import Followed, Following
from mesh.agent.state import Here, LocalService
from mesh.clock import Clock
from mesh.connect import registration
from mesh.connect.bootstrap import Bootstrap, bootstrap
from mesh.connect.ca import bundle
from mesh.connect.composing import Facts, Place, Reached, compose, names_of
from mesh.connect.credentials import Leaf
from mesh.connect.launcher import Launcher
from mesh.connect.xds.blueprint import LOOPBACK, Blueprint, Exposed
from mesh.errors import MeshError, NotFound
from mesh.registry import authority, health, intentions, settings
from mesh.registry.services import PROXY
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
UNMANAGED = "envoy_managed"
"""The option of a proxy that, when false, has somebody else run its Envoy."""


class Leaves(Protocol):
    """Who keeps the certificates of this node's services."""

    def watch(self, service: str) -> AsyncIterator[Leaf]:
        """The leaf, and each that follows it."""
        ...

    def drop(self, service: str) -> None:
        """It is needed no longer."""
        ...


class Control(Protocol):
    """Who tells proxies their configuration. Started when the first proxy is there."""

    async def start(self) -> str:
        """Serve; returns where, as a bootstrap names it."""
        ...

    def put(self, blueprint: Blueprint) -> None:
        """A proxy, or a proxy that changed."""
        ...

    def drop(self, proxy: str) -> None:
        """A proxy that is gone."""
        ...

    def open_ports(self, proxy: str) -> set[int]:
        """The ports for exposed paths on which the proxy listens as it was told."""
        ...


class Proxies:
    """Keeps the blueprint of every proxy that is registered here, and an Envoy for each.

    Without a launcher somebody else runs all of them.
    """

    def __init__(
        self,
        here: Here,
        following: Following,
        leaves: Leaves,
        running: tuple[Control, Launcher | None],
        place: Callable[[], Place],
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._here, self._following, self._leaves = here, following, leaves
        (self._control, self._launcher), self.place = running, place
        self._exposing = Exposing(here)
        self._proxies: dict[str, _Proxy] = {}
        self._wake = asyncio.Event()
        self._dirty: set[str] = set()
        self._unread: dict[str, str] = {}
        self._unlisten: Callable[[], None] | None = None
        self._address = ""
        self._tasks = Tasks()

    def start(self) -> None:
        """Begin with what is registered, and follow what will be."""
        self._unlisten = self._here.listen(self._wake.set)
        self._wake.set()
        self._tasks.start(self._run(), name="proxies")

    async def stop(self) -> None:
        """Follow nothing more; Envoys and their streams are for others to end."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        await self._tasks.stop()

    def blueprints(self) -> dict[str, Blueprint]:
        """What each proxy was last told, by its id."""
        made = {name: one.blueprint for name, one in sorted(self._proxies.items())}
        return {name: one for name, one in made.items() if one is not None}

    def problems(self) -> dict[str, str]:
        """Why a proxy is not told all that is wanted of it, by its id."""
        found = {name: one.problem for name, one in self._proxies.items() if one.problem}
        return dict(sorted((self._unread | found).items()))

    def manages(self, proxy: str) -> bool:
        """Whether the agent runs the Envoy of this proxy itself."""
        one = self._proxies.get(proxy)
        return one is not None and self._runs(one)

    def manage(self, proxy: str, *, enable: bool) -> None:
        """Run the Envoy of a proxy from now on, or leave it to others. Raises NotFound."""
        one = self._find(proxy)
        if self._launcher is not None:
            self._launcher.leave_alone(proxy, alone=not enable)
            if not self._runs(one):
                self._launcher.drop(proxy)
        self._mark(proxy)

    def opened(self, proxy: str) -> None:
        """The proxy has taken something of what it was told: listeners may be open."""
        one = self._proxies.get(proxy)
        if one is not None:
            self._lead(one)

    def _lead(self, one: _Proxy) -> None:
        if one.blueprint is not None and one.blueprint.inbound is not None:
            bound = one.blueprint.inbound.address
            everywhere = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - what others bind.
            ports = self._control.open_ports(one.name)
            self._exposing.opened(one.name, everywhere.get(bound, bound), ports)

    def _find(self, proxy: str) -> _Proxy:
        one = self._proxies.get(proxy)
        if one is None:
            raise NotFound(f'Unknown proxy ID "{proxy}"; give the id of one registered here')
        return one

    def _runs(self, one: _Proxy) -> bool:
        launcher = self._launcher
        return one.managed and launcher is not None and not launcher.is_left_alone(one.name)

    @staticmethod
    def _note(one: _Proxy, problem: str) -> None:
        if problem and one.problem != problem:
            log.warning("proxy %s: %s", one.name, problem)
        one.problem = problem

    def bootstrap(self, proxy: str, more: dict[str, str]) -> dict[str, Any]:
        """What an Envoy is started with to be this proxy, with these fields of a Bootstrap.

        Raises NotFound for a proxy that is not registered, Invalid for an option at fault.
        """
        one, place = self._find(proxy), self.place()
        config = one.blueprint.config if one.blueprint is not None else one.definition.config
        inbound = one.blueprint.inbound if one.blueprint is not None else None
        protocol = inbound.protocol if inbound is not None else ""
        fields: dict[str, Any] = {"agent": self._address, "protocol": protocol, **more}
        return bootstrap(
            Bootstrap(
                proxy=one.name,
                service=one.service,
                node=place.node,
                datacenter=place.datacenter,
                config=config,
                **fields,
            )
        )

    async def _run(self) -> None:
        self._forget_others()
        while True:
            await self._wake.wait()
            self._wake.clear()
            wanted = self._wanted()
            if wanted and not self._address:
                await self._start_control()
            for name in sorted((self._proxies.keys() | self._unread.keys()) - wanted.keys()):
                self._guarded(name, self._remove, name)
            for name, local in sorted(wanted.items()):
                self._guarded(name, self._register, name, local)
            self._dirty.update(name for name, one in self._proxies.items() if one.exposes_checks)
            dirty, self._dirty = self._dirty, set()
            for name in sorted(dirty & self._proxies.keys()):
                self._tell(self._proxies[name])

    def _forget_others(self) -> None:
        """End the Envoys that nobody wants any more since the agent's last life."""
        if self._launcher is None:
            return
        alone = self._launcher.is_left_alone
        wanted = self._wanted().items()
        kept = [name for name, local in wanted if _comes_along(local) and not alone(name)]
        self._guarded("", self._launcher.keep_only, kept)

    def _guarded(self, name: str, do: Callable[..., None], *arguments: Any) -> None:
        """Do it; what goes wrong with one proxy is noted, and no reason to leave the others."""
        problem = ""
        try:
            do(*arguments)
        except MeshError as error:
            problem = error.message
        except Exception as error:
            log.exception("proxy %s", name)
            problem = f"mesh failed: {error!r}; its log has more"
        if name and problem and self._unread.get(name) != problem:
            log.warning("proxy %s: %s", name, problem)
            self._unread[name] = problem

    def _wanted(self) -> dict[str, LocalService]:
        return {name: local for name, local in self._here.services().items() if _is_proxy(local)}

    async def _start_control(self) -> None:
        """Serve proxies, as soon as that is possible."""
        while not self._address:
            try:
                self._address = await self._control.start()
            except (MeshError, ImportError, OSError) as error:
                log.warning("proxies cannot be told anything yet: %s", error)
                await self._clock.sleep(AGAIN_SECONDS)

    def _register(self, name: str, local: LocalService) -> None:
        """Follow what a proxy needs to know. Raises Invalid when it cannot be read."""
        known = self._proxies.get(name)
        if known is not None and known.local.row is local.row:
            return
        self._proxies[name] = one = _Proxy(local, self._tasks, known)
        self._unread.pop(name, None)
        one.changed = lambda: self._mark(name)
        one.begin(self._following, self._leaves, self._clock)
        if known is not None:
            known.end()  # Last, so that nothing both need is asked anew.
            self._drop_leaf(known.service)
        self._mark(name)

    def _mark(self, name: str) -> None:
        self._dirty.add(name)
        self._wake.set()

    def _remove(self, name: str) -> None:
        self._unread.pop(name, None)
        one = self._proxies.pop(name, None)
        if one is None:
            return
        one.end()
        self._exposing.end(name)
        self._drop_leaf(one.service)
        if self._launcher is not None:
            self._launcher.drop(name)
            self._launcher.leave_alone(name, alone=False)
        self._control.drop(name)

    def _drop_leaf(self, service: str) -> None:
        """Nobody needs a leaf of it, unless another proxy is of the same service."""
        if all(other.service != service for other in self._proxies.values()):
            self._leaves.drop(service)

    def _tell(self, one: _Proxy) -> None:
        try:
            found = one.compose(self.place(), self._exposed(one))
            if found is None:
                return
            made, problems = found
            if made != one.blueprint:
                self._control.put(made)
                one.blueprint = made
            self._lead(one)  # A check may have been registered anew.
            if self._launcher is not None and self._runs(one):
                self._launcher.want(one.name, self.bootstrap(one.name, {}))
            elif self._launcher is not None:
                self._launcher.drop(one.name)
        except MeshError as error:
            self._note(one, error.message)
        except Exception as error:
            # One proxy that nobody foresaw must not stop the others.
            log.exception("proxy %s cannot be put together", one.name)
            one.problem = f"mesh failed: {error!r}; its log has more"
        else:
            problems = [*problems, *intentions.problems_of(made.policy)]
            self._note(one, "; ".join(problems))

    def _exposed(self, one: _Proxy) -> list[Exposed]:
        taken = {path.listener_port for path in one.definition.expose.paths}
        service = one.definition.destination_service_id if one.exposes_checks else ""
        return self._exposing.through(one.name, service, taken)


class _Proxy:
    """A proxy and the answers that it is made of."""

    def __init__(self, local: LocalService, tasks: Tasks, before: _Proxy | None) -> None:
        self.local = local
        self.definition = registration.read(local.row.proxy)
        self.blueprint: Blueprint | None = before.blueprint if before is not None else None
        self.problem = ""
        self.changed: Callable[[], None] = _nothing
        # That of another service would have it call, and be called, as that one.
        same = before is not None and before.service == self.service
        self.leaf: Leaf | None = before.leaf if before is not None and same else None
        self._tasks = tasks
        self._ends: list[Callable[[], object]] = []
        self._upstreams: dict[
            str, tuple[Followed[settings.Settings], Followed[list[health.Instance]]]
        ] = {}
        self._providers: tuple[tuple[str, ...], Followed[Any], Callable[[], None]] | None = None

    @property
    def name(self) -> str:
        return self.local.row.id

    @property
    def service(self) -> str:
        return self.definition.destination_service_name

    @property
    def managed(self) -> bool:
        """Whether it came with its service, and nobody said that he runs it himself."""
        return _comes_along(self.local)

    @property
    def exposes_checks(self) -> bool:
        """Whether the checks of its service go through it."""
        central = self._settings.value
        return self.definition.expose.checks or (central is not None and central.expose_checks)

    def begin(self, following: Following, leaves: Leaves, clock: Clock) -> None:
        """Follow what it needs to know."""
        self._following = following
        self._roots = self._follow(authority.Roots())
        self._settings = self._follow(settings.Service(self.service))
        self._mesh = self._follow(settings.Mesh())
        self._policy = self._follow(intentions.Matching(self.service))
        for name in names_of(self.definition):
            self._upstreams[name] = (
                self._follow(settings.Service(name)),
                self._follow(health.Connected(name)),
            )
        watching = self._tasks.start(
            self._follow_leaf(leaves, clock), name=f"leaf of {self.service}"
        )
        self._ends.append(watching.cancel)

    def _follow(self, query: Any) -> Any:
        followed, end = self._following.follow(query, self._told)
        self._ends.append(end)
        return followed

    async def _follow_leaf(self, leaves: Leaves, clock: Clock) -> None:
        while True:  # When programs of the service go, its leaf goes with them.
            try:
                async for leaf in leaves.watch(self.service):
                    self.leaf = leaf
                    self._told()
            except MeshError as error:
                self.problem = f"no certificate of {self.service}: {error.message}"
                await clock.sleep(AGAIN_SECONDS)

    def _told(self) -> None:
        self.changed()

    def end(self) -> None:
        """Follow nothing more."""
        for end in self._ends:
            end()
        if self._providers is not None:
            self._providers[2]()

    def compose(self, place: Place, checks: list[Exposed]) -> tuple[Blueprint, list[str]] | None:
        """The blueprint by now, and what is wrong with its options.

        None while something it needs is not known yet.
        """
        upstreams = {
            name: Reached(own.value, instances.value)
            for name, (own, instances) in self._upstreams.items()
            if own.value is not None and instances.value is not None
        }
        trust, policy = self._roots.value, self._policy.value
        if trust is None or not trust.trust_domain or policy is None or self.leaf is None:
            return None
        if len(upstreams) < len(self._upstreams):
            return None
        if self._settings.value is None or self._mesh.value is None:
            return None
        providers = self._follow_providers(policy)
        if providers is None:
            return None
        facts = Facts(
            bundle=bundle(trust),
            leaf=self.leaf,
            settings=self._settings.value,
            mesh=self._mesh.value,
            policy=policy,
            providers=providers,
            upstreams=upstreams,
            checks=checks,
        )
        return compose(self.local.row, self.definition, place, facts)

    def _follow_providers(self, policy: intentions.Policy) -> list[intentions.JwtProvider] | None:
        names = tuple(intentions.named_providers(policy))
        if not names:
            return []
        if self._providers is None or self._providers[0] != names:
            old, query = self._providers, intentions.Providers(names)
            self._providers = (names, *self._following.follow(query, self._told))
            if old is not None:
                old[2]()
        found: list[intentions.JwtProvider] | None = self._providers[1].value
        return found


def _comes_along(local: LocalService) -> bool:
    """Whether a proxy came with its service, and nobody said that he runs it himself."""
    config = local.row.proxy_field("config")
    asked = config.get(UNMANAGED, True) if isinstance(config, dict) else True
    return bool(local.definition.sidecar_of) and asked not in {False, "false"}


def _is_proxy(local: LocalService) -> bool:
    return local.row.kind == PROXY


def _nothing() -> None:
    pass
