"""Anti-entropy: the catalog is made to say what runs on this node, which is the truth."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

import msgspec

from mesh.agent.state import Here
from mesh.clock import Clock, Dice
from mesh.errors import Denied, Invalid, MeshError, TooLarge
from mesh.registry.catalog import (
    SERF_HEALTH,
    Check,
    Deregister,
    Node,
    NodeNamed,
    NodeServices,
    Register,
    Service,
)
from mesh.registry.health import NodeChecks
from mesh.registry.maintenance import CLUSTER_MAINTENANCE
from mesh.registry.port import Command, Registry
from mesh.registry.transitions import GONE, Transition
from mesh.tasks import Tasks

log = logging.getLogger(__name__)

OTHERS_SERVICES = {"mesh", "consul"}
SCALE_FROM = 128


def scale(members: int) -> float:
    """How much rarer full comparisons, and tries after a failure, are in a large pool."""
    if members <= SCALE_FROM:
        return 1.0
    return math.ceil(math.log2(members) - math.log2(SCALE_FROM)) + 1.0


class Sync:
    """Compares and writes, at each change here and regularly."""

    def __init__(
        self,
        here: Here,
        registry: Registry,
        world: tuple[Clock, Dice],
        cluster_size: Callable[[], int],
    ) -> None:
        self._here, self._registry = here, registry
        self._clock, self._dice = world
        self._cluster_size = cluster_size
        self._tasks = Tasks()
        self._changed = asyncio.Event()
        self._told_services: dict[str, Service] = {}
        self._told_checks: dict[str, Check] = {}
        self._told_node: Node | None = None
        self._settled = self._contacts = 0
        self._output_due: dict[str, float] = {}

    def start(self) -> None:
        """Begin."""
        self._tasks.start(self._run(), name="anti-entropy")

    async def stop(self) -> None:
        """End."""
        await self._tasks.stop()

    def wake(self) -> None:
        """Something changed here."""
        self._changed.set()

    def knows(self, change: Transition) -> bool:
        """Whether the catalog surely has a change, or refused it for good.

        That it says the same is not enough: it may say so of before, and never have had what the
        change took back.
        """
        told = self._told_checks.get(change.check_id)
        if told is not None and told.sequence is not msgspec.UNSET and change.status != GONE:
            return told.sequence >= change.sequence
        return change.sequence <= self._settled

    async def _run(self) -> None:
        retry, next_full = self._here.options.retry_first_seconds, 0.0
        while True:
            self._changed.clear()
            longest = retry * scale(self._cluster_size())
            newest, contacts = self._here.sequence, self._contacts
            try:
                if next_full <= self._clock.monotonic():
                    await self._read_catalog()
                    next_full = self._clock.monotonic() + self._full_pause()
                await self._write_differences()
            except MeshError as error:
                log.warning("syncing with the catalog: %s; next try in %.1f s", error, longest)
            except Exception:
                # Without this task the catalog would drift from what runs here for ever.
                log.exception("syncing with the catalog; next try in %.1f s", longest)
            else:
                if self._contacts != contacts:
                    self._settled = newest
                retry = self._here.options.retry_first_seconds
                await self._pause(min([next_full, *self._output_due.values()]))
                continue
            next_full = 0.0
            await self._clock.sleep(self._dice.uniform(longest / 2, longest))
            retry = min(2 * retry, self._here.options.retry_seconds)

    def _full_pause(self) -> float:
        interval = self._here.options.sync_interval_seconds
        return interval * self._dice.uniform(1.0, 2.0) * scale(self._cluster_size())

    async def _pause(self, until: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, until - self._clock.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _read_catalog(self) -> None:
        name = self._here.options.node_name
        found: NodeServices | None = (await self._registry.read(NodeNamed(name))).value
        checks: list[Check] = (await self._registry.read(NodeChecks(name))).value
        if found is not None and found.node.name.lower() != name.lower():
            found = None
        self._told_node = found.node if found else None
        self._told_services = {
            service.id: service
            for service in (found.services if found else [])
            if service.id not in OTHERS_SERVICES or service.id in self._here.services()
        }
        self._contacts += 1
        own = {check.id: check for check in checks if not _is_servers(check)}
        numbers = [check.sequence for check in own.values()]
        self._here.witness(max((one for one in numbers if one is not msgspec.UNSET), default=0))
        self._told_checks = {
            name: check
            for name, check in own.items()
            if check.service_id not in OTHERS_SERVICES or check.service_id in self._told_services
        }

    # Writing

    async def _write_differences(self) -> None:
        await self._remove_unknown()
        wrong = self._wrong_checks()
        if not _same(self._told_node, self._here.node()):
            await self._register(None, [])
        for service_id, local in list(self._here.services().items()):
            told = self._told_services.get(service_id)
            wanted = _with_override(local.row, told)
            checks = [check for check in wrong if check.service_id == service_id]
            # With its service also when only checks differ: others may have removed that.
            if checks or not _same(told, wanted):
                await self._register(wanted, checks)
        node_checks = [check for check in wrong if not check.service_id]
        if node_checks:
            await self._register(None, node_checks)

    async def _remove_unknown(self) -> None:
        name = self._here.options.node_name
        for service_id in sorted(set(self._told_services) - set(self._here.services())):
            gone = Deregister(node=name, service_id=service_id)
            if await self._write(gone, f"to remove service {service_id}"):
                log.info("service %s is gone from the catalog", service_id)
            del self._told_services[service_id]
            self._told_checks = {
                name: check
                for name, check in self._told_checks.items()
                if check.service_id != service_id
            }
        for check_id in sorted(set(self._told_checks) - set(self._here.checks())):
            gone = Deregister(node=name, check_id=check_id)
            await self._write(gone, f"to remove check {check_id}")
            del self._told_checks[check_id]

    def _wrong_checks(self) -> list[Check]:
        now = self._clock.monotonic()
        interval = self._here.options.check_update_interval_seconds
        wrong: list[Check] = []
        due: dict[str, float] = {}
        for check_id, local in self._here.checks().items():
            told = self._told_checks.get(check_id)
            if told is not None and _bare(told) == _numbered_as(told, local.row):
                continue
            steady = told is not None and (
                _bare(told, output="") == _bare(_numbered_as(told, local.row), output="")
            )
            if steady and interval > 0:
                # Output alone does not hurry; the time is spread over all checks.
                when = self._output_due.get(check_id)
                if when is None:
                    when = now + interval * self._dice.uniform(0.5, 1.5)
                if when > now:
                    due[check_id] = when
                    continue
            wrong.append(local.row)
        self._output_due = due
        return wrong

    async def _register(self, service: Service | None, checks: list[Check]) -> None:
        node = self._here.node()
        what = f"service {service.id}" if service else "node"
        await self._write(Register(node=node, service=service, checks=checks), what)
        self._told_node = node
        if service is not None:
            self._told_services[service.id] = service
        for check in checks:
            self._told_checks[check.id] = check

    async def _write(self, command: Command[bool], what: str) -> bool:
        """Write; False when it is refused for good, which keeps nothing else out.

        What was refused counts as told, so it is tried again only after the next comparison.
        """
        try:
            await self._registry.write(command)
        except (Invalid, Denied, TooLarge) as error:
            log.error("the catalog refuses %s: %s", what, error)  # noqa: TRY400 - it is expected.
            return False
        self._contacts += 1
        return True


def _is_servers(check: Check) -> bool:
    """Whether the servers keep it: they know of gossip, and of cluster-wide maintenance."""
    return check.id == SERF_HEALTH or check.id.startswith(CLUSTER_MAINTENANCE)


def _same(told: Node | Service | None, wanted: Node | Service) -> bool:
    if told is None:
        return False
    return msgspec.structs.replace(told, create_index=0, modify_index=0) == wanted


def _bare(check: Check, **changes: str) -> Check:
    """Without what the catalog fills in itself."""
    return msgspec.structs.replace(
        check,
        create_index=0,
        modify_index=0,
        service_name="",
        service_tags=[],
        since=msgspec.UNSET,
        **changes,
    )


def _numbered_as(told: Check, row: Check) -> Check:
    """Without what the catalog fills in, and without a sequence if it keeps none (level 2)."""
    if told.sequence is msgspec.UNSET:
        return _bare(msgspec.structs.replace(row, sequence=msgspec.UNSET))
    return _bare(row)


def _with_override(row: Service, told: Service | None) -> Service:
    """Tags that others wrote to the catalog stay where the service allows it."""
    if row.enable_tag_override and told is not None:
        return msgspec.structs.replace(row, tags=told.tags)
    return row
