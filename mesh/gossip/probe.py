"""Probing: ping one member at a time, ask others to help, and suspect who stays silent.

A probe begins with a ping. Without an answer by the timeout, a few others are asked to ping the
member and a stream is tried. If nothing came back at the end of the (scaled) interval, the member
is suspected. Helpers that live but get no answer say so (nack); a missing nack means that the
trouble may be here, and slows this node's verdicts (Lifeguard, local health).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from mesh.gossip.messages import Ack, IndirectPing, Message, Nack, Ping, Suspect, host
from mesh.gossip.streams import ALIVE, SUSPECT
from mesh.gossip.swim import Send, Swim, TcpPing

TCP_PING_PROTOCOL = 3
NACK_PROTOCOL = 4
RELAYS_MAX = 4096
SEQS = 2**31
"""Sequence numbers of probes; those above are of tests of the network (`examiner.py`)."""


class _Probe(msgspec.Struct):
    seq: int
    node: str
    incarnation: int
    start: float
    timeout: float
    end: float
    asked: bool = False
    expected_nacks: int = 0
    nacks: int = 0
    reached_by_stream: bool = False


class _Relay(msgspec.Struct):
    """A ping sent for somebody else."""

    seq: int
    address: str
    port: int
    nack_at: float
    nack: bool
    end: float


class Probing:
    """The failure detector of one node.

    `answered` hears of the same answers: (member, now, seconds).

    `ack_payload` makes what this node puts into its acks. `rtt` hears of each answer that came
    directly and in time: (member, seconds for the way there and back, payload of the ack). It may
    raise Invalid; the answer counts all the same.
    """

    def __init__(self, swim: Swim, now: float) -> None:
        self._swim = swim
        interval = swim.options.probe_interval_seconds
        self._next = now + swim.dice.uniform(0, interval)
        self._probe: _Probe | None = None
        self._relays: dict[int, _Relay] = {}
        self._seq = swim.dice.below(SEQS)
        self.ack_payload: Callable[[], bytes] = bytes
        self.answered: Callable[[str, float, float], None] = lambda _node, _now, _seconds: None
        self.rtt: Callable[[str, float, bytes], None] = lambda _node, _seconds, _payload: None

    def _new_seq(self) -> int:
        self._seq = (self._seq + 1) % SEQS
        return self._seq

    # Time

    def deadline(self) -> float:
        """When `tick` has something to do."""
        probe = self._probe
        if probe is None:
            soonest = self._next
        else:
            soonest = probe.end if probe.asked else probe.timeout
        if not self._relays:
            return soonest
        relays = (relay.nack_at if relay.nack else relay.end for relay in self._relays.values())
        return min(soonest, min(relays, default=math.inf))

    def tick(self, now: float) -> None:
        """Do what is due."""
        for seq, relay in list(self._relays.items()):
            if relay.nack and relay.nack_at <= now:
                relay.nack = False
                self._swim.send(relay.address, relay.port, Nack(relay.seq))
                del self._relays[seq]
            elif relay.end <= now:
                del self._relays[seq]
        probe = self._probe
        if probe is not None:
            if not probe.asked and probe.timeout <= now:
                self._ask_others(probe)
            if probe.end <= now:
                self._conclude(now, probe)
        if self._probe is None and self._next <= now:
            # One tick that came during a probe is kept, the others are lost; the rhythm stays.
            interval = self._swim.options.probe_interval_seconds
            self._next += interval * (math.floor((now - self._next) / interval + 1e-6) + 1)
            self._start(now)

    def _start(self, now: float) -> None:
        peer = self._swim.next_to_probe(now)
        if peer is None:
            return
        options, swim = self._swim.options, self._swim
        probe = _Probe(
            seq=self._new_seq(),
            node=peer.name,
            incarnation=peer.incarnation,
            start=now,
            timeout=now + options.probe_timeout_seconds,
            end=now + options.probe_interval_seconds * (swim.awareness + 1),
        )
        self._probe = probe
        me = swim.me
        ping = Ping(probe.seq, peer.name, me.address, me.port, me.name)
        if peer.state == SUSPECT:
            # Tell the suspect at once, so that it can refute (Lifeguard's buddy system).
            accusation = Suspect(peer.incarnation, peer.name, me.name)
            messages: list[Message] = [ping, accusation]
            swim.effects.append(Send(peer.host, peer.port, messages, peer.protocol_max >= 5))
        else:
            swim.send(peer.host, peer.port, ping)

    def _ask_others(self, probe: _Probe) -> None:
        probe.asked = True
        swim = self._swim
        peer = swim.peers.get(probe.node)
        if peer is None:
            return
        me = swim.me
        helpers = swim.pick(
            swim.options.indirect_checks,
            lambda other: other.state == ALIVE and other is not peer,
        )
        for helper in helpers:
            nack = helper.protocol_max >= NACK_PROTOCOL
            probe.expected_nacks += nack
            request = IndirectPing(
                probe.seq, peer.address, peer.port, peer.name, nack, me.address, me.port, me.name
            )
            swim.send(helper.host, helper.port, request)
        if peer.protocol_max >= TCP_PING_PROTOCOL:
            swim.effects.append(TcpPing(probe.seq, peer.name, peer.host, peer.port, probe.end))

    def _conclude(self, now: float, probe: _Probe) -> None:
        self._probe = None
        if probe.reached_by_stream:
            self._swim.degrade(-1)
            return
        missing = probe.expected_nacks - probe.nacks
        self._swim.degrade(max(missing, 0) if probe.expected_nacks else 1)
        # The incarnation seen at the start: a newer one has refuted meanwhile.
        self._swim.suspect(now, Suspect(probe.incarnation, probe.node, self._swim.name))

    # Messages

    def ping(self, message: Ping, source: tuple[str, int]) -> None:
        """Answer, unless the ping is for another name (a node that was here before)."""
        if message.node and message.node != self._swim.name:
            return
        address, port = _reply_to(message, source)
        self._swim.send(address, port, Ack(message.seq, self.ack_payload()))

    def indirect_ping(self, now: float, message: IndirectPing, source: tuple[str, int]) -> None:
        """Ping the target for somebody else."""
        if len(self._relays) >= RELAYS_MAX or len(message.target) not in {4, 16}:
            return
        swim = self._swim
        address, port = _reply_to(message, source)
        timeout = now + swim.options.probe_timeout_seconds
        end = now + swim.options.probe_interval_seconds
        seq = self._new_seq()
        self._relays[seq] = _Relay(message.seq, address, port, timeout, message.nack, end)
        me = swim.me
        ping = Ping(seq, message.node, me.address, me.port, me.name)
        swim.send(host(message.target), message.port or me.port, ping)

    def ack(self, now: float, message: Ack) -> None:
        """Somebody answered: our own probe, or one for somebody else. Raises what `rtt` does."""
        probe = self._probe
        if probe is not None and probe.seq == message.seq:
            self._probe = None
            self._swim.degrade(-1)
            # Before others are asked, and in time, only the member itself can have answered.
            if not probe.asked and now <= probe.timeout:
                self.answered(probe.node, now, now - probe.start)
                self.rtt(probe.node, now - probe.start, message.payload)
            return
        relay = self._relays.pop(message.seq, None)
        if relay is not None:
            self._swim.send(relay.address, relay.port, Ack(relay.seq))

    def unsent(self, now: float, message: Message, *, remote: bool) -> None:
        """A message could not be sent: a ping of ours is no word about the member.

        With `remote` the fault is on the way or over there, and others are asked at once; else the
        probe is given up, and nobody blamed.
        """
        probe = self._probe
        if probe is None or not isinstance(message, Ping) or message.seq != probe.seq:
            return
        if remote:
            probe.timeout = min(probe.timeout, now)
        else:
            self._probe = None

    def nack(self, message: Nack) -> None:
        """A helper lives but got no answer either."""
        probe = self._probe
        if probe is not None and probe.seq == message.seq:
            probe.nacks += 1

    def tcp_answered(self, seq: int) -> None:
        """The member answered on a stream: alive, though datagrams do not reach it."""
        if self._probe is not None and self._probe.seq == seq:
            self._probe.reached_by_stream = True


def _reply_to(message: Ping | IndirectPing, source: tuple[str, int]) -> tuple[str, int]:
    if len(message.source_address) in {4, 16} and message.source_port:
        return host(message.source_address), message.source_port
    return source
