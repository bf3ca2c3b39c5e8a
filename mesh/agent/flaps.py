"""Flaps: checks that turn critical again and again stay critical until they have been quiet.

Only checks that this agent runs: what an API call or another check says holds at once. And only
while another instance of the service is healthy, which the registry is asked for; without an
answer nothing is held.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from mesh.agent.checks import Result
from mesh.agent.definitions import PROBES
from mesh.agent.state import Here, LocalCheck
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.registry.damping import Damping, Settings
from mesh.registry.health import Instances
from mesh.registry.port import STALE, Registry

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether held checks are needed, or have been quiet for long enough."""


class Flaps:
    """Judges the results of checks, and holds those that flap."""

    def __init__(self, here: Here, registry: Registry, clock: Clock, settings: Settings) -> None:
        self._here, self._registry, self._clock = here, registry, clock
        self._damping = Damping(settings)
        self._held: dict[str, Result] = {}
        self._spared: set[str] = set()
        self._wake = asyncio.Event()

    @property
    def held(self) -> int:
        """How many checks stay critical although their last result was better."""
        return len(self._held)

    def judge(self, check: LocalCheck, result: Result) -> str:
        """Count a result; the status to show."""
        before, status = check.judge.status, check.judge.judge(result)
        check_id, kind = check.row.id, check.definition.kind if check.definition else ""
        if kind not in PROBES or not check.row.service_id:
            return status
        now = self._clock.monotonic()
        if status == "critical" and before != "critical":
            self._spared.discard(check_id)
            if self._damping.fell(now, check_id):
                log.warning("check %s failed again: damped%s", check_id, self._until(check_id))
        if (
            status == "critical"
            or check_id in self._spared
            or self._damping.until(now, check_id) is None
        ):
            self._held.pop(check_id, None)
            return status
        self._held[check_id] = result
        self._wake.set()
        return "critical"

    def note(self, check_id: str) -> str:
        """What the output begins with while it is held."""
        if check_id not in self._held:
            return ""
        found = self._held[check_id].status
        return f"Damped{self._until(check_id)} for failing again and again; now {found}: "

    def _until(self, check_id: str) -> str:
        now = self._clock.monotonic()
        end = self._damping.until(now, check_id)
        if end is None:
            return ""
        when = datetime.fromtimestamp(round(self._clock.wall() + end - now), UTC)
        return f" until {when:%Y-%m-%dT%H:%M:%SZ}"

    async def run(self) -> None:
        """Let go of checks that are needed, or that have been quiet; never ends."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._held:
                for check_id in list(self._held):
                    await self._look(check_id)
                await self._clock.sleep(LOOK_SECONDS)

    async def _look(self, check_id: str) -> None:
        check = self._here.checks().get(check_id)
        if check is None:
            self._held.pop(check_id, None)
            return
        if self._damping.until(self._clock.monotonic(), check_id) is not None:
            if not await self._is_needed(check):
                return
            self._spared.add(check_id)
            log.info("check %s is not damped: no other instance is healthy", check_id)
        result = self._held.pop(check_id, None)
        if result is not None:
            self._here.report(check_id, result)

    async def _is_needed(self, check: LocalCheck) -> bool:
        row = check.row
        try:
            instances = (await self._registry.read(Instances(row.service_name), STALE)).value
        except MeshError:
            return True
        return not any(
            one.status in {"passing", "warning"}
            and (one.node.name.lower(), one.service.id) != (row.node.lower(), row.service_id)
            for one in instances
        )
