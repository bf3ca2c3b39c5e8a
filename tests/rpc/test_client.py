"""Connections: cancelled, broken and silent ones leave nothing behind."""

import asyncio
import socket
from collections.abc import AsyncIterator

import msgspec
import pytest

from mesh.codec import pack
from mesh.errors import Invalid, OutcomeUnknown, Unreachable
from mesh.registry import kv, orders
from mesh.registry.port import ORDER, READ, STALE, ReadOptions, WriteOptions
from mesh.rpc import wire
from mesh.rpc.client import Client
from tests.rpc.stack import Raw, Stack, agent, client, until

ONCE = WriteOptions(request="once")
SET = kv.Set("a", b"1")


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """The address of a server that introduces itself and never says another word."""
    writers = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.frame(wire.Hello(1, "silent", "dc1")))
        writers.append(writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    listener.close()
    for writer in writers:
        writer.close()


async def test_cancelled_writes_break_and_leak_nothing(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    await router.read(kv.Get("a"))
    (connection,) = asks._connections.values()
    for turns in range(40):
        writing = asyncio.create_task(router.write(kv.Set(f"k{turns}", b"v")))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
    assert await router.write(SET)
    assert list(asks._connections.values()) == [connection]
    assert not connection._waiting
    assert not asks._opening
    assert server.sessions == 1
    session = [task for task in asyncio.all_tasks() if task.get_name() == "rpc Write"]
    await until(lambda: all(task.done() for task in session))


async def test_cancelled_while_connecting_leaves_nothing(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    for turns in range(8):
        asking = [asyncio.create_task(router.read(kv.Get("a"))) for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.wait(asking)
        assert [task.cancelled() for task in asking[1:]] == [False, False]
        asks.forget(server.address)
        await until(lambda: server.sessions == 0)
    assert (asks._connections, asks._opening) == ({}, {})


async def test_many_requests_share_one_connection(server: Stack, asks: Client) -> None:
    router = agent(asks, server)
    await asyncio.gather(*(router.write(kv.Set(f"k{number}", b"v")) for number in range(300)))
    keys = await asks.read(server.address, kv.Keys("k"), READ)
    assert len(keys.value) == 300
    assert server.sessions == 1


async def test_a_silent_server_is_given_up_in_words(silent: str) -> None:
    asks = client(call_seconds=0.1)
    with pytest.raises(Unreachable, match="did not answer within"):
        await asks.read(silent, kv.Get("a"), READ)
    with pytest.raises(OutcomeUnknown, match="did not answer within"):
        await asks.write(silent, SET, ONCE)
    (connection,) = asks._connections.values()
    assert not connection._waiting
    await asks.stop()


async def test_forgetting_a_server_fails_what_waits_on_it_at_once(
    silent: str, asks: Client
) -> None:
    reading = asyncio.create_task(asks.read(silent, kv.Get("a"), READ))
    writing = asyncio.create_task(asks.write(silent, SET, ONCE))
    watching = asyncio.create_task(anext(asks.watch(silent, kv.Get("a"), STALE)))
    await until(lambda: asks._connections and len(asks._connections[silent]._waiting) == 3)
    asks.forget(silent)
    for task, kind in ((reading, Unreachable), (writing, OutcomeUnknown), (watching, Unreachable)):
        with pytest.raises(kind, match="broke"):
            await asyncio.wait_for(task, 1)


async def test_who_leads_no_more_is_asked_only_for_what_nobody_else_can_do(
    silent: str, asks: Client
) -> None:
    reading = asyncio.create_task(asks.read(silent, kv.Get("a"), READ))
    writing = asyncio.create_task(asks.write(silent, SET, ONCE))
    asking = asyncio.create_task(asks.operate(silent, orders.RaftConfiguration(), ORDER))
    acting = asyncio.create_task(asks.operate(silent, orders.TransferLeader(), ORDER))
    await until(lambda: asks._connections and len(asks._connections[silent]._waiting) == 4)
    (connection,) = asks._connections.values()
    asks.let_go(silent)
    for task, kind in ((reading, Unreachable), (writing, OutcomeUnknown), (asking, Unreachable)):
        with pytest.raises(kind, match="leads no more"):
            await asyncio.wait_for(task, 1)
    connection._deliver(wire.Wrote(4, msgspec.Raw(pack(orders.Server("id2", "s2", "s2:1")))))
    assert (await asyncio.wait_for(acting, 1)).name == "s2"
    assert not connection.closed
    asks.let_go(silent)
    assert connection.closed


async def test_a_dead_port_is_unreachable_and_leaves_nothing(asks: Client) -> None:
    with pytest.raises(Unreachable, match="cannot connect to the server at"):
        await asks.write("127.0.0.1:1", SET, ONCE)
    assert (asks._connections, asks._opening) == ({}, {})


async def test_a_server_that_ends_the_connection_is_dropped(server: Stack, asks: Client) -> None:
    await asks.read(server.address, kv.Get("a"), READ)
    await server.rpc.stop()
    await until(lambda: not asks._connections)


async def test_a_slow_follower_gets_the_newest_answer_and_hinders_nobody(
    server: Stack, asks: Client
) -> None:
    answers = asks.watch(server.address, kv.Get("a"), STALE)
    first = await anext(answers)
    assert first.value is None
    for number in range(60):
        await asks.write(
            server.address, kv.Set("a", b"%d" % number), WriteOptions(request=f"{number}")
        )
    value = b""
    while value != b"59":
        pair = (await asyncio.wait_for(anext(answers), 2)).value
        assert pair is not None
        value = pair.value
    await answers.aclose()
    await until(lambda: not server.reader.waiting)
    assert server.sessions == 1


async def test_garbage_from_a_server_ends_that_connection_only(server: Stack, asks: Client) -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 100)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    bad = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    with pytest.raises(Unreachable):
        await asks.read(bad, kv.Get("a"), ReadOptions(index=5, wait=30))
    await asks.read(server.address, kv.Get("a"), READ)
    assert list(asks._connections) == [server.address]
    listener.close()


async def test_a_stopped_client_asks_nobody(server: Stack) -> None:
    asks = client()
    await asks.read(server.address, kv.Get("a"), READ)
    await asks.stop()
    with pytest.raises(Unreachable, match="this node stops"):
        await asks.read(server.address, kv.Get("a"), READ)
    await until(lambda: not server.sessions)


async def test_nothing_is_sent_to_who_does_not_introduce_itself() -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # The system accepts, and nobody answers.
    mute = f"127.0.0.1:{listener.getsockname()[1]}"
    asks = client(connect_seconds=0.1)
    with pytest.raises(Unreachable, match="does not introduce itself"):
        await asks.write(mute, SET, ONCE)
    assert (asks._connections, asks._opening) == ({}, {})
    await asks.stop()
    listener.close()


async def test_a_server_that_speaks_a_newer_version_is_named(asks: Client) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.frame(wire.Hello(wire.VERSION + 1, "s9", "dc1")))
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    newer = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    with pytest.raises(Invalid, match=r"s9: speaks version 2 of RPC.*upgrade mesh"):
        await asks.write(newer, SET, ONCE)
    listener.close()


async def test_hello_may_come_twice(server: Stack) -> None:
    raw = await Raw.open(server)
    for _ in range(2):
        raw.send(wire.Hello(1, "x", "dc1"))
    raw.send(wire.AskStatus(1))
    assert len(await raw.replies(2)) == 2
    raw.writer.close()
