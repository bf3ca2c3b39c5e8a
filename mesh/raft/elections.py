"""Elections: when to ask, whom to grant, and never to disturb a leader that is heard."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import Clock, Dice
from mesh.raft.engine import Engine
from mesh.raft.guard import Ballot, Patience, log_is_new_enough
from mesh.raft.messages import Message, PreVote, PreVoteReply, Stale, Vote, VoteReply

Send = Callable[[str, Message], None]


class Elections:
    """PreVote, stickiness and the count of votes of one voter. The votes are the library's."""

    def __init__(
        self,
        engine: Engine,
        others: list[str],
        seconds: tuple[float, float],
        chance: tuple[Clock, Dice],
        sends: tuple[Send, Send],
    ) -> None:
        self._engine, self._others, self._seconds = engine, others, seconds
        self._clock, self._dice = chance
        self._send, self._send_durable = sends
        self.patience = Patience(seconds[0], self._clock.monotonic())
        self.eligible: Callable[[], bool] = lambda: True  # Whether we may vote and lead.
        self._asks = 0
        self._transfer = False
        self._would = Ballot(len(others) + 1)
        self._votes = Ballot(len(others) + 1)
        self.deadline = 0.0  # When to ask for an election, by the monotonic clock.
        self.started = 0
        self.postpone()

    def postpone(self) -> None:
        """Wait another full timeout."""
        self.deadline = self._clock.monotonic() + self._dice.uniform(*self._seconds)

    def hurry(self, *, first: bool = False) -> None:
        """In a new epoch nobody led before: no need to wait for a leader to be forgotten.

        Who is to be `first` asks at once.
        """
        self.patience.end()
        spread = self._seconds[1] / 2 if self._others and not first else 0.0
        self.deadline = self._clock.monotonic() + self._dice.uniform(0.0, spread)

    def stepped_down(self) -> None:
        """This server led until now, and knew of its own what others hear from a leader."""
        self.patience.heard = self._clock.monotonic()
        self.postpone()

    def hear_leader(self) -> None:
        """A leader of the present term was heard."""
        self.patience.hear(self._clock.monotonic())
        self.postpone()

    def tick(self) -> None:
        """Ask the others whether they would vote, when the time has come."""
        if self._engine.leads or self._clock.monotonic() < self.deadline:
            return
        self.postpone()
        if not self.eligible():
            self._engine.lose_leader()
            return
        if not self._others:
            self._campaign()
            return
        self._engine.lose_leader()
        self._asks += 1
        self._would.ask(self._asks)
        journal = self._engine.journal
        question = PreVote(self._engine.term + 1, self._asks, journal.last_index, journal.last_term)
        for peer in self._others:
            self._send(peer, question)

    def receive(self, peer: str, message: PreVote | PreVoteReply | Vote | VoteReply) -> None:
        """Answer a question or count an answer."""
        if isinstance(message, PreVote):
            self._answer(peer, message)
        elif isinstance(message, PreVoteReply):
            self._count_answer(peer, message)
        elif isinstance(message, Vote):
            self._vote(peer, message)
        elif self._engine.term == message.term and self._votes.add(message.term, peer):
            self._engine.hear_vote(peer, message.term)

    def take_over(self) -> None:
        """The leader hands over to us: ask for votes without asking first."""
        if self.eligible():
            self.postpone()
            self._transfer = True
            self._campaign()
            self._transfer = False

    def gave_vote(self, candidate: str, term: int) -> None:
        """The library voted."""
        self.postpone()
        self._send_durable(candidate, VoteReply(term))

    def ask_vote(self, voter: str) -> None:
        """The library is a candidate."""
        journal = self._engine.journal
        term, transfer = self._engine.term, self._transfer
        vote = Vote(term, journal.last_index, journal.last_term, transfer)
        self._send_durable(voter, vote)

    def _keeps_leader(self) -> bool:
        return self._engine.leads or self.patience.keeps(self._clock.monotonic())

    def _answer(self, peer: str, message: PreVote) -> None:
        term = self._engine.term
        granted = (
            message.term > term
            and self.eligible()
            and not self._keeps_leader()
            and log_is_new_enough(self._engine.journal, message.last_index, message.last_term)
        )
        self._send(peer, PreVoteReply(term, message.ask, granted))

    def _count_answer(self, peer: str, message: PreVoteReply) -> None:
        if message.term > self._engine.term:
            self._engine.hear_term(message.term)
        elif message.granted and self._may_campaign() and self._wins(message.ask, peer):
            self._campaign()

    def _may_campaign(self) -> bool:
        return self.eligible() and not self._keeps_leader()

    def _wins(self, ask: int, peer: str) -> bool:
        return self._would.add(ask, peer) and self._would.won

    def _campaign(self) -> None:
        self._would.ask(-1)
        self._votes.ask(self._engine.term + 1)
        self.started += 1
        self._engine.campaign()

    def _vote(self, peer: str, message: Vote) -> None:
        if message.term < self._engine.term:
            self._send_durable(peer, Stale(self._engine.term))
        elif self.eligible() and (message.transfer or not self._keeps_leader()):
            self._engine.hear_candidate(peer, message.term, message.last_index, message.last_term)
