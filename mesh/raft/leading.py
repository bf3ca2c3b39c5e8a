"""The leader's side: entries and snapshots to the others, confirmed rounds, lease and barriers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence

from mesh.clock import Clock
from mesh.errors import MeshError, OutcomeUnknown
from mesh.raft.engine import Engine
from mesh.raft.messages import Ack, Append, ChunkReply, Message, Probe, Reset
from mesh.raft.progress import Progress
from mesh.raft.snapshots import Snapshots

Send = Callable[[str, Message], None]
Confirmed = Callable[[MeshError | None], None]
LEASE_PART = 0.8  # Of the shortest election timeout; the rest covers RATE_ERROR and more.

log = logging.getLogger(__name__)


class Leading:
    """One voter's leadership in one term, from winning the election to stepping down."""

    def __init__(
        self,
        engine: Engine,
        others: Sequence[str],
        snapshots: Snapshots,
        clock: Clock,
        seconds: tuple[float, float],
    ) -> None:
        self._engine, self._snapshots, self._clock = engine, snapshots, clock
        self._heartbeat, shortest_election = seconds
        self._lease = LEASE_PART * shortest_election
        self.term = engine.term
        self.first_index = engine.journal.last_index + 1  # The no-op of this term comes next.
        self.peers = {peer: Progress(engine.journal.last_index, connected=False) for peer in others}
        self.everybody = dict(self.peers)  # And learners, who count for nothing.
        self.lease_allowed = True  # Not any more once leadership was handed to another.
        self.lease_lost: Callable[[], None] = lambda: None
        """Called when that comes to an end, before anything is sent that may make another lead."""
        self._was_in_charge = False  # What is applied stays so; asked at every read.
        self.restless = False  # Whether something waits for the next step, which should be soon.
        self._round = 1
        self._round_wanted = True
        self._barriers: list[tuple[int, int, Confirmed]] = []

    @property
    def in_charge(self) -> bool:
        """Whether an entry of this term is applied, so that all before it is too."""
        return self._engine.applied >= self.first_index

    def leased(self) -> bool:
        """Whether, at this moment, surely no other voter leads.

        Assumes that no clock changes its rate by more than a tenth from one answer to the next:
        a voter counts only while its rate is proved to be near ours, see `ClockRate`.
        """
        if not (self.lease_allowed and (self._was_in_charge or self.in_charge)):
            return False
        self._was_in_charge = True
        if not self.peers:
            return True
        now = self._clock.monotonic()
        return self._majority_sent(now) + self._lease > now

    def leased_until(self) -> float:
        """Until when surely no other voter leads, unless `lease_lost` is called before.

        By the monotonic clock; 0 when that is not sure now.
        """
        if not self.leased():
            return 0.0
        now = self._clock.monotonic()
        return (self._majority_sent(now) if self.peers else now) + self._lease

    @property
    def odd_clocks(self) -> dict[str, int]:
        """How often the clock of each voter was proved to run too fast or too slow for a lease."""
        return {peer: progress.rate.odd for peer, progress in self.peers.items()}

    def barrier(self, done: Confirmed) -> None:
        """Call back once a majority confirmed this leadership and what was committed is applied."""
        index = max(self._engine.commit, self.first_index)
        self._barriers.append((self._round + 1, index, done))
        self._round_wanted = True

    def answer_barriers(self) -> None:
        """Call back whoever waited long enough."""
        if not self._barriers:
            return
        confirmed, applied = self._majority_round(), self._engine.applied
        waiting = []
        for barrier in self._barriers:
            round_wanted, index, done = barrier
            if round_wanted <= confirmed and index <= applied:
                done(None)
            else:
                waiting.append(barrier)
        self._barriers = waiting

    def retire(self, error: MeshError) -> None:
        """Answer no reads any more, but go on telling the others."""
        self.lease_allowed = False
        self.lease_lost()
        barriers, self._barriers = self._barriers, []
        for _, _, done in barriers:
            done(error)

    def end(self) -> None:
        """No leader any more: nobody waits in vain."""
        self.retire(OutcomeUnknown("the leader changed before the read was confirmed"))
        for progress in self.everybody.values():
            progress.close()

    def follow(self, learners: dict[str, bool]) -> None:
        """Send the log to these learners too, and to no others; says who is connected."""
        for gone in set(self.everybody) - set(self.peers) - set(learners):
            self.everybody.pop(gone).close()
        for name, connected in learners.items():
            if name not in self.everybody:
                progress = Progress(self._engine.journal.last_index, connected=connected)
                self.everybody[name] = progress

    def holders(self, index: int) -> set[str]:
        """Who acknowledged the log up to this index."""
        return {name for name, peer in self.everybody.items() if peer.match >= index}

    def needed(self) -> int:
        """The lowest entry that a connected server may still ask for."""
        last = self._engine.journal.last_index
        return min(
            (each.needed for each in self.everybody.values() if each.connected), default=last
        )

    def send(self, send: Send, send_durable: Send) -> None:
        """Whatever each voter should get now."""
        self.restless = False
        now = self._clock.monotonic()
        wanted, self._round_wanted = self._round_wanted, False
        if wanted:
            self._round += 1
        probe = Probe(self._round, now)
        for peer, progress in self.everybody.items():
            if not progress.connected:
                continue
            due = now - progress.last_send >= self._heartbeat
            sent = self._send_entries(peer, progress, probe, send_durable)
            if wanted or (not sent and (due or self._tells_news(progress))):
                self._beat(peer, progress, probe, send)
                sent = True
            if sent:
                progress.last_send = now
            self._send_chunks(peer, progress, probe, send, idle=due)

    def left(self, peer: str, message: Append) -> None:
        """Entries left this node for this server."""
        if (progress := self.everybody.get(peer)) is not None:
            progress.left(message)

    def receive(self, peer: str, message: Ack | Reset | ChunkReply) -> None:
        """An answer in this term."""
        progress = self.everybody.get(peer)
        if progress is None:
            return
        self._measure(peer, progress, message.probe)
        matched = False
        if isinstance(message, Ack):
            if message.index > self._engine.journal.last_index:
                return
            matched = True
            progress.acknowledged(message.index)
        elif isinstance(message, Reset):
            progress.reset(message.generation, message.hint)
        else:
            progress.chunk_answered(message.index, message.received)
        if peer in self.peers:
            self._engine.hear_ack(peer, progress.match, matches=matched)

    def _measure(self, peer: str, progress: Progress, probe: Probe) -> None:
        progress.answered(probe)
        never = not progress.rate.odd
        progress.rate.answered(probe.sent, probe.shown, self._clock.monotonic())
        if never and progress.rate.odd:
            log.warning("the clock of %s runs at another rate: no lease rests on it", peer)

    def _send_entries(
        self, peer: str, progress: Progress, probe: Probe, send_durable: Send
    ) -> bool:
        engine, sent = self._engine, False
        while message := progress.next_entries(engine.journal, self.term, probe, engine.commit):
            progress.commit_told = engine.commit
            send_durable(peer, message)
            sent = True
        return sent

    def _tells_news(self, progress: Progress) -> bool:
        """Whether to tell it of a commit now: a step later, for mostly an entry takes it along."""
        last, waited = self._engine.journal.last_index, progress.news_waits
        news = progress.commit_told < self._engine.commit and progress.match == last
        progress.news_waits = news and not waited
        self.restless = self.restless or progress.news_waits
        return news and waited

    def _beat(self, peer: str, progress: Progress, probe: Probe, send: Send) -> None:
        engine = self._engine
        message: Append = progress.heartbeat(engine.journal, self.term, probe, engine.commit)
        progress.commit_told = min(message.commit, message.prev_index)
        send(peer, message)

    def _send_chunks(
        self, peer: str, progress: Progress, probe: Probe, send: Send, *, idle: bool
    ) -> None:
        if not progress.streaming and progress.needs_snapshot(self._engine.journal):
            latest = self._snapshots.latest
            if latest is not None:
                with contextlib.suppress(FileNotFoundError):  # A newer one replaces it right now.
                    progress.stream(latest)
        while chunk := progress.next_chunk(self.term, probe, idle=idle):
            send(peer, chunk)
            idle = False

    def _majority_round(self) -> int:
        rounds = sorted(progress.heard.round for progress in self.peers.values())
        return rounds[len(rounds) // 2] if rounds else self._round

    def _majority_sent(self, now: float) -> float:
        times = sorted(
            progress.heard.sent if progress.rate.steady(now) else float("-inf")
            for progress in self.peers.values()
        )
        return times[len(times) // 2]
