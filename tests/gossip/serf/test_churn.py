"""A mixed pool whose members die, leave and return at random: all views are equal afterwards."""

from __future__ import annotations

import asyncio
import random

import pytest

from mesh.gossip.driver import Gossip
from tests.gossip.serf.harness import Agents, Ours, Serf, both, kill, statuses, until, where

THEIRS, MINE = ("t1", "t2", "t3"), ("m1", "m2", "m3", "m4")
STEADY = {"t1", "m1"}
"""These stay, so that there is always somebody to join."""


class Churn:
    """The members, what became of each, and what they are asked to do next."""

    def __init__(self, agents: Agents, ours: Ours, seed: int) -> None:
        self._agents, self._ours = agents, ours
        self._dice = random.Random(seed)
        self._theirs: dict[str, Serf] = {}
        self._mine: dict[str, Gossip] = {}
        self.wanted = dict.fromkeys((*THEIRS, *MINE), "alive")
        self.done: list[str] = []

    async def start(self) -> None:
        """A pool in which all know each other."""
        for name in THEIRS:
            self._theirs[name] = await self._agents.start(name)
        for name in MINE:
            self._mine[name] = await self._ours.node(name)
            await self._mine[name].join([self._theirs["t1"].bind])
        for name in THEIRS[1:]:
            await self._theirs[name].says("Successfully", "join", where(self._mine["m1"]))

    async def step(self, count: int) -> None:
        """So many members at once do something else than before."""
        names = self._dice.sample(sorted(set(self.wanted) - STEADY), count)
        await asyncio.gather(*(self._change(name) for name in names))

    async def _change(self, name: str) -> None:
        if self.wanted[name] == "alive":
            self.wanted[name] = self._dice.choice(["failed", "left"])
        else:
            self.wanted[name] = "alive"
        self.done.append(f"{name} {self.wanted[name]}")
        seed = self._dice.choice([self._theirs["t1"].bind, where(self._mine["m1"])])
        if name in self._theirs:
            await self._change_theirs(self._theirs[name], seed)
        else:
            await self._change_mine(self._mine[name], seed)

    async def _change_theirs(self, agent: Serf, seed: str) -> None:
        if self.wanted[agent.name] == "alive":
            await agent.start()
            await agent.says("Successfully", "join", seed)
            return
        if self.wanted[agent.name] == "left":
            await agent.ask("leave")
            await agent.wait()
        await agent.end()

    async def _change_mine(self, node: Gossip, seed: str) -> None:
        if self.wanted[node.name] == "alive":
            self._mine[node.name] = await self._ours.again(node)
            await self._mine[node.name].join([seed])
            return
        if self.wanted[node.name] == "left":
            await node.leave()
        await node.stop()

    async def settled(self) -> None:
        """Wait until every live member sees everybody as they are."""
        views: dict[str, dict[str, str]] = {}

        async def agreed() -> bool:
            views.clear()
            for name, node in self._mine.items():
                if self.wanted[name] == "alive":
                    views[name] = statuses(node)
            for name, agent in self._theirs.items():
                if self.wanted[name] == "alive":
                    views[name] = self._forgiven(await agent.statuses())
            return all(self._known(view) for view in views.values())

        try:
            await until(agreed)
        except AssertionError:
            wrong = {name: view for name, view in views.items() if not self._known(view)}
            raise AssertionError(f"{wrong}, not {self.wanted}, after {self.done}") from None

    def _forgiven(self, seen: dict[str, str]) -> dict[str, str]:
        """Serf can take one that came back for leaving for ever, when both have the same time."""
        return {
            name: "alive" if status == "leaving" and self.wanted[name] == "alive" else status
            for name, status in seen.items()
        }

    def _known(self, seen: dict[str, str]) -> bool:
        # Who came back hears nothing of those who were gone before: what nobody knows alive is no
        # member that could have failed.
        gone = {name: status for name, status in self.wanted.items() if status != "alive"}
        return gone | seen == self.wanted


@both
@pytest.mark.parametrize(
    ("steps", "seed"), [(4, 1), *(pytest.param(25, s, marks=pytest.mark.slow) for s in range(2, 6))]
)
async def test_all_agree_after_churn(agents: Agents, ours: Ours, steps: int, seed: int) -> None:
    agents.allow(*kill("t[23]|m[234]"))
    churn = Churn(agents, ours, seed)
    await churn.start()
    await churn.settled()
    for _ in range(steps):
        await churn.step(2)
        await churn.settled()
