"""Probing: the steps of one probe, helping others, and whom to probe next."""

import collections

import pytest

from mesh.clock import SeededDice
from mesh.errors import Invalid
from mesh.gossip.examiner import FIRST_SEQ
from mesh.gossip.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
)
from mesh.gossip.options import SwimOptions
from mesh.gossip.probe import RELAYS_MAX, Probing
from mesh.gossip.streams import ALIVE, SUSPECT
from mesh.gossip.swim import Send, Swim, TcpPing

NEWS = (Alive, Suspect, Dead)
ME = b"\x0a\0\0\x64"


class Node:
    """A prober with peers p1 ... at 10.0.0.1 ...; `sent` is by address, without gossip."""

    def __init__(self, peers: int, seed: int = 1) -> None:
        options = SwimOptions(push_pull_interval_seconds=0.0, gossip_interval_seconds=1e9)
        self.swim = Swim("me", options, SeededDice(seed), 0.0)
        self.probing = Probing(self.swim, 0.0)
        self.probing._next = 1.0  # In step with the tests' seconds.
        self.swim.go_live(0.0, "10.0.0.100", 7946, b"")
        for number in range(1, peers + 1):
            self.add(number)
        while self.swim.queue.draw(100_000, 0, 1):
            pass
        self.swim.take()

    def add(self, number: int) -> None:
        self.swim.alive(0.0, Alive(1, f"p{number}", bytes((10, 0, 0, number)), 7946))

    def tick(self, now: float) -> list[tuple[str, Message]]:
        self.probing.tick(now)
        return self.sent()

    def sent(self) -> list[tuple[str, Message]]:
        self.effects = self.swim.take()
        return [
            (effect.address, message)
            for effect in self.effects
            if isinstance(effect, Send)
            for message in effect.messages
            if not isinstance(message, NEWS) or isinstance(effect.messages[0], Ping)
        ]

    def start(self, now: float = 1.0) -> tuple[str, Ping]:
        [(_, ping), *_] = self.tick(now)
        assert isinstance(ping, Ping)
        return ping.node, ping

    def streams(self) -> list[TcpPing]:
        return [effect for effect in self.effects if isinstance(effect, TcpPing)]


def test_a_ping_says_who_asks_and_an_answer_ends_the_probe() -> None:
    node = Node(5)
    node.swim.degrade(3)
    name, ping = node.start()
    assert ping == Ping(ping.seq, name, ME, 7946, "me")
    node.probing.ack(1.2, Ack(ping.seq))
    assert node.swim.awareness == 2
    assert node.tick(1.6) == []
    assert node.probing.deadline() == 2.0
    assert node.swim.peers[name].state == ALIVE


def test_an_ack_of_another_probe_means_nothing() -> None:
    node = Node(5)
    _, ping = node.start()
    node.probing.ack(1.2, Ack(ping.seq + 1))
    assert len(node.tick(1.5)) == 3


def test_without_an_answer_three_others_and_a_stream_are_tried() -> None:
    node = Node(6)
    name, ping = node.start()
    asked = node.tick(1.5)
    assert len({address for address, _ in asked}) == 3
    target = node.swim.peers[name]
    for address, request in asked:
        assert address != target.host
        assert request == IndirectPing(ping.seq, target.address, 7946, name, True, ME, 7946, "me")
    assert node.streams() == [TcpPing(ping.seq, name, target.host, 7946, 2.0)]
    # A relayed answer, or a late one, still counts.
    node.probing.ack(1.9, Ack(ping.seq))
    node.tick(2.0)
    assert target.state == ALIVE


def test_direct_answers_in_time_measure_the_round_trip() -> None:
    node = Node(6)
    heard: list[tuple[str, float, bytes]] = []
    node.probing.rtt = lambda name, seconds, payload: heard.append((name, seconds, payload))
    name, ping = node.start(1.0)
    node.probing.ack(1.25, Ack(ping.seq, b"payload"))
    assert heard == [(name, 0.25, b"payload")]
    # Late, before anybody else was asked.
    _, ping = node.start(2.0)
    node.probing.ack(2.75, Ack(ping.seq, b"payload"))
    # Perhaps through somebody else.
    _, ping = node.start(3.0)
    assert len(node.tick(3.5)) == 3
    node.probing.ack(3.5, Ack(ping.seq, b"payload"))
    # For somebody else.
    node.probing.indirect_ping(4.0, REQUEST, ("192.0.2.1", 5))
    [(_, relayed)] = node.sent()
    assert isinstance(relayed, Ping)
    node.probing.ack(4.1, Ack(relayed.seq, b"payload"))
    assert len(heard) == 1


def test_a_payload_that_makes_no_sense_fails_no_probe() -> None:
    node = Node(6)

    def refuse(_name: str, _seconds: float, _payload: bytes) -> None:
        raise Invalid("payload")

    node.probing.rtt = refuse
    name, ping = node.start(1.0)
    with pytest.raises(Invalid):
        node.probing.ack(1.1, Ack(ping.seq))
    node.tick(1.9)
    assert node.swim.peers[name].state == ALIVE


