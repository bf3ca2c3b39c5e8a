"""The listener: bad bytes are dropped and counted, limits hold, and others never notice."""

import asyncio
import socket

import pytest

from mesh.errors import Conflict
from mesh.registry import kv
from mesh.registry.port import READ, STALE, WRITE, ReadOptions, WriteOptions
from mesh.rpc import wire
from mesh.rpc.client import Client
from mesh.rpc.server import Options, RpcServer
from tests.rpc.stack import Raw, Stack, agent, until

LONG = ReadOptions(consistency="stale", index=1000, wait=60)


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "unknown_protocol"),
        (wire.RPC_BYTE + b"\x00\x00\x00\x04junk", "malformed"),
        (wire.RPC_BYTE + b"\x00\x00\x00\x00", "malformed"),
        (wire.RPC_BYTE + (wire.REQUEST_MAX_BYTES + 1).to_bytes(4, "big"), "malformed"),
        (wire.RPC_BYTE + wire.frame(wire.Failed(1, "a", "b")), "malformed"),
    ],
)
async def test_bad_bytes_are_counted_and_dropped_and_harm_nobody(
    server: Stack, asks: Client, data: bytes, counter: str
) -> None:
    router = agent(asks, server)
    waiting = asyncio.create_task(router.read(kv.Get("a"), LONG))
    await until(lambda: server.reader.waiting)
    raw = await Raw.open(server, data)
    assert await raw.closed()
    await until(lambda: server.rpc.counters[counter] == 1)
    await router.write(kv.Set("a", b"1"))
    # An index no commit reaches: it still waits, undisturbed.
    assert not waiting.done()
    waiting.cancel()
    assert server.rpc._listener.accepting.tasks.failures == 0


async def test_a_client_that_goes_takes_its_requests_with_it(server: Stack) -> None:
    raw = await Raw.open(server)
    for number in range(1, 6):
        raw.send(wire.Read(number, kv.Get(f"k{number}"), LONG))
    raw.send(wire.Watch(9, kv.Get("w"), STALE))
    await until(lambda: server.reader.waiting == 6)
    raw.send(wire.Cancel(2))
    raw.send(wire.Cancel(9))
    raw.send(wire.Cancel(77))
    await until(lambda: server.reader.waiting == 4)
    raw.writer.close()
    await until(lambda: not server.reader.waiting and not server.sessions)


async def test_one_id_is_answered_once_at_a_time(server: Stack) -> None:
    raw = await Raw.open(server)
    raw.send(wire.Read(1, kv.Get("a"), LONG))
    await until(lambda: server.reader.waiting)
    raw.send(wire.Read(1, kv.Get("b"), LONG))
    assert await raw.closed()
    await until(lambda: not server.reader.waiting)
    assert server.rpc.counters["malformed"] == 1


async def test_answers_come_in_any_order_and_an_id_can_be_used_again(server: Stack) -> None:
    raw = await Raw.open(server)
    raw.send(wire.Read(1, kv.Get("a"), LONG))
    raw.send(wire.Read(2, kv.Get("a"), READ))
    hello, second = await raw.replies(2)
    assert isinstance(hello, wire.Hello)
    assert isinstance(second, wire.Answered)
    assert second.id == 2
    raw.send(wire.Read(2, kv.Get("a"), READ))
    assert len(await raw.replies(1)) == 1
    raw.writer.close()


async def test_who_reads_no_replies_is_not_read_either(server: Stack, asks: Client) -> None:
    await server.router.write(kv.Set("a", b"x" * 20_000))
    raw = await Raw.open(server)
    raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.reader._transport.pause_reading()  # type: ignore[attr-defined]  # StreamReader keeps it.
    for number in range(1, 20_000):
        raw.send(wire.Read(number, kv.Get("a"), READ))
    counters, seen = server.rpc.counters, -1
    while seen != counters["read"]:
        seen = counters["read"]
        for _ in range(100):
            await asyncio.sleep(0.001)
    assert 0 < seen < 8000
    assert server.sessions == 1
    # Others are served meanwhile.
    assert (await agent(asks, server).read(kv.Get("a"))).value
    raw.writer.transport.abort()
    await until(lambda: server.sessions == 1)


async def test_a_forwarded_request_is_not_sent_on(server: Stack) -> None:
    await server.raft.stop()
    raw = await Raw.open(server)
    raw.send(wire.Read(1, kv.Get("a"), READ, forwarded=True))
    raw.send(wire.Write(2, kv.Set("a", b""), WriteOptions(request="r"), forwarded=True))
    _, *failed = await raw.replies(3)
    assert {(one.id, one.code) for one in failed if isinstance(one, wire.Failed)} == {
        (1, "no-leader"),
        (2, "no-leader"),
    }
    raw.writer.close()


async def test_a_forwarded_write_without_request_id_fails_alone(server: Stack) -> None:
    raw = await Raw.open(server)
    raw.send(wire.Write(1, kv.Set("a", b""), WRITE, forwarded=True))
    _, failed = await raw.replies(2)
    assert isinstance(failed, wire.Failed)
    assert failed.code == "invalid"
    raw.send(wire.AskStatus(2))
    (status,) = await raw.replies(1)
    assert isinstance(status, wire.Status)
    raw.writer.close()


async def test_a_port_in_use_is_named(server: Stack) -> None:
    options = Options("127.0.0.1", server.rpc.port, "s2", "dc1")
    second = RpcServer(options, server.router, server.forwarded, {})
    with pytest.raises(Conflict, match=f"127.0.0.1:{server.rpc.port} .server port"):
        await second.start()
    await second.stop()


async def test_stop_ends_every_connection(server: Stack) -> None:
    quiet, busy = await Raw.open(server, b""), await Raw.open(server)
    busy.send(wire.Read(1, kv.Get("a"), LONG))
    await until(lambda: server.reader.waiting)
    await server.rpc.stop()
    assert await quiet.closed()
    assert await busy.closed()
    assert not server.reader.waiting
