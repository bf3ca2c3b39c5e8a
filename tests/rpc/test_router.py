"""Routes: reads, writes and watches through a real agent's route to a real server's log."""

import asyncio
import math
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.errors import (
    Conflict,
    Invalid,
    MeshError,
    NoLeader,
    NoPath,
    OutcomeUnknown,
    TooLarge,
    Unreachable,
)
from mesh.registry import catalog, coordinates, glance, kv, orders
from mesh.registry.port import (
    HERE,
    READ,
    STALE,
    Answer,
    Order,
    OrderOptions,
    ReadOptions,
    WriteOptions,
)
from mesh.rpc import wire
from mesh.rpc.client import Client
from mesh.rpc.router import AgentRouter
from mesh.rpc.router import Options as RouterOptions
from mesh.rpc.server import PACKED_ROWS
from tests.rpc.stack import BIG, HOLD, WORLD, Serve, Stack, agent, until

KEY = kv.Get("a")
CONSISTENT = ReadOptions(consistency="consistent")


def value(answer: Answer[kv.Pair | None]) -> bytes | None:
    return answer.value.value if answer.value else None


def after(answer: Answer[kv.Pair | None], wait: float = 5.0) -> ReadOptions:
    return ReadOptions(index=answer.index, wait=wait)


@pytest.mark.parametrize("options", [READ, CONSISTENT, STALE], ids=lambda one: one.consistency)
async def test_every_consistency_reads_what_was_written(
    server: Stack, asks: Client, options: ReadOptions
) -> None:
    router = agent(asks, server)
    assert await router.write(kv.Set("a", b"1"))
    answer = await router.read(KEY, options)
    assert (value(answer), answer.known_leader, answer.last_contact) == (b"1", True, 0.0)
    assert answer.index == server.raft.applied_index
    status = await router.status()
    assert (status.leader, status.peers) == (server.address, [server.address])


async def test_a_blocking_read_wakes_on_its_change_only(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    await router.write(kv.Set("a", b"1"))
    before = await router.read(KEY)
    waiting = asyncio.create_task(router.read(KEY, after(before)))
    await until(lambda: server.reader.waiting)
    await router.write(kv.Set("b", b"1"))
    await router.read(kv.Get("b"))
    assert not waiting.done()
    await router.write(kv.Set("a", b"2"))
    answer = await waiting
    assert value(answer) == b"2"
    assert answer.index > before.index
    again = await router.read(KEY, after(answer, wait=0.05))
    assert again.index == answer.index


async def test_a_watch_gives_each_change_and_ends_at_the_server_when_closed(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server)
    seen = []
    async with aclosing(router.watch(KEY)) as answers:  # type: ignore[type-var]  # It is a generator.
        async for answer in answers:
            seen.append(value(answer))
            if len(seen) == 3:
                break
            await router.write(kv.Set("a", b"%d" % len(seen)))
    assert seen == [None, b"1", b"2"]
    await until(lambda: not server.reader.waiting)


async def test_a_watch_goes_on_at_another_server(serve: Serve, asks: Client) -> None:
    first = await serve("s1")
    known = [first]
    router = agent(asks)
    router._servers = lambda: [one.address for one in known]
    seen: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def follow() -> None:
        async for answer in router.watch(KEY):
            seen.put_nowait(value(answer))

    following = asyncio.create_task(follow())
    assert await seen.get() is None
    second = await serve("s2")
    await first.stop()
    for number in range(20):
        await second.router.write(kv.Set("a", b"%d" % number))
    opened = second.rpc.counters
    known[:] = [second]
    assert await asyncio.wait_for(seen.get(), 5) == b"19"
    assert opened["watch"] == 1
    following.cancel()


async def test_a_watch_without_servers_pauses_between_tries(serve: Serve, asks: Client) -> None:
    first = await serve()
    await first.stop()
    router = agent(asks, first)
    tries = 0

    def known() -> list[str]:
        nonlocal tries
        tries += 1
        return [first.address]

    router._servers = known

    async def follow() -> None:
        async for _ in router.watch(KEY):
            raise AssertionError("nobody could answer")

    following = asyncio.create_task(follow())
    await until(lambda: tries >= 4)
    begun, looked = asyncio.get_running_loop().time(), tries
    await until(lambda: asyncio.get_running_loop().time() > begun + 0.3)
    assert tries - looked < 100
    following.cancel()


async def test_an_unknown_datacenter_is_named(server: Stack, asks: Client) -> None:
    for router in (agent(asks, server), server.router):
        for attempt in (
            router.read(KEY, ReadOptions(datacenter="mars")),
            router.write(kv.Set("a", b""), WriteOptions(datacenter="mars")),
            router.status("mars"),
        ):
            with pytest.raises(NoPath, match='No path to datacenter "mars"'):
                await attempt


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        (kv.Set("", b""), Invalid, "key: must not be empty"),
        (kv.Set("a", BIG), TooLarge, "the limit is 1048576"),
        (kv.Set("a", BIG + BIG), TooLarge, "the limit is 2097152"),
    ],
    ids=["invalid", "too large for the log", "too large for a frame"],
)
async def test_errors_travel_with_code_and_text(
    server: Stack, asks: Client, command: kv.Set, kind: type[MeshError], text: str
) -> None:
    router = agent(asks, server)
    await router.write(kv.Set("first", b"a new log begins with its level"))
    before = server.raft.applied_index
    with pytest.raises(kind, match=text):
        await router.write(command)
    assert server.raft.applied_index == before
    assert await router.write(kv.Set("b", b"still connected"))
    assert server.rpc.counters["malformed"] == 0
    assert server.sessions == 1


