"""The server's own check: looks at its log every second and tells the agent how it fares."""

from __future__ import annotations

import logging

from mesh.agent.local import Agent
from mesh.clock import Clock
from mesh.errors import MeshError
from mesh.raft.disk import Room
from mesh.raft.health import Lag, Steady, Vitals, judge
from mesh.raft.node import Node
from mesh.registry.health import RAFT_HEALTH

log = logging.getLogger(__name__)

PERIOD_SECONDS = 1.0
HANDOVER_SECONDS = 60.0  # Where no server has room, leadership may wander, but not often.
NAME = "Raft"


class Health:
    """Keeps the check `mesh-raft` of this server's node."""

    def __init__(self, raft: Node, agent: Agent, election: float, clock: Clock) -> None:
        self._raft, self._agent, self._clock = raft, agent, clock
        self._election = election
        self._lag, self._tight, self._steady = Lag(), Room(), Steady()
        self._next_handover = float("-inf")

    async def run(self) -> None:
        """Look and tell, for ever. Quiet until the server belongs to a cluster."""
        while True:
            if self._raft.bootstrapped:
                verdict = self._steady.observe(self._clock.monotonic(), judge(self._vitals()))
                self._agent.tell(RAFT_HEALTH, NAME, verdict.status, verdict.reason)
                await self._hand_over()
            await self._clock.sleep(PERIOD_SECONDS)

    async def _hand_over(self) -> None:
        """Without room for writes, let another voter lead: the furthest one, which took them."""
        raft, now = self._raft, self._clock.monotonic()
        unfit = raft.disk.room.low and raft.is_leader and len(raft.voters) > 1
        if not unfit or now < self._next_handover:
            return
        self._next_handover = now + HANDOVER_SECONDS
        try:
            leader = await raft.transfer()
        except MeshError as error:
            log.warning("leadership could not be handed on: %s", error)
        else:
            log.info("%s leads now, for lack of disk space here", leader.name)

    def _vitals(self) -> Vitals:
        raft, room, now = self._raft, self._raft.disk.room, self._clock.monotonic()
        raft.disk.poll()
        # Twice the floor, and left only a little above that.
        self._tight.observe(room.free, 2 * room.floor)
        known, applied = raft.known_commit, raft.applied_index
        syncs = raft.figures.syncs.summary()
        return Vitals(
            leads=raft.is_leader,
            leased=raft.leased(),
            contact=raft.last_contact,
            election=self._election,
            behind=max(0, known - applied),
            behind_seconds=self._lag.observe(now, known, applied),
            sync_p99=syncs.p99,
            syncs=syncs.count,
            disk_low=room.low,
            disk_tight=self._tight.low,
            disk_floor=room.floor,
            snapshot_failures=raft.figures.snapshots.failures,
        )
