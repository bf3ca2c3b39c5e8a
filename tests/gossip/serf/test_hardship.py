"""Scenarios with real serf about hard input: thousands of members at once, and bytes that lie."""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
import struct
from collections.abc import Sequence

import msgpack
import pytest

from mesh.gossip.driver import Gossip
from mesh.gossip.messages import VERSIONS, Ack, Ping, encode, encode_tags
from mesh.gossip.streams import NodeState, PushPull
from tests.gossip.serf.harness import Agents, Ours, Serf, bad, both, sees, statuses, until, where

MANY = 3000
NOISE_SEED = 20


@both
async def test_t19_thousands_of_members_both_ways(agents: Agents, ours: Ours) -> None:
    agents.allow(
        "Failed fallback ping: |Failed to send|Push/Pull with many|Failed to forward",
        "the many members exist only on paper, so nobody answers for them",
    )
    # Serf does not learn of whom it is told as suspected. So all are here before the first of those
    # on paper is.
    first = await agents.start("first", profile="lan")
    second = await agents.start("second", profile="lan")
    await _tell(await ours.node("teller"), first, _paper_members())

    async def told() -> bool:
        return len(await first.statuses()) == MANY + 1

    await until(told, "first knows the many")
    # From serf to us: one compressed stream, of which LZW resets its table many times.
    node = await ours.node(push_pull_interval_seconds=0)
    assert await node.join([first.bind]) == 1
    assert len(node.members()) == MANY + 2
    # From us to serf.
    await second.says("Successfully", "join", where(node))
    names = {f"many{number}" for number in range(MANY)} | {"ours", "first", "second"}
    assert set(await second.statuses()) == names
    shown = (await second.members())[f"many{MANY - 1}"]
    assert shown.tags == {"role": "paper", "number": str(MANY - 1)}
    await until(lambda: len(node.members()) == len(names))
    assert bad(node) == {}
    # Between serf and serf, with what came from us: news would take long to get through the paper.
    await second.says("Successfully", "join", first.bind)
    await first.sees(ours="alive", second="alive")
    await second.sees(ours="alive", first="alive")


def _paper_members() -> list[NodeState]:
    start = int(ipaddress.ip_address("127.32.0.1"))
    return [
        NodeState(
            name=f"many{number}",
            address=(start + number).to_bytes(4, "big"),
            port=7946,
            incarnation=1 + number % 200,
            state=0,
            meta=encode_tags({"role": "paper", "number": str(number)}),
        )
        for number in range(MANY)
    ]


async def _tell(teller: Gossip, agent: Serf, nodes: Sequence[NodeState]) -> None:
    """Give an agent these members in a push/pull, not the teller itself."""
    reply = await teller.transport.ask(agent.address, agent.port, PushPull(nodes), 10.0)
    assert isinstance(reply, PushPull)


def _pack(kind: int, **fields: object) -> bytes:
    packed: bytes = msgpack.packb(fields, use_bin_type=False)
    return bytes((kind,)) + packed


def _alive(**changes: object) -> bytes:
    fields = {"Addr": b"\x7f\0\0\1", "Incarnation": 9, "Meta": b"", "Node": "forged", "Port": 1}
    return _pack(4, **{**fields, "Vsn": VERSIONS, **changes})


def _nested(kind: bytes, depth: int) -> bytes:
    packet = b"\x00\x80"
    for _ in range(depth):
        packet = kind + b"\x01" + struct.pack(">H", len(packet)) + packet
    return packet


FORGED_DATAGRAMS = [
    b"",
    *(bytes((kind,)) for kind in range(256)),
    *(bytes((kind, 0x80)) for kind in (*range(14), 244)),
    *(bytes((kind, 0xDF, 0xFF, 0xFF, 0xFF, 0xFF)) for kind in (*range(14), 244)),
    *(bytes((kind,)) + b"\x81" * 1200 for kind in (*range(14), 244)),
    _pack(0, SeqNo=2**32, Node="ours"),
    _pack(0, SeqNo=-1, Node="ours"),
    _pack(0, SeqNo=1, Node="somebody else"),
    _pack(0, SeqNo=1, Node=7),
    _pack(0, SeqNo=1, Node="ours", SourceAddr=b"\1\2\3", SourcePort=70000),
    _pack(1, SeqNo=1, Target=b"\1", Port=1, Node="x"),
    _pack(1, SeqNo=1, Target=b"\x7f\0\0\1", Port=70000, Node="x"),
    _pack(2, SeqNo=77, Payload=b"\1\xff"),
    _pack(3, Incarnation=1, Node="nobody", From="x"),
    _pack(3, Incarnation=2**33, Node="ours", From="x"),
    _pack(5, Incarnation=1, Node="nobody", From="nobody"),
    # Without versions: taken over by memberlist, it makes every later push/pull fail.
    _alive(Vsn=b""),
    _alive(Vsn=b"\0\0\0\0\0\0"),
    _alive(Vsn=b"\5\1\2\2\5\5"),
    _alive(Addr=b"\1\2\3"),
    _alive(Addr=""),
    _alive(Port=-1),
    _alive(Port=65536),
    _alive(Node=""),
    _alive(Node="x" * 129),
    _alive(Node=b"\xff\xfe", Incarnation=0),
    _alive(Meta=b"x" * 513),
    _alive(Incarnation=2**32),
    # An address for members that have another one.
    _alive(Node="theirs"),
    _alive(Node="ours", Incarnation=1),
    b"\x07\xff" + b"\0" * 100,
    b"\x07\x02\x00\x04\x00\x09\x00\x80\x00\x80",
    _nested(b"\x07", 100),
    b"\x08",
    *(b"\x08" + bytes((kind,)) for kind in range(12)),
    *(b"\x08" + bytes((kind,)) + b"\x81\xa5LTime\xcf" + b"\xff" * 8 for kind in range(3, 12)),
    b"\x09" + msgpack.packb({"Algo": 1, "Buf": b"x"}, use_bin_type=False),
    b"\x09" + msgpack.packb({"Algo": 0, "Buf": b"\xff" * 50}, use_bin_type=False),
    b"\x09" + msgpack.packb({"Algo": 0, "Buf": b""}, use_bin_type=False),
    b"\x0c\0\0\0\0\x00\x80",
    b"\x0c\0\0",
    b"\xf4\x03dc1\x00\x80",
    b"\xf4\xff",
    b"\x01" + bytes(60),
]
FORGED_STREAMS = [
    b"",
    *(bytes((kind,)) for kind in range(256)),
    *(bytes((kind, 0x93)) for kind in (*range(14), 244)),
    _pack(6, Join=True, Nodes=-1, UserStateLen=0),
    _pack(6, Join=True, Nodes=2**31, UserStateLen=0),
    _pack(6, Join=True, Nodes=1, UserStateLen=0)[:-3],
    _pack(6, Join=True, Nodes=0, UserStateLen=2**40),
    _pack(6, Join=True, Nodes=0, UserStateLen=5) + b"\x02\xff\xff\xff\xff",
    _pack(6, Join=True, Nodes=2, UserStateLen=0) + b"\x80\x80",
    _pack(6, Join=False, Nodes=1, UserStateLen=0)
    + msgpack.packb({"Name": "poison", "Addr": b"\x7f\0\0\1", "Port": 1, "State": 0, "Vsn": b""})[
        :
    ],
    _pack(6, Join=False, Nodes=1, UserStateLen=0)
    + msgpack.packb({"Name": "odd", "State": 99, "Vsn": VERSIONS}, use_bin_type=False),
    _pack(8, UserMsgLen=2**40),
    _pack(8, UserMsgLen=3) + b"\x00\xff\xff",
    b"\x0a\xff\xff\xff\xff\x01",
    b"\x0a\0\0\0\x05\x01abcd",
    b"\x09" + msgpack.packb({"Algo": 0, "Buf": b"\xff" * 50}, use_bin_type=False),
    b"\xf4\x03dc1\x06\x80",
]


