"""The pilot: while this server leads, it watches the servers and does what autopilot decides."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import MeshError, NoLeader
from mesh.registry import autopilot as settings
from mesh.registry.autopilot import Settings
from mesh.registry.port import READ, WriteOptions
from mesh.rpc.forwarded import Forwarded
from mesh.server.autopilot import View, decide
from mesh.server.electorate import Changes, Electorate
from mesh.server.observation import Facts, Observation, Sighting, followers

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
BURST_SECONDS = 0.2
"""News that comes so soon after other news is looked at together with what follows it."""
MEMORY_SECONDS = 5.0
"""A leader that leads again so soon, as after a change of the voters, still knows the servers."""


class Options(msgspec.Struct, frozen=True):
    """Where autopilot starts from."""

    settings: Settings = Settings()
    """Written by the first leader; later ones are those that were set since."""
    heartbeat_seconds: float = 0.1
    """How often the leader is heard of when there is nothing to say."""


class Pilot:
    """Cares for the set of voters every two seconds and at each change of membership."""

    def __init__(
        self,
        as_leader: Forwarded,
        electorate: tuple[Electorate, Changes],
        sightings: Callable[[], Sequence[Sighting]],
        options: Options,
        world: tuple[Clock, Dice],
    ) -> None:
        self._as_leader, self._sightings, self._options = as_leader, sightings, options
        self._node, self._changes = electorate
        self._clock, self._dice = world
        self._changed = asyncio.Event()
        self._observation = Observation()
        self._settings = options.settings
        self._complaint = ""
        self._led = float("-inf")

    def wake(self) -> None:
        """Membership or leadership changed."""
        self._changed.set()

    async def run(self) -> None:
        """Do this whenever this server leads; never ends."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
                await self._clock.sleep(BURST_SECONDS)
            except TimeoutError:
                pass
            self._changed.clear()
            now = self._clock.monotonic()
            if not self._node.is_leader:
                # What it saw long ago says nothing about what happened since.
                if now - self._led > MEMORY_SECONDS:
                    self._observation = Observation()
                continue
            self._led = now
            try:
                await self.step()
                self._complaint = ""
            except MeshError as error:
                if error.message != self._complaint:
                    # A leader that has not confirmed itself yet is no news.
                    level = logging.DEBUG if isinstance(error, NoLeader) else logging.WARNING
                    log.log(level, "autopilot: %s", error)
                self._complaint = error.message

    async def step(self) -> None:
        """Look once, and change the voters if that is due. Raises a MeshError when it cannot."""
        self._settings = await self._read_settings()
        node = self._node
        node.follow(followers(self._sightings(), node.voters, node.cluster_id))
        view = self.view()
        change = decide(view)
        if change is not None:
            reason = "; ".join(change.reasons)
            await self._changes.make(change.voters, view.barred, reason)

    def view(self) -> View:
        """What the leader sees now."""
        node = self._node
        facts = Facts(
            leader=node.me.id,
            voters=node.voters,
            progress=node.progress(),
            last_index=node.commit_index,
            heartbeat_seconds=self._options.heartbeat_seconds,
        )
        now = self._clock.monotonic()
        return View(
            leader=facts.leader,
            voters=tuple(facts.voters),
            servers=self._observation.look(facts, self._sightings(), self._settings, now),
            settings=self._settings,
            barred=tuple(node.barred),
            confirmed=node.leased(),
            changing=self._changes.under_way,
            term=node.term,
            doing=self._changes.doing,
        )

    async def _read_settings(self) -> Settings:
        """The settings in the tables; the first leader puts there what its configuration says."""
        found = (await self._as_leader.read(settings.Get(), READ)).value
        if found is None:
            first = settings.Set(self._options.settings, check_index=0)
            options = WriteOptions(request=self._dice.uuid(), origin="leader")
            await self._as_leader.write(first, options)
            found = (await self._as_leader.read(settings.Get(), READ)).value
        return found or self._options.settings
