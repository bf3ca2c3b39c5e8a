"""Messaging: what a node does with the events of the pool, and what it asks the pool."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.agent.events import Events
from mesh.agent.execution import EVENT as EXECUTION
from mesh.agent.execution import Execution
from mesh.agent.local import Agent
from mesh.agent.reachability import QUERY, Reachability, judge
from mesh.agent.watches import read_watch
from mesh.agent.watching import Heard, Watching
from mesh.daemon.ground import Ground
from mesh.gossip.events import UserEvent
from mesh.gossip.members import Status
from mesh.http.server import HttpServer
from mesh.registry.port import Registry

log = logging.getLogger(__name__)


class Messaging:
    """The events this node hears, the jobs it takes if the operator lets it, what it watches."""

    def __init__(self, ground: Ground, registry: Registry, agent: Agent) -> None:
        config = ground.config
        self._gossip, self._clock = ground.gossip, ground.clock
        self.events = Events(config.node_name, agent.services, ground.gossip.fire)
        self._execution = Execution(config.node_name, registry, ground.clock)
        if config.disable_remote_exec:
            self.events.handle(EXECUTION, lambda event: log.info(_OFF, event.id))
        else:
            self.events.handle(EXECUTION, self._execution.hear)
        self._end = ground.gossip.on_event(self._hear)
        self._watching: Watching | None = None

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
        if self._watching is not None:
            await self._watching.stop()
        await self._execution.stop()


_OFF = "remote exec: event %s is ignored; disable_remote_exec = false lets this node take jobs"
