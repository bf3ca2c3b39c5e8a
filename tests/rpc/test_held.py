"""Held answers: followed while asked for, kept when servers go, honest about their age."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mesh.clock import SeededDice
from mesh.errors import Denied, Unreachable
from mesh.registry.catalog import Deregister, Node, NodeNamed, Owner, Register, Service
from mesh.registry.health import Instance, Instances
from mesh.registry.port import STALE, Answer
from mesh.rpc import held
from mesh.rpc.held import HeldAnswers, Limits
from tests.registry_memory import MemoryRegistry
from tests.rpc.ahead import Ahead
from tests.rpc.stack import until

WEB = Instances("web")
GONE = Unreachable("nobody there")


def register(registry: MemoryRegistry, name: str, port: int = 80) -> None:
    service = Service(node="", id=name, name=name, port=port)
    registry.apply(Register(node=Node(name="n1", address="10.0.0.1"), service=service))


class World:
    """Servers with one service, and an agent's answers."""

    def __init__(self, limits: Limits) -> None:
        self.servers, self.clock = MemoryRegistry(), Ahead()
        register(self.servers, "web")
        self.answers = HeldAnswers(self.servers.read, (self.clock, SeededDice(1)), limits)

    async def ask(self, name: str = "web") -> Answer[list[Instance]]:
        """As `rpc.discovery` asks."""
        found = await self.answers.find(Instances(name), "")
        if found is None:
            found = await self.servers.read(Instances(name), STALE)
            self.answers.hold(Instances(name), "", found)
        return found

    async def ports(self) -> list[int]:
        return [one.service.port for one in (await self.ask()).value]


@pytest.fixture
async def world(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Callable[..., World]]:
    monkeypatch.setattr(held, "SPREAD_SECONDS", 0.01)
    monkeypatch.setattr(held, "PAUSE_SECONDS", (0.005, 0.02))
    monkeypatch.setattr(held, "CATCH_UP_SECONDS", 0.3)
    monkeypatch.setattr(held, "BEHIND_SECONDS", 0.1)
    made: list[World] = []

    def make(**limits: float) -> World:
        made.append(World(Limits(**limits)))  # type: ignore[arg-type]  # Numbers all.
        return made[-1]

    yield make
    for one in made:
        await one.answers.stop()


async def test_one_read_follows_however_many_ask(world: Callable[..., World]) -> None:
    made = world()
    first = await made.ask()
    await until(lambda: made.servers.blocked == 1)
    reads = len(made.servers.reads)
    for _ in range(50):
        again = await made.ask()
        assert again.value is first.value
        assert (again.age, again.last_contact, again.known_leader) == (0.0, 0.0, True)
    assert len(made.servers.reads) == reads
    register(made.servers, "web", 81)
    async with asyncio.timeout(30):
        while await made.ports() != [81]:
            await asyncio.sleep(0.001)
    await until(lambda: made.servers.blocked == 1)
    assert made.answers.followed == 1


async def test_the_age_grows_while_nobody_answers_and_ends_when_they_do(
    world: Callable[..., World],
) -> None:
    made = world()
    await made.ask()
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = GONE
    register(made.servers, "web", 81)  # Ends the wait; what comes next fails.
    await until(lambda: made.answers.followed == 0)
    for ahead in (10.0, 70.0):
        made.clock.ahead = ahead
        shown = await made.ask()
        assert [one.service.port for one in shown.value] == [81]
        assert shown.age is not None
        assert ahead <= shown.age < ahead + 5
        assert shown.last_contact == shown.age
        assert not shown.known_leader
    register(made.servers, "web", 82)
    assert await made.ports() == [81]
    made.servers.error = None
    await until(lambda: made.answers.followed == 1)
    assert (await made.ask()).age == 0.0
    assert await made.ports() == [82]


async def test_servers_without_a_leader_let_it_age_too(world: Callable[..., World]) -> None:
    made = world()
    made.servers.known_leader, made.servers.last_contact = False, 3.0
    await made.ask()
    made.clock.ahead = 20.0
    shown = await made.ask()
    assert (shown.age, shown.known_leader) == (0.0, False)
    assert 23.0 <= shown.last_contact < 28.0


