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


def calm(tmp_path: Path, count: int = 3) -> tuple[World, str, list[str]]:
    """A world at rest: who leads in it, and the others."""
    world = World(1, count, tmp_path)
    world.heal()
    world.run(3.0)
    leader = world.leaders[max(world.leaders)]
    return world, leader, [name for name in world.names if name != leader]


def test_a_cut_between_leader_and_one_follower_changes_no_leader(tmp_path: Path) -> None:
    world, leader, (one, _) = calm(tmp_path)
    terms = set(world.leaders)
    world.cut((leader, one))
    world.cut((one, leader))
    world.run(5.0)
    world.heal()
    world.run(3.0)
    assert set(world.leaders) == terms


def test_one_that_hears_nothing_disturbs_nobody_when_it_is_back(tmp_path: Path) -> None:
    world, leader, (one, other) = calm(tmp_path)
    terms = set(world.leaders)
    world.cut((leader, one))
    world.cut((other, one))
    world.run(5.0)
    world.heal()
    world.run(3.0)
    assert set(world.leaders) == terms
    assert world.hosts[one].replica.engine.term == max(terms)


def test_an_isolated_leader_loses_its_lease_and_then_its_office(tmp_path: Path) -> None:
    world, leader, others = calm(tmp_path)
    old = world.hosts[leader].replica
    leading = old.leading
    assert leading is not None
    assert leading.leased()
    for other in others:
        world.cut((leader, other))
        world.cut((other, leader))
    world.run(0.5)
    assert not leading.leased()
    world.run(4.0)
    assert not old.engine.leads
    assert world.leaders[max(world.leaders)] in others


def test_a_long_wrong_tail_is_replaced(tmp_path: Path) -> None:
    world, leader, others = calm(tmp_path)
    for other in others:
        world.cut((leader, other))
        world.cut((other, leader))
    for number in range(300):  # Only the old leader has these, and nobody hears of them.
        world.hosts[leader].replica.propose(b"lost %d" % number + b"." * 1000, lambda *_: None)
    world.hosts[leader].pump()
    world.run(4.0)
    for number in range(300):
        world.write(number)
        world.run(0.01)
    world.heal()
    world.run(3.0)
    states = [host.state for host in world.hosts.values()]
    assert states[0] == states[1] == states[2]
    assert set(world.acknowledged.values()) <= {one.encode() for one in states[0]}


@pytest.mark.parametrize("count", [1, 3])
def test_a_steady_stream_of_writes_does_not_put_off_their_answers(
    tmp_path: Path, count: int
) -> None:
    world, leader, _ = calm(tmp_path, count)
    host = world.hosts[leader]
    answered: list[float] = []

    def write() -> None:
        asked = world.clock.now
        host.replica.propose(b"x", lambda *_: answered.append(world.clock.now - asked))
        host.pump()
        world.after(0.0005, write)

    write()
    world.run(3.0)
    assert len(answered) > 3000
    assert max(answered) < 2.0