def test_acks_carry_what_the_layer_above_says() -> None:
    node = Node(1)
    node.probing.ack_payload = lambda: b"coordinate"
    node.probing.ping(Ping(7, "me"), ("192.0.2.1", 5))
    assert node.sent() == [("192.0.2.1", Ack(7, b"coordinate"))]


def test_what_could_not_be_sent_blames_nobody() -> None:
    node = Node(6)
    name, ping = node.start(1.0)
    node.probing.unsent(1.0, Ack(ping.seq), remote=False)
    node.probing.unsent(1.0, Ping(ping.seq + 1), remote=False)
    assert len(node.tick(1.5)) == 3, "that was another message"
    node.probing.ack(1.6, Ack(ping.seq))
    name, ping = node.start(2.0)
    node.probing.unsent(2.0, ping, remote=False)
    assert node.tick(2.9) == []
    assert (node.swim.peers[name].state, node.swim.awareness) == (ALIVE, 0)


def test_what_cannot_be_reached_is_asked_of_others_at_once() -> None:
    node = Node(6)
    name, ping = node.start(1.0)
    node.probing.unsent(1.0, ping, remote=True)
    assert node.probing.deadline() == 1.0
    assert len(node.tick(1.0)) == 3
    node.tick(2.0)
    assert node.swim.peers[name].state == SUSPECT


@pytest.mark.parametrize(("nacks", "points"), [(0, 3), (2, 1), (3, 0), (4, 0)])
def test_silence_is_suspected_and_missing_nacks_cost_health(nacks: int, points: int) -> None:
    node = Node(6)
    name, ping = node.start()
    node.tick(1.5)
    for _ in range(nacks):
        node.probing.nack(Nack(ping.seq))
    node.tick(2.0)
    assert node.swim.peers[name].state == SUSPECT
    assert node.swim.awareness == points


def test_alone_with_the_silent_one_costs_one_point() -> None:
    node = Node(1)
    node.start()
    node.tick(1.5)
    node.tick(2.0)
    assert node.swim.awareness == 1


def test_an_answer_over_a_stream_is_enough() -> None:
    node = Node(6)
    name, ping = node.start()
    node.tick(1.5)
    node.probing.tcp_answered(ping.seq)
    node.tick(2.0)
    assert node.swim.peers[name].state == ALIVE
    assert node.swim.awareness == 0


def test_bad_health_lengthens_the_interval_but_not_the_timeout() -> None:
    node = Node(6)
    node.swim.degrade(2)
    name, _ = node.start(1.0)
    assert len(node.tick(1.5)) == 3
    node.tick(3.9)
    assert node.swim.peers[name].state == ALIVE
    node.tick(4.0)
    assert node.swim.peers[name].state == SUSPECT


def test_who_refutes_during_the_probe_is_not_suspected() -> None:
    node = Node(6)
    name, _ = node.start()
    peer = node.swim.peers[name]
    node.swim.alive(1.2, Alive(2, name, peer.address, peer.port))
    node.tick(1.5)
    node.tick(2.0)
    assert peer.state == ALIVE


def test_a_target_that_goes_during_the_probe_is_no_trouble() -> None:
    node = Node(6)
    name, _ = node.start()
    node.swim.dead(1.1, Dead(1, name, name))
    node.tick(1.5)
    del node.swim.peers[name]
    node.tick(2.0)
    assert name not in node.swim.peers


def test_a_suspect_is_told_with_the_ping_and_nothing_else() -> None:
    node = Node(1)
    node.swim.suspect(0.5, Suspect(1, "p1", "a"))
    [(_, ping), (_, accusation)] = node.tick(1.0)
    assert isinstance(ping, Ping)
    assert accusation == Suspect(1, "p1", "me")
    [send] = [effect for effect in node.effects if isinstance(effect, Send)]
    assert send.crc


def test_pings_are_answered_to_their_source() -> None:
    node = Node(1)
    here = ("192.0.2.1", 5)
    node.probing.ping(Ping(7, "me", b"\x0a\0\0\x07", 99), here)
    node.probing.ping(Ping(8, "me"), here)
    node.probing.ping(Ping(9), here)
    node.probing.ping(Ping(10, "me", b"\x0a\0\0\x07", 0), here)
    node.probing.ping(Ping(11, "me", b"\x0a\0", 99), here)
    node.probing.ping(Ping(12, "me", bytes(10) + b"\xff\xff\x0a\0\0\x07", 99), here)
    node.probing.ping(Ping(13, "somebody else"), here)
    assert node.sent() == [
        ("10.0.0.7", Ack(7)),
        ("192.0.2.1", Ack(8)),
        ("192.0.2.1", Ack(9)),
        ("192.0.2.1", Ack(10)),
        ("192.0.2.1", Ack(11)),
        ("10.0.0.7", Ack(12)),
    ]


REQUEST = IndirectPing(77, b"\x0a\0\0\x05", 0, "p5", True, b"\x0a\0\0\x07", 99, "p7")


