"""The server's own check: looks at its log every second and tells the agent how it fares."""

from __future__ import annotations

from mesh.agent.local import Agent
from mesh.clock import Clock
from mesh.raft.disk import Room
from mesh.raft.health import Lag, Steady, Vitals, judge
from mesh.raft.node import Node
from mesh.registry.health import RAFT_HEALTH

PERIOD_SECONDS = 1.0
NAME = "Raft"


class Health:
    """Keeps the check `mesh-raft` of this server's node."""

    def __init__(self, raft: Node, agent: Agent, election: float, clock: Clock) -> None:
        self._raft, self._agent, self._clock = raft, agent, clock
        self._election = election
        self._lag, self._tight, self._steady = Lag(), Room(), Steady()

    async def run(self) -> None:
        """Look and tell, for ever. Quiet until the server belongs to a cluster."""
        while True:
            if self._raft.bootstrapped:
                verdict = self._steady.observe(self._clock.monotonic(), judge(self._vitals()))
                self._agent.tell(RAFT_HEALTH, NAME, verdict.status, verdict.reason)
            await self._clock.sleep(PERIOD_SECONDS)

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
