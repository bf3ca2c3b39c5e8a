"""Executions of prepared queries: which instances are meant, in which order, and from where.

What the query stands for and the instances of its service are two reads, which every edge makes
for itself: so that answers are shared, health that gossip told is laid over them, and an agent
whose servers are gone goes on answering.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from mesh.clock import Dice
from mesh.errors import Invalid, MeshError, NotFound, Unreachable
from mesh.registry import catalog, coordinates, orders, prepared
from mesh.registry.health import Connected, Instance, Instances
from mesh.registry.port import Answer, OrderOptions, Query, ReadOptions, Registry
from mesh.registry.prepared_rows import Prepared

T = TypeVar("T")

AGENT = "_agent"
WHO_ASKS = "_ip"
FIRST = 10
"""The source's own instance goes first if it is among so many."""
ABROAD_SECONDS = 5.0
"""How long each other datacenter may take."""
DISTANCE_SECONDS = 1.0
"""How long distances are waited for: the order is no reason to keep an answer back."""


def _ignore(_instance: Instance, _why: str) -> None:
    pass


class Caller(msgspec.Struct, frozen=True):
    """On whose behalf, and how."""

    node: str
    """The name of this node."""
    datacenter: str
    """The datacenter of this node."""
    address: str = ""
    """The IP address of whoever asks."""
    near: str = ""
    """Instead of what the query says."""
    limit: int = 0
    """So many instances at most; 0 for all."""
    connect: bool = False
    """Instances by which the mesh reaches the service, whatever the query says."""
    distances: bool = True
    """Whether coordinates may be used."""
    abroad_seconds: float = ABROAD_SECONDS
    left_out: Callable[[Instance, str], None] = _ignore
    """Is told which instances are not taken, and why."""


class Found(msgspec.Struct, frozen=True):
    """What an execution came to."""

    query: Prepared
    """Rendered, if it is a template."""
    instances: list[Instance]
    datacenter: str
    """Where they are."""
    failovers: int = 0
    """How many other datacenters were asked."""


class Executor:
    """Executes prepared queries through the registry."""

    def __init__(self, registry: Registry, dice: Dice) -> None:
        self._registry, self._dice = registry, dice

    async def resolve(self, name: str, options: ReadOptions) -> Answer[Prepared]:
        """The query that an id or a name stands for, templates rendered.

        An id goes before a name, a name before templates, and of those the longest that the name
        begins with is taken. Raises NotFound, Invalid for the id of a template, and as reads do.
        """
        gone: Unreachable | None = None
        try:
            found = await self._registry.read(prepared.Named(name), options)
            if found.value is not None:
                _refuse_template(found.value)
                return _with(found, found.value)
        except Unreachable as error:
            gone = error  # An agent may hold the templates, though not what it was never asked.
        every = await self._registry.read(prepared.Templates(), options)
        query = prepared.rendered(name, every.value)
        if query is None:
            raise gone or NotFound("Query not found")
        return _with(every, query)

    async def execute(self, name: str, caller: Caller, options: ReadOptions) -> Answer[Found]:
        """The instances that the query means, in order. Raises as `resolve` does."""
        resolved = await self.resolve(name, options)
        query = resolved.value
        if caller.connect and not query.service.connect:
            service = msgspec.structs.replace(query.service, connect=True)
            query = msgspec.structs.replace(query, service=service)
        options = msgspec.structs.replace(options, token=query.token or options.token)
        answer = await self._registry.read(_asked_for(query), options)
        here = options.datacenter or caller.datacenter
        chosen = self._choose(query, answer.value, caller)
        found = Found(query, await self._sort(query, chosen, caller, options), here)
        if not found.instances:
            found = await self._elsewhere(found, caller, options)
        if caller.limit:
            found = msgspec.structs.replace(found, instances=found.instances[: caller.limit])
        return _with(answer, found)

    def _choose(
        self, query: Prepared, instances: Sequence[Instance], caller: Caller
    ) -> list[Instance]:
        usable = []
        for instance in instances:
            if why := prepared.unfit(query, instance):
                caller.left_out(instance, why)
            else:
                usable.append(instance)
        return self._dice.sample(usable, len(usable))

    async def _sort(
        self, query: Prepared, instances: list[Instance], caller: Caller, options: ReadOptions
    ) -> list[Instance]:
        """The nearest first, if the query or the caller says to what."""
        near = caller.near or query.service.near
        at_home = options.datacenter in {"", caller.datacenter}
        if not near or len(instances) < 2 or (near in {AGENT, WHO_ASKS} and not at_home):
            return instances
        # An order is not worth a wait for a leader.
        now = ReadOptions(
            "stale",
            token=options.token,
            datacenter=options.datacenter,
            seconds_max=DISTANCE_SECONDS,
        )
        try:
            source = await self._source(near, caller, now)
            if source and caller.distances:
                instances = await self._nearest(source, instances, now)
        except MeshError:
            return instances
        for at, instance in enumerate(instances[:FIRST]):
            if instance.node.name.lower() == source.lower():
                return [instance, *instances[:at], *instances[at + 1 :]]
        return instances

    async def _source(self, near: str, caller: Caller, now: ReadOptions) -> str:
        if near == AGENT:
            return caller.node
        if near != WHO_ASKS:
            return near
        if not caller.address:
            return ""
        owner = await self._registry.read(catalog.Owner(caller.address), now)
        return owner.value.node

    async def _nearest(
        self, source: str, instances: list[Instance], now: ReadOptions
    ) -> list[Instance]:
        names = sorted({instance.node.name.lower() for instance in instances})
        far = await coordinates.distances(self._registry, source, names, now)
        return sorted(instances, key=lambda one: far.get(one.node.name.lower(), math.inf))

    async def _elsewhere(self, found: Found, caller: Caller, options: ReadOptions) -> Found:
        """Ask other datacenters in turn, until one has an instance. Those that fail are skipped."""
        failovers = 0
        for datacenter in await self._others(found, options):
            failovers += 1
            asked = msgspec.structs.replace(
                options,
                datacenter=datacenter,
                cached=False,
                seconds_max=caller.abroad_seconds,
            )
            query = found.query
            try:
                answer = await self._registry.read(_asked_for(query), asked)
            except MeshError:
                continue
            found = Found(query, self._choose(query, answer.value, caller), datacenter)
            if found.instances:
                break
        return msgspec.structs.replace(found, failovers=failovers)

    async def _others(self, found: Found, options: ReadOptions) -> list[str]:
        """The datacenters to ask, each once; those that nobody knows are left out."""
        failover = found.query.service.failover
        named = [target.datacenter for target in failover.targets] or failover.datacenters
        if not named and not failover.nearest_n:
            return []
        order = OrderOptions("here", options.datacenter, options.token)
        try:
            known = await self._registry.operate(orders.Datacenters(), order)
        except MeshError:
            return []
        others = [name for name in known if name != found.datacenter]
        wanted = [*others[: failover.nearest_n], *named]
        return [name for name in dict.fromkeys(wanted) if name in others]


def _asked_for(query: Prepared) -> Query[list[Instance]]:
    service = query.service.service
    return Connected(service) if query.service.connect else Instances(service)


def _refuse_template(query: Prepared) -> None:
    if query.template is not None:
        raise Invalid(
            f"{query.id} is a template: ask for a name that begins with "
            f'"{query.name}", not for its id'
        )


def _with(answer: Answer[Any], value: T) -> Answer[T]:
    """Another value that is as fresh."""
    return Answer(value, 1, answer.known_leader, answer.last_contact, answer.age)
