"""Power failures of real servers: what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.linearizability.trial import Load, trial
from tests.powerloss.outage import cut, kill_then_cut, outage, powered

pytestmark = pytest.mark.together

SNAPSHOTS = 60
"""Entries between snapshots: so few that many failures fall into one or the compaction after."""


async def test_a_single_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    load = Load(clients_each=6, pause=0.01, seed=5)
    async with trial(
        tmp_path,
        load,
        powered(1, 0, raft_snapshot_threshold=SNAPSHOTS, raft_snapshot_interval="0s"),
    ) as running:
        lost = 0
        for _ in range(3):
            await asyncio.sleep(running.dice.uniform(0.1, 0.6))
            lost += await outage(running, 1)
        await kill_then_cut(running)
    assert lost  # There was something to lose.


async def test_a_majority_and_all_of_three_servers(tmp_path: Path) -> None:
    load = Load(seed=6, pause=0.01)
    async with trial(
        tmp_path,
        load,
        powered(3, 0, raft_snapshot_threshold=SNAPSHOTS, raft_snapshot_interval="0s"),
    ) as running:
        for count in (2, 3):
            await asyncio.sleep(running.dice.uniform(0.1, 0.4))
            await outage(running, count)
        await kill_then_cut(running)


async def test_a_disk_that_lies_is_noticed(tmp_path: Path) -> None:
    async def lied_to() -> None:
        async with trial(tmp_path, Load(seed=7), powered(1, 0, broken=True)) as running:
            await running.acknowledged(100)
            assert cut(running, *running.cluster.servers, torn=False)
            running.cluster.servers[0].start()
            await running.acknowledged(10)

    with pytest.raises(AssertionError, match=r"lost what was acknowledged|and lost it"):
        await lied_to()
