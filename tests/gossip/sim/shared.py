"""Tables that thousands of nodes share: what all know alike once, what one knows otherwise its own.

Ten thousand nodes that know ten thousand members each would need gigabytes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import Any, TypeVar, overload

from mesh.clock import SeededDice
from mesh.gossip.messages import Alive
from mesh.gossip.options import Options
from mesh.gossip.peers import Order, Table
from mesh.gossip.pool import Pool, Tables

T = TypeVar("T")


class Overlay(Table[T]):
    """A table over a shared one, which it does not change."""

    def __init__(self, base: dict[str, T]) -> None:
        super().__init__()
        self._base = base
        self._without: set[str] = set()
        self._more = 0  # Own entries that the base does not have.

    def own(self, name: str) -> T:
        found = super().get(name)
        if found is None:
            found = copy.copy(self[name])
            super().__setitem__(name, found)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        found = dict.get(self, name)
        if found is not None:
            return found
        return default if name in self._without else self._base.get(name, default)

    def __missing__(self, name: str) -> T:
        if name in self._without:
            raise KeyError(name)
        return self._base[name]

    def __setitem__(self, name: str, entry: T) -> None:
        self._more += name not in self._base and not super().__contains__(name)
        super().__setitem__(name, entry)
        self._without.discard(name)

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def pop(self, name: str, default: Any = None) -> Any:
        found = self.get(name, default)
        if name in self._base:
            self._without.add(name)
        else:
            self._more -= super().__contains__(name)
        super().pop(name, None)
        return found

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name in self._base and name not in self._without)

    def __len__(self) -> int:
        return len(self._base) - len(self._without) + self._more

    def __bool__(self) -> bool:
        return len(self) > 0

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self._base if name not in self._without)
        if self._more:
            yield from (name for name in super().__iter__() if name not in self._base)

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


class Sparse(MutableSequence[str]):
    """A list over a shared one, which it does not change: only what was moved is kept."""

    def __init__(self, base: Sequence[str], without: int) -> None:
        """All of the base but the item at this place."""
        self._base = base
        self._moved = {without: base[-1]}
        self._length = len(base) - 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> MutableSequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | MutableSequence[str]:
        if type(place) is not int:
            assert isinstance(place, slice)
            return [self[number] for number in range(*place.indices(self._length))]
        found = self._moved.get(place)
        return self._base[place] if found is None else found

    def __setitem__(self, place: Any, name: Any) -> None:
        if isinstance(place, slice):
            assert place == slice(None), "only all of it at once"
            self._base, self._moved, self._length = list(name), {}, len(name)
        else:
            self._moved[place] = name

    def append(self, name: str) -> None:
        self._moved[self._length] = name
        self._length += 1

    def insert(self, place: int, name: str) -> None:
        raise NotImplementedError

    def __delitem__(self, place: Any) -> None:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(self._length))


class Everybody:
    """What each node of a pool that has settled knows."""

    def __init__(self, names: Sequence[str], addresses: Iterable[bytes], options: Options) -> None:
        view = Pool("somebody", options, SeededDice(0), 0.0, tables := Tables())
        for name, address in zip(names, addresses, strict=True):
            view.swim.alive(0.0, Alive(1, name, address, 7946))
        view.take(0.0)
        self._names = list(names)
        self._peers = tables.peers
        self._known = tables.known

    def tables(self, number: int) -> Tables:
        """The tables of the node of this number."""
        tables = Tables()
        tables.peers = Overlay(self._peers)
        tables.order = Order(Sparse(self._names, number))
        tables.known = Overlay(self._known)
        return tables