async def test_a_refusal_by_the_tables_travels_and_is_kept_for_retries(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server)
    orphan = catalog.Register(
        node=catalog.Node(name="n", address="10.0.0.1"),
        checks=[catalog.Check(node="n", id="c", name="c", service_id="nobody")],
    )
    texts = []
    for _ in range(2):
        with pytest.raises(MeshError) as caught:
            await router.write(orphan, WriteOptions(request="same"))
        texts.append((caught.value.code, caught.value.message))
    assert texts[0] == texts[1]
    assert texts[0][0] != "internal"


async def test_a_retried_request_is_applied_once(server: Stack, asks: Client) -> None:
    router, once = agent(asks, server), WriteOptions(request="one")
    create = kv.Set("a", b"1", check_index=0)
    assert await router.write(create, once)
    index = (await router.read(KEY)).index
    assert await router.write(create, once)
    assert (await router.read(KEY)).index == index
    assert not await router.write(create, WriteOptions(request="two"))


async def test_a_server_says_no_log_index_before_the_first_write(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server)
    await router.status()
    assert server.raft.applied_index > 0
    assert (server.forwarded.applied_index, asks.applied_index) == (0, 0)
    assert await router.write(kv.Set("a", b"1"))
    assert asks.applied_index > server.machine.database.ledger.horizon


async def test_no_known_server_is_said_in_words_after_the_hold_time(asks: Client) -> None:
    router = agent(asks)
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unreachable, match="No known servers"):
        await router.read(KEY)
    assert HOLD <= asyncio.get_running_loop().time() - began < HOLD + 1.0


async def test_no_leader_is_said_after_the_servers_hold_time(serve: Serve, asks: Client) -> None:
    router = agent(asks, await serve(leads=False))
    with pytest.raises(NoLeader):
        await router.read(KEY)
    with pytest.raises(NoLeader):
        await router.write(kv.Set("a", b""))
    stale = await router.read(KEY, STALE)
    assert not stale.known_leader


async def test_an_agent_moves_on_when_its_server_stops(serve: Serve, asks: Client) -> None:
    first, second = await serve("s1"), await serve("s2")
    router = agent(asks, first, second)
    router._current, router._stay_until = first.address, math.inf
    before = await router.read(KEY)
    # A wait longer than the hold time is no reason to give up at the first failure.
    waiting = asyncio.create_task(router.read(KEY, after(before)))
    await until(lambda: first.reader.waiting)
    began = WORLD[0].monotonic()
    await until(lambda: WORLD[0].monotonic() > began + 1.5 * HOLD)
    await first.stop()
    await until(lambda: second.reader.waiting)
    await second.router.write(kv.Set("a", b"there"))
    assert value(await waiting) == b"there"
    assert await router.write(kv.Set("a", b"2"))
    assert list(asks._connections) == [second.address]


