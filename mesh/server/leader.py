"""The leader's duties: what one server does for the whole datacenter while it leads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from mesh.clock import Clock, Dice
from mesh.errors import MeshError
from mesh.registry.catalog import NodeNamed, Nodes, ServiceNodes
from mesh.registry.health import GossipChecks, Instances
from mesh.registry.port import READ, Query, WriteOptions
from mesh.rpc.forwarded import Consensus, Forwarded
from mesh.server.reconcile import SERVER_SERVICE, Absence, Recorded, Seen, describe, missing, plan

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 60.0
DAMPED_SECONDS = 5.0
"""While a member is damped: it may become the last one that a service has."""
RETRY_SECONDS = 1.0
GRACE_SECONDS = 60.0
FORGET_SECONDS = 72 * 3600.0


class Leader:
    """Reconciles the catalog with gossip, at each change of membership and every minute."""

    def __init__(
        self,
        as_leader: Forwarded,
        consensus: Consensus,
        members: Callable[[], list[Seen]],
        world: tuple[Clock, Dice],
    ) -> None:
        # Not the router: what this server decided must not reach a leader that came after it.
        self._as_leader, self._consensus, self._members = as_leader, consensus, members
        self._clock, self._dice = world
        self._changed = asyncio.Event()
        self._absence = Absence(GRACE_SECONDS, FORGET_SECONDS)

    def wake(self) -> None:
        """Membership or leadership changed."""
        self._changed.set()

    async def run(self) -> None:
        """Do the duties whenever this server leads; never ends."""
        pause = RECONCILE_SECONDS
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            pause = RECONCILE_SECONDS
            if not self._consensus.is_leader:
                # Who was missing then may have come and gone since.
                self._absence = Absence(GRACE_SECONDS, FORGET_SECONDS)
                continue
            try:
                if await self.reconcile():
                    pause = DAMPED_SECONDS
            except MeshError as error:
                log.warning("reconciling members with the catalog: %s", error)
                pause = RETRY_SECONDS

    async def reconcile(self) -> bool:
        """Bring the catalog in line with gossip once; whether somebody is damped.

        Raises a MeshError when a write fails.
        """
        await self._consensus.barrier()
        recorded = Recorded(
            nodes=await self._now(Nodes()),
            checks=await self._now(GossipChecks()),
            servers=[found.service for found in await self._now(ServiceNodes(SERVER_SERVICE))],
        )
        seen = self._members()
        members = await self._spare(seen)
        absent = self._absence.judge(missing(members, recorded), self._clock.monotonic())
        for command in plan(members, recorded, absent):
            log.info("reconcile: %s", describe(command))
            options = WriteOptions(request=self._dice.uuid(), origin="leader")
            try:
                await self._as_leader.write(command, options)
            except MeshError as error:
                if error.retry:
                    raise
                # A member that makes no sense is no reason to leave the others as they are.
                log.warning("reconcile: %s: refused: %s", describe(command), error)
        return any(member.status == "damped" for member in seen)

    async def _spare(self, members: list[Seen]) -> list[Seen]:
        """Damp nobody whose absence would leave a service of its without a healthy instance."""
        damped = {member.name.lower() for member in members if member.status == "damped"}
        return [
            msgspec.structs.replace(member, status="alive")
            if member.status == "damped" and await self._is_needed(member.name, damped)
            else member
            for member in members
        ]

    async def _is_needed(self, node: str, damped: set[str]) -> bool:
        found = await self._now(NodeNamed(node))
        for service in {one.name for one in found.services} if found is not None else ():
            instances = await self._now(Instances(service))
            if not any(
                one.status in {"passing", "warning"} and one.node.name.lower() not in damped
                for one in instances
            ):
                return True
        return False

    async def _now(self, query: Query[Any]) -> Any:
        return (await self._as_leader.read(query, READ)).value
