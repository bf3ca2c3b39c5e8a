"""gRPC programs of this node's services that are in the mesh without a sidecar.

What a program may ask for is not known before it does: the services that it calls and the addresses
at which it serves are the names that its streams ask for. Its certificates lie in files.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from mesh.agent.following import Followed, Following
from mesh.agent.proxies import Leaves
from mesh.agent.state import Here
from mesh.clock import Clock
from mesh.connect.acks import Acks
from mesh.connect.ca import bundle
from mesh.connect.composing import Place, endpoints
from mesh.connect.credentials import Leaf
from mesh.connect.grpc_bootstrap import (
    PREFIX,
    REFRESH_SECONDS,
    SERVER_LISTENER,
    Bootstrap,
    bootstrap,
)
from mesh.connect.leaf_files import LeafFiles, kept
from mesh.connect.xds.blueprint import Proxyless
from mesh.errors import MeshError, NotFound, Unreachable
from mesh.registry import authority, health, intentions
from mesh.registry.services import PROXY
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

TARGETS_MAX = 1024
"""Services that the programs of one service may call."""
READY_SECONDS = 30.0
READ_SECONDS = 2.0 * REFRESH_SECONDS
"""After which every program that runs has read files that changed."""
_SERVED = SERVER_LISTENER.removesuffix("%s")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Control(Protocol):
    """Who tells programs their configuration."""

    async def start(self) -> str:
        """Serve; returns where, as a bootstrap names it."""
        ...

    def put_proxyless(self, wanted: Proxyless) -> dict[str, str]:
        """From now on programs are to be this; returns what is wrong with it."""
        ...

    def hold(self, proxy: str) -> None:
        """Tell them nothing until there is something new."""
        ...

    def drop(self, proxy: str) -> None:
        """Nobody is to be told any more."""
        ...

    def asked(self, proxy: str) -> set[str]:
        """The listeners that the streams of a node id ask for."""
        ...


class Files(NamedTuple):
    """Where certificates lie, and who hears that they were read."""

    folder: Path
    acks: Acks
    clock: Clock


class Programs:
    """Cares for the services of this node for which somebody asked for a bootstrap."""

    def __init__(
        self,
        here: Here,
        following: Following,
        leaves: Leaves,
        control: Control,
        place: Callable[[], Place],
        files: Files,
    ) -> None:
        self._here, self._following, self._leaves = here, following, leaves
        self._control, self.place, self._files = control, place, files
        self._programs: dict[str, _Program] = {}
        self._unlisten: Callable[[], None] | None = None
        self._wake = asyncio.Event()
        self._caring = asyncio.Lock()
        """Held while files are removed, so that nobody is told of them."""
        self._tasks = Tasks()

    def start(self) -> None:
        """Go on with those that were cared for before."""
        self._unlisten = self._here.listen(self._wake.set)
        self._wake.set()
        self._tasks.start(self._run(), name="gRPC programs")

    async def stop(self) -> None:
        """Follow nothing more."""
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None
        await self._tasks.stop()

    async def bootstrap(self, service: str, address: str = "") -> dict[str, Any]:
        """What a program of the service is started with; its certificates are there.

        Raises NotFound for a service that is not registered here, Unreachable when there are no
        certificates for it yet.
        """
        if service not in self._services():
            raise NotFound(
                f'this agent has no service "{service}"; register it, without a port if it has none'
            )
        served = await self._control.start()
        async with self._caring:
            program = self._care(service)
        try:
            async with asyncio.timeout(READY_SECONDS):
                await program.ready.wait()
        except TimeoutError:
            raise Unreachable(f"there is no certificate for {service} yet") from None
        place = self.place()
        return bootstrap(
            Bootstrap(
                service=service,
                node=place.node,
                datacenter=place.datacenter,
                agent=address or served,
                folder=str(program.files.current),
            )
        )

    def heard(self, proxy: str) -> None:
        """Programs with this node id asked for something, or answered, or are gone."""
        program = self._programs.get(proxy.removeprefix(PREFIX))
        if program is not None:
            program.ask(self._control.asked(proxy))

    def problems(self) -> dict[str, list[str]]:
        """What is wrong with the programs of each service that is cared for."""
        return {name: one.problems for name, one in sorted(self._programs.items())}

    def _services(self) -> set[str]:
        rows = (local.row for local in self._here.services().values())
        return {row.name for row in rows if row.kind != PROXY}

    def _care(self, service: str) -> _Program:
        program = self._programs.get(service)
        if program is None:
            program = _Program(service, self._files, self._following, self._control, self.place)
            self._programs[service] = program
            program.begin(self._tasks, self._leaves)
            program.ask(self._control.asked(program.proxy))
        return program

    async def _run(self) -> None:
        before = await asyncio.to_thread(kept, self._files.folder)
        while True:
            await self._wake.wait()
            self._wake.clear()
            found = self._services()
            async with self._caring:
                for service in sorted(found & before):
                    before.discard(service)
                    await self._control.start()
                    self._care(service)
                for service in sorted(self._programs.keys() - found):
                    await self._forget(self._programs.pop(service))

    async def _forget(self, program: _Program) -> None:
        program.end()
        self._files.acks.proxy_gone(program.proxy)
        self._leaves.drop(program.service)
        self._control.drop(program.proxy)
        await asyncio.to_thread(program.files.remove)


class _Program:
    """The programs of one service: all of them are told the same, of what each asks for."""

    def __init__(
        self,
        service: str,
        files: Files,
        following: Following,
        control: Control,
        place: Callable[[], Place],
    ) -> None:
        self.service, self.files = service, LeafFiles(files.folder, service)
        self._acks, self._clock = files.acks, files.clock
        self.proxy = f"{PREFIX}{service}"
        self.ready = asyncio.Event()
        """Its certificates are there."""
        self.problems: list[str] = []
        """Why programs have not been told what is wanted of them."""
        self._following, self._control, self._place = following, control, place
        self._leaf: Leaf | None = None
        self._made: Proxyless | None = None
        self._held = False
        self._served: list[str] = []
        self._targets: dict[str, tuple[Followed[list[health.Instance]], Callable[[], None]]] = {}
        self._ends: list[Callable[[], object]] = []
        self._fresh = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def begin(self, tasks: Tasks, leaves: Leaves) -> None:
        """Follow what all of them need."""
        self._tasks = tasks
        self._roots = self._follow(authority.Roots(), self._trusted)
        self._policy = self._follow(intentions.Matching(self.service), self._told)
        for work in (self._follow_leaf(leaves), self._write()):
            self._ends.append(tasks.start(work, name=f"certificates of {self.service}").cancel)

    def _follow(self, query: Any, changed: Callable[[], None]) -> Any:
        followed, end = self._following.follow(query, changed)
        self._ends.append(end)
        return followed

    def end(self) -> None:
        """Follow nothing more."""
        for end in self._ends:
            end()
        for _, end in self._targets.values():
            end()
        if self._reading is not None:
            self._reading.cancel()

    # Certificates.

    async def _follow_leaf(self, leaves: Leaves) -> None:
        while True:  # When a sidecar of the service goes, its leaf goes with it.
            async for leaf in leaves.watch(self.service):
                self._leaf = leaf
                self._fresh.set()

    def _trusted(self) -> None:
        self._fresh.set()
        self._told()

    async def _write(self) -> None:
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            trust = self._roots.value
            if self._leaf is None or trust is None or not trust.trust_domain:
                continue
            leaf, roots = self._leaf, bundle(trust)
            try:
                first = not await asyncio.to_thread(self.files.there)
                await asyncio.to_thread(self.files.write, leaf, roots)
            except MeshError as error:
                log.warning("%s", error)
                continue
            self.ready.set()
            if self._reading is not None:
                self._reading.cancel()
            seconds = 0.0 if first else READ_SECONDS
            read = self._acknowledge(sorted(roots.roots), leaf.root, seconds)
            self._reading = self._tasks.start(read, name=f"programs of {self.service} read")

    async def _acknowledge(self, roots: list[str], leaf: str, seconds: float) -> None:
        """Rotations wait for it: by then programs believe these roots, and show that leaf."""
        await self._clock.sleep(seconds)
        self._acks.proxy(self.proxy, roots, leaf)

    # Configuration.

    def ask(self, names: set[str]) -> None:
        """These are the listeners that streams ask for now."""
        self._served = sorted(
            name.removeprefix(_SERVED) for name in names if name.startswith(_SERVED)
        )
        targets = sorted(name for name in names if _NAME.fullmatch(name))[:TARGETS_MAX]
        for name in self._targets.keys() - set(targets):
            self._targets.pop(name)[1]()
        for name in targets:
            if name not in self._targets:
                query = health.Connected(name)
                self._targets[name] = self._following.follow(query, self._told)
        self._told()

    def _told(self) -> None:
        made = self._compose()
        if made is None:
            # Who was told that there is no such thing would give up what it has.
            self._control.hold(self.proxy)
            self._held = True
        elif made != self._made or self._held:
            self._made, self._held = made, False
            before, self.problems = self.problems, [*self._control.put_proxyless(made).values()]
            for problem in self.problems:
                if problem not in before:
                    log.warning("gRPC programs of %s: %s", self.service, problem)

    def _compose(self) -> Proxyless | None:
        trust, policy, place = self._roots.value, self._policy.value, self._place()
        found = {name: one.value for name, (one, _) in sorted(self._targets.items())}
        targets = {name: endpoints(one) for name, one in found.items() if one is not None}
        if trust is None or not trust.trust_domain or policy is None or len(targets) < len(found):
            return None
        return Proxyless(
            proxy=self.proxy,
            service=self.service,
            node=place.node,
            datacenter=place.datacenter,
            bundle=bundle(trust),
            targets=targets,
            served=self._served,
            policy=policy,
            default_allow=place.default_allow,
        )
