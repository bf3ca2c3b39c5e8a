"""The built-in proxy while it runs: it opens and closes what its registration wants by now."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable, Hashable, Iterator
from contextlib import suppress
from functools import partial
from typing import Literal, Protocol, TypeAlias

from mesh.cli.connect_denials import Denials
from mesh.cli.connect_sidecar import MOST, Sidecar, Upstream, whole
from mesh.client import ReadOptions, Settings, agent, config, connect, material
from mesh.client.following import Following
from mesh.client.member import Member
from mesh.client.peers import trust_domain_of
from mesh.client.shapes import Instance, Service
from mesh.clock import SystemClock
from mesh.connect.exposition import Page
from mesh.connect.proxy import Door, Endpoint, Limits, Local, Public, Target, Verdict
from mesh.connect.traffic import Reason, Traffic
from mesh.errors import Invalid, MeshError, explained
from mesh.sockets import bind, bind_path
from mesh.tasks import Tasks
from mesh.telemetry.metrics import Metrics, Reading

log = logging.getLogger(__name__)

REGISTER_SECONDS = 30.0
AGAIN_SECONDS = 2.0
"""Until the next try to listen where it failed."""
LOOK_SECONDS = 0.05
"""Between two looks at what is left while it drains."""
TIERS = {"passing": 0, "warning": 1, "critical": 2}
LIMITS = Limits()
Wanted: TypeAlias = dict[Hashable, Callable[[], "Opened"]]


class Registered(Protocol):
    """The proxy as the agent knows it."""

    def keep(self) -> None:
        """See to it that it does. Raises MeshError."""
        ...

    def leave(self) -> None:
        """Have nobody new sent here."""
        ...


class Opened:
    """A door that is open, and what goes with it."""

    def __init__(self, door: Door, flag: str, place: Target, mode: int) -> None:
        """Listen at that place. Raises Invalid, naming the flag that says where."""
        self.door, self._path = door, place.path
        self.following: list[Following] = []
        try:
            listening = _listening(place, mode)
            self._inode = os.stat(place.path).st_ino if place.path else 0
        except OSError as error:
            why = f"--{flag}: cannot listen at {place}: {explained(error)}"
            raise Invalid(why) from error
        bound = str(place) if place.path else "{}:{}".format(*listening.getsockname()[:2])
        door.start(listening, bound)

    def shut(self) -> None:
        """Let nobody in any more; what is open goes on."""
        self.door.shut()
        for one in self.following:
            one.stop()
        with suppress(OSError):
            if self._path and os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)


class Running:
    """The proxy: threads that follow the agent, and the loop that moves bytes."""

    def __init__(
        self,
        plan: Sidecar,
        settings: Settings,
        registered: Registered,
        revise: Callable[[Service], Sidecar],
    ) -> None:
        """`revise` makes of a registration what is wanted by it. Raises MeshError."""
        self._plan, self._settings, self._registered = plan, settings, registered
        self._revise, self._clock, self._tasks = revise, SystemClock(), Tasks()
        self._member = Member(plan.service, settings)
        self._following = Following(settings)
        self._denials = Denials(plan.service, settings, self._clock)
        self._instances: dict[Upstream, list[Instance]] = {}
        self._contexts: dict[material.Side, tuple[material.Credentials, ssl.SSLContext]] = {}
        self._traffic: dict[Hashable, Traffic] = {}
        self._metrics = Metrics(self._clock)
        self._metrics.add(self._readings)
        self._open: dict[Hashable, Opened] = {}
        self._leaving: set[Opened] = set()
        self._problems: list[str] = []
        self._central: dict[str, int] = {}
        """How many connections config entries allow, by their kind."""
        self._changed = asyncio.Event()
        self._drain_seconds = 0.0
        self._guarded = False

    def close(self) -> None:
        """End all threads."""
        for one in (*self._open.values(), *self._leaving):
            for following in one.following:
                following.close()
        self._following.close()
        self._member.following.close()

    async def run(self, drain_seconds: float) -> None:
        """Until a signal comes, then as long as connections are open. Raises Invalid."""
        ended, at_once = asyncio.Event(), asyncio.Event()
        self._loop, self._drain_seconds = asyncio.get_running_loop(), drain_seconds

        def end() -> None:
            (at_once if ended.is_set() else ended).set()

        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, end)
        try:
            self._apply()
            if self._problems:
                raise Invalid(self._problems[0])
            self._follow()
            await self._stay_registered(ended)
            await asyncio.to_thread(self._registered.leave)
            for one in self._open.values():
                one.shut()
            await self._drained([*self._open.values(), *self._leaving], at_once)
        finally:
            await self._tasks.stop()
            for one in (*self._open.values(), *self._leaving):
                one.shut()
                await one.door.stop()
            await self._denials.tell()

    async def _stay_registered(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with suppress(MeshError):  # The next time, then.
                await asyncio.to_thread(self._registered.keep)
            with suppress(TimeoutError):
                async with asyncio.timeout(REGISTER_SECONDS):
                    await ended.wait()

    # What is wanted by now

    def _follow(self) -> None:
        self._tasks.start(self._keep_up(), name="following the registration")
        self._tasks.start(self._denials.run(), name="telling whom intentions refuse")
        service, proxy = self._plan.service, self._plan.proxy_id
        if proxy:
            registration = agent.service(proxy)
            self._following.follow(f"registration of {proxy}", registration, self._revised)
        if self._plan.listen is not None:
            for kind, name in (("proxy-defaults", "global"), ("service-defaults", service)):
                heard = partial(self._allowed, kind)
                self._following.follow(f"{kind} of {name}", config.read(kind, name), heard)

    def _revised(self, service: Service) -> None:
        """In a thread: this is the registration now."""
        try:
            plan = self._revise(service)
        except MeshError as error:
            log.warning("%s is registered anew, and goes on as it was: %s", service.id, error)
            return
        if plan.service != self._plan.service:
            what = "%s is a proxy of %s now, not of %s: restart it"
            log.error(what, service.id, plan.service, self._plan.service)
            return
        if plan != self._plan:
            self._plan = plan
            self._wake()

    def _allowed(self, kind: str, entry: config.Entry | None) -> None:
        """In a thread: this is the config entry now."""
        found = entry or {}
        given = {MOST: found.get("MaxInboundConnections")}
        try:
            most = whole(found.get("Config") or {} if kind == "proxy-defaults" else given, MOST)
        except Invalid as error:
            log.warning("%s: %s", kind, error.message)
            return
        if most != self._central.get(kind, 0):
            self._central[kind] = most
            self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._changed.set)

    async def _keep_up(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS if self._problems else None):
                    await self._changed.wait()
            self._changed.clear()
            self._apply()

    def _wanted(self) -> Wanted:
        plan = self._plan
        wanted: Wanted = {one: partial(self._local, one) for one in plan.upstreams}
        if plan.listen is not None:
            wanted["public", plan.listen] = partial(self._public, plan.listen)
        if plan.metrics is not None:
            wanted["metrics", plan.metrics] = partial(self._page, plan.metrics)
        return wanted

    def _apply(self) -> None:
        """Close what is not wanted any more, first: what is new may need its port."""
        wanted, known, self._problems = self._wanted(), self._problems, []
        for key in [key for key in self._open if key not in wanted]:
            one = self._open.pop(key)
            one.shut()
            self._leaving.add(one)
            self._tasks.start(self._leave(one), name=f"{one.door.name} drains")
        for key, opened in wanted.items():
            if key in self._open:
                continue
            try:
                self._open[key] = opened()
            except Invalid as error:
                self._problems.append(error.message)
                if error.message not in known:
                    log.warning("%s", error.message)
        for public in self._publics():
            public.target, public.most = self._plan.target, self._most()

    def _most(self) -> int:
        found = (self._central.get(kind, 0) for kind in ("proxy-defaults", "service-defaults"))
        return self._plan.most or next((one for one in found if one), 0)

    async def _leave(self, one: Opened) -> None:
        await self._drained([one], asyncio.Event())
        await one.door.stop()
        self._leaving.discard(one)
        used = [each.door.traffic for each in (*self._open.values(), *self._leaving)]
        self._traffic = {key: each for key, each in self._traffic.items() if each in used}
        for following in one.following:
            await asyncio.to_thread(following.close)

    async def _drained(self, ones: list[Opened], at_once: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds):
                while not at_once.is_set() and any(one.door.open for one in ones):
                    await self._clock.sleep(LOOK_SECONDS)

    # The doors

    def _public(self, listen: tuple[str, int]) -> Opened:
        plan, calling = self._plan, partial(self._context, "server")
        door = Public(plan.service, plan.target, calling, self._judge, LIMITS)
        door.traffic = self._counted("public", plan.service)
        door.judged = self._denials.note
        opened = Opened(door, "listen", Target(*listen), 0)
        if not self._guarded:
            self._guarded = True
            self._member.guard(self._judge_again)
        return opened

    def _publics(self) -> Iterator[Public]:
        for one in (*self._open.values(), *self._leaving):
            if isinstance(one.door, Public):
                yield one.door

    def _judge_again(self) -> None:
        """In a thread: intentions have changed."""

        def begin() -> None:
            for public in self._publics():
                public.accepting.tasks.start(public.judge_again(), name="judging again")

        with suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(begin)

    def _local(self, upstream: Upstream) -> Opened:
        endpoints, calling = partial(self._endpoints, upstream), partial(self._context, "client")
        door = Local(upstream.service, endpoints, calling, LIMITS)
        door.traffic = self._counted("upstream", upstream.service, upstream.datacenter)
        opened = Opened(door, "upstream", upstream.place, upstream.mode)
        following = Following(self._settings)
        opened.following.append(following)
        following.follow(
            f"instances of {upstream.service}",
            connect.instances(upstream.service, ReadOptions(datacenter=upstream.datacenter)),
            partial(self._instances.__setitem__, upstream),
        )
        return opened

    def _page(self, where: tuple[str, int]) -> Opened:
        return Opened(Page(self._metrics.exposition), "metrics-bind", Target(*where), 0)

    # What they ask

    def _counted(
        self, listener: Literal["public", "upstream"], service: str, datacenter: str = ""
    ) -> Traffic:
        key = (listener, service, datacenter)
        return self._traffic.setdefault(key, Traffic(listener, service, datacenter))

    def _readings(self) -> Iterator[Reading]:
        for one in self._traffic.values():
            yield from one.readings()

    def _context(self, side: material.Side) -> ssl.SSLContext:
        """Of the newest certificates; made once for each."""
        credentials = self._member.credentials
        known = self._contexts.get(side)
        if known is None or known[0] is not credentials:
            made = material.make(side, credentials, lambda _uri, _serial: None)
            self._contexts[side] = known = credentials, made
        return known[1]

    async def _judge(self, uri: str, serial: str) -> Verdict:
        verdicts = self._member.verdicts
        found = verdicts.still(uri)
        if found is None:
            found = await asyncio.to_thread(self._member.judged, uri, serial)
        if trust_domain_of(uri) != self._member.credentials.roots.trust_domain.lower():
            return Verdict(found.authorized, found.reason, "foreign")
        said = verdicts.still(uri) is not None
        reason: Reason = "denied" if said else "unjudged"
        return Verdict(found.authorized, found.reason, reason, found.dry_run)

    def _endpoints(self, upstream: Upstream) -> list[Endpoint]:
        credentials = self._member.credentials
        found = []
        for one in self._instances.get(upstream, ()):
            datacenter = one.node.datacenter or upstream.datacenter or credentials.datacenter
            found.append(
                Endpoint(
                    one.address,
                    one.service.port,
                    credentials.id_of(upstream.service, datacenter),
                    credentials.server_name(upstream.service, datacenter),
                    TIERS[one.status],
                )
            )
        return found


def _listening(place: Target, mode: int) -> socket.socket:
    if place.path:
        return bind_path(place.path, mode)
    family = socket.AF_INET6 if ":" in place.address else socket.AF_INET
    return bind((family, socket.SOCK_STREAM), place.address, place.port)[0]