async def test_what_nobody_asks_for_is_followed_no_more_and_caught_up_when_asked(
    world: Callable[..., World],
) -> None:
    made = world(follow_seconds=0.05)
    held_now = await made.ask()
    await until(lambda: not made.answers._held[(WEB, "")].task, seconds=10)
    assert (made.servers.blocked, made.answers.followed, len(made.answers)) == (0, 0, 1)
    register(made.servers, "web", 81)
    assert await made.ports() == [81]
    await until(lambda: not made.answers._held[(WEB, "")].task, seconds=10)
    made.servers.error = GONE
    made.clock.ahead = 500.0
    shown = await made.ask()
    assert shown.age is not None
    assert shown.age >= 500.0
    assert held_now.value is not shown.value


async def test_an_answer_from_another_log_is_taken_after_a_gap(
    world: Callable[..., World],
) -> None:
    """Its index may be lower; waiting for a higher one would wait for ever."""
    made = world()
    for port in range(90, 99):
        register(made.servers, "web", port)
    await made.ask()
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = GONE
    register(made.servers, "web", 99)
    await until(lambda: made.answers.followed == 0)
    fresh = MemoryRegistry()
    register(fresh, "web", 1)
    made.answers._ask = fresh.read
    async with asyncio.timeout(30):
        while await made.ports() != [1]:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(("leader", "empty"), [(True, False), (False, False), (False, True)])
async def test_a_server_that_is_behind_undoes_nothing(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, leader: bool, empty: bool
) -> None:
    """As after the death of a leader, whose last writes the next server asked does not have yet.

    One that was restarted, and has met no leader since, has no rows at all.
    """
    monkeypatch.setattr(held, "BEHIND_SECONDS", 100.0)
    made = world()
    register(made.servers, "web", 81)
    await made.ask()
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = GONE
    made.servers.reader.interrupt()
    await until(lambda: made.answers.followed == 0)
    late = MemoryRegistry()
    late.known_leader = leader
    if not empty:
        register(late, "web")
    made.answers._ask = late.read
    await until(lambda: len(late.reads) > 3)
    shown = await made.ask()
    assert [one.service.port for one in shown.value] == [81]
    assert not shown.known_leader, "nobody stands by it"
    if not leader:
        made.clock.ahead = 300.0
        asked = len(late.reads)
        await until(lambda: len(late.reads) > asked + 3)
        assert await made.ports() == [81]
    if empty:
        register(late, "web")
    register(late, "web", 81)
    await until(lambda: made.answers.followed == 1)
    register(late, "web", 82)
    await until(lambda: made.answers._held[(WEB, "")].answer.value[0].service.port == 82)


async def test_empty_answers_and_endless_names_push_nothing_out(
    world: Callable[..., World],
) -> None:
    made = world(answers=3)
    await made.ask()
    for number in range(20):
        await made.ask(f"nonsense-{number}")
        empty = await made.servers.read(Owner(f"10.9.9.{number}"), STALE)
        made.answers.hold(Owner(f"10.9.9.{number}"), "", empty)
        nobody = await made.servers.read(NodeNamed(f"n{number}x"), STALE)
        made.answers.hold(NodeNamed(f"n{number}x"), "", nobody)
    assert list(made.answers._held) == [(WEB, "")]


async def test_it_holds_no_more_than_allowed_and_lets_go_of_what_was_asked_longest_ago(
    world: Callable[..., World],
) -> None:
    made = world(answers=2)
    for name in ("a", "b", "c"):
        register(made.servers, name)
    for name in ("a", "b", "a", "c"):
        await made.ask(name)
    assert {query.service for query, _ in made.answers._held} == {"a", "c"}  # type: ignore[attr-defined]  # Instances all.
    await until(lambda: made.servers.blocked == 2)
    total = made.answers.bytes
    small = world(bytes=total - 1)
    for name in ("a", "c"):
        register(small.servers, name)
        await small.ask(name)
    assert len(small.answers) == 1
    assert 0 < small.answers.bytes < total


