"""/v1/internal/ui/now: what is wrong now, since when, and what to do next; a summary beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from mesh import __version__
from mesh.agent.operations import MemberInfo, NodeOperations, ProxyInfo
from mesh.errors import MeshError, NoLeader, explained
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.shapes import Shape
from mesh.registry import (
    authority,
    health,
    intentions,
    levels,
    maintenance,
    orders,
    overview,
    snapshots,
)
from mesh.registry import refusals as refused
from mesh.registry.orders import Health
from mesh.registry.port import Order, Query, ReadOptions
from mesh.registry.refusals import Refusal
from mesh.rpc.servers import read_tags
from mesh.ui.facts import Facts, Freeze, Levels, Member, Sidecar
from mesh.ui.findings import SHOWN_MAX, Finding
from mesh.ui.now import find

T = TypeVar("T")

PATIENCE_SECONDS = 3.0
"""How long a source may take; a page is better with a hole than not at all."""
FAILED = 4
"""Serf's number for a member that is gone."""
KEPT_SECONDS = 0.4
"""How long an answer does for everybody who asks: pages ask twice a second."""
SLOW_SECONDS = 10.0
"""The same for what every server is asked for."""
STALE = ReadOptions(consistency="stale", seconds_max=PATIENCE_SECONDS)


class NextStepShape(Shape, frozen=True):
    """What to do next; Path has the parts of the address of a page of the UI."""

    text: str
    command: str
    path: list[str]


class NowFindingShape(Shape, frozen=True):
    """One thing to know now."""

    kind: str
    severity: str
    subject: str
    """What kind of thing it is about: service, node, server ..."""
    name: str
    since: str
    """RFC 3339; empty when nobody knows."""
    since_at_least: bool
    """It was so before already: Since is when it was first seen here."""
    detail: str
    next: list[NextStepShape]


class ClusterShape(Shape, frozen=True, kw_only=True):
    """What there is, and how much of it is well."""

    datacenter: str
    node: str
    """Who was asked."""
    version: str
    leader: str
    servers: int
    voters: int
    failure_tolerance: int
    nodes: int
    nodes_passing: int
    services: int
    services_passing: int
    instances: int
    instances_passing: int
    checks: int
    checks_passing: int


class NowShape(Shape, frozen=True):
    """What is wrong now, the worst first; `More` findings are left out."""

    findings: list[NowFindingShape]
    more: int
    cluster: ClusterShape
    unasked: list[str]
    """Sources that could not be asked."""


async def now(request: Request) -> Reply:
    """What is wrong now. What cannot be asked is a finding itself."""
    where = params.datacenter(request) or request.options.datacenter
    key, moment = f"now {where} {params.token(request)}", request.parts.clock.monotonic()
    shape = request.parts.memory.kept(key, moment)
    if shape is None:
        # One after the other: who was told the later one is never told the earlier one after it.
        shape = await request.parts.flights.share(key, lambda _: _made(request, where, key))
    return respond.json(shape)


async def _made(request: Request, where: str, key: str) -> NowShape:
    asking = _Asking(request, where)
    facts = await asking.facts()
    shape = NowShape(*_findings(request, where, facts), asking.cluster(facts), [*facts.failures])
    request.parts.memory.keep(key, shape, request.parts.clock.monotonic() + KEPT_SECONDS)
    return shape


def _findings(request: Request, where: str, facts: Facts) -> tuple[list[NowFindingShape], int]:
    found = find(facts)
    keys = {_key(one): one for one in found}
    seen = request.parts.memory.look(where, keys, facts.now)
    shapes = []
    for one in found[:SHOWN_MAX]:
        since, before = (one.since, False) if one.since else seen[_key(one)]
        steps = [NextStepShape(step.text, step.command, step.path) for step in one.next]
        shapes.append(
            NowFindingShape(
                one.kind, one.severity, one.of, one.name, _time(since), before, one.detail, steps
            )
        )
    return shapes, max(len(found) - SHOWN_MAX, 0)


def _key(one: Finding) -> str:
    return f"{one.kind}\0{one.of}\0{one.name}\0{one.severity}"


