"""What this node runs: its services and checks, as registered, judged and told to the catalog."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping

import msgspec

from mesh.agent import rows
from mesh.agent.check_rules import NOTHING_TO_DO
from mesh.agent.checks import CriticalClock, Judge, Result, shorten
from mesh.agent.definitions import PROBES, CheckDefinition, ServiceDefinition, thresholds
from mesh.agent.flaps import Flaps
from mesh.agent.news import News
from mesh.agent.operations import NodeOperations
from mesh.agent.runners import Runners
from mesh.agent.sequence import Sequence as HealthSequence
from mesh.agent.sidecars import complete, free_port, sidecar_id
from mesh.agent.state import LocalCheck, LocalService, Options, Source
from mesh.agent.storage import CheckState, KeptCheck, KeptService, Storage
from mesh.agent.sync import Sync, scale
from mesh.agent.upkeep import Upkeep
from mesh.clock import Clock, Dice
from mesh.errors import Denied, Invalid, MeshError, NotFound
from mesh.registry.catalog import LABEL, Check, Node
from mesh.registry.health import NODE_MAINTENANCE, SERVICE_MAINTENANCE
from mesh.registry.port import Registry
from mesh.registry.transitions import GONE
from mesh.tasks import Tasks

__all__ = ["Agent", "LocalCheck", "LocalService", "Options", "Source"]

log = logging.getLogger(__name__)

SERVICES_FOLDER, CHECKS_FOLDER, STATES_FOLDER = "services", "checks", "states"
_UNKNOWN_SERVICE = 'Unknown service ID "{}"; give the id of the service, not its name'
_UNKNOWN_CHECK = 'Unknown check ID "{}"; give the id of the check, not its name'


class Agent:
    """Registers, judges and keeps what runs here, and keeps the catalog in line with it."""

    operations: NodeOperations
    """The node as a whole; set by whoever builds the agent, before anybody asks for it."""

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
        self.flaps = Flaps(self, registry, clock, options.damping)
        self._sync = Sync(self, registry, (clock, dice), cluster_size)
        self._upkeep = Upkeep(self, registry, clock, self._tell)
        self._sequence = HealthSequence(self._storage, clock.wall())
        self.news = News(
            options.node_name, self._sequence.next, self._sync.knows, lambda: scale(cluster_size())
        )
        self._started = False
        # Before what the files define: their checks may belong to these, and they win over these.
        for kept in self._storage.load(SERVICES_FOLDER, KeptService):
            self._put_service(kept.service, "api")

    async def start(self) -> None:
        """Restore what was registered, run the checks, begin to sync."""
        for kept in self._storage.load(CHECKS_FOLDER, KeptCheck):
            self._restore(kept)
        for check_id in set(self._states) - set(self._checks):
            self._forget(STATES_FOLDER, check_id)
        self._states.clear()
        self._started = True
        for check_id in self._checks:
            self._runners.run(check_id)
        self._tasks.start(self._sweep(), name="critical services")
        self._tasks.start(self.flaps.run(), name="flapping checks")
        self._tasks.start(self._upkeep.run(), name="cluster-wide maintenance")
        self._sync.start()

    async def stop(self) -> None:
        """Stop running checks and syncing; nothing is deregistered."""
        await self._runners.stop()
        await self._sync.stop()
        await self._tasks.stop()

    def _restore(self, kept: KeptCheck) -> None:
        check = kept.check
        service = self._services.get(check.service_id)
        defined_anew = kept.with_service and service is not None and service.source == "config"
        orphan = check.service_id and service is None
        if rows.check_id(check) in self._checks or defined_anew or orphan:
            self._forget(CHECKS_FOLDER, rows.check_id(check))
            return
        try:
            self.allow(check, "api")
        except Denied as error:
            log.warning("check %s is not restored: %s", rows.check_id(check), error)
            return
        self._put_check(check, "api")

    def _forget(self, folder: str, name: str) -> None:
        try:
            self._storage.remove(folder, name)
        except MeshError as error:
            log.warning("%s", error)

    # What runs here

    def services(self) -> Mapping[str, LocalService]:
        """The services by id."""
        return self._services

    def checks(self) -> Mapping[str, LocalCheck]:
        """The checks by id."""
        return self._checks

    def maintained(self, service_id: str) -> list[Check]:
        """The checks that cluster-wide maintenance puts on a service, or with "" on the node."""
        local = self._services.get(service_id)
        if service_id and local is None:
            return []
        return self._upkeep.checks(local.row if local is not None else None)

    def node(self) -> Node:
        """This node, as the catalog should have it."""
        return rows.node(self.options)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call the listener after each change here; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _changed(self) -> None:
        self._sync.wake()
        self._tell()

    def _tell(self) -> None:
        for listener in list(self._listeners):
            listener()

    @property
    def sequence(self) -> int:
        """The newest health sequence given here."""
        return self._sequence.last

    def witness(self, sequence: int) -> None:
        """A health sequence of this node seen elsewhere. What is so now gets higher ones."""
        if self._sequence.witness(sequence):
            log.warning("others know health sequences of this node that it does not remember")
            for check in self._checks.values():
                check.row = self._numbered(check.row)
            self._changed()

    def _numbered(self, row: Check, *, urgent: bool = True) -> Check:
        """The check with the sequence that its status has from now on."""
        now = self._clock.monotonic()
        number = self.news.changed(now, row.id, row.service_id, row.status, urgent=urgent)
        return msgspec.structs.replace(row, sequence=number)

    # Registering

    def register_service(
        self,
        definition: ServiceDefinition,
        *,
        source: Source,
        replace_existing_checks: bool = False,
    ) -> None:
        """Register a service with its checks and its sidecar, or change it.

        Its other checks stay unless they are to be replaced; maintenance always stays. Raises
        Denied for a script that may not run, Invalid when no port is left for the sidecar,
        Internal when the disk does not keep it.
        """
        parts = self.parts(definition).values()
        for part in parts:
            for check in rows.own_checks(part):
                self.allow(check, source)
        for part in parts:
            if not LABEL.fullmatch(part.name):
                log.warning(
                    "service %r: no DNS name; use letters, digits and -, at most 63", part.name
                )
            for tag in part.tags:
                if not LABEL.fullmatch(tag):
                    log.debug("service %r: tag %r cannot be asked for in DNS", part.name, tag)
            self._register(part, source, replace_existing_checks=replace_existing_checks)
        self._changed()

    def parts(self, definition: ServiceDefinition) -> dict[str, ServiceDefinition]:
        """What a definition comes to, by id: the service itself, and its sidecar completed.

        Raises Invalid when no port is left for that.
        """
        own = rows.service_id(definition)
        parts = {own: msgspec.structs.replace(definition, sidecar=None)}
        if definition.sidecar is not None:
            name = sidecar_id(own)
            known = self._services.get(name)
            taken = {local.row.port for local in self._services.values()}
            port = known.row.port if known else free_port(taken, self.options.sidecar_ports)
            parts[name] = complete(definition, port, self.options.sidecar_address)
        return parts

    def _register(
        self, definition: ServiceDefinition, source: Source, *, replace_existing_checks: bool
    ) -> None:
        checks, service_id = rows.own_checks(definition), rows.service_id(definition)
        if source == "api":
            plain = msgspec.structs.replace(definition, checks=[])
            self._storage.save(SERVICES_FOLDER, service_id, KeptService(plain))
            for check in checks:
                self._keep(check, with_service=True)
        else:
            self._storage.remove(SERVICES_FOLDER, service_id)
            for check in checks:
                self._storage.remove(CHECKS_FOLDER, check.id)
        self._put_service(definition, source)
        for check in checks:
            self._put_check(check, source)
        if replace_existing_checks:
            self._remove_checks(self._checks_of(service_id) - {check.id for check in checks})

    def register_check(self, definition: CheckDefinition, *, source: Source = "api") -> None:
        """Register a check of the node or of a service.

        Raises Invalid without a name, NotFound when its service is not here, Denied for a script
        that may not run, Internal when the disk does not keep it.
        """
        if not rows.check_id(definition):
            raise Invalid("Name: a check needs a name")
        if not definition.kind:
            raise Invalid(NOTHING_TO_DO)
        self.allow(definition, source)
        if definition.service_id and definition.service_id not in self._services:
            raise NotFound(f'ServiceID: this agent has no service "{definition.service_id}"')
        if source == "api":
            self._keep(definition)
        else:
            self._storage.remove(CHECKS_FOLDER, rows.check_id(definition))
        self._put_check(definition, source)
        self._changed()

    def _keep(self, check: CheckDefinition, *, with_service: bool = False) -> None:
        kept = KeptCheck(check, with_service)
        self._storage.save(CHECKS_FOLDER, rows.check_id(check), kept)

    def allow(self, check: CheckDefinition, source: Source) -> None:
        """Raise Denied for a check that runs a program when that is not allowed."""
        options = self.options
        local = source == "config" and options.enable_local_script_checks
        if check.runs_program and not (options.enable_script_checks or local):
            raise Denied(
                "Scripts are disabled on this agent; to enable, set enable_script_checks "
                "or, for checks in files, enable_local_script_checks"
            )

    def _put_service(self, definition: ServiceDefinition, source: Source) -> None:
        row = rows.service_row(self.options, definition)
        self._services[row.id] = LocalService(row, definition, source)
        self.news.registered(self._clock.monotonic(), row.id)
        for check_id in self._checks_of(row.id):
            check = self._checks[check_id]
            check.row = msgspec.structs.replace(
                check.row, service_name=row.name, service_tags=row.tags
            )

    def _put_check(self, definition: CheckDefinition, source: Source) -> None:
        check_id = rows.check_id(definition)
        old = self._checks.get(check_id)
        said = (old.row.status, old.row.output) if old else self._said_before(definition)
        if not definition.kind:
            said = ("critical", "")
        owner = self._services.get(definition.service_id)
        row = rows.check_row(self.options, definition, owner.row if owner else None, said)
        if old and (old.row.status, old.row.service_id) == (row.status, row.service_id):
            row = msgspec.structs.replace(row, sequence=old.row.sequence)
        else:
            row = self._numbered(row, urgent=not definition.kind)  # Maintenance.
        clock = CriticalClock(
            self._critical_seconds(definition), old.clock.since if old else math.inf
        )
        clock.observe(row.status, self._clock.monotonic())
        if 0 < definition.interval < self.options.interval_min_seconds:
            log.warning("check %s: Interval: raised to %s", check_id, row.interval)
        judge = Judge(thresholds(definition), row.status)
        kept = definition if definition.kind else None
        self._checks[check_id] = LocalCheck(row, source, kept, judge, clock)
        if self._started:
            self._runners.run(check_id)

    def _said_before(self, definition: CheckDefinition) -> tuple[str, str]:
        """Status and output from before the restart, else the initial ones."""
        state = self._states.get(rows.check_id(definition))
        if state is not None and not 0 < state.expires < self._clock.wall():
            return state.status, state.output
        return definition.status or "critical", ""

    def _critical_seconds(self, definition: CheckDefinition) -> float:
        wanted, least = definition.deregister_critical_service_after, self.options
        if not wanted or not definition.service_id:
            return 0.0
        if wanted < least.deregister_min_seconds:
            log.warning(
                "check %s: DeregisterCriticalServiceAfter: raised to %g s",
                rows.check_id(definition),
                least.deregister_min_seconds,
            )
        return max(wanted, least.deregister_min_seconds)

    # Deregistering

    def deregister_service(self, service_id: str) -> None:
        """Remove a service with its checks and sidecar. Raises NotFound when it is not here."""
        if service_id not in self._services:
            raise NotFound(_UNKNOWN_SERVICE.format(service_id))
        for name, local in list(self._services.items()):
            if local.definition.sidecar_of == service_id:
                self.deregister_service(name)
        self._storage.remove(SERVICES_FOLDER, service_id)
        self._remove_checks(self._checks_of(service_id), maintenance=True)
        del self._services[service_id]
        self.news.deregistered(self._clock.monotonic(), service_id)
        self._changed()

    def deregister_check(self, check_id: str) -> None:
        """Remove a check. Raises NotFound."""
        self._check(check_id)
        self._remove_checks([check_id], maintenance=True)
        self._changed()

    def _checks_of(self, service_id: str) -> set[str]:
        return {
            check_id
            for check_id, check in self._checks.items()
            if check.row.service_id == service_id
        }

    def _remove_checks(self, check_ids: Iterable[str], *, maintenance: bool = False) -> None:
        for check_id in sorted(check_ids):
            if self._checks[check_id].definition is None and not maintenance:
                continue
            self._storage.remove(CHECKS_FOLDER, check_id)
            self._storage.remove(STATES_FOLDER, check_id)
            self._runners.end(check_id)
            owner = self._checks.pop(check_id).row.service_id
            self.news.changed(self._clock.monotonic(), check_id, owner, GONE)

    def _check(self, check_id: str) -> LocalCheck:
        check = self._checks.get(check_id)
        if check is None:
            raise NotFound(_UNKNOWN_CHECK.format(check_id))
        return check

    # Results

    def recheck(self, service_id: str) -> None:
        """Run the checks of a service now: something happened that they may tell of."""
        for check_id in sorted(self._checks_of(service_id)):
            definition = self._checks[check_id].definition
            if definition is not None and definition.kind in PROBES:
                self._runners.run(check_id, soon=True)

    def lead(self, check_id: str, through: str, port: int) -> None:
        """Run a check through this address from now on; "": straight at its target."""
        check = self._checks.get(check_id)
        if check is not None and check.through != through:
            check.through = through
            check.row = msgspec.structs.replace(check.row, exposed_port=port)
            self._changed()

    def report(self, check_id: str, result: Result, *, expires: float = 0.0) -> None:
        """What a run of a check found; `expires` is when a TTL ends (Unix seconds)."""
        check = self._checks.get(check_id)
        if check is None or check.definition is None:
            return
        limit = check.definition.output_max_size or self.options.check_output_max_bytes
        limit = min(limit, self.options.check_output_max_bytes)
        output = "" if self.options.discard_check_output else shorten(result, limit)
        status, before = self.flaps.judge(check, result), check.row.status
        output = self.flaps.note(check_id) + output
        check.clock.observe(check.judge.status, self._clock.monotonic())
        if status != before:
            log.info("check %s is now %s", check_id, status)
        if status != before or expires:
            self._keep_state(CheckState(check_id, status, output, expires))
        if (status, output) != (before, check.row.output):
            row = msgspec.structs.replace(check.row, status=status, output=output)
            check.row = self._numbered(row) if status != before else row
            self._changed()

    def tell(
        self, check_id: str, name: str, status: str, output: str, *, service_id: str = ""
    ) -> None:
        """Keep a check of the node, or of a service here, which runs nothing and no file defines.

        It goes with `deregister_check`.
        """
        known = self._checks.get(check_id)
        if known is None or known.definition is not None:
            self._runners.end(check_id)
            self._put_check(CheckDefinition(id=check_id, name=name, service_id=service_id), "api")
        row = self._checks[check_id].row
        wanted = msgspec.structs.replace(row, status=status, output=output, kind="")
        if wanted != row:
            if row.status != status:
                log.info("check %s is now %s: %s", check_id, status, output)
                wanted = self._numbered(wanted)
            self._checks[check_id].row = wanted
            self._changed()

    def _keep_state(self, state: CheckState) -> None:
        try:
            self._storage.save(STATES_FOLDER, state.id, state, sync=False)
        except MeshError as error:
            log.warning("%s", error)

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
                try:
                    self.deregister_service(service_id)
                except MeshError as error:
                    log.warning("%s", error)

    # Maintenance

    def set_node_maintenance(self, reason: str | None) -> None:
        """Put the node into maintenance for a reason, or with None end it."""
        self._maintain("", reason)

    def set_service_maintenance(self, service_id: str, reason: str | None) -> None:
        """Put a service into maintenance, or with None end it. Raises NotFound."""
        if service_id not in self._services:
            raise NotFound(_UNKNOWN_SERVICE.format(service_id))
        self._maintain(service_id, reason)

    def _maintain(self, owner: str, reason: str | None) -> None:
        if reason is not None:
            definition = rows.maintenance(owner, reason)
            self._keep(definition)
            self._put_check(definition, "api")
        else:
            check_id = f"{SERVICE_MAINTENANCE}{owner}" if owner else NODE_MAINTENANCE
            self._remove_checks({check_id} & set(self._checks), maintenance=True)
        self._changed()

    # Reload

    def apply_options(self) -> None:
        """Act on `options`, which were set anew: run no script that they forbid."""
        self._runners.reload()
        for check_id, check in self._checks.items():
            try:
                self.allow(check.definition or CheckDefinition(), check.source)
            except Denied as error:
                self._runners.end(check_id)
                self.report(check_id, Result("critical", error.message))
        self._changed()
