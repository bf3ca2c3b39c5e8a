"""What reaches the port from strangers: refused, counted, and nobody is disturbed."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.codec import pack, unpack
from mesh.raft.epochs import Epoch, Peer, Place, digest, founded
from mesh.raft.messages import Hello, Message, Vote, Welcome, pack_message
from mesh.raft.node import RAFT_BYTE
from mesh.raft.succession import FORMATS
from mesh.raft.transport import (
    HELLO_BYTES_MAX,
    Streams,
    Transport,
    dial,
    pack_frame,
    read_frame,
)
from tests.raft.cluster import Cluster, until

RANDOM = random.Random(1)
GARBAGE = [
    b"",
    b"\x00" * 50,
    b"\xff" * 50,
    pack_frame(b""),
    pack_frame(b"\xc1"),
    pack_frame(b"\x81" * 4000),
    pack_frame(pack_message(Vote(99, 99, 99))),
    b"cposix\nsystem\n(S'true'\ntR.",
    *(RANDOM.randbytes(RANDOM.randrange(1, 200)) for _ in range(20)),
]


async def say(address: str, data: bytes, *, end: bool = True) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(RAFT_BYTE + data)
    if end:
        writer.write_eof()
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_strangers_change_nothing(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        leader = await cluster.leader()
        before = await leader.ask("status")
        me, other = leader.me, next(peer for peer in cluster.peers if peer != leader.me)
        cluster_id, newer = before["cluster"], (FORMATS[1] + 1, FORMATS[1] + 1)
        sign = digest(founded(cluster.peers))
        for hello in (
            Hello(newer, cluster_id, 1, sign, other.id, me.id),
            Hello(FORMATS, "another", 1, sign, other.id, me.id),
            Hello(FORMATS, cluster_id, 1, "another", other.id, me.id),
            Hello(FORMATS, cluster_id, 1, sign, "stranger", me.id),
            Hello(FORMATS, cluster_id, 1, sign, other.id, "somebody else"),
        ):
            answer = await say(me.address, pack_frame(pack(hello)), end=False)
            assert unpack(answer[4:], Welcome).refusal
        fine = pack_frame(pack(Hello(FORMATS, cluster_id, 1, sign, other.id, me.id)))
        later = pack_frame(pack(Hello(FORMATS, cluster_id, 2, "x", other.id, me.id)))
        for data in GARBAGE[1:6]:
            answer = await say(me.address, later + data)
            assert unpack(answer[4:], Welcome).epoch == 1
        for data in GARBAGE[1:6]:
            answer = await say(me.address, fine + data)
            assert not unpack(answer[4:], Welcome).refusal
        after = await leader.ask("status")
        assert (after["term"], after["leads"]) == (before["term"], True)
        assert after["counters"]["refused"] >= 5
        await leader.ask("propose", "still here")
        assert await cluster.settled() == ["still here"]


async def test_a_frame_over_the_limit_is_not_read() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((HELLO_BYTES_MAX + 1).to_bytes(4, "big"))
    with pytest.raises(Exception, match="allowed"):
        await read_frame(reader, HELLO_BYTES_MAX)


class Heard:
    def __init__(self) -> None:
        self.messages: list[tuple[str, Message]] = []

    def connected(self, peer: str) -> None: ...

    def disconnected(self, peer: str) -> None: ...

    def received(self, peer: str, message: Message) -> None:
        self.messages.append((peer, message))


class Wired:
    """What a transport needs, on plain TCP; every connection goes to the next address."""

    def __init__(self, addresses: Iterator[str]) -> None:
        self._addresses = addresses

    async def dial(self, peer: Peer) -> Streams:
        return await dial(next(self._addresses))

    def identify(self, writer: asyncio.StreamWriter) -> str | None:
        return None

    def since(self, number: int) -> list[Epoch]:
        return []

    def offer(self, records: Sequence[Epoch]) -> None:
        raise AssertionError("nobody is in another epoch")


async def test_an_address_that_is_none_is_tried_again_until_it_is_one() -> None:
    a, b = Peer("a", "a", ""), Peer("b", "b", "")
    place, chance = Place(Epoch("cluster", 1, (a, b))), (SystemClock(), SeededDice(1))
    heard = Heard()
    called = Transport("b", place, heard, Wired(iter([])), chance)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(1) == RAFT_BYTE
        await called.serve(reader, writer)

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    wrong = ["", "nowhere", "127.0.0.1:x", "127.0.0.1:99999", "127.0.0.1:123456", "..:1", "a\0b:1"]
    addresses = iter([*wrong, f"127.0.0.1:{port}"])
    caller = Transport("a", place, Heard(), Wired(addresses), chance)
    caller.start()

    async def connected() -> bool:
        return caller.connected() == ["b"]

    await until(connected)
    caller.send("b", Vote(3, 2, 1))

    async def arrived() -> bool:
        return heard.messages == [("a", Vote(3, 2, 1))]

    await until(arrived)
    await caller.stop()
    await called.stop()
    listener.close()
