"""Partitions between real servers in network namespaces, with clients on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.linearizability.faults import deafen_leader, partition_leader
from tests.linearizability.network import Network, network, spread, why_not
from tests.linearizability.trial import Load, trial

pytestmark = [
    pytest.mark.netns,
    pytest.mark.together,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "can"),
]


async def test_a_leader_cut_off_with_its_clients(tmp_path: Path) -> None:
    with network(3) as net:
        async with trial(tmp_path, Load(seed=4), spread(net, 3)) as running:
            await partition_leader(running, net, 3.0)
            await deafen_leader(running, net, 2.0)


async def test_a_leader_without_a_lease_is_noticed(tmp_path: Path) -> None:
    async def trust(net: Network) -> None:
        make = spread(net, 3, without_lease=True)
        async with trial(tmp_path, Load(clients_each=6, pause=0.01, seed=8), make) as running:
            # One cut may end before any client reads what the other side has overwritten.
            for _ in range(6):
                await partition_leader(running, net, 3.0)
                if running.judgement():
                    break

    with network(3) as net, pytest.raises(AssertionError, match="no order explains it"):
        await trust(net)
