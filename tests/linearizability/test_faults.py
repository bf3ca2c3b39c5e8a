"""Real clusters under faults: nothing their clients see is out of order, and no state differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linearizability.faults import (
    kill_all,
    kill_follower,
    kill_leader,
    kill_leader_at_once,
    pause_and_kill,
    pause_leader,
)
from tests.linearizability.trial import Load, loopback, trial

pytestmark = pytest.mark.together

KILLS = 20


async def test_twenty_leaders_killed_under_load(tmp_path: Path) -> None:
    async with trial(tmp_path, Load(), loopback(3, 1)) as running:
        for number in range(KILLS):
            await (kill_leader_at_once if number % 4 else kill_leader)(running)


async def test_all_killed_and_snapshots_made(tmp_path: Path) -> None:
    make = loopback(3, 1, raft_snapshot_threshold=100, raft_snapshot_interval="0s")
    async with trial(tmp_path, Load(seed=2), make) as running:
        await kill_all(running)
        await kill_follower(running)


async def test_a_paused_leader_answers_nothing_of_the_past(tmp_path: Path) -> None:
    async with trial(tmp_path, Load(seed=3), loopback(3, 1)) as running:
        await pause_leader(running, 3.0)
        await pause_and_kill(running)
