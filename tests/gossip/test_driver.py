"""Gossip over real sockets: joining, tags, leaving, dying, and bad bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import msgpack
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.errors import Conflict, Invalid, NotFound, Unreachable
from mesh.gossip.driver import Gossip, Options
from mesh.gossip.keyring import Keyring
from mesh.gossip.members import MemberEvent
from mesh.gossip.messages import Ack, Ping, encode

FAST = {
    "probe_interval_seconds": 0.1,
    "probe_timeout_seconds": 0.05,
    "gossip_interval_seconds": 0.02,
    "suspicion_mult": 2,
    "push_pull_interval_seconds": 0.5,
    "leave_propagate_seconds": 0.05,
    "reconnect_interval_seconds": 0.2,
}


class Pool:
    def __init__(self) -> None:
        self.nodes: list[Gossip] = []

    async def node(
        self,
        name: str,
        tags: Mapping[str, str] | None = None,
        port: int = 0,
        *,
        keyring: Keyring | None = None,
        **changes: object,
    ) -> Gossip:
        number = len(self.nodes) + 1
        options = Options(
            bind_address=f"127.0.0.{number}",
            bind_port=port,
            **{**FAST, **changes},  # type: ignore[arg-type]
        )
        gossip = Gossip(name, options, SystemClock(), SeededDice(number), tags, keyring=keyring)
        await gossip.start()
        self.nodes.append(gossip)
        return gossip

    async def joined(self, count: int) -> list[Gossip]:
        nodes = [await self.node(f"n{number}") for number in range(count)]
        for node in nodes[1:]:
            await node.join([seed(nodes[0])])
        for node in nodes:
            await until(lambda node=node: statuses(node) == {one.name: "ALIVE" for one in nodes})  # type: ignore[misc]
        return nodes


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    for node in made.nodes:
        await node.stop()


def seed(node: Gossip) -> str:
    return f"{node.address[0]}:{node.address[1]}"


def statuses(node: Gossip) -> dict[str, str]:
    return {member.name: member.status.name for member in node.members()}


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def test_members_meet_and_see_each_others_tags(pool: Pool) -> None:
    first = await pool.node("a", {"role": "mesh"})
    second = await pool.node("b", {"role": "node"})
    third = await pool.node("c")
    assert await second.join([seed(first)]) == 1
    assert await third.join([seed(first)]) == 1
    for node in pool.nodes:
        await until(lambda node=node: len(node.members()) == 3)  # type: ignore[misc]
    assert [member.tags for member in third.members()] == [{"role": "mesh"}, {"role": "node"}, {}]
    second.set_tags({"role": "node", "x": "ü"})
    await until(lambda: third.members()[1].tags.get("x") == "ü")


async def test_who_leaves_has_left_and_may_come_back(pool: Pool) -> None:
    first, second, third = await pool.joined(3)
    await second.leave()
    await second.stop()
    for node in (first, third):
        await until(lambda node=node: statuses(node)["n1"] == "LEFT")  # type: ignore[misc]
    again = Gossip("n1", second.options, SystemClock(), SeededDice(9))
    await again.start()
    pool.nodes.append(again)
    await again.join([seed(first)])
    for node in (first, third, again):
        await until(lambda node=node: statuses(node)["n1"] == "ALIVE")  # type: ignore[misc]


async def test_who_dies_has_failed_and_can_be_made_to_leave(pool: Pool) -> None:
    first, second, third = await pool.joined(3)
    events: list[str] = []
    first.listen(lambda event: events.append(f"{event.kind} {event.member.name}"))
    await second.stop()
    for node in (first, third):
        await until(lambda node=node: statuses(node)["n1"] == "FAILED")  # type: ignore[misc]
    assert events == ["failed n1"]
    await third.force_leave("n1")
    await until(lambda: statuses(first)["n1"] == "LEFT")
    await third.force_leave("n1", prune=True)
    await until(lambda: "n1" not in statuses(first))
    with pytest.raises(NotFound):
        await first.force_leave("nobody")


async def test_a_failed_member_that_returns_is_alive_again(pool: Pool) -> None:
    first, second, third = await pool.joined(3)
    await second.stop()
    await until(lambda: statuses(third)["n1"] == "FAILED")
    host, port = second.address
    options = Options(bind_address=host, bind_port=port, **FAST)  # type: ignore[arg-type]
    again = Gossip("n1", options, SystemClock(), SeededDice(9))
    await again.start()
    pool.nodes.append(again)
    # Nobody tells it to join: the others try failed members again.
    for node in (first, third):
        await until(lambda node=node: statuses(node)["n1"] == "ALIVE")  # type: ignore[misc]


async def test_forcing_a_live_member_out_is_refuted(pool: Pool) -> None:
    first, second = await pool.joined(2)
    await first.force_leave("n1")
    await until(lambda: statuses(first)["n1"] == "ALIVE")
    assert second.member("n1") is not None


async def test_bad_bytes_are_counted_and_dropped(pool: Pool) -> None:
    first, second = await pool.joined(2)
    host, port = first.address
    with socket.socket(type=socket.SOCK_DGRAM) as datagram:
        for data in (
            b"",
            b"\xff",
            b"\x04\x80",
            b"\x07\x03\x00",
            b"\x0c\x00\x00\x00\x00x",
            b"\x09\x80",
        ):
            datagram.sendto(data, (host, port))
    for data in (b"\xff", b"\x06\x93", b"\x0a\x00", b"\x06\x81\xa5Nodes\xce\xff\xff\xff\xff"):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(data)
        writer.close()
    await until(lambda: first.counters["malformed_packets"] >= 5)
    await until(lambda: first.counters["malformed_streams"] >= 4)
    assert statuses(second) == {"n0": "ALIVE", "n1": "ALIVE"}


async def test_a_port_in_use_is_one_clear_line(pool: Pool) -> None:
    first = await pool.node("a")
    options = Options(bind_address=first.address[0], bind_port=first.address[1])
    with pytest.raises(Conflict, match=r"cannot listen on 127\.0\.0\.1:\d+ \(gossip port\)"):
        await Gossip("b", options, SystemClock(), SeededDice(1)).start()


async def test_joining_nobody_names_each_failure(pool: Pool) -> None:
    node = await pool.node("a")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.99:1: .*; nonsense:port: "):
        await node.join(["127.0.0.99:1", "nonsense:port"])


async def test_leaving_alone_takes_no_time(pool: Pool) -> None:
    node = await pool.node("a", leave_timeout_seconds=60.0, leave_propagate_seconds=60.0)
    async with asyncio.timeout(30):
        await node.leave()
        await node.leave()


@pytest.mark.parametrize(
    "address", ["", ":80", "h:", "h:\u00b2", "h:0", "h:65536", "[::1", "[::1]x", "[]:1"]
)
async def test_an_address_that_is_none_is_named(pool: Pool, address: str) -> None:
    node = await pool.node("a")
    with pytest.raises(Unreachable, match="expected host, host:port"):
        await node.join([address])


@pytest.mark.skipif(not has_ipv6(), reason="there is no ::1 here")
async def test_a_pool_over_ipv6() -> None:
    nodes = []
    try:
        for name in ("a", "b", "c"):
            options = Options(bind_address="::1", **FAST)  # type: ignore[arg-type]
            nodes.append(Gossip(name, options, SystemClock(), SeededDice(1)))
            await nodes[-1].start()
            if nodes[1:]:
                await nodes[-1].join([f"[::1]:{nodes[0].address[1]}"])
        everybody = dict.fromkeys("abc", "ALIVE")
        for node in nodes:
            await until(lambda node=node: statuses(node) == everybody)  # type: ignore[misc]
        await nodes[2].stop()
        for node in nodes[:2]:
            await until(lambda node=node: statuses(node)["c"] == "FAILED")  # type: ignore[misc]
            assert statuses(node) == everybody | {"c": "FAILED"}
    finally:
        for node in nodes:
            await node.stop()


async def test_a_conflict_of_names_is_in_the_log(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await pool.node("a"), await pool.node("b")
    await second.join([seed(first)])
    twin = await pool.node("a")
    await twin.join([seed(second)])
    await until(lambda: "a is at 127.0.0.1" in caplog.text)
    assert "is ignored" in caplog.text


async def test_a_name_too_long_for_others_is_refused_here() -> None:
    with pytest.raises(Invalid, match="1 to 128 bytes"):
        Gossip("x" * 129, Options(bind_address="127.0.0.1"), SystemClock(), SeededDice(1))


async def test_who_left_joins_no_more(pool: Pool) -> None:
    first, second = await pool.joined(2)
    await second.leave()
    with pytest.raises(Conflict, match="after a restart"):
        await second.join([seed(first)])
    await until(lambda: statuses(first)["n1"] == "LEFT")


async def test_a_listener_that_fails_stops_nothing(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, _ = await pool.joined(3)
    events: list[str] = []

    def fails(event: MemberEvent) -> None:
        raise RuntimeError(event.kind)

    first.listen(fails)
    unsubscribe = first.listen(lambda event: events.append(event.kind))
    await second.stop()
    await until(lambda: events == ["failed"])
    assert first.counters["listener_failures"] == 1
    assert "a listener failed on the failed of n1" in caplog.text
    unsubscribe()
    await first.force_leave("n1")
    assert events == ["failed"]
    assert statuses(first)["n1"] == "LEFT"


async def test_datagrams_that_nobody_takes_are_dropped_not_kept(pool: Pool) -> None:
    first, second = await pool.joined(2)
    first.transport.pause_writing()
    await until(lambda: first.counters["packets_dropped"] > 0)
    first.transport.resume_writing()
    await until(lambda: statuses(second) == {"n0": "ALIVE", "n1": "ALIVE"})


async def test_unpacking_a_large_stream_leaves_time_for_pings(pool: Pool) -> None:
    node = await pool.node("a")
    # Two million clear codes: they unpack to nothing, slowly.
    bits = bytes.fromhex("000102040810204080") * 250_000
    body: bytes = msgpack.packb({"Algo": 0, "Buf": bits}, use_bin_type=False)
    reader, writer = await asyncio.open_connection(*node.address)
    writer.write(b"\x09" + body)
    loop = asyncio.get_running_loop()
    closed = loop.create_task(reader.read())
    start = before = loop.time()
    longest = 0.0
    while not closed.done():
        ping_reader, ping_writer = await asyncio.open_connection(*node.address)
        ping_writer.write(encode(Ping(1, "a")))
        assert await ping_reader.read() == encode(Ack(1))
        ping_writer.close()
        longest, before = max(longest, loop.time() - before), loop.time()
    writer.close()
    assert node.counters["malformed_streams"] == 1
    assert longest < (before - start) / 2


async def test_a_stream_that_comes_as_the_node_stops_is_closed(pool: Pool) -> None:
    for number in range(10):
        node = await pool.node(f"n{number}")
        streams = [await asyncio.open_connection(*node.address) for _ in range(5)]
        await node.stop()
        async with asyncio.timeout(20):
            for reader, writer in streams:
                # Who was never accepted is reset.
                with contextlib.suppress(ConnectionResetError):
                    assert await reader.read() == b""
                writer.close()


async def test_a_node_whose_timer_failed_says_that_it_should_end(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await pool.node("a")
    reasons: list[str] = []
    node.on_conflict_lost(reasons.append)

    def broken(_: float) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(node.pool, "tick", broken)
    await until(lambda: reasons == ["gossip failed: ZeroDivisionError()"])


@contextlib.asynccontextmanager
async def busy(node: Gossip) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Where streams to a node wait, with what they said, until the event is set."""
    free = asyncio.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(65536)
        await free.wait()
        there, here = await asyncio.open_connection(*node.address)
        here.write(said)
        writer.write(await there.read())
        here.close()
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1")
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", free


async def test_who_is_met_while_joining_waits_is_known_to_all_at_once(pool: Pool) -> None:
    nodes = [await pool.node(name, push_pull_interval_seconds=0) for name in ("a", "b", "c")]
    joining, met, slow = nodes
    async with busy(slow) as (address, free):
        waiting = asyncio.create_task(joining.join([address]))
        await met.join([seed(joining)])
        await until(lambda: len(joining.members()) == 2 and not joining.pool.swim.queue.items)
        assert not waiting.done()
        free.set()
        assert await waiting == 1
    for node in nodes:
        await until(lambda node=node: len(node.members()) == 3)  # type: ignore[misc]
