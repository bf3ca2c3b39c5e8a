"""Discovery: who gets health on top, what an agent answers alone, and when nothing is made anew."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mesh.clock import SeededDice
from mesh.dns.options import Options
from mesh.dns.resolver import Resolver
from mesh.errors import Denied, Unreachable
from mesh.registry import kv
from mesh.registry.catalog import SERF_HEALTH, Check, Node, Register, Service, ServiceNodes
from mesh.registry.health import Instance, Instances
from mesh.registry.overlay import Overlay, Standing
from mesh.registry.port import READ, STALE, WRITE, ReadOptions
from mesh.registry.transitions import Transition
from mesh.rpc import discovery
from mesh.rpc.discovery import Discovery, Holding
from mesh.rpc.held import HeldAnswers
from tests.dns.script import question
from tests.registry_memory import MemoryRegistry
from tests.rpc.ahead import Ahead
from tests.rpc.stack import until

WEB = Instances("web")
CACHED = ReadOptions(cached=True)
DNS = ReadOptions(consistency="stale", cached=True, max_stale=1e9)
UNHELD = ReadOptions(consistency="stale", max_age=0.0)
GONE = Unreachable("nobody there")


class Servers(MemoryRegistry):
    """The servers, for an agent."""

    knows_servers = True


class World:
    """A catalog with `web` on two nodes, and what an edge asks."""

    def __init__(self, *, agent: bool) -> None:
        self.servers, self.clock, self.overlay = Servers(), Ahead(), Overlay()
        self.standing = Standing()
        self.own: dict[str, list[Instance]] = {}
        for node in ("n1", "n2"):
            self.register(node, "passing", 1)
        self.held = HeldAnswers(self.servers.read, (self.clock, SeededDice(1)))
        holding = Holding(self.servers, self.held, self.mine)
        self.discovery = Discovery(
            self.servers,
            self.overlay,
            self.members,
            "dc1",
            self.clock,
            holding if agent else None,
        )

    def members(self, *, current: bool) -> Standing:
        return Standing(self.standing.absent) if current else self.standing

    def mine(self, query: Any) -> Any:
        return self.own.get(query.service) if isinstance(query, Instances) else None

    def register(self, node: str, status: str, sequence: int) -> None:
        service = Service(node="", id="web", name="web")
        own = Check(node="", id="c", service_id="web", status=status, sequence=sequence)
        serf = Check(node="", id=SERF_HEALTH, status="passing")
        there = Node(name=node, address="10.0.0.1")
        self.servers.apply(Register(node=there, service=service, checks=[own, serf]))

    def says(self, node: str, status: str, sequence: int) -> None:
        one = Transition("web", "c", status, sequence)
        self.overlay.hear(self.clock.monotonic(), node, [one])

    async def statuses(self, options: ReadOptions = STALE) -> dict[str, str]:
        found = await self.discovery.read(WEB, options)
        return {one.node.name: one.status for one in found.value}


@pytest.fixture
async def world() -> AsyncIterator[Callable[..., World]]:
    made: list[World] = []

    def make(*, agent: bool = True) -> World:
        made.append(World(agent=agent))
        return made[-1]

    yield make
    for one in made:
        await one.held.stop()


async def test_who_watches_hears_of_health_from_gossip_and_from_the_catalog(
    world: Callable[..., World],
) -> None:
    made = world(agent=False)
    answers = made.discovery.watch(WEB)

    async def following() -> dict[str, str]:
        return {one.node.name: one.status for one in (await anext(answers)).value}

    try:
        async with asyncio.timeout(30):
            assert await following() == {"n1": "passing", "n2": "passing"}
            made.says("n1", "critical", 2)
            made.discovery.heard(["n1"])
            assert await following() == {"n1": "critical", "n2": "passing"}
            made.discovery.heard(["n2"])  # Nothing new: nobody is told.
            made.standing = Standing(absent=frozenset({"n2"}))
            made.discovery.heard(None)
            assert await following() == {"n1": "critical", "n2": "critical"}
            made.register("n3", "passing", 1)
            assert await following() == {"n1": "critical", "n2": "critical", "n3": "passing"}
    finally:
        await answers.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("agent", [True, False], ids=["agent", "server"])
async def test_only_what_may_be_stale_has_health_on_top(
    world: Callable[..., World], agent: bool
) -> None:
    made = world(agent=agent)
    made.says("n1", "critical", 2)
    made.standing = Standing(absent=frozenset({"n2"}))
    for options in (STALE, CACHED, DNS):
        assert await made.statuses(options) == {"n1": "critical", "n2": "critical"}
    for options in (READ, ReadOptions(consistency="consistent")):
        assert await made.statuses(options) == {"n1": "passing", "n2": "passing"}
    elsewhere = ReadOptions(consistency="stale", cached=True, datacenter="dc2")
    assert await made.statuses(elsewhere) == {"n1": "passing", "n2": "passing"}
    assert made.servers.reads[-1][1].datacenter == "dc2"
    made.register("n1", "passing", 3)
    async with asyncio.timeout(30):
        while (await made.statuses())["n1"] != "passing":
            await asyncio.sleep(0.001)


async def test_a_value_is_the_same_object_until_something_about_it_changes(
    world: Callable[..., World],
) -> None:
    """By that DNS knows whether the bytes it keeps are still right."""
    made = world()
    made.says("n1", "critical", 2)
    first = (await made.discovery.read(WEB, DNS)).value
    made.says("elsewhere", "critical", 2)
    made.says("n2", "passing", 2)
    made.standing = Standing(present=frozenset({"n1", "n2", "n3"}))
    made.clock.ahead = 3600.0
    assert (await made.discovery.read(WEB, DNS)).value is first
    made.says("n2", "critical", 3)
    second = (await made.discovery.read(WEB, DNS)).value
    assert second is not first
    made.standing = Standing(absent=frozenset({"n1"}))
    third = (await made.discovery.read(WEB, DNS)).value
    assert [one.checks[0].status for one in third] == ["critical", "passing"]
    assert (await made.discovery.read(WEB, DNS)).value is third


async def test_with_servers_gone_agents_answer_from_what_they_hold_at_once(
    world: Callable[..., World],
) -> None:
    made = world()
    assert await made.statuses(DNS) == {"n1": "passing", "n2": "passing"}
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = GONE
    made.servers.knows_servers = False
    made.register("n9", "passing", 1)  # Ends the wait.
    await until(lambda: made.held.followed == 0)
    made.clock.ahead = 100.0
    for options in (DNS, STALE, CACHED):
        answer = await made.discovery.read(WEB, options)
        assert answer.age is not None
        assert answer.age >= 100.0
        assert answer.last_contact >= 100.0
    made.says("n1", "critical", 2)
    assert (await made.statuses())["n1"] == "critical"
    made.says("n1", "passing", 3)
    assert (await made.statuses())["n1"] == "passing"
    assert made.discovery.counters["held_stale"] == 5
    # Who set a limit asks servers beyond it, and so does who takes nothing stale.
    for options in (ReadOptions(consistency="stale", max_stale=50.0), READ):
        with pytest.raises(Unreachable):
            await made.discovery.read(WEB, options)


async def test_its_own_services_are_answered_without_servers(
    world: Callable[..., World],
) -> None:
    made = world()
    made.servers.error = GONE
    node, service = Node(name="me"), Service(node="me", id="api", name="api")
    made.own["api"] = [Instance(node, service, [])]
    for knows in (True, False):
        made.servers.knows_servers = knows
        answer = await made.discovery.read(Instances("api"), DNS)
        assert answer.value == made.own["api"]
        assert (answer.known_leader, answer.last_contact) == (False, math.inf)
    with pytest.raises(Unreachable):
        await made.discovery.read(Instances("never"), DNS)
    made.servers.knows_servers, made.servers.error = True, Denied("of another kind")
    with pytest.raises(Denied, match="another kind"):
        await made.discovery.read(Instances("api"), DNS)


async def test_a_new_name_waits_only_a_moment_for_servers_that_hang(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "NEW_NAME_SECONDS", 0.02)
    made = world()
    hanging = asyncio.Event()

    async def hang(*_: Any) -> Any:
        await hanging.wait()

    monkeypatch.setattr(made.servers, "read", hang)
    with pytest.raises(Unreachable, match="no server answered"):
        await made.discovery.read(WEB, DNS)


async def test_what_is_not_discovery_passes_through(world: Callable[..., World]) -> None:
    made = world()
    await made.discovery.write(kv.Set("a", b"1"), WRITE)
    assert (await made.discovery.read(kv.Get("a"), STALE)).value is not None
    blocking = ReadOptions(consistency="stale", index=1, wait=0.01)
    await made.discovery.read(WEB, blocking)
    assert made.servers.reads[-1] == (WEB, blocking)
    await made.discovery.read(ServiceNodes("web"), STALE)
    assert len(made.held) == 2
    assert (await made.discovery.status()).leader
    async for answer in made.discovery.watch(WEB):
        assert len(answer.value) == 2
        break


async def test_blocking_reads_share_one_that_waits_at_a_server(
    world: Callable[..., World],
) -> None:
    made = world()
    first = await made.discovery.read(WEB, ReadOptions(consistency="stale", index=1, wait=0.01))
    await until(lambda: made.servers.blocked == 1)
    blocking = ReadOptions(consistency="stale", index=first.index, wait=60)
    waits = [asyncio.create_task(made.discovery.read(WEB, blocking)) for _ in range(20)]
    await asyncio.sleep(0)
    assert made.servers.blocked == 1
    made.register("n3", "passing", 1)
    async with asyncio.timeout(30):
        found = await asyncio.gather(*waits)
    assert all(one.index > first.index for one in found)


async def test_a_server_holds_what_it_was_asked_for_before(world: Callable[..., World]) -> None:
    made = world(agent=False)
    answers = [await made.discovery.read(WEB, CACHED) for _ in range(2)]
    assert [answer.age for answer in answers] == [None, 0.0]
    assert [options.consistency for _, options in made.servers.reads] == ["default", "stale"]
    again = ReadOptions(cached=True, max_age=0.0)
    assert (await made.discovery.read(WEB, again)).age is None
    made.servers.last_contact = 7.0
    for most, age in ((10.0, 7.0), (5.0, None)):
        options = ReadOptions(cached=True, max_age=most)
        assert (await made.discovery.read(WEB, options)).age == age
    assert not any(options.cached for _, options in made.servers.reads)


async def test_an_agent_asks_anew_when_what_it_holds_is_too_old(
    world: Callable[..., World],
) -> None:
    made = world()
    revalidate = ReadOptions(cached=True, max_age=0.0)
    for options, age in ((CACHED, None), (CACHED, 0.0), (revalidate, None)):
        assert (await made.discovery.read(WEB, options)).age == age
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = GONE
    made.servers.reader.interrupt()
    await until(lambda: made.held.followed == 0)
    made.clock.ahead += 30
    old = ReadOptions(cached=True, max_age=20.0)
    with pytest.raises(Unreachable):
        await made.discovery.read(WEB, old)
    for seconds, fine in ((20.0, False), (60.0, True)):
        options = ReadOptions(cached=True, max_age=20.0, stale_if_error=seconds)
        if fine:
            assert ((await made.discovery.read(WEB, options)).age or 0) >= 30
        else:
            with pytest.raises(Unreachable):
                await made.discovery.read(WEB, options)


@pytest.mark.parametrize(
    ("name", "kind", "reads"),
    [
        ("web.service.mesh", "A", 1),
        ("web.service.mesh", "SRV", 1),
        ("v1.web.service.mesh", "A", 1),
        ("n1.node.mesh", "A", 1),
        ("1.0.0.10.in-addr.arpa", "PTR", 1),
        ("none.service.mesh", "A", 1),
        ("mesh", "NS", 1),
        ("0a000001.addr.mesh", "A", 0),
        ("nonsense.mesh", "A", 0),
    ],
)
async def test_a_new_name_takes_one_round_trip_to_a_server_and_then_none(
    world: Callable[..., World], name: str, kind: str, reads: int
) -> None:
    made = world()
    resolver = Resolver(made.discovery, Options(), made.clock, SeededDice(1))

    def asked() -> int:
        """Reads that were answered; what waits for changes is none of an answer."""
        return sum(not options.index for _, options in made.servers.reads)

    first = await resolver.resolve(question(name, kind), tcp=False)
    assert asked() == reads
    again = await resolver.resolve(question(name, kind), tcp=False)
    assert first is not None
    assert again is not None
    assert len(first) == len(again)
    there = name not in {"none.service.mesh", "v1.web.service.mesh", "mesh"}
    assert asked() == (reads if there or name.startswith("v1") else 2 * reads)


async def test_who_wants_nothing_held_is_answered_by_servers_each_time(
    world: Callable[..., World],
) -> None:
    made = world()
    for count in (1, 2, 3):
        assert (await made.discovery.read(WEB, UNHELD)).age is None
        assert len(made.servers.reads) == count
        assert made.discovery.at_once(WEB, UNHELD) is None
    assert len(made.held) == made.servers.blocked == 0
    # Though it is held for others, and has health on top as theirs has.
    await made.discovery.read(WEB, DNS)
    made.says("n1", "critical", 2)
    assert (await made.statuses(UNHELD))["n1"] == "critical"
    assert made.discovery.at_once(WEB, UNHELD) is None
    made.servers.error = GONE
    assert (await made.discovery.read(WEB, DNS)).value
    with pytest.raises(Unreachable):
        await made.discovery.read(WEB, UNHELD)


@pytest.mark.parametrize(
    "options",
    [{}, {"cached": True, "max_age": 0.0}, {"max_stale": 0.5}],
    ids=["stale", "max-age", "max-stale"],
)
async def test_a_blocking_read_waits_no_longer_than_it_says(
    world: Callable[..., World], options: dict[str, Any]
) -> None:
    made = world()
    made.servers.last_contact = 1.0
    first = await made.discovery.read(WEB, ReadOptions(consistency="stale"))
    await until(lambda: made.servers.blocked == 1)
    asked = ReadOptions(consistency="stale", index=first.index, wait=0.2, **options)
    await made.discovery.read(WEB, asked)
    waits = [read.wait for _, read in made.servers.reads if read.index and read.wait <= 0.2]
    assert sum(waits) <= 0.2
