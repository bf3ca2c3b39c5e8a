"""Messaging: what a node does with the events of the pool, and what it asks the pool."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from mesh.agent.events import Events
from mesh.agent.execution import EVENT as EXECUTION
from mesh.agent.execution import Execution
from mesh.agent.local import Agent
from mesh.agent.operations import KeyAct, KeyringInfo
from mesh.agent.position import Position
from mesh.agent.reachability import QUERY, Reachability, judge
from mesh.agent.watches import read_watch
from mesh.agent.watching import Heard, Watching
from mesh.daemon.ground import Ground
from mesh.gossip.events import UserEvent
from mesh.gossip.keys import KeyReport, Keys
from mesh.gossip.members import Status
from mesh.http.server import HttpServer
from mesh.registry.coordinates import Coordinate
from mesh.registry.levels import COORDINATES
from mesh.registry.port import Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)


class Messaging:
    """The events this node hears, the jobs it takes if the operator lets it, what it watches."""

    def __init__(self, ground: Ground, registry: Registry, agent: Agent) -> None:
        config = ground.config
        self._gossip, self._clock = ground.gossip, ground.clock
        self._datacenter = config.datacenter
        self._pools = [ground.gossip] + ([ground.wan.gossip] if ground.wan is not None else [])
        self.events = Events(config.node_name, agent.services, ground.gossip.fire)
        self._execution = Execution(config.node_name, registry, ground.clock)
        if config.disable_remote_exec:
            self.events.handle(EXECUTION, lambda event: log.info(_OFF, event.id))
        else:
            self.events.handle(EXECUTION, self._execution.hear)
        self._end = ground.gossip.on_event(self._hear)
        self._watching: Watching | None = None
        self._tasks = Tasks()
        if not config.disable_coordinates:
            self._tell_position(ground, registry)

    @property
    def watch_counters(self) -> Counter[str]:
        """What the watches told, and what failed."""
        return self._watching.counters if self._watching is not None else Counter()

    def _tell_position(self, ground: Ground, registry: Registry) -> None:
        world = (ground.clock, ground.dice)
        position = Position(self._gossip.name, registry, self._coordinate, world)
        # An older server would close the connection on an order that it does not know.
        members, taken = ground.membership.size, partial(ground.membership.all_speak, COORDINATES)
        self._tasks.start(position.run(members, taken), name="telling the position")

    def _coordinate(self) -> Coordinate:
        one = self._gossip.coordinate()
        return Coordinate(tuple(one.vec), one.error, one.adjustment, one.height)

    def _hear(self, event: UserEvent) -> None:
        self.events.hear(event.name, event.payload, event.time)

    async def reach(self, seconds: float | None, relay_factor: int) -> Reachability:
        """Ask everybody for an acknowledgement; ends once all that are alive have answered."""
        acknowledged: set[str] = set()
        answers = self._gossip.query(QUERY, ack=True, relay_factor=relay_factor, seconds=seconds)
        try:
            async for answer in answers:
                acknowledged.add(answer.source)
                if acknowledged.issuperset(self._alive()):
                    break
        finally:
            answers.close()
        return judge(self._alive(), acknowledged)

    async def keyring(self, act: KeyAct, key: bytes, relay_factor: int) -> list[KeyringInfo]:
        """Have every member do this about the key; asked of a server, in the WAN pool as well."""
        found = await asyncio.gather(
            *(_order(pool.keys, act, key, relay_factor) for pool in self._pools)
        )
        return [
            _ring(report, self._datacenter, wan=pool is not self._gossip)
            for pool, report in zip(self._pools, found, strict=True)
        ]

    def _alive(self) -> list[str]:
        members = self._gossip.members()
        return [member.name for member in members if member.status == Status.ALIVE]

    async def watch(self, given: Iterable[Mapping[str, Any]], http: HttpServer) -> None:
        """Follow these watches of the configuration, and no others any more."""

        async def ask(target: str) -> Heard:
            reply = await http.ask(target)
            return Heard(reply.status, int(reply.headers.get("X-Consul-Index", "0")), reply.body)

        if self._watching is None:
            self._watching = Watching(ask, self._clock)
        await self._watching.follow([read_watch(one) for one in given])

    async def stop(self) -> None:
        """Hear nothing more, and end what runs."""
        self._end()
        await self._tasks.stop()
        if self._watching is not None:
            await self._watching.stop()
        await self._execution.stop()


async def _order(keys: Keys, act: KeyAct, key: bytes, relay_factor: int) -> KeyReport:
    if act == "list":
        return await keys.list(relay_factor)
    order = {"install": keys.install, "use": keys.use, "remove": keys.remove}[act]
    return await order(key, relay_factor)


def _ring(report: KeyReport, datacenter: str, *, wan: bool) -> KeyringInfo:
    messages = dict.fromkeys(report.silent, "no answer in time")
    primary: Counter[str] = Counter()
    for name, result in report.results.items():
        if not result.ok or result.message:
            messages[name] = result.message or "it could not do it"
        if result.primary:
            primary[result.primary] += 1
    return KeyringInfo(
        wan=wan,
        datacenter=datacenter,
        members=len(report.results) + len(report.silent),
        keys=report.counts(),
        primary_keys=dict(primary),
        messages=messages,
    )


_OFF = "remote exec: event %s is ignored; disable_remote_exec = false lets this node take jobs"
