"""Probing: whom a silent member is asked of, and what silence costs whom."""

from __future__ import annotations

import pytest

from mesh.clock import SeededDice
from mesh.gossip.intents import Options
from mesh.gossip.messages import (
    VERSIONS,
    Ack,
    Alive,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
)
from mesh.gossip.probe import Probing
from mesh.gossip.streams import ALIVE, SUSPECT
from mesh.gossip.swim import Send, Swim, TcpPing

OPTIONS = Options(push_pull_interval_seconds=0)
ASKER = ("10.0.0.77", 99)
OLD = bytes((1, 2, 2, 2, 5, 5))


class Node:
    """The node `me`, its news already told, and others at 10.0.0.1 and on."""

    def __init__(self, others: int, versions: bytes = VERSIONS) -> None:
        self.swim = Swim("me", OPTIONS, SeededDice(3), 0.0)
        self.swim.go_live(0.0, "10.0.0.99", 7946, b"")
        for number in range(1, others + 1):
            address = bytes((10, 0, 0, number))
            self.swim.alive(0.0, Alive(1, f"n{number}", address, 7946, b"", versions))
        while self.swim.queue.draw(100_000, 2, 1):
            pass
        self.swim.take()
        self.probing = Probing(self.swim, 0.0)

    def until(self, now: float) -> list[tuple[str, Message]]:
        """Let time pass; what was sent, to which address."""
        while (due := self.probing.deadline()) <= now:
            self.probing.tick(due)
        return self.sent()

    def sent(self) -> list[tuple[str, Message]]:
        sent: list[tuple[str, Message]] = []
        self.streams = []
        for effect in self.swim.take():
            if isinstance(effect, Send):
                sent += [(effect.address, message) for message in effect.messages]
            elif isinstance(effect, TcpPing):
                self.streams.append(effect)
        return sent

    def probe(self) -> tuple[float, str, Ping]:
        """Begin a probe: when, whose address, the ping."""
        now = self.probing.deadline()
        [(address, ping)] = self.until(now)
        assert isinstance(ping, Ping)
        return now, address, ping


def test_a_ping_says_where_the_answer_goes() -> None:
    node = Node(1)
    _, address, ping = node.probe()
    assert (address, ping.node) == ("10.0.0.1", "n1")
    assert (ping.source_address, ping.source_port) == (bytes((10, 0, 0, 99)), 7946)


def test_an_answer_ends_the_probe_and_heals() -> None:
    node = Node(2)
    node.swim.degrade(2)
    now, _, ping = node.probe()
    node.probing.ack(1.0, Ack(ping.seq + 1))
    assert node.swim.awareness == 2
    node.probing.ack(1.0, Ack(ping.seq))
    assert node.swim.awareness == 1
    assert node.until(now + 0.9) == []


def test_everybody_is_probed_in_a_round() -> None:
    node = Node(7)
    for _ in range(3):
        probed = set()
        for _ in range(7):
            _, _, ping = node.probe()
            probed.add(ping.node)
            node.probing.ack(1.0, Ack(ping.seq))
        assert len(probed) == 7


def test_others_and_a_stream_are_tried_with_the_same_number() -> None:
    node = Node(6)
    now, address, ping = node.probe()
    asked = node.until(now + 0.5)
    assert len(asked) == 3
    for helper, request in asked:
        assert helper != address
        assert isinstance(request, IndirectPing)
        assert (request.seq, request.node, request.nack) == (ping.seq, ping.node, True)
    [stream] = node.streams
    assert (stream.seq, stream.node, stream.deadline) == (ping.seq, ping.node, now + 1.0)


@pytest.mark.parametrize(("nacks", "score"), [(0, 3), (1, 2), (3, 0), (9, 0)])
def test_missing_nacks_are_held_against_this_node(nacks: int, score: int) -> None:
    node = Node(6)
    now, _, ping = node.probe()
    node.until(now + 0.5)
    for _ in range(nacks):
        node.probing.nack(Nack(ping.seq))
    node.until(now + 1.0)
    assert node.swim.awareness == score
    assert node.swim.peers[ping.node].state == SUSPECT


def test_without_helpers_a_failure_costs_one() -> None:
    node = Node(1)
    now, _, _ = node.probe()
    node.until(now + 1.0)
    assert node.swim.awareness == 1


def test_old_members_are_asked_for_no_nack_and_no_stream() -> None:
    node = Node(4, OLD)
    now, _, _ = node.probe()
    asked = [request for _, request in node.until(now + 0.5)]
    assert [isinstance(one, IndirectPing) and one.nack for one in asked] == [False] * 3
    assert node.streams == []


def test_an_answer_over_a_stream_is_enough() -> None:
    node = Node(3)
    now, _, ping = node.probe()
    node.until(now + 0.5)
    node.probing.tcp_answered(ping.seq)
    node.until(now + 1.0)
    assert node.swim.peers[ping.node].state == ALIVE


def test_a_degraded_node_waits_longer() -> None:
    node = Node(3)
    node.swim.degrade(3)
    now, _, ping = node.probe()
    node.until(now + 3.9)
    assert node.swim.peers[ping.node].state == ALIVE
    node.until(now + 4.0)
    assert node.swim.peers[ping.node].state == SUSPECT


def test_who_refutes_during_the_probe_is_not_accused() -> None:
    node = Node(1)
    now, _, ping = node.probe()
    node.swim.alive(now, Alive(2, ping.node, bytes((10, 0, 0, 1)), 7946))
    node.until(now + 1.0)
    assert node.swim.peers[ping.node].state == ALIVE


def test_a_suspect_is_told_at_once() -> None:
    node = Node(1)
    node.swim.suspect(0.0, Suspect(1, "n1", "other"))
    node.swim.take()
    sent = node.until(node.probing.deadline())
    assert [type(message) for _, message in sent] == [Ping, Suspect]
    assert sent[1][1] == Suspect(1, "n1", "me")


def test_a_ping_for_another_name_is_not_answered() -> None:
    node = Node(1)
    node.probing.ping(Ping(7, "before"), ASKER)
    assert node.sent() == []
    node.probing.ping(Ping(7), ASKER)
    assert node.sent() == [(ASKER[0], Ack(7))]
    node.probing.ping(Ping(8, "me", bytes((10, 0, 0, 5)), 80), ASKER)
    assert node.sent() == [("10.0.0.5", Ack(8))]


@pytest.mark.parametrize("nack", [True, False])
def test_a_helper_says_what_it_saw(nack: bool) -> None:
    node = Node(1)
    node.probing.ack(1.0, Ack(node.probe()[2].seq))
    request = IndirectPing(41, bytes((10, 0, 0, 3)), 80, "n3", nack, bytes((10, 0, 0, 5)), 7946)
    now = node.probing.deadline() - 0.9
    node.probing.indirect_ping(now, request, ASKER)
    [(address, ping)] = node.sent()
    assert isinstance(ping, Ping)
    assert (address, ping.node) == ("10.0.0.3", "n3")
    assert ping.seq != 41
    node.probing.tick(now + 0.5)
    assert node.sent() == ([("10.0.0.5", Nack(41))] if nack else [])
    # Who said no does not say yes afterwards.
    node.probing.ack(1.0, Ack(ping.seq))
    assert node.sent() == ([] if nack else [("10.0.0.5", Ack(41))])


def test_help_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.gossip.probe.RELAYS_MAX", 2)
    node = Node(1)
    for number in range(5):
        node.probing.indirect_ping(0.0, IndirectPing(number, bytes((10, 0, 0, 3)), 80), ASKER)
    assert len(node.sent()) == 2
