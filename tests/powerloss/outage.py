"""Clusters whose servers lose their power, and with it what they had not synced."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.processes import Cluster, Meshd
from tests.linearizability.faults import PROGRESS, restart
from tests.linearizability.trial import Trial, loopback
from tests.powerloss.failure import lose

SLOWEST_SYNC_SECONDS = 0.01


def powered(
    servers: int, agents: int, *, broken: bool = False, **config: Any
) -> Callable[[Path], Cluster]:
    """A cluster whose servers write to disks that remember what was synced."""
    make = loopback(servers, agents, **config)

    def made(folder: Path) -> Cluster:
        cluster = make(folder)
        for server in cluster.servers:
            disk = _disk(server)
            disk.mkdir()
            server.config["data_dir"] = str(disk / "data")
            about = {
                "folder": str(disk),
                "shadow": str(_shadow(server)),
                "broken": broken,
                "slowest": SLOWEST_SYNC_SECONDS,
            }
            server.environment["MESH_POWER"] = json.dumps(about)
            server.forked = False  # The disk comes before the modules that use it.
        return cluster

    return made


def _disk(server: Meshd) -> Path:
    return server.folder / "disk"


def _shadow(server: Meshd) -> Path:
    return server.folder / "shadow"


def cut(trial: Trial, *servers: Meshd, torn: bool = True) -> int:
    """Cut the power of these servers at once; how many written bytes that lost."""
    for server in servers:
        server.signal(signal.SIGKILL)
    for server in servers:
        server.kill()
    return sum(lose(_disk(one), _shadow(one), trial.dice, torn=torn) for one in servers)


async def kill_then_cut(trial: Trial) -> None:
    """Kill all, start them again, and cut the power at once: what the dead wrote is not synced."""
    servers = trial.cluster.servers
    for server in servers:
        server.signal(signal.SIGKILL)
    for server in servers:
        server.kill()
    await restart(trial, *servers)
    cut(trial, *servers, torn=False)
    await restart(trial, *servers)
    await trial.acknowledged(PROGRESS)


async def outage(trial: Trial, count: int) -> int:
    """Cut the power of so many servers at once, of the leader among them, and start them again."""
    leader = await trial.leader()
    others = [one for one in trial.cluster.servers if one is not leader]
    victims = [leader, *trial.dice.sample(others, count - 1)]
    lost = cut(trial, *victims, torn=trial.dice.random() < 0.7)
    if count <= (len(others)) // 2:
        await trial.acknowledged(PROGRESS)
    await restart(trial, *victims)
    await trial.acknowledged(PROGRESS)
    return lost
