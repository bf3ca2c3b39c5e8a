"""What this node runs: its services and checks, as registered, judged and told to the catalog."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from mesh.agent.checks import CriticalClock, Judge, Result, Thresholds, shorten
from mesh.agent.definitions import (
    DEREGISTER_MIN_SECONDS,
    CheckDefinition,
    ServiceDefinition,
)
from mesh.agent.operations import NodeOperations
from mesh.agent.runners import Runners
from mesh.agent.storage import CheckState, Storage
from mesh.agent.sync import Options as SyncOptions
from mesh.agent.sync import Sync
from mesh.clock import Clock, Dice
from mesh.durations import format_duration
from mesh.errors import Denied, Invalid, NotFound
from mesh.registry.catalog import Check, Node, Service
from mesh.registry.health import NODE_MAINTENANCE, SERVICE_MAINTENANCE
from mesh.registry.port import Registry
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

Source: TypeAlias = Literal["api", "config"]
SWEEP_SECONDS = 30.0
_UNKNOWN_SERVICE = 'Unknown service ID "{}"; give the id of the service, not its name'
_UNKNOWN_CHECK = 'Unknown check ID "{}"; give the id of the check, not its name'
SERVICES_FOLDER, CHECKS_FOLDER, STATES_FOLDER = "services", "checks", "states"


class Options(SyncOptions, frozen=True, kw_only=True):
    """What an operator decides about this node's services and checks."""

    node_name: str
    node_id: str
    datacenter: str
    address: str
    tagged_addresses: dict[str, str] = {}
    node_meta: dict[str, str] = {}
    data_dir: str = ""
    """Where registrations are kept; empty for memory only."""
    enable_script_checks: bool = False
    """Checks from files and from the API may run programs."""
    enable_local_script_checks: bool = False
    """Checks from files may run programs."""
    check_output_max_bytes: int = 4096
    discard_check_output: bool = False
    interval_min_seconds: float = 1.0
    """Shorter check intervals are raised to this."""
    sweep_seconds: float = SWEEP_SECONDS
    """How often services that were critical for too long are looked for."""


class _Kept(msgspec.Struct, frozen=True):
    """A registration on disk."""

    service: ServiceDefinition | None = None
    check: CheckDefinition | None = None


class LocalService(msgspec.Struct):
    """A service of this node."""

    row: Service
    definition: ServiceDefinition
    source: Source


class LocalCheck(msgspec.Struct):
    """A check of this node; without a definition it only holds a status (maintenance)."""

    row: Check
    source: Source
    definition: CheckDefinition | None
    judge: Judge
    clock: CriticalClock


