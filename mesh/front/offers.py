"""Offers: what the main process lets its workers keep, and how it takes that back."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from mesh.errors import MeshError
from mesh.front.board import SLOTS, Board
from mesh.front.frames import Terms
from mesh.http.hits import Source
from mesh.registry.port import Query, ReadOptions, Registry

STALE_SECONDS = 1.0
"""What is laid over answers may depend on time alone; it is asked for anew as often."""
AGEING_SECONDS = 0.05
"""So long a response may name a last contact, or an age, that has grown since."""


class _Slot:
    __slots__ = ("end", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.end: Callable[[], None] = lambda: None


class Offers:
    """A slot on the board for each read whose answer somebody keeps.

    Those offered least recently are taken back first.
    """

    def __init__(self, board: Board, registry: Registry, slots: int = SLOTS) -> None:
        self._board, self._registry = board, registry
        self._slots: OrderedDict[tuple[Query[Any], ReadOptions], _Slot] = OrderedDict()
        self._free = list(range(slots))

    def __len__(self) -> int:
        return len(self._slots)

    def terms(
        self,
        query: Query[Any],
        options: ReadOptions,
        value: object,
        index: int | None = None,
        label: str = "",
    ) -> Terms | None:
        """On which terms what was made of this value may be kept; None if not at all."""
        try:
            answer = self._registry.at_once(query, options)
        except MeshError:
            return None
        if answer is None or answer.value is not value or index not in {None, answer.index}:
            return None
        slot = self._slot(query, options)
        leased = options.consistency == "default" and not options.cached
        seconds = None
        if not leased:
            seconds = AGEING_SECONDS if answer.last_contact or answer.age else STALE_SECONDS
        return Terms(slot.number, self._board.version(slot.number), leased, seconds, label)

    def response(self, source: Source | None) -> Terms | None:
        """On which terms a response made of this may be kept."""
        if source is None:
            return None
        answer = source.answer
        return self.terms(source.query, source.options, answer.value, answer.index, source.label)

    def clear(self) -> None:
        """Take everything back: answers are made in another way from now on."""
        for slot in self._slots.values():
            slot.end()
            self._board.bump(slot.number)
            self._free.append(slot.number)
        self._slots.clear()

    def _slot(self, query: Query[Any], options: ReadOptions) -> _Slot:
        key = (query, options)
        slot = self._slots.get(key)
        if slot is None:
            if not self._free:
                self._take_back()
            slot = self._slots[key] = _Slot(self._free.pop())
        self._slots.move_to_end(key)
        # Anew each time: what an answer rests on depends on the answer.
        before = slot.end
        slot.end = self._registry.mind(query, options, partial(self._board.bump, slot.number))
        before()
        return slot

    def _take_back(self) -> None:
        _, slot = self._slots.popitem(last=False)
        slot.end()
        self._board.bump(slot.number)
        self._free.append(slot.number)
