"""The whole member: events and queries among many, large events, and queues that are watched."""

from __future__ import annotations

from collections import Counter

import pytest

from mesh.clock import SeededDice
from mesh.errors import MeshError
from mesh.gossip.bodies import EVENT, JOIN, QUERY
from mesh.gossip.messages import User, encode_tags
from mesh.gossip.options import Options
from mesh.gossip.pool import Pool
from mesh.gossip.queries import Filters, Question
from mesh.gossip.swim import Remark, Send
from tests.gossip.world import Node, World


def events(node: Node) -> list[str]:
    return [event for event in node.events if event.startswith("event")]


@pytest.mark.parametrize("seed", range(3))
def test_events_reach_everybody_once_whatever_is_lost(seed: int) -> None:
    loss = 0.05 * (seed % 3)
    world = World(seed, 30, Options(event_bytes_max=9 * 1024), loss=loss)
    world.settle()
    names = [f"e{number}" for number in range(20)]
    for number, name in enumerate(names):
        # Every fifth fits into no packet.
        world.nodes[number].fire(name, b"x" * (5000 if number % 5 == 0 else 100))
        world.run(0.3)
    late = world.add("late", 200)
    late.join(world.nodes[0])
    expected = Counter(f"event {name}" for name in names)
    everybody = [*world.nodes, late]
    world.run_until(lambda: all(len(events(one)) >= len(names) for one in everybody), 200.0)
    world.run(100.0)
    for node in everybody:
        assert Counter(events(node)) == expected


def test_a_query_is_answered_by_everybody_once() -> None:
    world = World(3, 40, Options())
    world.settle()
    asker = world.nodes[7]
    asker.pool.queries.ask(world.now, Question("_serf_ping", ack=True, relay_factor=3))
    asker.perform()
    world.run(10.0)
    assert Counter(answer.source for answer in asker.answers) == Counter(
        node.name for node in world.nodes
    )
    assert all(answer.ack for answer in asker.answers)


def test_a_query_that_fits_into_no_packet_goes_over_streams() -> None:
    world = World(3, 10, Options(query_bytes_max=9 * 1024))
    world.settle()
    asker = world.nodes[7]
    # Of no interest to the asker itself, who has to pass it on all the same.
    asked = [node.name for node in world.nodes if node is not asker]
    filters = Filters(nodes=asked)
    asker.pool.queries.ask(world.now, Question("_serf_ping", b"x" * 5000, filters, ack=True))
    asker.perform()
    world.run(3.0)
    assert Counter(answer.source for answer in asker.answers) == Counter(asked)
    assert all(node.pool.depths()["queries"] == 0 for node in world.nodes)


def alone(options: Options) -> Pool:
    pool = Pool("me", options, SeededDice(1), 0.0)
    pool.enter(0.0, "10.0.0.9", 7946, encode_tags({}))
    pool.take(0.0)
    return pool


def test_queues_that_fill_are_remarked_upon_and_bounded() -> None:
    pool = alone(Options(queue_depth_min=200))
    pool.tick(31.0)
    for number in range(300):
        pool.events.fire("e", b"%d" % number)
    assert pool.depths() == {"members": 1, "intents": 0, "queries": 0, "events": 200}
    pool.tick(62.0)
    remarks = [one.text for one in pool.take(62.0) if isinstance(one, Remark)]
    assert remarks == ["200 events wait to be passed on: more come than gossip carries"]
    pool.tick(63.0)
    assert not [one for one in pool.take(63.0) if isinstance(one, Remark)]


def test_a_later_life_goes_on_with_the_clocks() -> None:
    pool = alone(Options())
    pool.intents.announce_join()
    pool.events.fire("e", b"")
    pool.queries.ask(0.0, Question("q"))
    times = pool.times()
    assert (times.member, times.event, times.query) == (1, 1, 1)
    later = alone(Options())
    later.restore(times)
    assert later.times() == times
    # What the first life heard is heard no more.
    later.merge(1.0, pool.state(join=False))
    assert not [one for one in later.take(1.0) if type(one).__name__ in {"UserEvent", "Asked"}]
    with pytest.raises(MeshError):
        later.events.fire("", b"")


def test_intents_go_before_queries_and_these_before_events() -> None:
    pool = alone(Options())
    pool.swim.queue.draw(10_000, 0, 1)
    pool.events.fire("e", b"")
    pool.queries.ask(0.0, Question("q"))
    pool.intents.announce_join()
    pool.swim.send("10.0.0.1", 7946, User(b""))
    (packet,) = [one for one in pool.swim.take() if isinstance(one, Send)]
    kinds = [one.payload[0] for one in packet.messages[1:] if isinstance(one, User)]
    assert kinds == [JOIN, QUERY, EVENT]
