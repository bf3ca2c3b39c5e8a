"""Alias checks: they mirror the checks of a service or node, here or elsewhere."""

from __future__ import annotations

import asyncio
import logging

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.state import Here
from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.catalog import Check, NodeNamed, NodeServices
from mesh.registry.health import NodeChecks, worst
from mesh.registry.port import ReadOptions, Registry

log = logging.getLogger(__name__)

ALIAS_SECONDS = 60.0


class Aliases:
    """Runs alias checks: at each change of what is here, by blocking queries elsewhere."""

    def __init__(self, here: Here, registry: Registry, world: tuple[Clock, Dice]) -> None:
        self._here, self._registry = here, registry
        self._clock, self._dice = world

    async def run(self, check_id: str, definition: CheckDefinition) -> None:
        """Report what it mirrors; never ends."""
        if not self._is_local(definition):
            await self._follow(check_id, definition)
            return
        changed = asyncio.Event()
        end = self._here.listen(changed.set)
        try:
            while True:
                changed.clear()
                self._here.report(check_id, self._local_target(check_id, definition))
                try:
                    async with asyncio.timeout(ALIAS_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            end()

    def _is_local(self, alias: CheckDefinition) -> bool:
        return alias.alias_node.lower() in {"", self._here.options.node_name.lower()}

    def _has_target(self, alias: CheckDefinition) -> bool:
        return not alias.alias_service or alias.alias_service in self._here.services()

    def _local_target(self, check_id: str, definition: CheckDefinition) -> Result:
        if not self._has_target(definition):
            return Result("critical", f"Service {definition.alias_service} could not be found")
        return _mirror(self._behind(check_id, definition))

    def _behind(self, check_id: str, definition: CheckDefinition) -> list[Check]:
        """The checks an alias mirrors; other aliases count as the checks behind them.

        By their own status, aliases that mirror each other would keep each other critical.
        """
        found: list[Check] = []
        seen, waiting = {check_id}, [definition]
        while waiting:
            owners = {"", waiting.pop().alias_service}
            found += [row for owner in sorted(owners) for row in self._here.maintained(owner)]
            for other, check in self._here.checks().items():
                if other in seen or check.row.service_id not in owners:
                    continue
                seen.add(other)
                alias = check.definition if check.row.kind == "alias" else None
                if alias is not None and self._is_local(alias) and self._has_target(alias):
                    waiting.append(alias)
                else:
                    found.append(check.row)
        return found

    async def _follow(self, check_id: str, definition: CheckDefinition) -> None:
        index = 0
        while True:
            try:
                # Waits for a change of its checks; the service may go without one.
                options = ReadOptions(consistency="stale", index=index, wait=ALIAS_SECONDS)
                answer = await self._registry.read(NodeChecks(definition.alias_node), options)
                result = await self._remote_target(definition, answer.value)
            except MeshError as error:
                log.debug("alias check %s: %s", check_id, error)
                index = 0
                await self._clock.sleep(self._dice.uniform(1.0, 2.0))
                continue
            self._here.report(check_id, result)
            index = answer.index

    async def _remote_target(self, definition: CheckDefinition, checks: list[Check]) -> Result:
        node, target = definition.alias_node, definition.alias_service
        stale = ReadOptions(consistency="stale")
        found: NodeServices | None = (await self._registry.read(NodeNamed(node), stale)).value
        if found is None or found.node.name.lower() != node.lower():
            return Result("critical", f"Node {node} could not be found")
        if target and target not in {service.id for service in found.services}:
            return Result("critical", f"Service {target} could not be found on node {node}")
        return _mirror([check for check in checks if check.service_id in {"", target}])


def _mirror(rows: list[Check]) -> Result:
    if not rows:
        return Result("passing", "No checks found.")
    status = worst(rows)
    if status == "passing":
        return Result("passing", "All checks passing.")
    status = "critical" if status == "maintenance" else status
    bad = next(row for row in rows if row.status == status)
    return Result(status, f'Aliased check "{bad.name}" is {status}: {bad.output}')
