"""Intents: who leaves, in whatever order the news comes, and Serf's bytes."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.codec import to_json
from mesh.errors import Invalid, NotFound
from mesh.gossip.bodies import decode_state, encode_state
from mesh.gossip.intents import CLOCK_MAX, Intents
from mesh.gossip.messages import NAME_MAX_BYTES, Alive, Dead, pack_map, unpack_map
from mesh.gossip.options import Options
from mesh.gossip.swim import Exchange, Notice, Swim

LEAVE_300 = bytes.fromhex("0083a54c54696d65cd012ca44e6f6465a26e31a55072756e65c2")
JOIN_2 = bytes.fromhex("0182a54c54696d6502a44e6f6465a26e31")
STATE = bytes.fromhex(
    "0286aa4576656e744c54696d6502a64576656e747392c082a64576656e74739182a44e616d65a165a75061796c6f61"
    "64a170a54c54696d6501a54c54696d6509ab4c6566744d656d6265727391a26e33aa51756572794c54696d6501ac53"
    "74617475734c54696d657381a26e3101"
)


class Node:
    def __init__(self, name: str = "me") -> None:
        self.swim = Swim(name, Options(), SeededDice(1), 0.0)
        self.intents = Intents(self.swim, Options(), 0.0)
        self.swim.go_live(0.0, "10.0.0.9", 7946, b"\xff\x80")
        self.intents.enter()
        self.events: list[str] = []
        self.perform(0.0)
        self.events.clear()

    def perform(self, now: float) -> None:
        for effect in self.swim.take():
            if isinstance(effect, Notice):
                self.intents.notice(now, effect)
        self.events += [f"{event.kind} {event.member.name}" for event in self.intents.take()]

    def alive(self, now: float, name: str, incarnation: int = 1) -> None:
        self.swim.alive(now, Alive(incarnation, name, b"\x0a\0\0\1", 7946))
        self.perform(now)

    def dead(self, now: float, name: str, source: str = "other") -> None:
        self.swim.dead(now, Dead(2**32 - 1, name, source))
        self.perform(now)

    def hears(self, now: float, payload: bytes) -> None:
        self.intents.receive(now, payload)
        self.perform(now)

    def status(self, name: str) -> str | None:
        member = self.intents.member(name)
        return member.status.name if member else None

    def said(self) -> list[bytes]:
        return self.intents.queue.draw(10_000, 3, 1)


def leave(time: int, name: str, prune: bool = False) -> bytes:
    return b"\x00" + pack_map({"LTime": time, "Node": name, "Prune": prune})


def join(time: int, name: str) -> bytes:
    return b"\x01" + pack_map({"LTime": time, "Node": name})


def state(time: int, times: dict[str, int], left: tuple[str, ...] = ()) -> dict[Any, Any]:
    fields = {"LTime": time, "StatusLTimes": times, "LeftMembers": list(left)}
    return unpack_map(pack_map(fields))


def test_the_bytes_are_serfs() -> None:
    assert leave(300, "n1") == LEAVE_300
    assert join(2, "n1") == JOIN_2
    node = Node("n1")
    node.intents.announce_join()
    assert node.said()[-1] == join(1, "n1")
    node.intents.merge(0.0, decode_state(STATE))
    sent = node.intents.fields()
    # Serf's clock 9 was sent before use; the joining node is at 1 by its own word.
    assert (sent["LTime"], sent["StatusLTimes"]) == (9, {"n1": 1})


def test_who_says_so_and_dies_has_left_who_does_not_has_failed() -> None:
    node = Node()
    for name in ("a", "b"):
        node.alive(1.0, name)
    node.hears(2.0, leave(5, "a"))
    assert node.status("a") == "LEAVING"
    node.dead(3.0, "a")
    node.dead(3.0, "b")
    assert node.events == ["join a", "join b", "update a", "leave a", "failed b"]
    node.hears(4.0, leave(6, "b"))
    assert (node.status("a"), node.status("b")) == ("LEFT", "LEFT")


def test_old_intents_are_not_passed_on() -> None:
    node = Node()
    node.alive(1.0, "a")
    node.hears(1.0, join(7, "a"))
    node.said()
    for old in (leave(7, "a"), leave(3, "a"), join(7, "a"), join(2, "a")):
        node.hears(2.0, old)
    assert node.status("a") == "ALIVE"
    assert node.said() in ([], [join(7, "a")])


def test_a_newer_join_takes_a_leave_back() -> None:
    node = Node()
    node.alive(1.0, "a")
    node.hears(1.0, leave(7, "a"))
    node.hears(1.0, join(8, "a"))
    assert node.status("a") == "ALIVE"
    assert node.events == ["join a", "update a", "update a"]


def test_an_intent_may_come_before_its_member() -> None:
    node = Node()
    node.hears(1.0, leave(7, "a"))
    node.hears(1.0, join(9, "b"))
    node.alive(2.0, "a")
    node.alive(2.0, "b")
    assert (node.status("a"), node.status("b")) == ("LEAVING", "ALIVE")
    node.hears(3.0, leave(9, "b"))
    assert node.status("b") == "ALIVE"
    node.hears(3.0, leave(20, "late"))
    for now in range(15, 330, 15):
        node.intents.tick(now)
    node.alive(330.0, "late")
    assert node.status("late") == "ALIVE"


def test_what_a_node_says_next_is_always_newer() -> None:
    # Others that heard the join must not take the leave for as old as it.
    me, other = Node("me"), Node("other")
    other.alive(0.0, "me")
    me.intents.announce_join()
    other.hears(0.0, me.said()[-1])
    me.swim.leaving = True
    me.intents.announce_leave(1.0, "me", prune=False, done=lambda: None)
    for payload in me.said():
        other.hears(1.0, payload)
    assert me.status("me") == other.status("me") == "LEAVING"


def test_a_leave_in_this_nodes_name_is_refuted() -> None:
    node = Node()
    node.hears(1.0, leave(30, "me"))
    assert node.status("me") == "ALIVE"
    assert join(31, "me") in node.said()


def test_a_newer_time_for_this_node_is_answered_once() -> None:
    node = Node()
    node.intents.announce_join()
    node.said()
    node.intents.merge(1.0, state(9, {"me": 8}))
    assert join(9, "me") in node.said()
    count = len(node.intents.queue)
    node.intents.merge(2.0, state(9, {"me": 9}))
    node.hears(2.0, join(9, "me"))
    assert len(node.intents.queue) == count


def test_pruning_forgets_and_its_echo_is_old() -> None:
    node = Node()
    node.alive(1.0, "a")
    node.dead(2.0, "a")
    node.intents.announce_leave(3.0, "a", prune=True, done=lambda: None)
    node.perform(3.0)
    assert node.status("a") is None
    assert "a" not in node.swim.peers
    assert node.events[-2:] == ["leave a", "reap a"]
    [payload] = node.said()
    while node.said():
        pass
    node.hears(4.0, payload)
    assert node.said() == []
    # It may come back, and its join is newer than the leave.
    node.alive(5.0, "a", 7)
    node.hears(5.0, join(node.intents._clock, "a"))
    assert node.status("a") == "ALIVE"
    with pytest.raises(NotFound):
        node.intents.announce_leave(3.0, "nobody", prune=True, done=lambda: None)


def test_who_is_pruned_while_leaving_is_forgotten_once_gone() -> None:
    node = Node()
    for name in ("goes", "stays"):
        node.alive(1.0, name)
        node.hears(2.0, leave(5, name, prune=True))
        assert node.status(name) == "LEAVING"
    node.hears(2.0, join(6, "stays"))
    node.dead(3.0, "goes")
    node.dead(3.0, "stays", "stays")
    assert (node.status("goes"), node.status("stays")) == (None, "LEFT")


def test_a_name_that_is_no_text_is_not_listed() -> None:
    node = Node()
    for name in (b"\xff".decode("utf-8", "surrogateescape"), "two\nlines"):
        node.alive(1.0, name)
        node.dead(2.0, name)
    assert [member.name for member in node.intents.members()] == ["me"]
    assert node.events == []
    node.swim.alive(3.0, Alive(1, "a", b"\x0a\0\0\1", 7946, b"\xff\x81\xa1\xff\xa1\xfe"))
    node.perform(3.0)
    # What the edges show must be text: JSON knows nothing else.
    to_json(node.intents.members())


def test_members_have_a_limit_and_the_longest_gone_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mesh.gossip.intents.MEMBERS_MAX", 3)
    monkeypatch.setattr("mesh.gossip.swim.MEMBERS_MAX", 4)
    node = Node()
    for name in ("a", "b", "c"):
        node.alive(1.0, name)
    assert [member.name for member in node.intents.members()] == ["a", "b", "me"]
    with pytest.raises(Invalid, match="4 members already"):
        node.alive(1.0, "d")
    node.dead(2.0, "b")
    node.dead(3.0, "a")
    node.alive(4.0, "c", 2)
    node.dead(5.0, "c")
    node.alive(6.0, "c", 2**32 - 1)
    node.intents.notice(6.0, Notice("join", "c"))
    node.perform(6.0)
    assert [member.name for member in node.intents.members()] == ["a", "c", "me"]


def test_exchanging_who_left_does_not_make_the_time_grow() -> None:
    one, two = Node("one"), Node("two")
    for node in (one, two):
        node.alive(1.0, "x")
        node.dead(2.0, "x")
    one.hears(3.0, leave(10, "x"))
    for _ in range(20):
        two.intents.merge(4.0, decode_state(encode_state(one.intents.fields())))
        one.intents.merge(4.0, decode_state(encode_state(two.intents.fields())))
    assert one.status("x") == two.status("x") == "LEFT"
    times = two.intents.fields()["StatusLTimes"]
    assert times["x"] <= 12
    # And so a join at the clock of either is newer.
    assert min(one.intents._clock, two.intents._clock) > times["x"]


def test_who_had_left_before_it_was_heard_of_is_alive_when_it_comes() -> None:
    node = Node()
    node.intents.merge(1.0, state(9, {"x": 7}, left=("x",)))
    # Its join is at the same time as the leave that would be made up from this.
    node.hears(2.0, join(8, "x"))
    node.alive(3.0, "x")
    assert node.status("x") == "ALIVE"
    # What was said when it left is old.
    node.hears(4.0, leave(7, "x"))
    assert node.status("x") == "ALIVE"


def test_a_member_that_lives_is_told_that_it_is_thought_to_leave() -> None:
    node, returned = Node(), Node("x")
    node.alive(1.0, "x")
    node.hears(1.0, join(8, "x"))
    # Another has not heard that it is back, and its word counts for a leave at 9.
    node.intents.merge(2.0, state(9, {"x": 8}, left=("x",)))
    assert node.status("x") == "LEAVING"
    assert leave(9, "x") in node.said()
    returned.intents.merge(2.0, state(9, {}))
    returned.intents.announce_join()
    for said in returned.said():
        node.hears(3.0, said)
    assert node.status("x") == "LEAVING"
    returned.hears(3.0, leave(9, "x"))
    for said in returned.said():
        node.hears(4.0, said)
    assert node.status("x") == "ALIVE"
    # Who has gone is not spread once more by every exchange.
    node.dead(5.0, "x")
    node.intents.merge(6.0, state(20, {"x": 30}, left=("x",)))
    assert node.status("x") == "LEFT"
    assert leave(31, "x") not in node.said()


def test_the_largest_time_does_no_harm() -> None:
    node = Node()
    for name in ("a", "b"):
        node.alive(1.0, name)
    node.intents.merge(1.0, state(CLOCK_MAX, {"a": CLOCK_MAX, "b": CLOCK_MAX}, ("a",)))
    node.hears(1.0, leave(CLOCK_MAX, "b"))
    node.intents.announce_join()
    decode_state(encode_state(node.intents.fields()))


def test_what_fits_into_no_packet_is_not_passed_on() -> None:
    node = Node()
    with pytest.raises(Invalid, match="Node"):
        node.hears(1.0, join(7, "x" * 129))
    with pytest.raises(Invalid, match="fit into no packet"):
        node.hears(1.0, b"\x01" + pack_map({"LTime": 7, "Node": "x", "New": b"x" * 1500}))


def test_a_name_too_long_for_any_member_is_not_remembered() -> None:
    node = Node()
    known, long = "x" * NAME_MAX_BYTES, "x" * (NAME_MAX_BYTES + 1)
    node.intents.merge(1.0, state(9, {known: 4, long: 5}))
    node.intents.merge(1.0, state(9, {long: 6}, left=(long,)))
    assert list(node.intents._recent) == [known]


def test_who_is_gone_for_long_is_forgotten() -> None:
    node = Node()
    for name in ("failed", "left"):
        node.alive(1.0, name)
    node.dead(2.0, "failed")
    node.dead(2.0, "left", "left")
    node.intents.tick(24 * 3600 + 20.0)
    node.perform(24 * 3600 + 20.0)
    assert (node.status("failed"), node.status("left")) == ("FAILED", None)
    node.intents.tick(72 * 3600 + 40.0)
    assert node.status("failed") is None


def test_failed_members_are_tried_again() -> None:
    node = Node()
    node.alive(1.0, "a")
    node.dead(2.0, "a")
    node.intents.tick(40.0)
    assert Exchange("a", "10.0.0.1", 7946, join=True) in node.swim.take()
    tries = []
    for now in range(41, 2000):
        node.intents.tick(float(now))
        tries += [now for effect in node.swim.take() if isinstance(effect, Exchange)]
    # Less and less often.
    assert tries == [70, 130, 250, 490, 970, 1930]


def test_who_fails_and_is_back_at_once_is_counted() -> None:
    node = Node()
    node.alive(1.0, "a")
    for went, came, flaps in ((2.0, 30.0, 1), (40.0, 120.0, 1), (130.0, 131.0, 2)):
        news = Dead(node.swim.peers["a"].incarnation, "a", "other")
        node.swim.dead(went, news)
        node.perform(went)
        node.alive(came, "a", node.swim.peers["a"].incarnation + 1)
        assert node.intents.flaps == flaps


@given(st.integers(0, 2), st.binary(max_size=200))
def test_any_bytes_raise_invalid_only(kind: int, data: bytes) -> None:
    node = Node()
    with contextlib.suppress(Invalid):
        node.hears(1.0, bytes((kind,)) + data)
    with contextlib.suppress(Invalid):
        node.intents.merge(1.0, decode_state(b"\x02" + data))


@given(st.data(), st.sampled_from([LEAVE_300, JOIN_2, STATE]))
def test_changed_bytes_raise_invalid_only(data: st.DataObject, whole: bytes) -> None:
    changed, node = bytearray(whole), Node()
    changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        node.hears(1.0, bytes(changed))
    with contextlib.suppress(Invalid):
        node.intents.merge(1.0, decode_state(bytes(changed)))
    encode_state(node.intents.fields())
