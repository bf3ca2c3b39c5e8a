"""What is done to real clusters while clients work: kills, pauses, partitions."""

from __future__ import annotations

import asyncio
import signal

from tests.cluster.processes import Meshd, eventually
from tests.linearizability.network import Network
from tests.linearizability.trial import Trial

PROGRESS = 40
"""Acknowledged writes before and after each fault: that the cluster works is part of the test."""


async def restart(trial: Trial, *servers: Meshd) -> None:
    """Start servers again and wait until they know a leader."""
    for server in servers:
        server.start()
    for server in servers:
        await asyncio.to_thread(eventually, lambda server=server: server.get("/v1/status/leader"))


async def kill_leader(trial: Trial) -> None:
    """SIGKILL the leader; start it again when the others have gone on."""
    leader = await trial.leader()
    leader.kill()
    await trial.acknowledged(PROGRESS)
    await restart(trial, leader)
    await trial.acknowledged(PROGRESS)


async def kill_leader_at_once(trial: Trial) -> None:
    """SIGKILL the leader and start it again while the others still elect."""
    leader = await trial.leader()
    leader.kill()
    await restart(trial, leader)
    await trial.acknowledged(PROGRESS)


async def kill_follower(trial: Trial) -> None:
    """SIGKILL a follower and start it again."""
    leader = await trial.leader()
    victim = trial.dice.choice([one for one in trial.cluster.servers if one is not leader])
    victim.kill()
    await trial.acknowledged(PROGRESS)
    await restart(trial, victim)


async def kill_all(trial: Trial) -> None:
    """SIGKILL every server at once and start them again."""
    for server in trial.cluster.servers:
        server.signal(signal.SIGKILL)
    for server in trial.cluster.servers:
        server.kill()
    await restart(trial, *trial.cluster.servers)
    await trial.acknowledged(PROGRESS)


async def pause_leader(trial: Trial, seconds: float = 4.0) -> None:
    """Stop the leader for longer than an election; requests wait in its sockets meanwhile."""
    leader = await trial.leader()
    leader.signal(signal.SIGSTOP)
    try:
        # Clients on the others go on, and the paused one wakes with its old belief.
        await asyncio.gather(trial.acknowledged(PROGRESS), asyncio.sleep(seconds))
    finally:
        leader.signal(signal.SIGCONT)
    await trial.acknowledged(PROGRESS)


async def pause_and_kill(trial: Trial) -> None:
    """Stop the leader, kill the one that follows it, and wake the first."""
    first = await trial.leader()
    first.signal(signal.SIGSTOP)
    try:
        await trial.acknowledged(PROGRESS)
        second = await trial.other_leader(first)
        second.kill()
    finally:
        first.signal(signal.SIGCONT)
    await trial.acknowledged(PROGRESS)
    await restart(trial, second)
    await trial.acknowledged(PROGRESS)


async def partition_leader(trial: Trial, net: Network, seconds: float) -> None:
    """Cut the leader off from the other servers; its clients go on asking it. Then heal."""
    servers, leader = trial.cluster.servers, await trial.leader()
    net.divide([servers.index(leader) + 1])
    try:
        await asyncio.gather(trial.other_leader(leader), asyncio.sleep(seconds))
        await trial.acknowledged(PROGRESS)
    finally:
        net.divide([])
    await trial.acknowledged(PROGRESS)


async def deafen_leader(trial: Trial, net: Network, seconds: float) -> bool:
    """Let the leader be heard, but hear nobody. False where the kernel cannot do that."""
    servers, leader = trial.cluster.servers, await trial.leader()
    number = servers.index(leader) + 1
    if not net.deafen(number, deaf=True):
        return False
    try:
        await asyncio.sleep(seconds)
    finally:
        net.deafen(number, deaf=False)
    await trial.acknowledged(PROGRESS)
    return True


async def partition_any(trial: Trial, net: Network, seconds: float) -> None:
    """Cut some server off, whichever; then heal."""
    net.divide([trial.dice.randint(1, len(trial.cluster.servers))])
    try:
        await asyncio.sleep(seconds)
    finally:
        net.divide([])
    await trial.acknowledged(PROGRESS)


FAULTS = {
    "kill-leader": kill_leader,
    "kill-leader-at-once": kill_leader_at_once,
    "kill-follower": kill_follower,
    "kill-all": kill_all,
    "pause-leader": pause_leader,
    "pause-and-kill": pause_and_kill,
}
