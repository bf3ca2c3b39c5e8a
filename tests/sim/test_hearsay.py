"""Health over simulated gossip: how many gossip rounds until everybody's overlay has it."""

from __future__ import annotations

import itertools

import pytest

from mesh.agent.news import News
from mesh.gossip.events import UserEvent
from mesh.gossip.options import Options
from mesh.registry.overlay import Overlay
from mesh.registry.transitions import EVENT, Transition, read
from tests.gossip.world import Node, World

SERVERS = 3


class Health(World):
    """A pool with an overlay at every node; the first nodes are servers."""

    def __init__(self, seed: int, count: int, loss: float) -> None:
        self.overlays: dict[str, Overlay] = {}
        super().__init__(seed, count, Options(), loss)
        self.settle()

    def add(self, name: str, number: int) -> Node:
        node, overlay = super().add(name, number), self.overlays.setdefault(name, Overlay())
        learn = node.learn

        def hear(news: object) -> None:
            if isinstance(news, UserEvent) and news.name == EVENT:
                overlay.hear(self.now, *read(news.payload))
            learn(news)  # type: ignore[arg-type]  # Passed on as it came.

        node.learn = hear  # type: ignore[method-assign]  # The world's nodes are made there.
        return node

    def rounds_until_known(self, teller: Node, news: News, sequence: int) -> float:
        """Gossip rounds until all who live know; the catalog never does."""
        began = self.now
        living = [node for node in self.nodes if not node.down]

        def known() -> bool:
            return all(self.overlays[node.name].newest(teller.name) >= sequence for node in living)

        while not known():
            while payload := news.take(self.now):
                teller.fire(EVENT, payload)
            self.run_until(known, 0.05, must=False)
            assert self.now - began < 60, "everybody hears of it in the end"
        return (self.now - began) / Options().gossip_interval_seconds


def unknown(_: Transition) -> bool:
    return False


@pytest.mark.parametrize(
    ("count", "loss", "rounds"),
    [(6, 0.0, 2), (6, 0.2, 4), (40, 0.0, 6), (40, 0.2, 8)],
)
def test_a_change_is_known_to_all_within_few_rounds(count: int, loss: float, rounds: int) -> None:
    """In the moment in which all servers died: half of a small pool, and nobody knows it yet."""
    took = []
    for seed in range(20):
        world = Health(seed, count, loss)
        for server in world.nodes[:SERVERS]:
            world.kill(server)
        numbers = itertools.count(1)
        teller = world.nodes[-1]
        news = News(teller.name, numbers.__next__, unknown)
        for status in ("critical", "passing"):
            sequence = news.changed(world.now, "c", "web", status)
            took.append(world.rounds_until_known(teller, news, sequence))
    took.sort()
    print(count, loss, "median", took[len(took) // 2], "p90", took[-4], "most", took[-1])
    assert took[len(took) // 2] <= rounds
    assert took[-1] <= 60  # Who is missed hears it said again.
