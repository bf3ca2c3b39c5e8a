"""Queries between real serf agents and nodes of ours."""

from __future__ import annotations

import json
from typing import Any

from mesh.gossip.driver import Gossip
from mesh.gossip.queries import Answer, Filters
from tests.gossip.serf.harness import Agents, Ours, Serf, bad, sees


async def asked(agent: Serf, *arguments: str) -> dict[str, Any]:
    """What `serf query` got: Acks (a list of names) and Responses by name."""
    output = await agent.ask("query", "-format", "json", *arguments)
    found: dict[str, Any] = json.loads(output)
    return found


async def answers(node: Gossip, name: str, **more: Any) -> list[Answer]:
    got = [one async for one in node.query(name, b"question", seconds=2.0, **more)]
    return sorted(got, key=lambda one: (one.ack, one.source))


async def test_t9_queries_are_answered_both_ways(agents: Agents, ours: Ours) -> None:
    handler = ["-event-handler", 'query:load=echo -n "theirs $(cat)"']
    # Not the profile local: it passes news on only twice, which in one of ten runs misses someone.
    one = await agents.start("one", profile="lan", tags={"role": "web-7"}, more=handler)
    two = await agents.start("two", profile="lan", tags={"role": "db"}, more=handler)
    await two.says("Successfully", "join", one.bind)
    node = await ours.node("ours", {"role": "web-8"}, retransmit_mult=4)
    other = await ours.node("other", retransmit_mult=4)
    for ours_one in (node, other):
        ours_one.respond("load", lambda asked: b"ours " + asked.payload)
        await ours_one.join([one.bind])
    for ours_one in (node, other):
        await sees(ours_one, one="alive", two="alive", ours="alive", other="alive")
    everybody = {"one", "two", "ours", "other"}
    await one.sees(ours="alive", other="alive", two="alive")

    # Theirs asks; relays (of which we carry some) bring nothing twice.
    got = await asked(one, "-timeout", "3s", "-relay-factor", "2", "load", "question")
    assert set(got["Acks"]) == everybody
    assert got["Responses"] == {
        "one": "theirs question",
        "two": "theirs question",
        "ours": "ours question",
        "other": "ours question",
    }
    got = await asked(one, "-timeout", "2s", "-tag", "role=^web-[0-9]+$", "load", "question")
    assert set(got["Responses"]) == {"one", "ours"}
    got = await asked(one, "-timeout", "2s", "-node", "other", "-node", "two", "load", "question")
    assert set(got["Responses"]) == {"two", "other"}

    # Ours asks.
    assert await answers(node, "load", ack=True, relay_factor=2) == [
        Answer("one", b"theirs question"),
        Answer("other", b"ours question"),
        Answer("ours", b"ours question"),
        Answer("two", b"theirs question"),
        *(Answer(name, b"", ack=True) for name in sorted(everybody)),
    ]
    got_tags = await answers(node, "load", filters=Filters(tags={"role": r"^web-\d"}))
    assert [one.source for one in got_tags] == ["one", "ours"]
    got_nodes = await answers(other, "load", filters=Filters(nodes=["two"]))
    assert got_nodes == [Answer("two", b"theirs question")]
    assert bad(node) == bad(other) == {}
    assert node.counters["answers_late"] == 0


async def test_t10_reachability(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node = await ours.node()
    await node.join([theirs.bind])
    await sees(node, theirs="alive")
    await theirs.sees(ours="alive")
    output = await theirs.ask("reachability")
    assert "Successfully contacted all live nodes" in output, output
    acks = await answers(node, "_serf_ping", ack=True)
    assert acks == [Answer("ours", b"", ack=True), Answer("theirs", b"", ack=True)]
