"""Many nodes in virtual time: who dies is found, who lives is left alone."""

import contextlib
import sys
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mesh.errors import Invalid
from mesh.gossip.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    User,
    encode_tags,
    pack_map,
)
from mesh.gossip.options import Options
from mesh.gossip.streams import NodeState
from mesh.gossip.suspicion import shortest
from tests.gossip.world import World

LAN = Options()
INCARNATIONS = st.sampled_from([0, 1, 2, 3, 2**32 - 1])
NAMES = st.sampled_from(["n000", "n001", "n002", "x", b"\xff".decode("utf-8", "surrogateescape")])
ADDRESSES = st.sampled_from([b"\x0a\0\0\1", b"\x0a\0\0\2", b"\x0a\0\0\x09", bytes(16)])
METAS = st.sampled_from([b"", b"old", b"\xff\x80", b"\xff\x81\xa1a\xa1b"])
TIMES = st.sampled_from([0, 1, 9, 2**64 - 1])
SEQS = st.integers(0, 5)
INTENTS = st.builds(
    lambda kind, time, name, prune: User(
        bytes((kind,)) + pack_map({"LTime": time, "Node": name, "Prune": prune})
    ),
    *(st.integers(0, 1), TIMES, NAMES, st.booleans()),
)
News: TypeAlias = Message | NodeState | float
NEWS: st.SearchStrategy[News] = st.one_of(
    st.builds(Alive, INCARNATIONS, NAMES, ADDRESSES, st.just(7946), METAS),
    st.builds(Suspect, INCARNATIONS, NAMES, NAMES),
    st.builds(Dead, INCARNATIONS, NAMES, NAMES),
    st.builds(Ping, SEQS, NAMES, ADDRESSES, st.just(7946)),
    st.builds(IndirectPing, SEQS, ADDRESSES, st.just(7946), NAMES, st.booleans()),
    st.builds(Ack, SEQS),
    st.builds(Nack, SEQS),
    INTENTS,
    st.builds(NodeState, NAMES, ADDRESSES, st.just(7946), INCARNATIONS, st.integers(0, 3), METAS),
    st.sampled_from([0.01, 0.5, 5.0, 40.0, 100_000.0]),
)


def all_say(world: World, name: str, status: str) -> bool:
    return all(
        node.statuses().get(name) == status
        for node in world.nodes
        if not node.down and node.name != name
    )