class Agent:
    """Registers, judges and keeps what runs here, and keeps the catalog in line with it."""

    operations: NodeOperations

    def __init__(
        self,
        registry: Registry,
        options: Options,
        clock: Clock,
        dice: Dice,
        cluster_size: Callable[[], int],
    ) -> None:
        self.options = options
        self._clock = clock
        self._storage = Storage(options.data_dir)
        self._services: dict[str, LocalService] = {}
        self._checks: dict[str, LocalCheck] = {}
        self._states = {state.id: state for state in self._storage.load(STATES_FOLDER, CheckState)}
        self._tasks = Tasks()
        self._listeners: list[Callable[[], None]] = []
        self._runners = Runners(self, registry, clock, dice)
        self._sync = Sync(self, registry, (clock, dice), cluster_size)
        self._started = False

    async def start(self) -> None:
        """Restore what was registered, run the checks, begin to sync."""
        self._restore()
        self._started = True
        for check_id in self._checks:
            self._runners.run(check_id)
        self._tasks.start(self._sweep(), name="critical services")
        self._sync.start()

    async def stop(self) -> None:
        """Stop running checks and syncing; nothing is deregistered."""
        await self._runners.stop()
        await self._sync.stop()
        await self._tasks.stop()

    def _restore(self) -> None:
        for kept in self._storage.load(SERVICES_FOLDER, _Kept):
            found = kept.service
            if found is not None and (found.id or found.name) not in self._services:
                self._add_service(found, "api")
                for number, check in enumerate(found.checks, 1):
                    self._add_service_check(found, check, number, "api")
        for kept in self._storage.load(CHECKS_FOLDER, _Kept):
            if kept.check is not None:
                self._restore_check(kept.check)

    def _restore_check(self, check: CheckDefinition) -> None:
        if (check.id or check.name) in self._checks:
            return
        if check.service_id and check.service_id not in self._services:
            return
        if check.kind:
            self._add_check(check, "api")
        else:
            self._put_maintenance(check.id, check.name, check.service_id, check.notes)

    # What runs here

    def services(self) -> Mapping[str, LocalService]:
        """The services by id."""
        return self._services

    def checks(self) -> Mapping[str, LocalCheck]:
        """The checks by id."""
        return self._checks

    def node(self) -> Node:
        """This node, as the catalog should have it."""
        options = self.options
        return Node(
            name=options.node_name,
            id=options.node_id,
            address=options.address,
            datacenter=options.datacenter,
            tagged_addresses=options.tagged_addresses,
            meta=options.node_meta,
        )

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call the listener after each change here; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _changed(self) -> None:
        self._sync.wake()
        for listener in list(self._listeners):
            listener()

    # Registering

    def register_service(
        self,
        definition: ServiceDefinition,
        *,
        source: Source,
        replace_existing_checks: bool = False,
    ) -> None:
        """Register a service with its checks, or change it. Raises Invalid or Denied."""
        for check in definition.checks:
            self._allow(check, source)
        service_id = definition.id or definition.name
        self._add_service(definition, source)
        kept = {
            self._add_service_check(definition, check, number, source)
            for number, check in enumerate(definition.checks, 1)
        }
        if replace_existing_checks:
            for check_id in self._checks_of(service_id) - kept:
                self._remove_check(check_id)
        if source == "api":
            self._storage.save(SERVICES_FOLDER, service_id, _Kept(service=definition))
        self._changed()

    def _add_service(self, definition: ServiceDefinition, source: Source) -> None:
        row = Service(
            node=self.options.node_name,
            id=definition.id or definition.name,
            name=definition.name,
            kind=definition.kind,
            tags=definition.tags,
            address=definition.address,
            port=definition.port,
            socket_path=definition.socket_path,
            tagged_addresses=definition.tagged_addresses,
            meta=definition.meta,
            weights=definition.weights,
            enable_tag_override=definition.enable_tag_override,
            proxy=definition.proxy,
            connect=definition.connect,
        )
        self._services[row.id] = LocalService(row, definition, source)

    def _add_service_check(
        self, service: ServiceDefinition, check: CheckDefinition, number: int, source: Source
    ) -> str:
        service_id = service.id or service.name
        default = f"service:{service_id}"
        if len(service.checks) > 1:
            default += f":{number}"
        complete = msgspec.structs.replace(
            check,
            id=check.id or default,
            name=check.name or f"Service '{service.name}' check",
            service_id=service_id,
        )
        self._add_check(complete, source)
        return complete.id

    def register_check(self, definition: CheckDefinition, *, source: Source = "api") -> None:
        """Register a check of the node or of a service. Raises Invalid, Denied or NotFound."""
        if not definition.id and not definition.name:
            raise Invalid("Name: a check needs a name")
        self._allow(definition, source)
        if definition.service_id and definition.service_id not in self._services:
            raise NotFound(f'ServiceID: this agent has no service "{definition.service_id}"')
        self._add_check(definition, source)
        if source == "api":
            name = definition.id or definition.name
            self._storage.save(CHECKS_FOLDER, name, _Kept(check=definition))
        self._changed()

    def _allow(self, check: CheckDefinition, source: Source) -> None:
        options = self.options
        local = source == "config" and options.enable_local_script_checks
        if check.kind == "script" and not (options.enable_script_checks or local):
            raise Denied(
                "Scripts are disabled on this agent; to enable, set enable_script_checks "
                "or, for checks in files, enable_local_script_checks"
            )

    def _add_check(self, definition: CheckDefinition, source: Source) -> None:
        check_id = definition.id or definition.name
        old, state = self._checks.get(check_id), self._states.get(check_id)
        status, output = definition.status or "critical", ""
        if old is not None:
            status, output = old.row.status, old.row.output
        elif state is not None and not 0 < state.expires < self._clock.wall():
            status, output = state.status, state.output
        service = self._services.get(definition.service_id)
        interval = max(definition.interval, self.options.interval_min_seconds)
        row = Check(
            node=self.options.node_name,
            id=check_id,
            name=definition.name or check_id,
            status=status,
            notes=definition.notes,
            output=output,
            service_id=definition.service_id,
            service_name=service.row.name if service else "",
            service_tags=service.row.tags if service else [],
            kind=definition.kind,
            interval=format_duration(interval) if definition.interval else "",
            timeout=format_duration(definition.timeout) if definition.timeout else "",
        )
        thresholds = Thresholds(
            definition.success_before_passing,
            definition.failures_before_warning,
            definition.failures_before_critical,
        )
        after = definition.deregister_critical_service_after
        if after:
            after = max(after, min(DEREGISTER_MIN_SECONDS, 60 * self.options.interval_min_seconds))
        clock = CriticalClock(after if definition.service_id else 0.0)
        clock.observe(status, self._clock.monotonic())
        self._checks[check_id] = LocalCheck(
            row, source, definition, Judge(thresholds, status), clock
        )
        if self._started:
            self._runners.run(check_id)

    # Deregistering

    def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks. Raises NotFound when it is not this agent's."""
        if service_id not in self._services:
            raise NotFound(_UNKNOWN_SERVICE.format(service_id))
        for check_id in self._checks_of(service_id):
            self._remove_check(check_id)
        del self._services[service_id]
        self._storage.remove(SERVICES_FOLDER, service_id)
        self._changed()

    def deregister_check(self, check_id: str) -> None:
        """Remove a check. Raises NotFound."""
        self._check(check_id)
        self._remove_check(check_id)
        self._changed()

    def _checks_of(self, service_id: str) -> set[str]:
        return {
            check_id
            for check_id, check in self._checks.items()
            if check.row.service_id == service_id
        }

    def _remove_check(self, check_id: str) -> None:
        self._runners.end(check_id)
        self._checks.pop(check_id, None)
        self._states.pop(check_id, None)
        self._storage.remove(CHECKS_FOLDER, check_id)
        self._storage.remove(STATES_FOLDER, check_id)

    def _check(self, check_id: str) -> LocalCheck:
        check = self._checks.get(check_id)
        if check is None:
            raise NotFound(_UNKNOWN_CHECK.format(check_id))
        return check

    # Results

    def report(self, check_id: str, result: Result, *, expires: float = 0.0) -> None:
        """What a run of a check found; `expires` is when a TTL ends (Unix seconds)."""
        check = self._checks.get(check_id)
        if check is None or check.definition is None:
            return
        limit = check.definition.output_max_size or self.options.check_output_max_bytes
        limit = min(limit, self.options.check_output_max_bytes)
        output = "" if self.options.discard_check_output else shorten(result, limit)
        status = check.judge.judge(result)
        check.clock.observe(status, self._clock.monotonic())
        if (status, output) == (check.row.status, check.row.output):
            return
        if status != check.row.status:
            log.info("check %s is now %s", check_id, status)
            state = CheckState(check_id, status, output, expires)
            self._storage.save(STATES_FOLDER, check_id, state, sync=False)
        check.row = msgspec.structs.replace(check.row, status=status, output=output)
        self._changed()

    def update_ttl(self, check_id: str, status: str, output: str) -> None:
        """Set the status of a TTL check and begin its time anew. Raises NotFound or Invalid."""
        check = self._check(check_id)
        if check.definition is None or check.definition.kind != "ttl":
            raise Invalid(f'CheckID "{check_id}" is not a TTL check')
        self._runners.renew(check_id)
        expires = self._clock.wall() + check.definition.ttl
        self.report(check_id, Result(status, output, keep="head"), expires=expires)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self.options.sweep_seconds)
            now = self._clock.monotonic()
            overdue = {
                check.row.service_id
                for check in self._checks.values()
                if check.clock.expired(now) and check.row.service_id in self._services
            }
            for service_id in sorted(overdue):
                log.warning("service %s was critical for too long: deregistered", service_id)
                self.deregister_service(service_id)

    # Maintenance

    def set_node_maintenance(self, reason: str | None) -> None:
        """Put the node into maintenance for a reason, or with None end it."""
        self._maintain(NODE_MAINTENANCE, "Node Maintenance Mode", "", reason)

    def set_service_maintenance(self, service_id: str, reason: str | None) -> None:
        """Put a service into maintenance, or with None end it. Raises NotFound."""
        if service_id not in self._services:
            raise NotFound(_UNKNOWN_SERVICE.format(service_id))
        name = "Service Maintenance Mode"
        self._maintain(f"{SERVICE_MAINTENANCE}{service_id}", name, service_id, reason)

    def _maintain(self, check_id: str, name: str, service_id: str, reason: str | None) -> None:
        if reason is None:
            self._remove_check(check_id)
        else:
            notes = reason or (
                "Maintenance mode is enabled for this "
                + ("service" if service_id else "node")
                + ", but no reason was provided. This is a default message."
            )
            self._put_maintenance(check_id, name, service_id, notes)
            definition = CheckDefinition(id=check_id, name=name, notes=notes, service_id=service_id)
            self._storage.save(CHECKS_FOLDER, check_id, _Kept(check=definition))
        self._changed()

    def _put_maintenance(self, check_id: str, name: str, service_id: str, notes: str) -> None:
        service = self._services.get(service_id)
        row = Check(
            node=self.options.node_name,
            id=check_id,
            name=name,
            status="critical",
            notes=notes,
            service_id=service_id,
            service_name=service.row.name if service else "",
            service_tags=service.row.tags if service else [],
            kind="maintenance",
        )
        judge, clock = Judge(Thresholds(), "critical"), CriticalClock(math.inf)
        self._checks[check_id] = LocalCheck(row, "api", None, judge, clock)

    # Reload

    def reload(
        self,
        options: Options,
        services: Sequence[ServiceDefinition],
        checks: Sequence[CheckDefinition],
    ) -> list[str]:
        """Take over new options and what the files define; what came through the API stays.

        Returns what changed, for people.
        """
        changed = []
        self.options = options
        wanted = {service.id or service.name for service in services}
        for service_id, service in list(self._services.items()):
            if service.source == "config" and service_id not in wanted:
                self.deregister_service(service_id)
                changed.append(f"service {service_id} removed")
        known = {check.id or check.name for check in checks}
        for check_id, check in list(self._checks.items()):
            alone = check.source == "config" and not check.row.service_id
            if alone and check_id not in known:
                self.deregister_check(check_id)
                changed.append(f"check {check_id} removed")
        for definition in services:
            changed += self._reload_service(definition)
        for wanted_check in checks:
            name = wanted_check.id or wanted_check.name
            old = self._checks.get(name)
            if old is None or old.definition != wanted_check:
                changed.append(f"check {name} {'changed' if old else 'added'}")
                self.register_check(wanted_check, source="config")
        self._changed()
        return changed

    def _reload_service(self, definition: ServiceDefinition) -> list[str]:
        service_id = definition.id or definition.name
        old = self._services.get(service_id)
        if old is not None and old.definition == definition:
            return []
        self.register_service(definition, source="config", replace_existing_checks=True)
        return [f"service {service_id} {'changed' if old else 'added'}"]