def _time(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


class _Asking:
    """Asks everybody who may know, at once; remembers who did not answer."""

    def __init__(self, request: Request, where: str) -> None:
        self._request, self._where = request, where
        self._here = where == request.options.datacenter
        self._failures: dict[str, str] = {}

    async def facts(self) -> Facts:
        """All that is known."""
        (
            critical,
            warning,
            totals,
            maintained,
            servers,
            trust,
            reports,
            kept,
            level,
            calls,
        ) = await asyncio.gather(
            self._read("checks", health.ChecksInState("critical"), []),
            self._read("checks", health.ChecksInState("warning"), []),
            self._read("checks", overview.Overall(), None),
            self._read("maintenance", maintenance.All(), []),
            self._order("servers", orders.AutopilotHealth(), None),
            self._read("certificates", authority.Roots(), None),
            self._read("certificates", authority.Reports(), []),
            self._slowly("snapshots", snapshots.Schedules(), []),
            self._read("feature level", levels.Present(), 0),
            self._calls(),
        )
        local = self._local(level) if self._here else {}
        return Facts(
            now=self._request.parts.clock.wall(),
            node=self._request.options.node_name,
            failing=[*critical, *warning],
            totals=totals,
            maintenance=maintained,
            servers=servers,
            trust=trust,
            reports=reports,
            schedules=kept,
            refusals=calls,
            failures=self._failures,
            **local,
        )

    async def _calls(self) -> list[Refusal]:
        rows = await self._read("refused calls", refused.All(), [])
        if not any(row.found for row in rows):
            return []
        known = await self._read("intentions", intentions.All(), [])
        return [one for row in rows for one in row.found if refused.is_tried(one, known)]

    async def _read(self, name: str, query: Query[T], otherwise: Any) -> Any:
        """What the registry says; without a leader, what any server has."""
        registry = self._request.parts.registry
        options = params.read_options(self._request, discovery=True)
        options = replace(options, index=0, seconds_max=PATIENCE_SECONDS)

        async def ask() -> Any:
            try:
                return (await registry.read(query, options)).value
            except NoLeader as error:
                self._failures["leader"] = explained(error)
                stale = replace(STALE, datacenter=options.datacenter, token=options.token)
                return (await registry.read(query, stale)).value

        return await self._try(name, ask, otherwise)

    async def _order(self, name: str, order: Order[T], otherwise: Any) -> Any:
        async def ask() -> Any:
            options = params.order_to(self._request, "leader")
            return await self._request.parts.registry.operate(order, options)

        return await self._try(name, ask, otherwise)

    async def _slowly(self, name: str, order: Order[T], otherwise: Any) -> Any:
        """The same of what all servers are asked for, which does for a while."""
        memory, moment = self._request.parts.memory, self._request.parts.clock.monotonic()
        key = f"{name} {self._where} {params.token(self._request)}"
        found = memory.kept(key, moment)
        if found is None:
            found = await self._order(name, order, otherwise)
            if name not in self._failures:
                memory.keep(key, found, moment + SLOW_SECONDS)
        return found

    async def _try(self, name: str, ask: Callable[[], Awaitable[Any]], otherwise: Any) -> Any:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS * 1.5):
                return await ask()
        except NoLeader as error:
            self._failures["leader"] = explained(error)
        except TimeoutError:
            self._failures[name] = f"no answer within {PATIENCE_SECONDS * 1.5:.1f} s"
        except MeshError as error:
            self._failures[name] = explained(error)
        return otherwise

    def _local(self, level: int) -> dict[str, Any]:
        """What the node asked knows by itself."""
        agent = self._request.parts.agent
        operations: NodeOperations | None = agent.operations if agent is not None else None
        if operations is None:
            return {}
        members, figures = operations.members(False), operations.figures(False)
        moment = self._request.parts.clock.wall()
        guard, secrets = operations.guard(), operations.secrets()
        mesh = operations.mesh
        held = {one.name: figures[one.name].state_seconds for one in members if one.name in figures}
        return {
            "members": [_member(one, moment, held.get(one.name)) for one in members],
            "freeze": Freeze(since=guard.since, rule=guard.rule, ends=guard.ends, held=guard.held)
            if guard.frozen
            else None,
            "levels": _levels(members, self._where, level) if level else None,
            "sidecars": [_sidecar(one) for one in mesh.proxies()] if mesh is not None else [],
            "ends": secrets.ends,
            "keys": secrets.keys,
        }

    def cluster(self, facts: Facts) -> ClusterShape:
        """What there is."""
        totals = facts.totals or overview.Totals(overview.Tally(), [], [])
        servers = facts.servers or Health(False, 0, [])
        leader = next((one.name for one in servers.servers if one.leader), "")
        instances, checks = totals.services, totals.checks
        return ClusterShape(
            datacenter=self._where,
            node=facts.node,
            version=__version__,
            leader=leader,
            servers=len(servers.servers),
            voters=sum(one.voter for one in servers.servers),
            failure_tolerance=servers.failure_tolerance,
            nodes=totals.nodes.total,
            nodes_passing=totals.nodes.passing,
            services=len(instances),
            services_passing=sum(one.passing == one.total for one in instances),
            instances=sum(one.total for one in instances),
            instances_passing=sum(one.passing for one in instances),
            checks=sum(one.total for one in checks),
            checks_passing=sum(one.passing for one in checks),
        )


def _member(one: MemberInfo, moment: float, seconds: float | None) -> Member:
    failed = one.status == FAILED
    return Member(
        name=one.name,
        failed=failed,
        server=read_tags(one.tags) is not None,
        since=moment - seconds if failed and seconds is not None else 0.0,
        damped_until=one.damped_until or 0.0,
        version=one.tags.get("build", "").partition(":")[0],
    )


def _levels(members: list[MemberInfo], datacenter: str, level: int) -> Levels:
    found = [(one.name, tags) for one in members if (tags := read_tags(one.tags)) is not None]
    mine = [(name, tags) for name, tags in found if tags.datacenter == datacenter]
    highest = max([level, *(tags.level_max for _, tags in mine)])
    lacking = [name for name, tags in mine if tags.level_max <= level]
    return Levels(level, highest, lacking if highest > level else [])


def _sidecar(one: ProxyInfo) -> Sidecar:
    refusals = [
        f"{each.name} ({each.origin}): {each.error}"
        for stream in one.streams
        for kind in stream.kinds
        for each in kind.refused
    ]
    return Sidecar(
        id=one.id,
        state=one.envoy.state if one.envoy is not None else "",
        why=one.envoy.why if one.envoy is not None else "",
        problems=one.problems,
        refused=refusals,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/now",
        now,
        "What is wrong now, since when, and what to do next",
        answer=NowShape,
    ),
)
