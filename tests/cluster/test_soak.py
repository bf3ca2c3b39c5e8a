"""Writers that never stop while leaders are killed: nothing acknowledged may be missing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.cluster.processes import Cluster, cluster, eventually

pytestmark = [pytest.mark.slow, pytest.mark.together]

KILLS = 6
WRITERS = 6
BETWEEN_KILLS = 400


class Writer(threading.Thread):
    """Creates one key after another through an agent, and remembers those acknowledged."""

    def __init__(self, running: Cluster, number: int) -> None:
        super().__init__()
        self._node = running.agents[number % len(running.agents)]
        self._number = number
        self.acknowledged: list[str] = []
        self.twice: list[str] = []
        self.enough = threading.Event()

    def run(self) -> None:
        count = 0
        while not self.enough.is_set():
            key = f"soak/{self._number}/{count}"
            count += 1
            try:
                created = self._node.put(f"/v1/kv/{key}?cas=0", key.encode())
            except OSError:
                continue
            (self.acknowledged if created else self.twice).append(key)


def test_no_acknowledged_write_is_lost_and_none_applied_twice(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=3, agents=2) as running:
        writers = [Writer(running, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()

        def written() -> int:
            return sum(len(writer.acknowledged) for writer in writers)

        for _ in range(KILLS):
            goal = written() + BETWEEN_KILLS
            eventually(lambda goal=goal: written() >= goal)  # type: ignore[misc]
            leader = running.leader()
            leader.kill()
            goal = written() + BETWEEN_KILLS
            eventually(lambda goal=goal: written() >= goal)  # type: ignore[misc]
            leader.start()
            eventually(lambda leader=leader: leader.get("/v1/status/leader"))  # type: ignore[misc]
        for writer in writers:
            writer.enough.set()
            writer.join()
        acknowledged = {key for writer in writers for key in writer.acknowledged}
        assert not [key for writer in writers for key in writer.twice]
        for server in running.servers:
            eventually(
                lambda server=server: acknowledged <= set(server.get("/v1/kv/soak/?keys&stale"))  # type: ignore[misc]
            )
