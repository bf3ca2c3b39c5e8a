"""Exactly once, through two routers: answers get lost, copies come late, memory is short."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.clock import SeededDice
from mesh.errors import MeshError, NoLeader, OutcomeUnknown, Outdated
from mesh.registry import kv, orders, outcomes
from mesh.registry.port import (
    Command,
    Order,
    OrderOptions,
    ReadOptions,
    Registry,
    WriteOptions,
)
from mesh.rpc.abroad import Abroad, Remote
from mesh.rpc.abroad import Options as AbroadOptions
from mesh.rpc.client import Client
from mesh.rpc.forwarded import Forwarded, Told
from mesh.rpc.gate import Gate
from mesh.rpc.local import LocalReader
from mesh.rpc.router import AgentRouter, Options, ServerRouter
from mesh.server.machine import Machine
from mesh.store import ledger

ENDS = ["answered", "answered", "lost", "unanswered", "late", "refused"]
ROUTES = ["agent", "new agent", "server", "begun", "agent abroad", "server abroad"]
HOLD = 1.0
AHEAD = 12


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT", 3)
    monkeypatch.setattr(ledger, "KEPT_MAX", 6)


class Virtual:
    """A clock on which sleeping takes no time."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Shaky:
    """A leader whose log keeps what is proposed, drops it, or takes it only later."""

    is_leader, leader_address, last_contact, knows_leader = True, "leader", 0.0, True
    peer_addresses: Sequence[str] = ()

    def __init__(self, machine: Machine, ends: Iterator[str], fillers: Iterator[int]) -> None:
        self.machine, self.ends, self.fillers = machine, ends, fillers
        self.applied_index = 0
        self.late: list[bytes] = []
        self.asked: list[tuple[int | None, int]] = []
        self.gate = Gate(Virtual(), machine.database)
        founding = self.gate.founding()
        assert founding
        self.apply(self.gate.admit(founding, WriteOptions(request="found", since=0)))

    def leased(self) -> bool:
        return True

    async def barrier(self) -> None:
        pass

    def apply(self, entry: bytes) -> object:
        self.applied_index += 1
        return self.machine.apply(self.applied_index, entry)

    def fill(self) -> None:
        for _ in range(next(self.fillers)):
            request = f"filler-{self.applied_index}"
            options = WriteOptions(request=request, since=self.applied_index)
            self.apply(self.gate.admit(kv.Delete("other"), options))

    async def propose(self, entry: bytes) -> object:
        return self.end(entry)

    def end(self, entry: bytes) -> object:
        end = next(self.ends)
        if end == "refused":
            raise NoLeader("No cluster leader")
        result = self.apply(entry) if end in {"answered", "unanswered"} else None
        if end == "late":
            self.late.append(entry)
        self.fill()
        if end == "answered":
            return result
        raise OutcomeUnknown("the leader changed before the write was confirmed")

    def begin(self, entry: bytes, tell: Told) -> bool:
        try:
            result = self.end(entry)
        except NoLeader:
            return False
        except OutcomeUnknown as error:
            asyncio.get_running_loop().call_soon(tell, 0, None, error)
        else:
            asyncio.get_running_loop().call_soon(tell, self.applied_index, result, None)
        return True


class Writing:
    """A write that was begun, to be awaited."""

    def __init__(self) -> None:
        self._told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def written(self, result: Any) -> None:
        self._told.set_result(result)

    def unsettled(self, rest: Coroutine[Any, Any, Any]) -> None:
        self._told.set_result(rest)

    async def outcome(self) -> Any:
        told = await self._told
        return await told if asyncio.iscoroutine(told) else told


class Begun:
    """Writes as the edges of a server do."""

    def __init__(self, server: ServerRouter) -> None:
        self._server = server

    async def write(self, command: Command[Any], options: WriteOptions) -> Any:
        writing = Writing()
        if self._server.begin(command, options, writing):
            return await writing.outcome()
        return await self._server.write(command, options)


