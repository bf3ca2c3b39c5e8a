"""Keys of an encrypted pool of real serf agents and nodes of ours, changed while it runs."""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
from typing import Any

import pytest

from mesh.errors import Conflict
from mesh.gossip.driver import Gossip
from mesh.gossip.keyring import Keyring
from mesh.gossip.keys import KeyReport
from tests.gossip.serf.harness import Agents, Ours, bad, sees, statuses, until

OLD, NEW = bytes(range(16)), bytes(range(32))


def shown(key: bytes) -> str:
    return base64.b64encode(key).decode()


def keyring(*keys: bytes) -> Keyring:
    numbers = itertools.count()
    return Keyring(keys, lambda: next(numbers).to_bytes(12, "big"))


def sealed(ring: Keyring) -> type[Gossip]:
    def make(*given: Any) -> Gossip:
        return Gossip(*given, keyring=ring)

    return make  # type: ignore[return-value]


async def encrypted(agents: Agents, ours: Ours) -> tuple[list[Keyring], list[Gossip]]:
    """Two of theirs, two of ours."""
    pool = await agents.pool("one", "two", key=shown(OLD))
    rings = [keyring(OLD), keyring(OLD)]
    nodes = [
        await ours.node(name, make=sealed(ring))
        for name, ring in zip(("ours", "other"), rings, strict=True)
    ]
    for node in nodes:
        await node.join([pool[0].bind])
    for node in nodes:
        await sees(node, one="alive", two="alive", ours="alive", other="alive")
    for agent in pool:
        await agent.sees(one="alive", two="alive", ours="alive", other="alive")
    return rings, nodes


async def test_t14_their_command_changes_our_keys(agents: Agents, ours: Ours) -> None:
    rings, nodes = await encrypted(agents, ours)
    one = agents.all[0]
    await one.says("Successfully installed", "keys", "-install", shown(NEW))
    assert [ring.list() for ring in rings] == [[OLD, NEW]] * 2
    await one.says("Successfully changed", "keys", "-use", shown(NEW))
    assert [ring.primary for ring in rings] == [NEW] * 2
    await one.says("Successfully removed", "keys", "-remove", shown(OLD))
    assert [ring.list() for ring in rings] == [[NEW]] * 2
    listed = await one.ask("keys", "-list")
    assert re.search(rf"{shown(NEW)} +\[4/4\]", listed), listed
    assert shown(OLD) not in listed
    # All still talk, with the new key.
    await asyncio.sleep(1.0)
    assert set(statuses(nodes[0]).values()) == {"alive"}
    assert set((await one.statuses()).values()) == {"alive"}
    assert [bad(node) for node in nodes] == [{}, {}]


async def test_t14_our_order_changes_their_keys(agents: Agents, ours: Ours) -> None:
    agents.allow("Removing the primary key", "one of our orders is wrong")
    rings, nodes = await encrypted(agents, ours)
    keys = nodes[0].keys

    async def everybody(order: str, key: bytes) -> None:
        # Now and then serf passes a query on to itself only.
        async def done() -> bool:
            report: KeyReport = await getattr(keys, order)(key)
            return report.complete

        await until(done, order)

    await everybody("install", NEW)
    await everybody("use", NEW)
    assert [ring.list() for ring in rings] == [[NEW, OLD]] * 2
    refused = await keys.remove(NEW)
    assert not refused.complete
    assert not any(result.ok for result in refused.results.values())
    assert "primary" in refused.results["other"].message
    await everybody("remove", OLD)

    async def listed() -> bool:
        report = await keys.list()
        return report.counts() == {shown(NEW): 4}

    await until(listed)
    assert set(statuses(nodes[1]).values()) == {"alive"}


async def test_t14_lists_that_are_too_long_are_cut(agents: Agents, ours: Ours) -> None:
    rings, nodes = await encrypted(agents, ours)
    for number in range(30):
        rings[0].install(bytes([number]) * 32)
    listed = await agents.all[0].ask("keys", "-list")
    # This version of serf shows what came, and not that it is not all.
    assert 10 < listed.count("[1/4]") < 30, listed
    report = await nodes[1].keys.list()
    result = report.results["ours"]
    assert result.ok
    cut = f"truncated key list response, showing first {len(result.keys)} of 31 keys"
    assert result.message == cut


async def test_t14_without_a_keyring_orders_are_refused(agents: Agents, ours: Ours) -> None:
    agents.allow("[Kk]eyring is empty", "that is what is tested")
    theirs = await agents.start()
    node = await ours.node()
    await node.join([theirs.bind])
    await sees(node, theirs="alive")
    with pytest.raises(Conflict, match="not encrypted"):
        await node.keys.list()
    await theirs.sees(ours="alive")
    output = await theirs.ask("keys", "-list")
    for name in ("ours", "theirs"):
        assert re.search(rf"{name} +Keyring is empty \(encryption not enabled\)", output), output
