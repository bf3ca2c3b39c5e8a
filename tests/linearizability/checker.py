"""A checker of linearizability: the search of Wing and Gong with the memory of Lowe.

J. M. Wing, C. Gong, "Testing and verifying concurrent objects", 1993; G. Lowe, "Testing for
linearizability", 2017. A history of several keys is linearizable when that of each key is
(P-compositionality), so a search is about one key.

Three things keep the search short, and lose nothing. What changes no state is placed as soon as it
fits. A write that nobody ever saw (`Call.spare`) is placed as late as possible: when it must have
ended, or when another operation must have that is not possible without it. And it costs nothing if
it could have been placed just before some other change, which then hid it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

STEPS_MAX = 5_000_000
FOREVER = float("inf")


class Call(msgspec.Struct, frozen=True):
    """An operation as the search sees it; `action` means something to the model alone.

    One that ends at FOREVER has an unknown outcome: it takes effect some time after it began, or
    never. A `spare` one is possible in every state, or it has an unknown outcome, and nobody saw
    the state that it leaves: it can only make a state go away.
    """

    action: Any
    began: float
    ended: float
    spare: bool = False


class Model(Protocol):
    """How the object behaves when one operation follows another. States are hashable."""

    first: Any

    def step(self, state: Any, action: Any) -> Any:
        """The state after the action, or None when it cannot be what happens in this state."""
        ...

    def hides(self, action: Any) -> bool:
        """Whether the action is possible in every state, and what it leaves tells of none."""
        ...

    def rescue(self, state: Any, action: Any, spares: Sequence[Any]) -> int | None:
        """Which spare, taking effect just before the action, makes it possible; None if none does.

        Only asked when the action is impossible in this state. The first to end comes first.
        """
        ...


class Verdict(msgspec.Struct, frozen=True):
    """Whether there is an order; if not, the actions that no order found a place for.

    `order` is the order found, or the longest beginning of one. `steps` counts tried actions.
    """

    linearizable: bool
    steps: int
    order: list[Any]
    stuck: list[Any]


class Undecided(Exception):
    """The search took more steps than allowed, or the history is not of a kind it can judge."""


def check(calls: Sequence[Call], model: Model, steps_max: int = STEPS_MAX) -> Verdict:
    """Search an order of the calls of one object that the model allows. Raises Undecided."""
    return _Search(calls, model).run(steps_max)


class _At(msgspec.Struct, frozen=True):
    """The state, or rather the two it may be in.

    What `began` before `cover` could have come just before a change, which hid it. `other` is the
    state if the spare call that ended at `other_cover` was not, but came after all that needed
    `state`.
    """

    state: Any
    cover: float = -FOREVER  # Nothing.
    other: Any = None
    other_cover: float = -FOREVER


class _Frame(msgspec.Struct):
    """A decision that can be taken back, and what was before it."""

    call: int
    spare: int
    pure: bool
    """It changed nothing, so that no other choice in its place can lead further."""
    at: _At


class _Search:
    """The events in time order as a doubly linked list, from which linearized calls are lifted.

    Event `2n` is the beginning of call `n`, `2n + 1` its end; `2 * count` is both ends of the list.
    """

    def __init__(self, calls: Sequence[Call], model: Model) -> None:
        self._model = model
        # Spares that never end come last, and are in no list: nothing ever waits for them.
        order = sorted(calls, key=lambda c: (c.spare and c.ended == FOREVER, c.began))
        self._calls = order
        self._spares = sorted(
            (number for number, call in enumerate(order) if call.spare),
            key=lambda number: order[number].ended,
        )
        self._head = 2 * len(order)
        self._next = [self._head] * (self._head + 1)
        self._previous = [self._head] * (self._head + 1)
        self._link()
        self._remaining = sum(call.ended != FOREVER for call in order)
        self._done, self._low = 0, 0  # Bit set of the calls done from `low` on; all below are.
        self._at = _At(model.first)
        self._stack: list[_Frame] = []
        self._seen: set[tuple[Any, ...]] = set()
        self._best: tuple[list[Any], list[Any]] = ([], [])

    def _link(self) -> None:
        events = []
        for number, call in enumerate(self._calls):
            if not (call.spare and call.ended == FOREVER):
                events.append((call.began, 0, 2 * number))
            if call.ended != FOREVER:
                events.append((call.ended, 1, 2 * number + 1))
        last = self._head
        for _, _, event in sorted(events):
            self._next[last], self._previous[event] = event, last
            last = event
        self._next[last], self._previous[self._head] = self._head, last

    def run(self, steps_max: int) -> Verdict:
        steps = 0
        event, pure = self._next[self._head], True
        while self._remaining:
            steps += 1
            if steps > steps_max:
                raise Undecided(f"not decided after {steps_max} steps")
            ends = event == self._head or event & 1
            if not ends and self._try(event >> 1, pure=pure):
                event, pure = self._next[self._head], True
            elif not ends:
                event = self._next[event]
            elif pure:  # What changes nothing was tried first; now the rest.
                event, pure = self._next[self._head], False
            elif event != self._head and self._end(event >> 1):
                event, pure = self._next[self._head], True
            else:
                self._note(event)
                frame = self._back()
                if frame is None:
                    return Verdict(False, steps, *self._best)
                # A decision that changed nothing is never revised, the one before it is.
                event = self._head if frame.pure else self._next[2 * frame.call]
        return Verdict(True, steps, self._order(), [])

    def _try(self, number: int, *, pure: bool) -> bool:
        call, at, step = self._calls[number], self._at, self._model.step
        after = None if call.spare else step(at.state, call.action)
        if after is None or pure != (after == at.state):
            return False
        if not pure:
            cover = self._first_end() if self._model.hides(call.action) else at.cover
            return self._decide(number, _At(after, cover))
        if at.other is not None and step(at.other, call.action) != at.other:
            at = _At(at.state, at.cover)  # It needed this state.
        return self._decide(number, at, pure=True)

    def _end(self, number: int) -> bool:
        """Place a call that ends next: a spare one, or one that a spare one makes possible."""
        call, at, step = self._calls[number], self._at, self._model.step
        if call.spare:
            after = step(at.state, call.action)
            if call.began <= at.cover:
                return self._decide(number, _At(at.state, at.cover, after, call.ended))
            return self._decide(number, _At(after, call.ended))
        if step(at.state, call.action) is not None:
            return False
        if at.other is not None and (after := step(at.other, call.action)) is not None:
            return self._decide(number, _At(after, max(at.cover, at.other_cover)))
        spare = self._rescuer(call)
        if spare < 0:
            return False
        rescuer = self._calls[spare].action
        after = step(step(at.state, rescuer), call.action)
        assert after is not None, "a rescue that does not help"
        cover = call.ended if self._model.hides(rescuer) else at.cover
        return self._decide(number, _At(after, cover), spare)

    def _decide(self, number: int, after: _At, spare: int = -1, *, pure: bool = False) -> bool:
        done = self._done | 1 << (number - self._low)
        if spare >= 0:
            done |= 1 << (spare - self._low)
        low = self._low
        while done & 1:
            done, low = done >> 1, low + 1
        known = (low, done, after)
        if known in self._seen:
            return False
        self._seen.add(known)
        self._stack.append(_Frame(number, spare, pure, self._at))
        self._done, self._low, self._at = done, low, after
        for each in (number, spare):
            if each >= 0:
                self._remaining -= self._calls[each].ended != FOREVER
                self._lift(each)
        return True

    def _rescuer(self, call: Call) -> int:
        free = [
            number
            for number in self._spares
            if self._calls[number].began <= call.ended
            and number >= self._low
            and not self._done >> (number - self._low) & 1
        ]
        if not free:
            return -1
        chosen = self._model.rescue(
            self._at.state, call.action, [self._calls[n].action for n in free]
        )
        return -1 if chosen is None else free[chosen]

    def _first_end(self) -> float:
        event = self._next[self._head]
        while event != self._head and not event & 1:
            event = self._next[event]
        return FOREVER if event == self._head else self._calls[event >> 1].ended

    def _back(self) -> _Frame | None:
        if not self._stack:
            return None
        frame = self._stack.pop()
        for number in (frame.spare, frame.call):
            if number < 0:
                continue
            if number < self._low:
                gap = self._low - number
                self._done = (self._done << gap) | ((1 << gap) - 1)
                self._low = number
            self._done &= ~(1 << (number - self._low))
            self._remaining += self._calls[number].ended != FOREVER
            self._unlift(number)
        self._at = frame.at
        return frame

    def _events(self, number: int) -> list[int]:
        call = self._calls[number]
        if call.ended != FOREVER:
            return [2 * number, 2 * number + 1]
        return [] if call.spare else [2 * number]

    def _lift(self, number: int) -> None:
        for event in self._events(number):
            before, after = self._previous[event], self._next[event]
            self._next[before], self._previous[after] = after, before

    def _unlift(self, number: int) -> None:
        for event in reversed(self._events(number)):
            before, after = self._previous[event], self._next[event]
            self._next[before] = self._previous[after] = event

    def _order(self) -> list[Any]:
        order = []
        for frame in self._stack:
            if frame.spare >= 0:
                order.append(self._calls[frame.spare].action)
            order.append(self._calls[frame.call].action)
        return order

    def _note(self, event: int) -> None:
        """Remember how far this beginning came."""
        if self._best[1] and len(self._stack) <= len(self._best[0]):
            return
        stuck, at = [], self._next[self._head]
        while at != self._head and (not at & 1 or at == event):
            stuck.append(self._calls[at >> 1].action)
            at = self._next[at]
        self._best = (self._order(), stuck)