class Line:
    """The agent's connection to a server, whose answers may get lost."""

    def __init__(self, server: ServerRouter, shaky: Shaky) -> None:
        self.server, self.shaky = server, shaky
        self.applied_index = 0

    async def write(self, _: str, command: Command[Any], options: WriteOptions) -> Any:
        try:
            result = await self.server.write(command, options)
        except Outdated as error:
            if next(self.shaky.ends) == "lost":
                raise OutcomeUnknown("the connection to the server broke") from error
            self.applied_index = max(self.applied_index, error.index)
            raise
        if next(self.shaky.ends) == "lost":
            raise OutcomeUnknown("the connection to the server broke")
        self.applied_index = self.shaky.applied_index
        return result

    async def operate(self, _: str, order: Order[Any], __: OrderOptions) -> Any:
        assert isinstance(order, orders.AppliedIndex)
        self.applied_index = max(self.applied_index, self.shaky.applied_index)
        return self.shaky.applied_index


class Elsewhere(Line):
    """The same in another datacenter, whose log is ahead and says nothing about this one."""

    async def write(self, address: str, command: Command[Any], options: WriteOptions) -> Any:
        self.shaky.asked.append((options.since, self.shaky.applied_index))
        try:
            return await super().write(address, command, options)
        finally:
            self.applied_index = self.shaky.applied_index + AHEAD


class Neighbours:
    """Knows the datacenter of the world, and two servers there."""

    def datacenters(self) -> list[str]:
        return ["dc0", "dc1"]

    def servers(self, datacenter: str) -> Sequence[Remote] | None:
        return [Remote("s1"), Remote("s2")] if datacenter == "dc1" else None


class World:
    """An agent, a server that leads, and a log between them that cannot be relied on.

    Of another datacenter there are a server and an agent too.
    """

    def __init__(self, ends: Iterator[str], fillers: Iterator[int]) -> None:
        self.machine = Machine()
        self.shaky = Shaky(self.machine, ends, fillers)
        reader, dice, clock = LocalReader(self.machine.answers), SeededDice(1), Virtual()
        forwarded = Forwarded(self.shaky, reader, self.shaky.gate, dice)
        options = Options("dc1", "n1", HOLD)
        # The client of a server that leads is not asked, but for what it has heard.
        idle = cast("Client", Line(cast("ServerRouter", None), self.shaky))
        self.server = ServerRouter(options, self.shaky, (reader, forwarded), idle, (clock, dice))
        self.line = Line(self.server, self.shaky)
        line = cast("Client", self.line)
        self.agent = AgentRouter(options, lambda: ["s1", "s2"], line, (clock, dice))
        over = cast("Client", Line(self.server, self.shaky))
        way = AbroadOptions("n0", HOLD)
        abroad = Abroad(way, Neighbours(), lambda _: over, (clock, dice))
        options = Options("dc0", "n0", HOLD)
        local = (reader, forwarded)
        foreign = ServerRouter(options, self.shaky, local, idle, (clock, dice), abroad)
        home = cast("Client", Elsewhere(foreign, self.shaky))
        self.routers: dict[str, Registry] = {
            "agent": self.agent,
            "new agent": self.agent,
            "server": self.server,
            "begun": cast("Registry", Begun(self.server)),
            "server abroad": foreign,
            "agent abroad": AgentRouter(options, lambda: ["a", "b"], home, (clock, dice)),
        }

    async def write(self, number: int, through: str) -> None:
        """One write whose every application can be seen, and what its caller is told of it."""
        key = f"k{number}"
        to = WriteOptions(datacenter="dc1")
        told = False
        error: MeshError | None = None
        if through == "new agent":
            self.line.applied_index = 0
        try:
            told = await self.routers[through].write(kv.Set(key, b"1", check_index=0), to)
        except (OutcomeUnknown, NoLeader) as raised:
            error = raised
        times = self.seen(key)
        if isinstance(error, OutcomeUnknown):
            assert error.request
            await self.ask(error, times)
        elif isinstance(error, NoLeader):
            assert not times
        else:
            assert told is True
            assert times == 1

    async def ask(self, unknown: OutcomeUnknown, times: int) -> None:
        query = outcomes.Find(unknown.request, unknown.since)
        found = (await self.server.read(query, ReadOptions())).value
        if found.status == "applied":
            assert times == 1
        if found.status == "not-applied":
            assert times == 0

    def seen(self, key: str) -> int:
        """How often it was applied: the key exists only if it was; then it is taken away."""
        self.arrive()
        there = self.machine.answers.read(kv.Get(key)).value is not None
        self.forget(key)
        self.arrive()
        again = self.machine.answers.read(kv.Get(key)).value is not None
        assert not again, "a copy was applied once more"
        return int(there)

    def forget(self, key: str) -> None:
        options = WriteOptions(request=f"gone-{key}", since=self.shaky.applied_index)
        self.shaky.apply(self.shaky.gate.admit(kv.Delete(key), options))
        self.shaky.fill()

    def arrive(self) -> None:
        """Every late copy reaches the log, those of earlier writes again too."""
        for entry in self.shaky.late:
            self.shaky.apply(entry)


