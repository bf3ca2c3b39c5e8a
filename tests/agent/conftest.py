"""Agents over a registry in memory, real time, and small servers and scripts to check."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mesh.agent.local import Agent, Options
from mesh.agent.reading import check_definition, service_definition
from mesh.clock import SeededDice, SystemClock
from mesh.registry.catalog import Check, NodeNamed, NodeServices, Service
from mesh.registry.health import NodeChecks
from tests.registry_memory import MemoryRegistry

NODE_ID = "11111111-2222-3333-4444-555555555555"
QUICK: dict[str, Any] = {
    "interval_min_seconds": 0.02,
    "deregister_min_seconds": 0.05,
    "sweep_seconds": 0.02,
    "retry_first_seconds": 0.02,
    "retry_seconds": 0.05,
}


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return when the condition holds."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError("waited in vain") from None


def options(**changes: Any) -> Options:
    given = {"node_name": "n1", "node_id": NODE_ID, "datacenter": "dc1", "address": "10.0.0.1"}
    return Options(**(given | QUICK | changes))


class World:
    """One agent and the catalog it writes to."""

    def __init__(self, agent: Agent, registry: MemoryRegistry) -> None:
        self.agent, self.registry = agent, registry

    def service(self, replace: bool = False, source: Any = "api", **fields: Any) -> None:
        definition = service_definition(fields)
        self.agent.register_service(definition, source=source, replace_existing_checks=replace)

    def check(self, source: Any = "api", **fields: Any) -> None:
        self.agent.register_check(check_definition(fields), source=source)

    def status(self, check_id: str) -> str:
        return self.agent.checks()[check_id].row.status

    def output(self, check_id: str) -> str:
        return self.agent.checks()[check_id].row.output

    def node(self) -> NodeServices | None:
        found: NodeServices | None = self.registry.answers.read(NodeNamed("n1")).value
        return found

    def listed(self) -> dict[str, Service]:
        """The services of this node in the catalog."""
        found = self.node()
        return {service.id: service for service in found.services} if found else {}

    def checked(self) -> dict[str, Check]:
        """The checks of this node in the catalog."""
        checks: list[Check] = self.registry.answers.read(NodeChecks("n1")).value
        return {check.id: check for check in checks}


@pytest.fixture
async def world() -> AsyncIterator[Callable[..., World]]:
    """Makes agents, not started; stops them in the end."""
    made: list[Agent] = []

    def make(registry: MemoryRegistry | None = None, size: int = 1, **changes: Any) -> World:
        registry = registry or MemoryRegistry()
        clock, dice = SystemClock(), SeededDice(7)
        agent = Agent(registry, options(**changes), clock, dice, lambda: size)
        made.append(agent)
        return World(agent, registry)

    yield make
    for agent in made:
        await agent.stop()