async def test_t21_forged_bytes_leave_us_healthy(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node, other = await ours.node(), await ours.node("other")
    for one in (node, other):
        await one.join([theirs.bind])
    await theirs.sees(ours="alive", other="alive")
    everybody = {"ours": "alive", "other": "alive", "theirs": "alive"}
    await sees(node, **everybody)
    before = len(theirs.lines("messageJoinType"))
    await _forge(node)
    assert sum(bad(node).values()) > len(FORGED_STREAMS)
    # It answers, exchanges state in both directions, and has believed nothing.
    reader, writer = await asyncio.open_connection(*node.address)
    writer.write(encode(Ping(5, "ours")))
    assert await reader.read() == encode(Ack(5))
    writer.close()
    assert await node.join([theirs.bind]) == 1
    assert "Successfully" in await theirs.ask("join", where(node))
    await until(lambda: len(theirs.lines("messageJoinType")) > before)
    assert statuses(node) == everybody
    for name, of in (("theirs", theirs.bind), ("other", where(other))):
        member = node.member(name)
        assert member is not None
        assert f"{member.address}:{member.port}" == of
    assert await theirs.statuses() == everybody
    assert not theirs.lines("EventMember(Failed|Leave)")


async def _forge(node: Gossip) -> None:
    noise = random.Random(NOISE_SEED)
    datagrams = [*FORGED_DATAGRAMS, *(noise.randbytes(noise.randrange(1400)) for _ in range(500))]
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        for packet in datagrams:
            sender.sendto(packet, node.address)
            await asyncio.sleep(0)
    streams = [*FORGED_STREAMS, *(noise.randbytes(noise.randrange(1400)) for _ in range(50))]
    writers = []
    for body in streams:
        _, writer = await asyncio.open_connection(*node.address)
        writer.write(body)
        writers.append(writer)
        if len(writers) % 2:
            # Some say no more and some are cut off: both end.
            writer.write_eof()
        else:
            writer.transport.abort()
    for writer in writers:
        writer.close()
    seen = node.counters
    await until(lambda: seen["malformed_packets"] + seen["malformed_messages"] > 200)
    await until(lambda: seen["malformed_streams"] + seen["broken_streams"] > 100)


@both
@pytest.mark.parametrize("profile", ["lan", "local"])
async def test_t21_serf_has_no_complaint_about_our_bytes(
    agents: Agents, ours: Ours, profile: str
) -> None:
    """Every kind of message that a small pool sends; the fixture looks for errors."""
    first, second = await agents.pool("first", "second", profile=profile)
    # All long names and a full set of tags: packets and streams at their limits.
    tags = {"role": "mesh", "filling": "x" * 450}
    nodes = [await ours.node(f"{number}-" + "n" * 120, tags) for number in range(12)]
    for node in nodes:
        await node.join([first.bind])
    names = {node.name: "alive" for node in nodes} | {"first": "alive", "second": "alive"}
    for agent in (first, second):
        await agent.sees(**names)
    for node in nodes:
        await sees(node, **names)
    nodes[0].set_tags({})
    await nodes[1].leave()
    await second.sees(**{nodes[1].name: "left"})
    for agent in (first, second):
        complaints = r"decod|[Uu]nknown|[Ii]nvalid|too short|not supported|truncated|[Cc]onflict"
        assert agent.lines(complaints) == []
    for node in nodes:
        found = bad(node)
        if profile == "local":
            # Serf ends streams after a second there, also in the middle of a message.
            found.pop("malformed_streams", None)
        assert found == {}
