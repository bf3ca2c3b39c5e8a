"""Queries between real serf agents and nodes of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mesh.gossip.driver import Gossip
from mesh.gossip.queries import Answer, Filters
from mesh.gossip.vivaldi import estimate
from tests.gossip.serf.harness import Agents, Ours, Serf, bad, sees, until, where

T = TypeVar("T")


async def asked(agent: Serf, *arguments: str) -> dict[str, Any]:
    """What `serf query` got: Acks (a list of names) and Responses by name."""
    output = await agent.ask("query", "-format", "json", *arguments)
    found: dict[str, Any] = json.loads(output)
    return found


async def answers(node: Gossip, name: str, **more: Any) -> list[Answer]:
    got = [one async for one in node.query(name, b"question", seconds=1.0, **more)]
    return sorted(got, key=lambda one: (one.ack, one.source))


async def eventually(ask: Callable[[], Awaitable[T]], expected: T) -> None:
    """Ask until the answer is this.

    A query is passed on only a few times, some of which serf spends on its own acknowledgements, so
    that now and then it misses somebody.
    """
    last: list[T] = []

    async def answered() -> bool:
        last[:] = [await ask()]
        return last == [expected]

    try:
        await until(answered)
    except AssertionError:
        assert last == [expected]
        raise


async def test_t9_queries_are_answered_both_ways(agents: Agents, ours: Ours) -> None:
    handler = ["-event-handler", 'query:load=echo -n "theirs $(cat)"']
    one = await agents.start("one", tags={"role": "web-7"}, more=handler)
    two = await agents.start("two", tags={"role": "db"}, more=handler)
    await two.says("Successfully", "join", one.bind)
    node = await ours.node("ours", {"role": "web-8"})
    other = await ours.node("other")
    for ours_one in (node, other):
        ours_one.respond("load", lambda asked: b"ours " + asked.payload)
        await ours_one.join([one.bind])
    for ours_one in (node, other):
        await sees(ours_one, one="alive", two="alive", ours="alive", other="alive")
    await one.sees(ours="alive", other="alive", two="alive")

    # Theirs asks; relays (of which we carry some) bring nothing twice.
    async def theirs(*arguments: str) -> tuple[set[str], dict[str, str]]:
        got = await asked(one, "-timeout", "2s", *arguments, "load", "question")
        assert len(got["Acks"]) == len(set(got["Acks"]))
        return set(got["Acks"]), got["Responses"]

    said = {
        "one": "theirs question",
        "two": "theirs question",
        "ours": "ours question",
        "other": "ours question",
    }
    for arguments, names in (
        (("-relay-factor", "2"), {"one", "two", "ours", "other"}),
        (("-tag", "role=^web-[0-9]+$"), {"one", "ours"}),
        (("-node", "other", "-node", "two"), {"two", "other"}),
    ):
        expected = names, {name: said[name] for name in names}
        await eventually(lambda arguments=arguments: theirs(*arguments), expected)  # type: ignore[misc]

    # Ours asks.
    everything = [Answer(name, said[name].encode()) for name in sorted(said)]
    everything += [Answer(name, b"", ack=True) for name in sorted(said)]
    await eventually(lambda: answers(node, "load", ack=True, relay_factor=2), everything)
    for filters, sources in (
        (Filters(tags={"role": r"^web-\d"}), ["one", "ours"]),
        (Filters(nodes=["two"]), ["two"]),
    ):
        some = [Answer(name, said[name].encode()) for name in sources]
        await eventually(lambda filters=filters: answers(other, "load", filters=filters), some)  # type: ignore[misc]
    assert bad(node) == bad(other) == {}
    assert node.counters["relays_refused"] == other.counters["relays_refused"] == 0


async def test_t10_reachability_and_rtt(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node = await ours.node()
    await node.join([theirs.bind])
    await sees(node, theirs="alive")
    await theirs.sees(ours="alive")

    async def reachability() -> bool:
        return "Successfully contacted all live nodes" in await theirs.ask("reachability")

    await until(reachability)
    both = [Answer("ours", b"", ack=True), Answer("theirs", b"", ack=True)]
    await eventually(lambda: answers(node, "_serf_ping", ack=True), both)

    # Coordinates travel in acks, each way.
    async def rtt() -> bool:
        return re.search(r"Estimated theirs <-> ours rtt: [\d.]+ ms", await said()) is not None

    async def said() -> str:
        return await theirs.ask("rtt", "theirs", "ours")

    await until(lambda: "theirs" in node.coordinates())
    await until(rtt)
    seconds = estimate(node.coordinate(), node.coordinates()["theirs"])
    assert 0 < seconds < 0.5
    # On a busy machine the error stays at its limit; that it moved is all that can be asked.
    assert any(node.coordinate().vec)
    assert not theirs.lines("(?i)coordinate.*(reject|fail|err)")


async def test_t18_we_say_whose_name_it_is(agents: Agents, ours: Ours) -> None:
    nodes = [await ours.node(name) for name in ("theirs", "second", "third")]
    for node in nodes[1:]:
        await node.join([where(nodes[0])])
    for node in nodes:
        await sees(node, theirs="alive", second="alive", third="alive")
    agents.allow("Conflicting address|name conflict", "its name is one of ours already")
    theirs = await agents.start("theirs")
    await theirs.ask("join", where(nodes[1]))
    await theirs.wait()
    assert theirs.lines("(?i)minority in name conflict resolution, quit")
    # Ours was asked for nothing and goes on.
    known = nodes[1].member("theirs")
    assert known is not None
    assert nodes[0].address == (known.address, known.port)


async def test_t18_we_end_when_the_name_is_theirs(agents: Agents, ours: Ours) -> None:
    agents.allow("Conflicting address", "our name is one of theirs already")
    pool = await agents.pool("one", "two", "three")
    node = await ours.node("two")
    lost: list[str] = []
    node.on_conflict_lost(lost.append)
    await node.join([pool[0].bind])
    await until(lambda: len(lost) == 1)
    assert lost[0].startswith("two is another node for 2 of 2 members that were asked")
    await pool[0].sees(one="alive", two="alive", three="alive")
    assert pool[1].running
