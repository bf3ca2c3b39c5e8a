"""Scenarios with real serf about who is alive: calm, frozen processes, lost packets, partitions."""

from __future__ import annotations

import asyncio
import signal

import pytest

from mesh.clock import SystemClock
from mesh.gossip.driver import Gossip
from mesh.gossip.members import MemberEvent
from mesh.gossip.options import SwimOptions
from mesh.gossip.profiles import LocalOptions, WanOptions
from tests.gossip.serf.harness import (
    Agents,
    Deafness,
    Ours,
    Serf,
    both,
    kill,
    log_seconds,
    sees,
    statuses,
    until,
)
from tests.gossip.serf.walls import Wall

HOLDS_MAX = 6
STALL_SECONDS = 0.15
"""A loop that was held up this long says that the machine was busy, and nothing of the pool."""


@pytest.mark.parametrize(
    "seconds", [8, pytest.param(60, marks=pytest.mark.slow)], ids=["short", "minute"]
)
async def test_t03_a_pool_at_rest_is_calm(agents: Agents, ours: Ours, seconds: int) -> None:
    first, second = await agents.pool("first", "second", profile="lan")
    node, other = await ours.node(), await ours.node("other")
    for one in (node, other):
        await one.join([first.bind])
    for agent in (first, second):
        await agent.sees(ours="alive", other="alive")
    for _ in range(HOLDS_MAX):
        before = [len(agent.lines(r"Suspect|[Rr]efut|probes failed")) for agent in agents.all]
        stalled = await _hold(seconds)
        after = [len(agent.lines(r"Suspect|[Rr]efut|probes failed")) for agent in agents.all]
        scores = [int((await one.stats())["serf"]["health_score"]) for one in agents.all]
        scores += [node.health_score, other.health_score]
        if not stalled:
            assert before == after
            assert scores == [0] * 4
            break
    else:
        pytest.skip("the machine is too busy to be judged")
    for agent in (first, second):
        assert not agent.lines("EventMember(Failed|Leave)")


async def _hold(seconds: int) -> bool:
    """Wait; whether this process was held up meanwhile."""
    loop = asyncio.get_running_loop()
    for _ in range(seconds * 20):
        start = loop.time()
        await asyncio.sleep(0.05)
        if loop.time() - start > 0.05 + STALL_SECONDS:
            return True
    return False


@both
async def test_t15_a_frozen_agent_is_suspected_and_refutes(agents: Agents, ours: Ours) -> None:
    _, frozen = await agents.pool("first", "frozen", profile="lan")
    # Nobody is in a hurry to tell that it failed: only the suspicion counts here.
    node = await ours.node(suspicion_mult=60)
    await node.join([frozen.bind])
    await frozen.sees(ours="alive")
    events: list[MemberEvent] = []
    node.listen(events.append)
    incarnation = _incarnation(node, "frozen")
    frozen.signal(signal.SIGSTOP)
    await until(lambda: "frozen" in node.pool.swim.suspicions, "frozen is suspected")
    frozen.signal(signal.SIGCONT)
    await until(lambda: "frozen" not in node.pool.swim.suspicions, "frozen has refuted")
    assert _incarnation(node, "frozen") > incarnation
    await frozen.logs("Refuting a suspect message")
    assert "failed" not in {event.kind for event in events if event.member.name == "frozen"}
    assert statuses(node) == {"ours": "alive", "first": "alive", "frozen": "alive"}


async def test_t15_a_frozen_agent_fails_and_returns(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("frozen"))
    first, frozen = await agents.pool("first", "frozen")
    node = await ours.node()
    await node.join([frozen.bind])
    await frozen.sees(ours="alive")
    await sees(node, first="alive")
    incarnation = _incarnation(node, "frozen")
    frozen.signal(signal.SIGSTOP)
    await sees(node, frozen="failed", first="alive")
    await first.sees(frozen="failed", ours="alive")
    frozen.signal(signal.SIGCONT)
    await sees(node, frozen="alive", first="alive")
    assert _incarnation(node, "frozen") > incarnation
    await first.sees(frozen="alive", ours="alive")
    await frozen.sees(frozen="alive", first="alive", ours="alive")


def _incarnation(node: Gossip, name: str) -> int:
    return node.pool.swim.peers[name].incarnation


@both
async def test_t16_without_datagrams_we_live_by_streams(agents: Agents, ours: Ours) -> None:
    first, second = await agents.pool("first", "second")
    node = await ours.node()
    await node.join([first.bind])
    await second.sees(ours="alive")
    deafness = Deafness(node)
    deafness.datagrams()
    by_stream = "Was able to connect to ours|ours .*over TCP but UDP"
    for agent in (first, second):
        await until(lambda agent=agent: len(agent.lines(by_stream)) >= 3)  # type: ignore[misc]
        await agent.sees(ours="alive")
    await sees(node, first="alive", second="alive")
    deafness.end()
    for agent in (first, second):
        assert not agent.lines("EventMemberFailed")


