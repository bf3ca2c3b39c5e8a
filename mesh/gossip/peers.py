"""Peers: the members as SWIM knows them, by name, and the order in which they are drawn."""

from __future__ import annotations

from collections.abc import Container, MutableSequence
from typing import TypeVar

from mesh.clock import Dice
from mesh.gossip.messages import VERSIONS, Alive, host
from mesh.gossip.streams import DEAD, LEFT

T = TypeVar("T")


class Peer:
    """A member as this node knows it. Whoever changes one gets it from `Table.own`."""

    __slots__ = (
        "address",
        "changed",
        "host",
        "incarnation",
        "meta",
        "name",
        "port",
        "state",
        "versions",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.address = b""
        self.host = ""
        self.port = 0
        self.meta = b""
        self.versions = VERSIONS
        self.incarnation = 0
        self.state = DEAD
        self.changed = 0.0

    def place(self, address: bytes, port: int) -> None:
        """It is there from now on; `host` is the address as text."""
        self.address, self.port = address, port
        self.host = host(address)

    def alive(self) -> Alive:
        """The news that it is."""
        return Alive(self.incarnation, self.name, self.address, self.port, self.meta, self.versions)

    @property
    def gone(self) -> bool:
        """Dead or left."""
        return self.state == DEAD or self.state == LEFT  # noqa: PLR1714  (asked for each packet)

    @property
    def protocol_max(self) -> int:
        """The newest protocol it understands."""
        return self.versions[1]


class Table(dict[str, T]):
    """Entries by member's name.

    An entry that is to be changed is asked for with `own`. Here that makes no difference; a
    simulation of thousands of nodes shares the entries that none of them has changed.
    """

    def own(self, name: str) -> T:
        """The entry, to change it."""
        return self[name]


class Order:
    """Names in an order of chance: each comes once in a round, new ones in the round they come.

    The order is found name by name as they are drawn, which spares a large pool shuffling.
    """

    def __init__(self, names: MutableSequence[str]) -> None:
        """These names; the sequence is used from now on, and changed."""
        self._names = names
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._names)

    def any(self, dice: Dice) -> str:
        """Any name, whether it was drawn or not."""
        return self._names[dice.below(len(self._names))]

    def draw(self, dice: Dice) -> str | None:
        """A name that did not come in this round; None at its end, after which another begins."""
        names, place = self._names, self._drawn
        rest = len(names) - place
        if not rest:
            self._drawn = 0
            return None
        chosen = place + dice.below(rest)
        names[place], names[chosen] = names[chosen], names[place]
        self._drawn = place + 1
        return names[place]

    def add(self, name: str) -> None:
        """Somebody new, who comes in this round."""
        self._names.append(name)

    def remove(self, gone: Container[str]) -> None:
        """These come no more."""
        kept = [name for name in self._names if name not in gone]
        drawn = sum(self._names[place] not in gone for place in range(self._drawn))
        self._names[:] = kept
        self._drawn = drawn
