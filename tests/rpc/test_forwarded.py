"""What only the leader may do: under a lease at once, and not a moment longer."""

from typing import Any

from mesh.clock import SeededDice
from mesh.registry import kv
from mesh.rpc.forwarded import Forwarded
from tests.registry_memory import MemoryRegistry


class Leased:
    """Leads for as long as it is told so."""

    def __init__(self) -> None:
        self.sure = True

    def leased(self) -> bool:
        return self.sure


def test_who_asks_again_and_again_is_told_nothing_without_a_lease() -> None:
    registry, consensus = MemoryRegistry(), Leased()
    registry.apply(kv.Set("a", b"1"))
    nobody: Any = None
    led: Any = consensus
    forwarded = Forwarded(led, registry.reader, nobody, SeededDice(1))
    ask = forwarded.asking(kv.Get("a"))
    assert ask() is forwarded.at_once(kv.Get("a")) is not None
    consensus.sure = False
    assert ask() is None
    consensus.sure = True
    assert ask() is forwarded.at_once(kv.Get("a")) is not None