async def test_what_may_have_happened_at_one_server_is_not_denied_by_the_next(
    serve: Serve, asks: Client
) -> None:
    async def vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.frame(wire.Hello(wire.VERSION, "s0", "dc1")))
        await reader.readuntil(b"vanish/")
        writer.transport.abort()

    first = await asyncio.start_server(vanish, "127.0.0.1", 0)
    address = f"127.0.0.1:{first.sockets[0].getsockname()[1]}"
    second = await serve("s2", leads=False)
    servers = [address, second.address]
    router = AgentRouter(RouterOptions("dc1", "a1", HOLD), lambda: servers, asks, WORLD)
    router._current, router._stay_until = address, math.inf
    with pytest.raises(OutcomeUnknown):
        await router.write(kv.Set("vanish/a", b""))
    assert second.rpc.counters["write"]
    first.close()
    await first.wait_closed()


async def test_a_repeated_blocking_read_waits_no_longer_in_all(serve: Serve, asks: Client) -> None:
    first, second = await serve("s1"), await serve("s2")
    router = agent(asks, first, second)
    router._current, router._stay_until = first.address, math.inf
    began = WORLD[0].monotonic()
    waiting = asyncio.create_task(router.read(KEY, ReadOptions(index=1000, wait=0.8)))
    await until(lambda: first.reader.waiting and WORLD[0].monotonic() > began + 0.5)
    await first.stop()
    await waiting
    assert 0.75 < WORLD[0].monotonic() - began < 1.2


