"""Keys: orders about the pool's encryption keys, to all members at once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mesh.errors import Conflict, Invalid
from mesh.gossip import rotation
from mesh.gossip.conversations import Answers
from mesh.gossip.members import Status
from mesh.gossip.pool import Pool
from mesh.gossip.rotation import KeyResult


class KeyReport(msgspec.Struct, frozen=True):
    """What became of an order, by member."""

    results: dict[str, KeyResult]
    silent: list[str]
    """Live members that gave no answer in time."""

    @property
    def complete(self) -> bool:
        """Every live member did it."""
        return not self.silent and all(result.ok for result in self.results.values())

    def counts(self) -> dict[str, int]:
        """How many members have each key, by key; of `list`."""
        found: dict[str, int] = {}
        for result in self.results.values():
            for key in result.keys:
                found[key] = found.get(key, 0) + 1
        return found


class Keys:
    """What may be ordered. Each call returns once all live members answered, or at the deadline.

    Raises Conflict when this node's pool is not encrypted, Invalid for a key of a wrong size.
    """

    def __init__(self, pool: Pool, ask: Callable[[str, bytes, int], Answers]) -> None:
        """`ask` sends the query of this name and payload, with this relay factor."""
        self._pool, self._ask = pool, ask

    async def install(self, key: bytes, relay_factor: int = 0) -> KeyReport:
        """Have all members accept what is sealed with this key."""
        return await self._order(rotation.INSTALL, key, relay_factor)

    async def use(self, key: bytes, relay_factor: int = 0) -> KeyReport:
        """Have all members seal with this key, which all of them must have."""
        return await self._order(rotation.USE, key, relay_factor)

    async def remove(self, key: bytes, relay_factor: int = 0) -> KeyReport:
        """Have all members forget this key, which none of them may use any more."""
        return await self._order(rotation.REMOVE, key, relay_factor)

    async def list(self, relay_factor: int = 0) -> KeyReport:
        """Which keys each member has."""
        return await self._order(rotation.LIST, b"", relay_factor)

    async def _order(self, name: str, key: bytes, relay_factor: int) -> KeyReport:
        if self._pool.internal.keys is None:
            raise Conflict("the gossip of this node is not encrypted: it has no keyring to change")
        if name != rotation.LIST and len(key) not in {16, 24, 32}:
            raise Invalid(f"key: expected 16, 24 or 32 bytes, got {len(key)}")
        answers = self._ask(name, rotation.encode_request(key), relay_factor)
        results: dict[str, KeyResult] = {}
        waiting = self._alive()
        async for answer in answers:
            results[answer.source] = _read(answer.payload)
            if waiting <= results.keys():
                answers.close()
        return KeyReport(results, sorted(self._alive() - results.keys()))

    def _alive(self) -> set[str]:
        members = self._pool.intents.members()
        return {member.name for member in members if member.status == Status.ALIVE}


def _read(payload: bytes) -> KeyResult:
    try:
        return rotation.decode_result(payload)
    except Invalid as problem:
        return KeyResult(False, f"the answer makes no sense: {problem}")