def helping(request: IndirectPing = REQUEST) -> tuple[Node, Ping]:
    node = Node(0)
    node.probing.indirect_ping(1.0, request, ("192.0.2.1", 5))
    [(address, ping)] = node.sent()
    assert address == "10.0.0.5"
    assert ping == Ping(ping.seq, "p5", ME, 7946, "me")  # type: ignore[union-attr]
    assert isinstance(ping, Ping)
    return node, ping


def test_a_helper_passes_the_answer_on_with_the_askers_number() -> None:
    node, ping = helping()
    node.probing.ack(1.2, Ack(ping.seq, b"payload"))
    assert node.sent() == [("10.0.0.7", Ack(77))]
    node.probing.ack(1.3, Ack(ping.seq))
    assert node.tick(1.5) == []


def test_a_helper_without_an_answer_says_so_once() -> None:
    node, ping = helping()
    assert node.probing.deadline() <= 1.5
    assert node.tick(1.5) == [("10.0.0.7", Nack(77))]
    node.probing.ack(1.6, Ack(ping.seq))
    assert node.tick(3.0) == []


def test_a_helper_keeps_quiet_when_nacks_are_not_wanted() -> None:
    node, _ = helping(IndirectPing(77, b"\x0a\0\0\x05", 7946, "p5", False))
    assert node.tick(1.5) == []
    assert node.tick(2.1) == []
    assert not node.probing._relays


def test_helping_has_limits() -> None:
    node = Node(0)
    for _ in range(RELAYS_MAX + 5):
        node.probing.indirect_ping(1.0, REQUEST, ("192.0.2.1", 5))
    node.probing.indirect_ping(1.0, IndirectPing(1, b"\x0a"), ("192.0.2.1", 5))
    assert len(node.probing._relays) == RELAYS_MAX
    node.tick(5.0)
    assert not node.probing._relays


def probed(node: Node, start: float, count: int) -> list[str]:
    found = []
    for step in range(count):
        name, ping = node.start(start + step)
        node.probing.ack(start + step, Ack(ping.seq))
        node.sent()
        found.append(name)
    return found


def test_everybody_is_probed_in_each_round() -> None:
    node = Node(20)
    for turn in range(4):
        names = probed(node, 1.0 + 20 * turn, 20)
        assert len(set(names)) == 20


def test_who_is_dropped_and_comes_back_is_probed_once_a_round() -> None:
    node = Node(5)
    for now in range(1, 200, 40):
        for number in (1, 2):
            node.swim.dead(now, Dead(2**31 + now, f"p{number}", "a"))
        probed(node, now, 10)
        node.swim.drop_gone(now + 35.0)
        assert set(node.swim.peers) == {"me", "p3", "p4", "p5"}
        for number in (1, 2):
            node.add(number)
    node.swim.take()
    probed(node, 300.0, 10)
    assert len(node.swim.order) == 5
    counts = collections.Counter(probed(node, 400.0, 50))
    # Ten rounds; the first and the last may be cut.
    assert len(counts) == 5
    assert max(counts.values()) - min(counts.values()) <= 2


def test_nobody_to_probe() -> None:
    node = Node(0)
    assert node.tick(1.0) == []
    assert node.probing.deadline() == 2.0


@pytest.mark.parametrize(
    ("score", "ended", "following"), [(0, 2.0, 3.0), (2, 3.4, 4.0), (3, 5.0, 6.0)]
)
def test_one_tick_is_kept_during_a_probe_and_the_rhythm_stays(
    score: int, ended: float, following: float
) -> None:
    node = Node(6)
    node.swim.degrade(score)
    _, ping = node.start(1.0)
    node.tick(1.5)
    node.tick(1.99)
    if score == 2:
        node.tick(3.3)
        node.probing.ack(ended, Ack(ping.seq))
        assert node.probing.deadline() <= ended, "the tick that was kept"
    sent = node.tick(ended)
    assert [type(message) for _, message in sent[:1]] == [Ping]
    for message in (message for _, message in sent if isinstance(message, Ping)):
        node.probing.ack(ended + 0.1, Ack(message.seq))
    assert node.probing.deadline() == pytest.approx(following)


def test_piggyback_travels_with_pings() -> None:
    node = Node(3)
    news = Suspect(1, "p1", "a")
    node.swim.queue.add("p1", news)
    node.probing.tick(1.0)
    [send] = [effect for effect in node.swim.take() if isinstance(effect, Send)]
    assert send.messages[1:] == [news]


def test_probes_never_use_the_numbers_of_the_network_doctor() -> None:
    node = Node(2)
    node.probing._seq = FIRST_SEQ - 2  # Where a node is after years, or soon after a high start.
    seqs = []
    for now in (1.0, 2.0, 3.0):
        _, ping = node.start(now)
        seqs.append(ping.seq)
        node.probing.ack(now, Ack(ping.seq))
    # An answer to a higher one is the doctor's: this node would hear nobody any more.
    assert seqs == [FIRST_SEQ - 1, 0, 1]
