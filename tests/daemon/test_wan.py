"""The WAN pool: who serves which datacenter, from real gossip on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.daemon.wan import MEASURE_SECONDS, Datacenters, wan_name
from mesh.gossip.driver import Gossip
from mesh.gossip.driver import Options as GossipOptions
from mesh.gossip.vivaldi import Coordinate
from mesh.rpc.servers import ServerTags, agent_tags
from tests.daemon.network import network


class Later(SystemClock):
    """A clock that a test can put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


class Pool:
    """Members of a WAN pool; the first is of dc1."""

    def __init__(self) -> None:
        self.clock = Later()
        self.members: dict[str, Gossip] = {}

    async def add(self, node: str, datacenter: str, tags: dict[str, str] | None = None) -> Gossip:
        last = len(self.members) + 1
        options = GossipOptions(
            bind_address=network(last),
            probe_interval_seconds=0.1,
            probe_timeout_seconds=0.05,
            gossip_interval_seconds=0.02,
            suspicion_mult=1,
            # On a busy machine datagrams are lost, and so what is only said so many times.
            push_pull_interval_seconds=1.0,
            leave_propagate_seconds=0.05,
        )
        shown = (
            tags or ServerTags(id=f"{node}-{datacenter}", datacenter=datacenter, port=8300).tags()
        )
        name = wan_name(node, datacenter)
        made = Gossip(name, options, self.clock, SeededDice(last), shown)
        await made.start()
        if self.members:
            first = next(iter(self.members.values()))
            await made.join([f"{first.address[0]}:{first.address[1]}"])
        self.members[name] = made
        return made

    async def everybody(self) -> None:
        await until(
            lambda: all(len(one.members()) == len(self.members) for one in self.members.values())
        )


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    for member in made.members.values():
        await member.stop()


def addresses(found: Datacenters, datacenter: str) -> list[str] | None:
    servers = found.servers(datacenter)
    return None if servers is None else [one.address for one in servers]


async def test_live_servers_serve_and_a_datacenter_without_any_is_still_known(pool: Pool) -> None:
    own = await pool.add("s1", "dc1")
    found = Datacenters(own, "dc1", pool.clock)
    assert found.datacenters() == ["dc1"]
    assert found.servers("dc2") is None
    one, two = await pool.add("s1", "dc2"), await pool.add("s2", "dc2")
    await pool.everybody()
    assert addresses(found, "dc2") == [f"{one.address[0]}:8300", f"{two.address[0]}:8300"]
    await one.stop()
    await until(lambda: addresses(found, "dc2") == [f"{two.address[0]}:8300"])
    await two.leave()
    await until(lambda: addresses(found, "dc2") == [])
    assert found.datacenters() == ["dc1", "dc2"]  # The one that failed may come back.
    await own.force_leave("s1.dc2")
    await until(lambda: found.servers("dc2") is None)
    assert found.datacenters() == ["dc1"]


async def test_only_servers_of_datacenters_that_can_be_count(pool: Pool) -> None:
    own = await pool.add("s1", "dc1")
    found = Datacenters(own, "dc1", pool.clock)
    await pool.add("agent", "dc2", agent_tags("id", "dc2"))
    odd = ["", "D C", "dc2.mesh", "x" * 64, "dc/2", "é"]
    for number, name in enumerate(odd):
        tags = ServerTags(id="i", datacenter=name, port=8300).tags()
        await pool.add(f"n{number}", "odd", tags)
    await pool.everybody()
    assert found.datacenters() == ["dc1"]
    assert all(found.servers(name) is None for name in ("dc2", *odd))


async def test_the_nearest_comes_first_by_the_round_trips_gossip_foretells(pool: Pool) -> None:
    own = await pool.add("s1", "dc1")
    for node, datacenter in (("s1", "far"), ("s1", "near"), ("s2", "near"), ("s1", "dark")):
        await pool.add(node, datacenter)
    await pool.everybody()
    found = Datacenters(own, "dc1", pool.clock)
    others = own.pool.vivaldi.others
    own.pool.vivaldi.payload = lambda: b""  # type: ignore[method-assign]  # Nobody moves any more.
    own.pool.probing.rtt = lambda *_: None
    others.clear()
    zero = (0.0,) * 7
    others["s1.far"] = Coordinate((0.2, *zero))
    others["s1.near"] = Coordinate((0.01, *zero))
    own.pool.vivaldi.here = Coordinate((0.0, *zero))
    found._changed(None)  # type: ignore[arg-type]
    assert found.datacenters() == ["dc1", "near", "far", "dark"]
    assert [one.seconds is None for one in found.servers("near") or ()] == [False, True]
    maps = {one.datacenter: [placed.node for placed in one.servers] for one in found.maps()}
    assert maps == {"dc1": ["s1.dc1"], "near": ["s1.near"], "far": ["s1.far"], "dark": []}
    others["s1.far"] = Coordinate((0.001, *zero))
    assert found.datacenters()[1] == "near"  # Looked at now and then only.
    pool.clock.ahead += MEASURE_SECONDS
    assert found.datacenters()[1] == "far"