@pytest.mark.parametrize("count", [3, 10, 50])
def test_who_dies_is_found_by_all_and_nobody_else_is_accused(count: int) -> None:
    world = World(1, count, LAN)
    world.settle()
    victim = world.nodes[count // 2]
    world.kill(victim)
    # Longest suspicion, and a probe of everybody in the worst order.
    longest = 6 * shortest(4, count, 1.0)
    world.run_until(lambda: all_say(world, victim.name, "FAILED"), longest + 2 * count)
    world.run(30.0)
    failed = {event for node in world.nodes for event in node.events if event.startswith("failed")}
    assert failed == {f"failed {victim.name}"}


@pytest.mark.parametrize(("seed", "loss"), [(1, 0.0), (2, 0.01), (3, 0.05)])
def test_lost_packets_kill_nobody(seed: int, loss: float) -> None:
    world = World(seed, 20, LAN, loss)
    world.settle()
    world.run(300.0)
    assert not [event for node in world.nodes for event in node.events if "failed" in event]


def test_a_slow_node_is_not_killed_and_kills_nobody() -> None:
    world = World(10, 12, LAN)
    world.settle()
    slow = world.nodes[5]
    # Each of its packets takes longer than a probe may, so datagrams to it seem lost.
    worst = {node.name: 0 for node in world.nodes}
    world.network.delays[slow.name] = 0.8
    for _ in range(200):
        world.run(1.0)
        for node in world.nodes:
            worst[node.name] = max(worst[node.name], node.swim.awareness)
    assert not [event for node in world.nodes for event in node.events if "failed" in event]
    assert slow.swim.me.incarnation > 5, "it was suspected and refuted"
    assert all(f"suspect {slow.name} has not" not in one for n in world.nodes for one in n.remarks)
    assert worst.pop(slow.name) > max(worst.values())
    del world.network.delays[slow.name]
    world.run(60.0)
    assert all(node.statuses()[slow.name] == "ALIVE" for node in world.nodes)
    assert slow.swim.awareness == 0


def test_a_live_member_that_is_called_dead_refutes_everywhere() -> None:
    world = World(11, 20, LAN)
    world.settle()
    accused = world.nodes[7]
    liar = world.nodes[1]
    liar.swim.dead(world.now, Dead(accused.swim.me.incarnation, accused.name, "nobody"))
    liar.perform()
    before = accused.swim.me.incarnation
    world.run(1.0)
    assert accused.swim.me.incarnation > before
    everybody = {node.name: "ALIVE" for node in world.nodes}
    world.run_until(lambda: all(node.statuses() == everybody for node in world.nodes), 10.0)


def test_two_nodes_of_one_name_do_not_raise_each_other_for_ever() -> None:
    world = World(12, 6, LAN)
    world.settle()
    twin = world.add("n002", 100)
    twin.join(world.nodes[0])
    world.run(60.0)
    assert max(twin.swim.me.incarnation, world.nodes[2].swim.me.incarnation) < 10
    assert world.nodes[0].swim.peers["n002"].host == world.nodes[2].address
    assert any("n002 is at" in remark for remark in world.nodes[0].remarks)


def test_a_member_that_left_may_come_back_at_another_address() -> None:
    world = World(13, 6, LAN)
    world.settle()
    leaver = world.nodes[2]
    leaver.leave()
    world.run(5.0)
    world.kill(leaver)
    world.nodes[2] = again = world.add(leaver.name, 100)
    again.join(world.nodes[0])
    everybody = {node.name: "ALIVE" for node in world.nodes}
    world.run_until(lambda: all(node.statuses() == everybody for node in world.nodes), 30.0)
    world.run(60.0)
    assert all(node.statuses() == everybody for node in world.nodes)
    assert all(node.swim.peers[again.name].host == again.address for node in world.nodes)


def test_who_leaves_while_accused_still_leaves() -> None:
    world = World(14, 10, LAN)
    world.settle()
    leaver = world.nodes[4]
    leaver.leave()
    world.run(0.3)
    for node in world.nodes[:3]:
        suspicion = Suspect(leaver.swim.me.incarnation, leaver.name, node.name)
        leaver.swim.suspect(world.now, suspicion)
    leaver.perform()
    world.run(3.0)
    world.kill(leaver)
    world.run(60.0)
    assert all_say(world, leaver.name, "LEFT")


def test_a_thousand_members_are_little_work() -> None:
    world = World(15, 1, LAN)
    node = world.nodes[0]
    for number in range(1000):
        address = bytes((10, 9, number // 250, number % 250))
        node.swim.alive(0.0, Alive(1, f"m{number}", address, 7946))
        node.swim.suspect(0.0, Suspect(1, f"m{number}", "other"))
    calls = 0

    def trace(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(trace)
    node.pool.deadline()
    node.swim.send("10.0.0.1", 1, Ack(1))
    sys.setprofile(None)
    # No walk over the members or the suspicions.
    assert calls < 700


def test_the_same_seed_gives_the_same_history() -> None:
    def history(seed: int) -> list[tuple[float, str, str]]:
        world = World(seed, 12, LAN, 0.02)
        world.settle()
        world.kill(world.nodes[5])
        world.run(40.0)
        return world.trace

    assert history(7) == history(7)
    assert history(7) != history(8)


def test_who_stops_for_a_moment_refutes() -> None:
    world = World(4, 10, LAN)
    world.settle()
    sleeper = world.nodes[3]
    world.network.isolate(sleeper.name)
    world.run(3.5)
    world.network.heal()
    world.run(60.0)
    everybody = {node.name: "ALIVE" for node in world.nodes}
    assert all(node.statuses() == everybody for node in world.nodes)


def test_who_can_only_be_reached_by_streams_stays() -> None:
    world = World(5, 6, LAN)
    world.settle()
    deaf = world.nodes[2]
    world.network.block(lambda _from, target: target == deaf.name, only_datagrams=True)
    world.run(60.0)
    assert not [event for node in world.nodes for event in node.events if "failed" in event]


def test_a_split_pool_grows_together_again() -> None:
    world = World(6, 12, LAN)
    world.settle()
    left = {node.name for node in world.nodes[:5]}
    world.network.part(left)
    world.run(60.0)
    assert set(world.nodes[0].statuses().values()) == {"ALIVE", "FAILED"}
    world.network.heal()
    everybody = {node.name: "ALIVE" for node in world.nodes}
    world.run_until(lambda: all(n.statuses() == everybody for n in world.nodes), 300.0)


def test_who_leaves_has_left_everywhere() -> None:
    world = World(7, 15, LAN)
    world.settle()
    leaver = world.nodes[4]
    leaver.leave()
    world.run(5.0)
    world.kill(leaver)
    world.run_until(lambda: all_say(world, leaver.name, "LEFT"), 30.0)
    world.run(120.0)
    assert all_say(world, leaver.name, "LEFT")


@pytest.mark.parametrize(
    ("gone", "raised"),
    # Hardly noticed; known to be dead; forgotten by SWIM, but not by Serf.
    [(1.0, False), (30.0, True), (60.0, False)],
)
def test_who_restarts_is_alive_above_what_others_hold_against_it(gone: float, raised: bool) -> None:
    world = World(8, 8, LAN)
    world.settle()
    victim = world.nodes[2]
    before = victim.swim.me.incarnation
    world.kill(victim)
    world.run(gone)
    held = [node.swim.peers.get(victim.name) for node in world.nodes if node is not victim]
    assert all(peer is not None and peer.gone for peer in held) == raised
    victim.boot()
    victim.join(world.nodes[0])
    everybody = {node.name: "ALIVE" for node in world.nodes}
    world.run_until(lambda: all(node.statuses() == everybody for node in world.nodes), 60.0)
    world.run(30.0)
    assert all(node.statuses() == everybody for node in world.nodes)
    assert victim.swim.me.incarnation > before or not raised


class Waiting:
    """Two that know each other, one of which joins a third that takes the stream up later.

    State is exchanged by joining only.
    """

    def __init__(self, seed: int) -> None:
        self.world = World(seed, 3, Options(push_pull_interval_seconds=0))
        self.joining, self.fellow, self.busy = self.world.nodes
        self.fellow.join(self.joining)
        self.world.run(5.0)
        self.world.network.delays[self.busy.name] = 10.0
        self.joining.join(self.busy)

    def spent(self) -> None:
        """What happened meanwhile is told among those who know each other."""
        self.world.run(5.0)
        assert self.busy.statuses() == {self.busy.name: "ALIVE"}
        assert not self.joining.swim.queue.items
        assert not self.joining.intents.queue.items
        del self.world.network.delays[self.busy.name]

    def until(self, name: str, status: str) -> None:
        self.world.run_until(lambda: self.busy.statuses().get(name) == status, 20.0)


def test_who_was_met_while_an_exchange_waited_is_told_to_the_other_side() -> None:
    waiting = Waiting(20)
    met = waiting.world.add("met", 9)
    met.join(waiting.fellow)
    waiting.spent()
    waiting.until(met.name, "ALIVE")
    waiting.world.run_until(lambda: set(met.statuses()) == set(waiting.busy.statuses()), 20.0)


def test_what_changed_while_an_exchange_waited_is_told_to_the_other_side() -> None:
    waiting = Waiting(21)
    waiting.joining.swim.set_meta(encode_tags({"role": "new"}))
    waiting.fellow.swim.set_meta(encode_tags({"role": "new"}))
    waiting.joining.perform()
    waiting.fellow.perform()
    waiting.spent()

    def roles() -> list[str]:
        members = waiting.busy.intents.members()
        return [one.tags.get("role", "") for one in members if one.name != waiting.busy.name]

    waiting.world.run_until(lambda: roles() == ["new", "new"], 20.0)


def test_who_left_while_an_exchange_waited_has_left_for_the_other_side() -> None:
    waiting = Waiting(22)
    met = waiting.world.add("met", 9)
    met.join(waiting.fellow)
    waiting.fellow.leave()
    waiting.spent()
    assert waiting.joining.statuses()[waiting.fellow.name] == "LEFT"
    waiting.world.kill(waiting.fellow)
    waiting.until(waiting.fellow.name, "LEFT")


def test_among_members_that_know_each_other_an_exchange_tells_nothing_twice() -> None:
    world = World(23, 40, LAN)
    world.settle()
    world.run(60.0)
    told = list[str]()
    for node in world.nodes:
        node.swim.queue.add = lambda name, *_: told.append(name)  # type: ignore[method-assign]
    world.run(300.0)
    assert told == []
    node, other, changed = world.nodes[:3]
    # Of a change that goes round the pool it hears between asking and the answer.
    request, reply = node.state(), other.state()
    node.swim.alive(world.now, replace(changed.swim.me.alive(), incarnation=9))
    node.merge(request, reply)
    assert told == [changed.name]


def test_news_stops_being_passed_on() -> None:
    world = World(9, 20, LAN)
    world.settle()
    world.run(60.0)
    assert all(len(node.swim.queue) == 0 and len(node.intents.queue) == 0 for node in world.nodes)


@pytest.mark.parametrize("leaves", [True, False])
def test_who_is_gone_for_long_is_forgotten(leaves: bool) -> None:
    patience = Options(reconnect_timeout_seconds=90.0, tombstone_timeout_seconds=60.0)
    world = World(10, 6, patience)
    world.settle()
    gone = world.nodes[3]
    if leaves:
        gone.leave()
        world.run(5.0)
    world.kill(gone)
    world.run_until(lambda: all_say(world, gone.name, "LEFT" if leaves else "FAILED"), 60.0)
    others = [node for node in world.nodes if node is not gone]
    world.run_until(lambda: not any(gone.name in node.statuses() for node in others), 200.0)
    world.run(60.0)
    assert not any(gone.name in node.statuses() for node in others)
    assert all(f"reap {gone.name}" in node.events for node in others)


@settings(deadline=None, max_examples=60)
@given(st.lists(NEWS, max_size=80), st.randoms(use_true_random=False))
def test_whatever_is_heard_a_node_stays_alive_in_its_own_eyes(
    news: list[News], random: Random
) -> None:
    world = World(random.randrange(1000), 3, LAN)
    world.settle()
    node = world.nodes[0]
    highest = 0
    for one in news:
        if isinstance(one, float):
            world.run(min(one, 100.0))
            world.timeline.now += max(0.0, one - 100.0)
        elif isinstance(one, NodeState):
            node.swim.merge(world.now, [one])
        else:
            with contextlib.suppress(Invalid):
                node.pool.receive(world.now, one, ("10.0.0.3", 7946))
        node.perform()
        assert node.statuses()["n000"] == "ALIVE"
        assert node.swim.me.incarnation >= highest
        highest = node.swim.me.incarnation
        node.state()
    # It can still say so: its word fits into every packet, and is well formed.
    world.run(5.0)
