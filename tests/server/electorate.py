"""An electorate in memory: voters that change at once, whoever is told to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from mesh.errors import MeshError
from mesh.raft.epochs import Peer
from mesh.raft.node import Node


def peer(name: str, number: int = 0) -> Peer:
    return Peer(f"id-{name}", name, f"127.0.0.1:{number or int(name[1:])}")


class Known(msgspec.Struct):
    match: int = 0
    last_contact: float = 0.0
    connected: bool = True
    caught_up: bool = True
    observes: bool = False


class MemoryElectorate:
    """Implements Electorate around a real node that leads alone; the other servers are invented.

    Set `error` to have the next change or transfer raise it, `gate` to have changes wait, `slow` to
    have them take too long.
    """

    def __init__(self, node: Node, *others: str) -> None:
        self.node = node
        self.voters: list[Peer] = [node.me, *(peer(name) for name in others)]
        self.learners: list[Peer] = []
        self.barred: list[str] = []
        self.leader: Peer | None = node.me
        self.known: dict[str, Known] = {one.id: Known() for one in self.voters[1:]}
        self.reasons: list[str] = []
        self.error: MeshError | None = None
        self.slow = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.epoch = 1

    @property
    def me(self) -> Peer:
        return self.node.me

    @property
    def cluster_id(self) -> str:
        return self.node.cluster_id

    @property
    def is_leader(self) -> bool:
        return self.leader == self.me and self.node.is_leader

    @property
    def term(self) -> int:
        return self.node.term

    @property
    def commit_index(self) -> int:
        return self.node.commit_index

    @property
    def applied_index(self) -> int:
        return self.node.applied_index

    def leased(self) -> bool:
        return self.is_leader and self.node.leased()

    def progress(self) -> dict[str, Known]:
        for known in self.known.values():
            known.match = self.commit_index
        return dict(self.known) if self.is_leader else {}

    def _complain(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def change(
        self, voters: Sequence[Peer], barred: Sequence[str] = (), reason: str = ""
    ) -> int:
        await self.gate.wait()
        self._complain()
        if self.slow:
            raise TimeoutError
        self.voters, self.barred = list(voters), list(barred)
        self.learners = [one for one in self.learners if one not in self.voters]
        self.reasons.append(reason)
        self.epoch += 1
        return self.epoch

    async def transfer(self, to: str = "") -> Peer:
        self._complain()
        self.leader = next(
            one for one in self.voters if one.id == to or (not to and one != self.me)
        )
        return self.leader

    def follow(self, learners: Sequence[Peer]) -> None:
        self.learners = list(learners)
        for one in learners:
            self.known.setdefault(one.id, Known())

    def status(self) -> dict[str, object]:
        return self.node.status()