async def test_moving_on_leaves_other_requests_alone(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    before = await router.read(KEY)
    waiting = asyncio.create_task(router.read(KEY, after(before)))
    await until(lambda: server.reader.waiting)
    router._move_on(server.address)
    await router.write(kv.Set("a", b"1"))
    assert value(await waiting) == b"1"
    assert server.rpc.counters["read"] == 2


async def test_blocked_reads_end_when_leadership_does(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    waiting = asyncio.create_task(router.read(KEY, ReadOptions(index=1000, wait=60)))
    await until(lambda: server.reader.waiting)
    await server.raft.stop()
    with pytest.raises(NoLeader):
        await asyncio.wait_for(waiting, 3)
    with pytest.raises(NoLeader):
        await server.forwarded.read(KEY, READ)
    with pytest.raises(NoLeader):
        await server.forwarded.read(KEY, CONSISTENT)


async def test_a_write_lost_with_leadership_is_of_unknown_outcome_or_done(server: Stack) -> None:
    writing = asyncio.create_task(server.router.write(kv.Set("a", b"1")))
    await asyncio.sleep(0)
    await server.raft.stop()
    with suppress(OutcomeUnknown, NoLeader):
        assert await asyncio.wait_for(writing, 3)


async def test_max_stale_asks_the_leader(server: Stack) -> None:
    answer = await server.router.read(KEY, msgspec.structs.replace(STALE, max_stale=0.0))
    assert answer.last_contact == 0.0


class MovableClock(SystemClock):
    """A clock that can be set forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


async def test_agents_spread_over_servers_that_came_later(serve: Serve, asks: Client) -> None:
    first, second = await serve("s1"), await serve("s2")
    known, clock = [first.address], MovableClock()
    options = RouterOptions("dc1", "a1", HOLD)
    router = AgentRouter(options, lambda: known, asks, (clock, SeededDice(1)))
    await router.status()
    known.append(second.address)
    await router.status()
    assert list(asks._connections) == [first.address]
    for _ in range(20):
        clock.ahead += 200.0
        await router.status()
    assert sorted(asks._connections) == sorted(known)


async def test_an_order_reaches_the_leader_and_leaves_an_audit_line(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server)
    found = await router.operate(orders.RaftConfiguration())
    assert [(one.name, one.leader, one.voter) for one in found.servers] == [("s1", True, True)]
    assert server.audit == []
    with pytest.raises(Conflict, match="only voter"):
        await router.operate(orders.RemovePeer(id="s1"), OrderOptions(author="ops"))
    assert server.audit == [
        "RemovePeer(id='s1', address='', leaving=False) ordered by ops through a1"
    ]
    with pytest.raises(Invalid, match="only one of"):
        await router.operate(orders.RemovePeer(id="s1", address="127.0.0.1:1"))
    with pytest.raises(NoPath, match="No path to datacenter"):
        await router.operate(orders.OwnStatus(), OrderOptions(datacenter="dc9"))
    assert server.rpc.counters["operate"] == 4


async def test_an_order_is_not_given_to_servers_too_old_to_know_it(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server)
    router._options = msgspec.structs.replace(router._options, speak=lambda level: level < 3)
    placed = coordinates.Placed("a1", coordinates.Coordinate())
    with pytest.raises(Conflict, match="needs feature level 3: upgrade every server first"):
        await router.operate(orders.AppliedIndex(), HERE)
    with pytest.raises(Conflict, match="needs feature level 3"):
        await router.operate(coordinates.Report(placed))
    with pytest.raises(Conflict, match="needs feature level 3"):
        await router.operate(coordinates.Datacenters(), HERE)
    with pytest.raises(Conflict, match="needs feature level 3"):
        await router.write(coordinates.Update((placed,)))
    assert (await router.operate(orders.OwnStatus(), HERE)).server.name == "s1"
    router._servers = list
    with pytest.raises(Unreachable, match="No known servers"):
        await router.operate(orders.AppliedIndex(), HERE)


async def test_what_began_before_any_server_was_known_spares_those_too_old_to_know_it(
    server: Stack, asks: Client
) -> None:
    router = agent(asks, server, hold=30.0)
    router._options = msgspec.structs.replace(router._options, speak=lambda _: False)
    servers, router._servers = router._servers, list

    async def followed() -> None:
        async for _ in router.watch(glance.Nodes()):
            raise AssertionError("it was asked for")

    placed = coordinates.Placed("a1", coordinates.Coordinate())
    tasks = [
        asyncio.create_task(followed()),
        asyncio.create_task(router.read(glance.Nodes(), STALE)),
        asyncio.create_task(router.operate(orders.AppliedIndex(), HERE)),
        asyncio.create_task(router.write(coordinates.Update((placed,)))),
    ]
    await asyncio.wait(tasks, timeout=0.05)
    router._servers = servers
    for task in tasks:
        with pytest.raises(Conflict, match="upgrade every server first"):
            await task
    counters = server.rpc.counters
    assert not any(counters[kind] for kind in ("watch", "read", "operate", "write"))


async def test_without_a_leader_only_orders_for_any_server_are_carried_out(
    serve: Serve, asks: Client
) -> None:
    server = await serve(leads=False)
    router = agent(asks, server)
    with pytest.raises(NoLeader):
        await router.operate(orders.RaftConfiguration())
    with pytest.raises(NoLeader):
        await asks.operate(
            server.address, orders.RaftConfiguration(), OrderOptions(), forwarded=True
        )
    (figures,) = await router.operate(orders.RaftStatus(), HERE)
    assert (figures.server.name, figures.figures["leader"]) == ("s1", "")
    assert (await router.operate(orders.OwnStatus(), HERE)).server.name == "s1"


class Dying:
    """Carries out orders by taking the server's connections away."""

    def __init__(self, server: Stack) -> None:
        self.server = server
        self.seen: list[str] = []

    async def operate(self, order: Order[Any]) -> Any:
        self.seen.append(type(order).__name__)
        for writer in list(self.server.rpc._open):
            writer.transport.abort()
        await asyncio.sleep(60)


async def test_an_act_that_may_have_happened_is_not_repeated_a_question_is(
    server: Stack, asks: Client
) -> None:
    router, dying = agent(asks, server), Dying(server)
    server.forwarded.operator = dying
    with pytest.raises(OutcomeUnknown):
        await router.operate(orders.TransferLeader())
    assert dying.seen == ["TransferLeader"]
    with pytest.raises(Unreachable):
        await router.operate(orders.RaftConfiguration())
    assert dying.seen.count("RaftConfiguration") > 1


@pytest.mark.parametrize("over", [0, 1, 15, 16, 700])
async def test_a_long_answer_is_packed_in_pieces(server: Stack, asks: Client, over: int) -> None:
    router = agent(asks, server)
    keys = [f"k/{number:05}" for number in range(2 * PACKED_ROWS + over)]
    transaction = server.machine.database.begin(server.raft.applied_index)
    for key in keys:
        transaction.put(kv.PAIRS, kv.Pair(key=key, value=b"v"))
    transaction.commit()
    assert [pair.key for pair in (await router.read(kv.Under("k/"))).value] == keys
    assert (await router.read(kv.Keys("k/"))).value == keys