async def test_a_refusal_for_good_is_not_asked_again(world: Callable[..., World]) -> None:
    made = world()
    await made.ask()
    await until(lambda: made.servers.blocked == 1)
    made.servers.error = Denied("no more")
    register(made.servers, "web", 81)
    await until(lambda: len(made.answers) == 0)
    assert made.answers.bytes == 0


async def test_a_service_that_loses_its_last_instance_is_followed_on(
    world: Callable[..., World],
) -> None:
    made = world()
    await made.ask()
    made.servers.apply(Deregister(node="n1"))
    async with asyncio.timeout(30):
        while await made.ports():
            await asyncio.sleep(0.001)
    await until(lambda: made.servers.blocked == 1)
    register(made.servers, "web", 83)
    async with asyncio.timeout(30):
        while await made.ports() != [83]:
            await asyncio.sleep(0.001)


async def test_what_is_large_and_changes_all_the_time_is_read_less_often(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world()
    await made.ask()
    await until(lambda: made.servers.blocked == 1)
    monkeypatch.setattr(held, "BYTES_PER_SECOND", 10 * made.answers.bytes)
    reads = len(made.servers.reads)
    for port in range(1, 200):
        register(made.servers, "web", port)
        await asyncio.sleep(0.002)
    few = len(made.servers.reads) - reads
    assert few < 50
    async with asyncio.timeout(30):
        while await made.ports() != [199]:
            await asyncio.sleep(0.001)


async def test_one_read_waits_however_many_do(world: Callable[..., World]) -> None:
    made = world()
    first = await made.ask()
    await until(lambda: made.servers.blocked == 1)
    waits = [asyncio.create_task(made.answers.wait(WEB, "", first.index, 60)) for _ in range(50)]
    await asyncio.sleep(0)
    assert made.servers.blocked == 1
    register(made.servers, "other")  # Of which none of them is about.
    await until(lambda: made.servers.blocked == 1)
    assert not any(wait.done() for wait in waits)
    register(made.servers, "web", 81)
    async with asyncio.timeout(30):
        found = await asyncio.gather(*waits)
    assert {one.value[0].service.port for one in found if one} == {81}
    assert all(one and one.index > first.index and one.age == 0.0 for one in found)
    passed = await made.answers.wait(WEB, "", first.index, 60)
    assert passed is not None
    assert passed.index > first.index


async def test_a_wait_ends_in_time_with_what_is_held(world: Callable[..., World]) -> None:
    made = world()
    first = await made.ask()
    found = await made.answers.wait(WEB, "", first.index, 0.01)
    assert found is not None
    assert (found.index, found.value) == (first.index, first.value)
    assert await made.answers.wait(Instances("none"), "", 1, 60) is None


async def test_who_waits_hears_of_changes_after_servers_were_gone(
    world: Callable[..., World],
) -> None:
    made = world()
    first = await made.ask()
    await until(lambda: made.servers.blocked == 1)
    wait = asyncio.create_task(made.answers.wait(WEB, "", first.index, 60))
    made.servers.error = GONE
    made.servers.reader.interrupt()
    await until(lambda: made.answers.followed == 0)
    assert not wait.done()
    register(made.servers, "web", 82)
    made.servers.error = None
    async with asyncio.timeout(30):
        found = await wait
    assert found is not None
    assert found.value[0].service.port == 82


async def test_what_is_waited_for_is_followed_though_nobody_asks(
    world: Callable[..., World],
) -> None:
    made = world(follow_seconds=10)
    first = await made.ask()
    await until(lambda: made.servers.blocked == 1)
    wait = asyncio.create_task(made.answers.wait(WEB, "", first.index, 600))
    await asyncio.sleep(0)
    made.clock.ahead += 60
    made.servers.reader.interrupt()
    await until(lambda: made.servers.blocked == 1)
    register(made.servers, "web", 83)
    async with asyncio.timeout(30):
        assert await wait is not None