async def test_t16_without_datagrams_and_streams_we_fail(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    first, second = await agents.pool("first", "second")
    # Streams that it opens itself would still tell it what others say of it.
    node = await ours.node(push_pull_interval_seconds=0, reconnect_interval_seconds=3600.0)
    await node.join([first.bind])
    await second.sees(ours="alive")
    deafness = Deafness(node)
    deafness.datagrams()
    deafness.streams()
    for agent in (first, second):
        await agent.sees(ours="failed")
    deafness.end()
    # The few datagrams with the verdict may have come too early for it to hear.
    await node.join([first.bind])
    for agent in (first, second):
        await agent.sees(ours="alive")
    await sees(node, first="alive", second="alive")


async def test_t20_local_timing_on_both_sides(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    theirs = await agents.start(profile="local")
    node = await _untuned(ours, LocalOptions)
    await node.join([theirs.bind])
    await theirs.sees(ours="alive")
    await node.stop()
    await theirs.sees(ours="failed")
    # One probe a second; with nobody to confirm, a suspicion lasts 3 s. The log has whole seconds.
    await theirs.logs("EventMemberFailed: ours")
    accused = log_seconds(theirs, "Suspect ours has failed")[0]
    assert log_seconds(theirs, "EventMemberFailed: ours")[0] - accused >= 2
    again = await _untuned(ours, LocalOptions)
    await again.join([theirs.bind])
    await theirs.sees(ours1="alive")
    await theirs.end()
    assert await _suspected_for(again, "theirs") >= 3.0


async def test_t20_we_are_patient_over_a_wan(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    theirs = await agents.start(profile="wan")
    node = await _untuned(ours, WanOptions)
    await node.join([theirs.bind])
    await sees(node, theirs="alive")
    theirs.signal(signal.SIGSTOP)
    await until(lambda: "theirs" in node.pool.swim.suspicions, "theirs is suspected")
    # 30 s: on a LAN it would be 4.
    suspicion = node.pool.swim.suspicions["theirs"]
    assert suspicion.deadline - suspicion.started == pytest.approx(30.0, abs=0.01)
    theirs.signal(signal.SIGCONT)
    await until(lambda: "theirs" not in node.pool.swim.suspicions, "theirs has refuted")
    assert statuses(node) == {"ours": "alive", "theirs": "alive"}


async def test_t20_serf_is_patient_over_a_wan(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    theirs = await agents.start(profile="wan")
    node = await _untuned(ours, WanOptions)
    await node.join([theirs.bind])
    await theirs.sees(ours="alive")
    deafness = Deafness(node)
    deafness.datagrams()
    deafness.streams()
    await theirs.logs("Suspect ours has failed")
    # On a LAN it would be over after 4 s.
    await _hold(5)
    assert (await theirs.statuses())["ours"] == "alive"
    deafness.end()
    # The next probe would tell it of the suspicion too, some seconds later.
    await node.join([theirs.bind])
    await until(lambda: node.pool.swim.me.incarnation > 1, "ours has refuted")
    await theirs.sees(ours="alive")
    assert not theirs.lines("EventMemberFailed")


@pytest.mark.slow
async def test_t20_wan_verdicts_take_half_a_minute(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    theirs = await agents.start(profile="wan")
    node = await _untuned(ours, WanOptions)
    await node.join([theirs.bind])
    await theirs.sees(ours="alive")
    await node.stop()
    await theirs.sees(ours="failed")
    await theirs.logs("EventMemberFailed: ours")
    accused = log_seconds(theirs, "Suspect ours has failed")[0]
    assert log_seconds(theirs, "EventMemberFailed: ours")[0] - accused >= 29
    again = await _untuned(ours, WanOptions)
    await again.join([theirs.bind])
    await theirs.sees(ours1="alive")
    await theirs.end()
    assert await _suspected_for(again, "theirs") >= 30.0


async def _suspected_for(node: Gossip, name: str) -> float:
    """How long a member was suspected before it had failed."""
    now, failed = SystemClock().monotonic, list[float]()
    node.listen(lambda event: failed.append(now()) if event.kind == "failed" else None)
    await until(lambda: name in node.pool.swim.suspicions, f"{name} is suspected")
    started = node.pool.swim.suspicions[name].started
    await until(lambda: bool(failed), f"{name} has failed")
    return failed[0] - started


async def _untuned(ours: Ours, profile: type[LocalOptions] | type[WanOptions]) -> Gossip:
    """A node with a profile's own figures, apart from waiting longer for streams."""
    plain = profile(bind_address="127.0.0.1")
    name = f"ours{len(ours.nodes) or ''}"
    figures = {field: getattr(plain, field) for field in SwimOptions.__struct_fields__}
    return await ours.node(name, **figures)


@both
async def test_t23_a_split_pool_converges(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours|other|theirs1|theirs2|theirs3"))
    theirs = await agents.pool("theirs1", "theirs2", "theirs3")
    mine = [await ours.node(), await ours.node("other")]
    for node in mine:
        await node.join([theirs[0].bind])
    everybody = dict.fromkeys(["ours", "other", *(agent.name for agent in theirs)], "alive")
    await _all_see(theirs, mine, everybody, everybody)
    wall = Wall(mine)
    wall.raise_()
    far = dict.fromkeys(("theirs1", "theirs2", "theirs3"), "failed")
    await _all_see(theirs, mine, everybody | {"ours": "failed", "other": "failed"}, everybody | far)
    # Both halves go on: what changes meanwhile must reach the others afterwards.
    mine[0].set_tags({"changed": "meanwhile"})
    await theirs[0].ask("tags", "-set", "changed=too")
    wall.remove()
    await _all_see(theirs, mine, everybody, everybody)

    async def told() -> bool:
        tags = [(await agent.members())["ours"].tags for agent in theirs]
        members = [node.member("theirs1") for node in mine]
        return tags == [{"changed": "meanwhile"}] * 3 and all(
            member is not None and member.tags == {"changed": "too"} for member in members
        )

    await until(told, "the new tags are known on both sides")


async def _all_see(
    theirs: list[Serf], mine: list[Gossip], they: dict[str, str], we: dict[str, str]
) -> None:
    for agent in theirs:
        await agent.sees(**they)
    for node in mine:
        await sees(node, **we)
