"""Labelled pools: only nodes of ours, since the serf of Debian has no labels."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from mesh.errors import Unreachable
from mesh.gossip.driver import Gossip
from mesh.gossip.messages import Ping, encode
from tests.gossip.serf.harness import Agents, Ours, sees, statuses, until, where

KEY = secrets.token_bytes(32)


def wrong(node: Gossip) -> tuple[int, int]:
    """Datagrams and streams with another label, or none, that a node has heard."""
    return node.counters["packets_wrong_label"], node.counters["streams_wrong_label"]


async def all_see(*nodes: Gossip) -> None:
    for node in nodes:
        await sees(node, **{other.name: "alive" for other in nodes})


@pytest.mark.parametrize("key", [b"", KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("label", ["a", "dc1", "x" * 255])
async def test_t25_a_labelled_pool(ours: Ours, key: bytes, label: str) -> None:
    nodes = [await ours.node(name, label=label, key=key) for name in ("n1", "n2", "n3")]
    for node in nodes[1:]:
        await node.join([where(nodes[0])])
    await all_see(*nodes)
    nodes[1].set_tags({"role": "z" * 490})
    await until(lambda: nodes[2].members()[1].tags.get("role") == "z" * 490)
    await nodes[2].stop()
    await sees(nodes[0], n3="failed")
    assert [wrong(node) for node in nodes] == [(0, 0)] * 3


@pytest.mark.parametrize("key", [b"", KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize(
    ("label", "other"), [("dc1", ""), ("", "dc1"), ("dc1", "dc2"), ("dc1", "dc11")]
)
async def test_t25_wrong_and_missing_labels_are_refused(
    ours: Ours, key: bytes, label: str, other: str
) -> None:
    nodes = [await ours.node(name, label=label, key=key) for name in ("n1", "n2")]
    await nodes[1].join([where(nodes[0])])
    await all_see(*nodes)
    stranger = await ours.node("stranger", label=other, key=key)
    for one, two in ((stranger, nodes[0]), (nodes[0], stranger)):
        datagrams, streams = wrong(two)
        with pytest.raises(Unreachable):
            await one.join([where(two)])
        one.transport.send(*two.address, [encode(Ping(1, two.name))], crc=False)
        await until(
            lambda two=two, wanted=(datagrams + 1, streams + 1): wrong(two) == wanted  # type: ignore[misc]
        )
    await asyncio.sleep(0.5)
    assert statuses(stranger) == {"stranger": "alive"}
    for node in nodes:
        assert statuses(node) == {"n1": "alive", "n2": "alive"}


async def test_t25_an_agent_without_labels_is_refused(agents: Agents, ours: Ours) -> None:
    agents.allow(r"EOF|msg ?[Tt]ype|reset", "it meets a labelled pool")
    node = await ours.node("ours", label="dc1")
    agent = await agents.start()
    with pytest.raises(Unreachable):
        await node.join([agent.bind])
    assert "Error joining" in await agent.ask("join", where(node))
    assert statuses(node) == {"ours": "alive"}
    assert wrong(node) == (0, 1)
