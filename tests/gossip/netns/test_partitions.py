"""Pools over real networks that split, lose packets and are slow: views agree again by themselves.

A process for each member, each in a network namespace of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from tests.gossip.netns.member import Member
from tests.gossip.netns.network import Network, network, why_not
from tests.gossip.serf.harness import Agents, kill, until
from tests.gossip.serf.harness import why_not as why_no_serf

pytestmark = pytest.mark.netns

MEMBERS = 5
MAJORITY, MINORITY = (1, 2, 3), (4, 5)
EVERYBODY = {f"m{number}": "alive" for number in range(1, MEMBERS + 1)}


@pytest.fixture
def net() -> Iterator[Network]:
    """Checked here, not at import: trying takes a moment."""
    if reason := why_not():
        pytest.skip(reason)
    with network(MEMBERS) as made:
        yield made


@pytest.fixture
async def pool(net: Network, tmp_path: Path) -> AsyncIterator[list[Member]]:
    """Members m1 to m5 that know each other."""
    members = [
        Member(f"m{n}", net.address(n), net.prefix(n), tmp_path / f"m{n}.log") for n in net.numbers
    ]
    try:
        await asyncio.gather(*(member.start() for member in members))
        for member in members[1:]:
            assert await member.ask("join", net.address(1)) == 1
        await all_see(members, EVERYBODY)
        yield members
    finally:
        for member in members:
            await member.end()


async def all_see(members: Sequence[Member], wanted: dict[str, str]) -> None:
    """Wait until each of these members sees exactly this."""
    for member in members:

        async def seen(member: Member = member) -> bool:
            return bool(await member.ask("members") == wanted)

        await until(seen, f"{member.name} sees {wanted}, log {member.log}")


async def failures(members: Sequence[Member]) -> list[str]:
    """Every verdict of failure so far."""
    return [
        f"{member.name}: {event}"
        for member in members
        for event in await member.ask("events")
        if event.startswith("failed")
    ]


def some(pool: Sequence[Member], numbers: Sequence[int]) -> list[Member]:
    return [pool[number - 1] for number in numbers]


def gone(numbers: Sequence[int], status: str = "failed") -> dict[str, str]:
    return {f"m{number}": status for number in numbers}


LASTING = pytest.mark.parametrize(
    "seconds", [15, pytest.param(60, marks=pytest.mark.slow)], ids=["short", "minute"]
)


@LASTING
async def test_both_sides_of_a_split_converge(
    net: Network, pool: list[Member], seconds: int
) -> None:
    end = time.monotonic() + seconds
    net.split(MAJORITY, MINORITY)
    await all_see(some(pool, MAJORITY), EVERYBODY | gone(MINORITY))
    await all_see(some(pool, MINORITY), EVERYBODY | gone(MAJORITY))
    # Both halves live on: tags change and a member leaves, and the others cannot know.
    await pool[0].ask("set_tags", {"side": "majority"})
    await pool[3].ask("set_tags", {"side": "minority"})
    await pool[2].ask("leave")
    await pool[2].end()
    await all_see(some(pool, (1, 2)), EVERYBODY | gone(MINORITY) | gone([3], "left"))
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    await all_see(some(pool, MINORITY), EVERYBODY | gone(MAJORITY))
    net.heal()
    rest = some(pool, (1, 2, 4, 5))
    await all_see(rest, EVERYBODY | gone([3], "left"))
    for member in rest:

        async def told(member: Member = member) -> bool:
            tags = await member.ask("tags")
            return bool(tags["m1"] == {"side": "majority"} and tags["m4"] == {"side": "minority"})

        await until(told, f"{member.name} knows the new tags")


@LASTING
async def test_a_split_heals_over_a_slow_network_that_loses_packets(
    net: Network, pool: list[Member], seconds: int
) -> None:
    net.limit("256kbit")
    net.lose(10)
    end = time.monotonic() + seconds
    net.split(MAJORITY, MINORITY)
    await all_see(some(pool, MAJORITY), EVERYBODY | gone(MINORITY))
    await all_see(some(pool, MINORITY), EVERYBODY | gone(MAJORITY))
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    # Packets go on being lost.
    net.split()
    await all_see(pool, EVERYBODY)
    net.heal()
    await all_see(pool, EVERYBODY)


async def test_losing_a_tenth_of_the_packets_kills_nobody(net: Network, pool: list[Member]) -> None:
    net.limit("256kbit")
    net.lose(10)
    await asyncio.sleep(10)
    assert all(net.dropped(number) for number in net.numbers)
    assert await failures(pool) == []
    await all_see(pool, EVERYBODY)


async def test_who_hears_no_datagrams_lives_by_streams(net: Network, pool: list[Member]) -> None:
    for source in (1, 3, 4, 5):
        net.block("udp", source, 2)
    others = some(pool, (1, 3, 4, 5))
    text = "m2 answers over TCP but not over UDP"
    await until(lambda: all(text in member.log.read_text() for member in others), text)
    assert await failures(pool) == []
    await all_see(pool, EVERYBODY)
    # Streams too: now it is cut off, though it is still heard.
    for source in (1, 3, 4, 5):
        net.block("tcp", source, 2)
    await all_see(others, EVERYBODY | gone([2]))
    net.heal()
    await all_see(pool, EVERYBODY)


async def test_one_way_between_two_is_bridged_by_the_others(
    net: Network, pool: list[Member]
) -> None:
    # Neither datagrams nor streams of 1 reach 2, nor answers of 2 to 1 but by the others.
    net.block("ip", 1, 2)
    before = len(await pool[0].ask("events"))
    await asyncio.sleep(10)
    assert net.dropped(2) > 10
    assert len(await pool[0].ask("events")) == before
    assert await failures(pool) == []
    await all_see(pool, EVERYBODY)


async def test_three_parts_become_one(net: Network, pool: list[Member]) -> None:
    net.split((1, 2), (3, 4), (5,))
    await all_see(some(pool, (1, 2)), EVERYBODY | gone((3, 4, 5)))
    await all_see(some(pool, (3, 4)), EVERYBODY | gone((1, 2, 5)))
    await all_see(some(pool, (5,)), EVERYBODY | gone((1, 2, 3, 4)))
    # Bit by bit.
    net.split((1, 2, 3, 4), (5,))
    await all_see(some(pool, (1, 2, 3, 4)), EVERYBODY | gone([5]))
    net.heal()
    await all_see(pool, EVERYBODY)


async def test_t23_a_pool_of_serf_and_us_splits_and_converges(net: Network, tmp_path: Path) -> None:
    if reason := why_no_serf():
        pytest.skip(reason)
    agents = Agents(tmp_path)
    agents.allow(*kill("m[1-5]"))
    mine = [
        Member(f"m{n}", net.address(n), net.prefix(n), tmp_path / f"m{n}.log") for n in (1, 2, 4)
    ]
    theirs = []
    try:
        for member in mine:
            await member.start()
        for n in (3, 5):
            theirs.append(await agents.start(f"m{n}", address=net.address(n), prefix=net.prefix(n)))
            await theirs[-1].says("Successfully", "join", net.address(1))
        for member in mine[1:]:
            await member.ask("join", net.address(1))
        await all_see(mine, EVERYBODY)
        net.split(MAJORITY, MINORITY)
        await all_see(mine[:2], EVERYBODY | gone(MINORITY))
        await theirs[0].sees(**EVERYBODY | gone(MINORITY))
        await all_see(mine[2:], EVERYBODY | gone(MAJORITY))
        await theirs[1].sees(**EVERYBODY | gone(MAJORITY))
        net.heal()
        await all_see(mine, EVERYBODY)
        for agent in theirs:
            await agent.sees(**EVERYBODY)
        assert agents.errors() == []
    finally:
        await agents.end()
        for member in mine:
            await member.end()
