"""What a member knows about each of the others."""

from __future__ import annotations

import pytest

from mesh.gossip.driver import Options
from mesh.gossip.figures import FORGOTTEN, Figures, figures
from mesh.gossip.messages import Suspect
from tests.gossip.world import Node, World

LAN = Options(bind_address="10.0.0.1")


@pytest.fixture
def world() -> World:
    made = World(1, 5, LAN)
    made.settle()
    made.run(20.0)
    return made


def of(node: Node, name: str) -> Figures:
    return figures(node.pool, node.world.now)[name]


def test_a_member_that_is_well(world: World) -> None:
    found = of(world.nodes[0], "n003")
    assert (found.state, found.accusers, found.verdict_seconds) == ("alive", (), None)
    assert found.incarnation == 1
    assert found.score is None
    # The simulated network takes 0.5 to 2 ms each way.
    assert found.rtt_seconds is not None
    assert 0.001 <= found.rtt_seconds <= 0.004
    assert found.answered_seconds is not None
    assert found.answered_seconds <= 20.0
    assert found.distance_seconds is not None
    assert found.state_seconds is not None
    assert 20.0 <= found.state_seconds <= world.now


def test_this_node_itself(world: World) -> None:
    found = of(world.nodes[0], "n000")
    assert (found.state, found.score, found.rtt_seconds) == ("alive", 0, None)


def test_a_suspect_and_who_accuses_it(world: World) -> None:
    node = world.nodes[0]
    for accuser in ("n001", "n002"):
        node.swim.suspect(world.now, Suspect(1, "n003", accuser))
    found = of(node, "n003")
    assert (found.state, found.accusers) == ("suspect", ("n001", "n002"))
    assert found.verdict_seconds is not None
    assert 4.0 <= found.verdict_seconds <= 24.0
    world.run(2.0)
    assert of(node, "n003").accusers == ()
    assert of(node, "n003").incarnation > 1


def test_one_that_died_is_forgotten_by_and_by(world: World) -> None:
    world.kill(world.nodes[3])
    node = world.nodes[0]
    world.run_until(lambda: of(node, "n003").state == "dead", 60.0)
    world.run_until(lambda: of(node, "n003").state == FORGOTTEN, 60.0)
    assert of(node, "n003").state_seconds is None
