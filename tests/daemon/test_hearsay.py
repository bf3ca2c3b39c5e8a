"""Hearsay between real gossip members: what is told arrives, nonsense does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.daemon import hearsay
from mesh.daemon.calm import Calm
from mesh.daemon.hearsay import Hearsay
from mesh.daemon.membership import Membership
from mesh.gossip.driver import Gossip, Options
from mesh.gossip.guard import Rule
from mesh.registry.damping import Settings
from mesh.registry.transitions import EVENT, Transition, write
from mesh.rpc.servers import agent_tags
from tests.daemon.network import network

CRITICAL = Transition("web", "c", "critical", 5)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


class Member:
    """A member of the pool with what it makes of the others."""

    def __init__(self, name: str, number: int) -> None:
        options = Options(
            bind_address=network(200 + number),
            bind_port=0,
            probe_interval_seconds=0.1,
            probe_timeout_seconds=0.05,
            gossip_interval_seconds=0.02,
            suspicion_mult=2,
            leave_propagate_seconds=0.05,
        )
        clock, tags = SystemClock(), agent_tags(f"id-{name}", "dc1")
        self.gossip = Gossip(name, options, clock, SeededDice(number), tags)
        calm = Calm(self.gossip, Rule(enabled=False), Settings(enabled=False), clock)
        self.hearsay = Hearsay(self.gossip, Membership(self.gossip, "dc1", calm), clock)

    @property
    def heard(self) -> int:
        return self.hearsay.overlay.entries

    def present(self) -> set[str]:
        return set(self.hearsay.standing().present)


@pytest.fixture
async def pool() -> AsyncIterator[list[Member]]:
    members = [Member(name, number) for number, name in enumerate(("N1", "n2", "n3"))]
    for one in members:
        await one.gossip.start()
        if one is not members[0]:
            host, port = members[0].gossip.address
            await one.gossip.join([f"{host}:{port}"])
    await until(lambda: all(one.present() == {"n1", "n2", "n3"} for one in members))
    yield members
    for one in members:
        await one.gossip.stop()


async def test_what_one_tells_all_hear_and_who_joins_later_too(pool: list[Member]) -> None:
    own: list[Transition] = []
    pool[0].hearsay.of_own = lambda _, said: own.extend(said)
    pool[0].hearsay.fire(write("N1", [CRITICAL])[0])
    await until(lambda: all(one.hearsay.overlay.newest("n1") == 5 for one in pool))
    assert own == [CRITICAL]
    late = Member("late", 9)
    await late.gossip.start()
    host, port = pool[2].gossip.address
    await late.gossip.join([f"{host}:{port}"])
    await until(lambda: late.hearsay.overlay.newest("n1") == 5)
    await late.gossip.stop()


async def test_nonsense_and_other_events_change_nothing(pool: list[Member]) -> None:
    pool[0].gossip.fire(EVENT, b"\x94\x02")
    pool[0].gossip.fire(EVENT, b"")
    pool[0].gossip.fire("deploy", write("n1", [CRITICAL])[0])
    await until(lambda: pool[1].hearsay.counters["malformed"] == 2)
    pool[0].hearsay.fire(write("n2", [CRITICAL])[0])
    await until(lambda: pool[1].heard == 1)
    assert dict(pool[1].hearsay.counters) == {"events": 3, "news": 1, "malformed": 2}


async def test_who_fails_or_leaves_is_out_at_once_and_then_forgotten(
    pool: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearsay, "TIDY_SECONDS", 0.01)
    watcher = pool[0].hearsay
    for name in ("n2", "n3", "stranger"):
        watcher.fire(write(name, [CRITICAL])[0])
    assert watcher.overlay.entries == 3
    await pool[1].gossip.leave()
    await pool[1].gossip.stop()
    await pool[2].gossip.stop()
    await until(lambda: watcher.standing().absent == {"n2", "n3"})
    assert watcher.standing() is watcher.standing()
    assert watcher.standing().present == {"n1"}
    assert watcher.standing(current=True).absent == {"n2", "n3"}
    assert watcher.standing(current=True).present == set()
    tidying = asyncio.create_task(watcher.run())
    await until(lambda: watcher.overlay.entries == 1)
    assert watcher.overlay.newest("n3") == 5  # It failed, and may come back.
    tidying.cancel()
