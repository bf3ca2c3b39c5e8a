"""Handing leadership over: the others are told everything, then one is asked to take over."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mesh.clock import Clock
from mesh.errors import MeshError, NoLeader, Unreachable
from mesh.raft.leading import Confirmed, Leading
from mesh.raft.messages import Message, TimeoutNow


class _Wish(msgspec.Struct):
    target: str
    until: float
    done: Confirmed
    asked: bool = False


class Handover:
    """At most one wish to hand over. While there is one, nothing new goes into the log."""

    def __init__(self, clock: Clock, seconds: float, send: Callable[[str, Message], None]) -> None:
        self._clock, self._seconds, self._send = clock, seconds, send
        self._wish: _Wish | None = None

    @property
    def under_way(self) -> bool:
        """Whether leadership is being handed over."""
        return self._wish is not None

    def begin(self, target: str, done: Confirmed) -> None:
        """Hand over to this voter; `done` once leadership is lost, or with why it is not."""
        if self._wish is not None:
            done(NoLeader("leadership is being handed over already"))
        else:
            self._wish = _Wish(target, self._clock.monotonic() + self._seconds, done)

    def step(self, leading: Leading, last_index: int, *, stopped: bool) -> None:
        """Ask the voter to take over as soon as it holds the whole log; give up in time."""
        wish = self._wish
        if wish is None:
            return
        if stopped or self._clock.monotonic() >= wish.until:
            self.end(Unreachable(f"{wish.target} did not take over in time"))
        elif leading.peers[wish.target].match == last_index and not wish.asked:
            # For good: nobody knows when it asks for votes, nor that it ever will not.
            leading.lease_allowed = False
            leading.lease_lost()
            wish.asked = True
            self._send(wish.target, TimeoutNow(leading.term))

    def end(self, error: MeshError | None) -> None:
        """Leadership is lost, or it is not handed over after all."""
        wish, self._wish = self._wish, None
        if wish is not None:
            wish.done(error)