async def play(writes: list[str], ends: Iterator[str], fillers: Iterator[int]) -> None:
    world = World(ends, fillers)
    for number, through in enumerate(writes):
        await world.write(number, through)
    for number in range(len(writes)):
        assert world.machine.answers.read(kv.Get(f"k{number}")).value is None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ROUTES), max_size=6), st.data())
def test_a_write_is_applied_once_whatever_gets_lost(writes: list[str], data: st.DataObject) -> None:
    ends = iter(lambda: data.draw(st.sampled_from(ENDS)), "")
    fillers = iter(lambda: data.draw(st.sampled_from([0, 0, 1, 9])), -1)
    asyncio.run(play(writes, ends, fillers))


async def test_an_agent_that_heard_nothing_for_long_starts_afresh() -> None:
    world = World(iter(lambda: "answered", ""), iter(lambda: 9, -1))
    await world.write(1, "agent")
    await world.write(2, "new agent")


async def test_an_agent_that_never_heard_anything_may_lose_its_first_answers() -> None:
    # That of its first copy, and that of the server's first copy of its second.
    ends = chain(["lost", "lost"], repeat("answered"))
    world = World(ends, repeat(9))
    assert await world.agent.write(kv.Set("a", b"1", check_index=0)) is True
    assert world.seen("a") == 1


async def test_what_was_lost_and_forgotten_is_unknown_to_who_had_heard_something() -> None:
    world = World(chain(["unanswered"], repeat("answered")), repeat(9))
    world.line.applied_index = 1
    with pytest.raises(OutcomeUnknown, match="too old to tell"):
        await world.agent.write(kv.Set("a", b"1", check_index=0))
    assert world.seen("a") == 1


async def test_an_agent_that_knew_another_log_starts_afresh() -> None:
    world = World(iter(lambda: "answered", ""), iter(lambda: 9, -1))
    world.line.applied_index = 10**9
    await world.write(1, "agent")


@pytest.mark.parametrize("through", ["agent abroad", "server abroad"])
async def test_a_write_from_elsewhere_goes_by_the_log_it_is_for(through: str) -> None:
    world = World(iter(lambda: "answered", ""), iter(lambda: 9, -1))
    await world.write(1, "server")
    await world.write(2, through)
    await world.write(3, through)
    for since, applied in world.shaky.asked:
        assert since is not None
        assert since <= applied


async def test_what_cannot_begin_at_once_is_not_begun() -> None:
    world = World(iter(lambda: "answered", ""), iter(lambda: 9, -1))
    bad, abroad = kv.Set("", b"1"), WriteOptions(datacenter="dc2")
    assert not world.server.begin(bad, WriteOptions(), Writing())
    assert not world.server.begin(kv.Set("a", b"1"), abroad, Writing())
    assert not world.agent.begin(kv.Set("a", b"1"), WriteOptions(), Writing())
    assert world.machine.answers.read(kv.Get("a")).value is None


async def test_only_who_knows_all_copies_may_start_afresh() -> None:
    world = World(iter(lambda: "answered", ""), iter(lambda: 9, -1))
    await world.write(1, "server")
    old = WriteOptions(request="key:mine", since=0, attempt=1)
    with pytest.raises(Outdated) as refused:
        await world.server.write(kv.Set("a", b"1"), old)
    assert (refused.value.request, refused.value.since) == ("key:mine", 0)
    assert world.machine.answers.read(kv.Get("a")).value is None
