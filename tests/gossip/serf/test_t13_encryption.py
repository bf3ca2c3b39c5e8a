"""Encrypted pools of real serf agents and nodes of ours, and who is not let in."""

from __future__ import annotations

import base64
import socket

import pytest

from mesh.errors import Unreachable
from mesh.gossip.driver import Gossip
from mesh.gossip.messages import Ping, encode
from tests.gossip.serf.harness import Agents, Ours, Serf, bad, sees, until, where

STRANGERS = ("unauthenticated", "encrypted", "wrong_label")


def key(size: int) -> bytes:
    return bytes(range(100, 100 + size))


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def refused(node: Gossip) -> int:
    """How much of strangers a node of ours has heard."""
    return sum(count for name, count in node.counters.items() if name.endswith(STRANGERS))


@pytest.mark.parametrize("size", [16, 24, 32])
async def test_t13_encrypted_pool_with_each_key_size(agents: Agents, ours: Ours, size: int) -> None:
    one, two = await agents.pool("one", "two", key=text(key(size)))
    node = await ours.node("ours", {"role": "mesh"}, key=key(size))
    assert await node.join([one.bind]) == 1
    other = await ours.node("other", key=key(size))
    await two.says("Successfully", "join", where(other))
    everybody = dict.fromkeys(("one", "two", "ours", "other"), "alive")
    for agent in (one, two):
        await agent.sees(**everybody)
    for member in (node, other):
        await sees(member, **everybody)
    # News goes round, also what fills a packet.
    node.set_tags({"role": "x" * 480})
    await two.says("x" * 480, "members", "-name=ours")
    heard: list[str] = []
    other.on_event(lambda event: heard.append(event.name))
    await one.ask("event", "deploy", "v1")
    await until(lambda: heard == ["deploy"], "the event arrives")
    assert [bad(member) for member in (node, other)] == [{}, {}]
    assert [refused(member) for member in (node, other)] == [0, 0]
    await other.leave()
    await one.sees(other="left")


async def lonely(agent: Serf, *nodes: Gossip) -> None:
    """Nobody has met anybody."""
    assert await agent.statuses() == {agent.name: "alive"}
    for node in nodes:
        assert [member.name for member in node.members()] == [node.name]


@pytest.mark.parametrize(
    ("theirs", "mine", "reason"),
    [
        (key(16), b"", "is encrypted, and this node has no key"),
        (b"", key(16), "is not encrypted"),
        (key(16), key(32), "is not encrypted with a key of this node"),
        (key(16), bytes(16), "is not encrypted with a key of this node"),
    ],
    ids=["plain to keyed", "keyed to plain", "another size", "another key"],
)
async def test_t13_wrong_key_and_plain_text_are_refused_both_ways(
    agents: Agents,
    ours: Ours,
    theirs: bytes,
    mine: bytes,
    reason: str,
) -> None:
    agents.allow(r"failed to receive: .*(encrypt|decrypt)", "strangers knock at its door")
    agents.allow(r"Decrypt|decode|Decode|msgType|[Uu]nexpected|too short", "and send it datagrams")
    agents.allow(r"Failed to send indirect ping", "that look like one, by chance")
    agent = await agents.start("theirs", key=text(theirs) if theirs else "")
    node = await ours.node("ours", key=mine)
    # Streams, begun by us and by them: both sides say what is wrong.
    with pytest.raises(Unreachable, match=reason):
        await node.join([agent.bind])
    answer = await agent.ask("join", where(node))
    assert "Error joining" in answer, answer
    assert refused(node) >= 2
    await lonely(agent, node)
    # Datagrams, of us to them and of the like of them to us.
    heard = refused(node)
    strange = await ours.node("strange", key=theirs)
    # Some: now and then the first bytes of a nonce look like a message in plain text.
    for _ in range(8):
        node.transport.send(agent.address, agent.port, [encode(Ping(1, "theirs"))], crc=False)
        strange.transport.send(*node.address, [encode(Ping(1, "ours"))], crc=False)
    await until(lambda: refused(node) > heard, "our node refuses the datagram")
    await agent.logs(r"(?i)decrypt|msgpack|decode|unexpected|too short|EOF|msg type")
    await lonely(agent, node)


async def test_t13_no_answer_to_a_forged_ping(agents: Agents, ours: Ours) -> None:
    node = await ours.node("ours", key=key(32))
    agent = await agents.start("theirs", key=text(key(32)))
    await node.join([agent.bind])
    await sees(node, theirs="alive")
    with socket.socket(type=socket.SOCK_DGRAM) as forger:
        forger.bind((node.address[0], 0))
        forger.settimeout(0.5)
        for _ in range(20):
            forger.sendto(encode(Ping(1, "ours")), node.address)
        await until(lambda: node.counters["packets_unauthenticated"] == 20)
        with pytest.raises(TimeoutError):
            forger.recv(2000)
    await agent.sees(ours="alive", theirs="alive")
