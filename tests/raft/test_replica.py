"""Replicas in a simulated world: nothing acknowledged is lost, nothing read is stale."""

from pathlib import Path

import pytest

from tests.raft.world import World


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_faults_lose_nothing(tmp_path: Path, seed: int, count: int) -> None:
    world = World(seed, count, tmp_path)
    world.heal()
    world.run(2.0)
    for number in range(400):
        world.write(number)
        if number % 3 == 0:
            world.read()
        if number % 25 == 24 and count > 1:
            world.disturb()
        world.run(world.dice.uniform(0.0, 0.04))
    world.heal()
    world.run(6.0)
    before = len(world.acknowledged)
    for number in range(400, 420):
        for _ in world.names * 3:
            world.write(number)
        world.read()
        world.run(0.05)
    world.run(1.0)
    assert len(world.acknowledged) > before, "no writes after healing"
    assert world.reads
    states = [host.state for host in world.hosts.values()]
    assert all(state == states[0] for state in states), "not caught up"
    written = set(states[0])
    lost = [one for one in world.acknowledged.values() if one.decode() not in written]
    assert not lost
    for index, command in world.acknowledged.items():
        assert world.applied[index] == command
