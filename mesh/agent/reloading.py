"""Reloading: an agent takes over new options and definitions, and says what that changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mesh.agent import rows
from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.agent.differences import Change, of_check, of_service
from mesh.agent.local import Agent
from mesh.agent.state import Options
from mesh.errors import Invalid, MeshError, NotFound


def reload(
    agent: Agent,
    options: Options,
    services: Sequence[ServiceDefinition],
    checks: Sequence[CheckDefinition],
) -> list[Change]:
    """Take over new options and what the files define; what came through the API stays.

    Returns what changed. Raises Denied, Invalid or NotFound, having changed nothing, when a
    definition is not allowed.
    """
    before, agent.options = agent.options, options
    try:
        _refuse(agent, services, checks)
    except MeshError:
        agent.options = before
        raise
    old = _Defined(agent)
    embedded = [check for one in services for check in _all_checks(agent, one)]
    wanted = {part for one in services for part in agent.parts(one)}
    _remove_undefined(agent, wanted, {rows.check_id(check) for check in [*embedded, *checks]})
    for service in services:
        if old.differ(agent, service):
            agent.register_service(service, source="config")
    for check in checks:
        known = old.checks.get(rows.check_id(check))
        if known != check:
            agent.register_check(check, source="config")
    agent.apply_options()
    return old.compared(_Defined(agent))


class _Defined:
    """What files define, at one time."""

    def __init__(self, agent: Agent) -> None:
        self.services: Mapping[str, ServiceDefinition] = {
            name: local.definition
            for name, local in agent.services().items()
            if local.source == "config"
        }
        self.checks: Mapping[str, CheckDefinition] = {
            name: check.definition
            for name, check in agent.checks().items()
            if check.source == "config" and check.definition is not None
        }

    def differ(self, agent: Agent, service: ServiceDefinition) -> bool:
        """Whether a service, its sidecar or one of their checks is not as defined now."""
        parts = agent.parts(service)
        return any(
            self.services.get(name) != part
            or any(self.checks.get(check.id) != check for check in rows.own_checks(part))
            for name, part in parts.items()
        )

    def compared(self, now: _Defined) -> list[Change]:
        """What is different now: what went, then by id what came or changed."""
        found = [
            Change("service", name, "removed") for name in self.services if name not in now.services
        ]
        found += [
            Change("check", name, "removed") for name in self.checks if name not in now.checks
        ]
        for name, service in now.services.items():
            known = self.services.get(name)
            if known is None:
                found.append(Change("service", name, "added"))
            else:
                found += of_service(name, known, service)
        for name, check in now.checks.items():
            before = self.checks.get(name)
            if before is None:
                found.append(Change("check", name, "added"))
            else:
                found += of_check(name, before, check)
        return found


def _all_checks(agent: Agent, service: ServiceDefinition) -> list[CheckDefinition]:
    return [check for part in agent.parts(service).values() for check in rows.own_checks(part)]


def _refuse(
    agent: Agent, services: Sequence[ServiceDefinition], checks: Sequence[CheckDefinition]
) -> None:
    """Raise what keeps one of these from being registered."""
    known = {name for name, local in agent.services().items() if local.source == "api"}
    for service in services:
        known |= set(agent.parts(service))
        for check in _all_checks(agent, service):
            agent.allow(check, "config")
    for check in checks:
        agent.allow(check, "config")
        name = rows.check_id(check)
        if not name:
            raise Invalid("check: Name: a check needs a name")
        if check.service_id and check.service_id not in known:
            raise NotFound(
                f'check "{name}": ServiceID: this agent has no service "{check.service_id}"; give '
                "the id of a service that a file defines or that is registered already"
            )


def _remove_undefined(agent: Agent, services: set[str], checks: set[str]) -> None:
    for name, service in list(agent.services().items()):
        if service.source == "config" and name not in services and name in agent.services():
            agent.deregister_service(name)
    for name, check in list(agent.checks().items()):
        if check.source == "config" and name not in checks and name in agent.checks():
            agent.deregister_check(name)
