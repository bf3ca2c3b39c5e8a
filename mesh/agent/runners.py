"""Runners: they run the checks, each in a task of its own, and report what they find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from mesh.agent import scripts
from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.exposing import led
from mesh.agent.probes import docker, grpc, h2ping, os_service, tcp, udp
from mesh.agent.probes.alias import Aliases
from mesh.agent.probes.http import HttpProbe
from mesh.agent.probes.target import Contexts
from mesh.agent.state import Here
from mesh.clock import Clock, Dice
from mesh.registry.port import Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

SCRIPT_TIMEOUT_SECONDS = 30.0
FIRST_RUN_SECONDS = 1.0


class Runners:
    """The running checks of one agent."""

    def __init__(self, here: Here, registry: Registry, clock: Clock, dice: Dice) -> None:
        self._here = here
        self._clock, self._dice = clock, dice
        self._tasks = Tasks()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._renewed: dict[str, asyncio.Event] = {}
        self._soon: set[str] = set()
        self._aliases = Aliases(here, registry, (clock, dice))
        self._http = HttpProbe()
        self._contexts = Contexts(here.options.check_certificates)

    def reload(self) -> None:
        """Take over new options; runs that have begun go on with the old ones."""
        self._contexts = Contexts(self._here.options.check_certificates)

    def run(self, check_id: str, *, soon: bool = False) -> None:
        """Begin to run a check, or begin anew after it changed; soon: its first run is now."""
        self.end(check_id)
        definition = self._here.checks()[check_id].definition
        if definition is None:
            return
        if soon:
            self._soon.add(check_id)
        work = {"ttl": self._ttl, "alias": self._aliases.run}.get(definition.kind, self._repeat)
        self._renewed[check_id] = asyncio.Event()
        self._running[check_id] = self._tasks.start(
            work(check_id, definition), name=f"check {check_id}"
        )

    def end(self, check_id: str) -> None:
        """Run the check no more."""
        self._renewed.pop(check_id, None)
        task = self._running.pop(check_id, None)
        if task is not None:
            task.cancel()

    def renew(self, check_id: str) -> None:
        """Begin the time of a TTL check anew."""
        if (renewed := self._renewed.get(check_id)) is not None:
            renewed.set()

    async def stop(self) -> None:
        """End every check."""
        await self._tasks.stop()
        await self._http.stop()

    async def _repeat(self, check_id: str, definition: CheckDefinition) -> None:
        probe = self._probes()[definition.kind]
        interval = max(definition.interval, self._here.options.interval_min_seconds)
        # Spread, but a new service does not wait long for its first verdict.
        first = 0.0 if check_id in self._soon else min(interval, FIRST_RUN_SECONDS)
        self._soon.discard(check_id)
        await self._clock.sleep(self._dice.uniform(0, first))
        while True:
            try:
                check = self._here.checks().get(check_id)
                result = await probe(led(definition, check.through if check else ""))
            except Exception as error:
                # A check that stopped would keep its last status for ever.
                log.exception("check %s cannot run", check_id)
                result = Result("critical", f"the check cannot run: {error!r}")
            self._here.report(check_id, result)
            await self._clock.sleep(interval)

    def _probes(self) -> Mapping[str, Callable[[CheckDefinition], Awaitable[Result]]]:
        return {
            "http": lambda check: self._http.run(check, self._contexts),
            "tcp": lambda check: tcp.run(check, self._contexts),
            "udp": udp.run,
            "grpc": lambda check: grpc.run(check, self._contexts),
            "h2ping": lambda check: h2ping.run(check, self._contexts),
            "script": _script,
            "docker": docker.run,
            "os_service": os_service.run,
        }

    async def _ttl(self, check_id: str, definition: CheckDefinition) -> None:
        renewed = self._renewed[check_id]
        while True:
            try:
                async with asyncio.timeout(definition.ttl):
                    await renewed.wait()
            except TimeoutError:
                output = self._here.checks()[check_id].row.output
                text = output if output.startswith("TTL expired") else f"TTL expired\n{output}"
                expired = Result("critical", text.rstrip("\n"), keep="head")
                self._here.report(check_id, expired)
                await renewed.wait()
            renewed.clear()


async def _script(definition: CheckDefinition) -> Result:
    return await scripts.run(definition.args, definition.timeout or SCRIPT_TIMEOUT_SECONDS)
