"""Scenarios with real serf about who is in the pool: joining, failing, leaving, coming back."""

from __future__ import annotations

import pytest

from mesh.gossip.members import MemberEvent
from tests.gossip.serf.harness import (
    Agents,
    Ours,
    Serf,
    bad,
    both,
    kill,
    log_seconds,
    sees,
    statuses,
    until,
    where,
)


@both
async def test_t01_we_join_serf(agents: Agents, ours: Ours) -> None:
    first, _ = await agents.pool("first", "second", tags={"kind": "real"})
    node = await ours.node("ours", {"role": "mesh", "zone": "ü"})
    assert await node.join([first.bind]) == 1
    # All of it came with the answer to the join.
    assert statuses(node) == {"ours": "alive", "first": "alive", "second": "alive"}
    for agent in agents.all:
        await agent.sees(ours="alive", first="alive", second="alive")
        shown = (await agent.members())["ours"]
        assert (shown.addr, shown.tags) == (where(node), {"role": "mesh", "zone": "ü"})
        member = node.member(agent.name)
        assert member is not None
        assert f"{member.address}:{member.port}" == agent.bind
        assert member.tags == {"kind": "real"}
        assert (member.protocol, member.delegate) == ((1, 5, 2), (2, 5, 5))
        await agent.logs(r"EventMemberJoin: ours 127\.")
    assert bad(node) == {}


@both
async def test_t02_serf_joins_us(agents: Agents, ours: Ours) -> None:
    node, other = await ours.node("ours"), await ours.node("other")
    await other.join([where(node)])
    theirs = await agents.start(tags={"kind": "real"})
    assert "Successfully joined cluster by contacting 1 nodes" in await theirs.ask(
        "join", where(node)
    )
    await theirs.sees(ours="alive", other="alive")
    for one in (node, other):
        await sees(one, theirs="alive")
        member = one.member("theirs")
        assert member is not None
        assert member.tags == {"kind": "real"}
    assert bad(node) == bad(other) == {}
    # One that has no seed to fall back on, and one that keeps trying.
    later = await agents.start("later", more=("-retry-join", where(other)))
    await later.sees(ours="alive", theirs="alive")
    assert "Error joining the cluster" in await theirs.ask("join", "127.0.0.1:1")


async def test_t04_serf_sees_us_die_after_the_suspicion(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("ours"))
    first, second = await agents.pool("first", "second", profile="lan")
    node = await ours.node()
    await node.join([first.bind])
    await second.sees(ours="alive")
    await node.stop()
    for agent in (first, second):
        await agent.sees(ours="failed", first="alive", second="alive")
        await agent.logs("EventMemberFailed: ours")
    # LAN, three members: suspected for 4 s, be it by one or by two. The log has whole seconds.
    accused = min(s for one in (first, second) for s in log_seconds(one, "Suspect ours has failed"))
    for agent in (first, second):
        await agent.logs("EventMemberFailed: ours")
        assert log_seconds(agent, "EventMemberFailed: ours")[0] - accused >= 3


async def test_t04_we_see_serf_die_after_the_suspicion(agents: Agents, ours: Ours) -> None:
    first, second = await agents.pool("first", "second")
    node = await ours.node()
    await node.join([first.bind])
    await sees(node, second="alive")
    events: list[MemberEvent] = []
    node.listen(events.append)
    await second.end()
    await until(lambda: "second" in node.pool.swim.suspicions)
    assert statuses(node)["second"] == "alive"
    await sees(node, second="failed", first="alive")
    assert [f"{event.kind} {event.member.name}" for event in events] == ["failed second"]
    await first.sees(second="failed", ours="alive")
    agents.allow(*kill("second"))


@both
async def test_t05_we_leave_and_serf_leaves(agents: Agents, ours: Ours) -> None:
    first, second = await agents.pool("first", "second")
    node, other = await ours.node("ours"), await ours.node("other")
    for one in (node, other):
        await one.join([first.bind])
    for agent in (first, second):
        await agent.sees(ours="alive", other="alive")
    await node.leave()
    await node.stop()
    for agent in (first, second):
        await agent.sees(ours="left", other="alive")
        await agent.logs("EventMemberLeave: ours")
        assert not agent.lines("EventMemberFailed|Suspect ours")
    events: list[MemberEvent] = []
    other.listen(events.append)
    assert "Graceful leave complete" in await second.ask("leave")
    await second.wait()
    await sees(other, second="left", first="alive", ours="left")
    await first.sees(second="left", other="alive")
    kinds = [(event.kind, event.member.name) for event in events]
    assert kinds[-1] == ("leave", "second")
    assert "failed" not in {kind for kind, _ in kinds}


@both
@pytest.mark.parametrize("ending", ["left", "failed"])
async def test_t06_we_come_back_at_a_higher_incarnation(
    agents: Agents, ours: Ours, ending: str
) -> None:
    agents.allow(*kill("ours"))
    first, second = await agents.pool("first", "second")
    node, witness = await ours.node("ours"), await ours.node("witness")
    for one in (node, witness):
        await one.join([first.bind])
    await second.sees(ours="alive", witness="alive")
    await sees(witness, ours="alive")
    if ending == "left":
        await node.leave()
    await node.stop()
    for agent in (first, second):
        await agent.sees(ours=ending)
    await sees(witness, ours=ending)
    before = witness.member("ours")
    assert before is not None
    again = await ours.again(node)
    await again.join([first.bind])
    for agent in (first, second):
        await agent.sees(ours="alive")
    await sees(witness, ours="alive")
    after = witness.member("ours")
    assert after is not None
    assert after.incarnation > before.incarnation
    assert again.pool.swim.me.incarnation >= after.incarnation


@pytest.mark.parametrize("ending", ["left", "failed"])
async def test_t06_serf_comes_back(agents: Agents, ours: Ours, ending: str) -> None:
    agents.allow(*kill("second"))
    first, second = await agents.pool("first", "second")
    node = await ours.node()
    await node.join([first.bind])
    await sees(node, second="alive")
    if ending == "left":
        await second.ask("leave")
        await second.wait()
    await second.end()
    await sees(node, second=ending)
    await first.sees(second=ending)
    gone = node.member("second")
    assert gone is not None
    await second.start()
    await second.says("Successfully", "join", where(node))
    await sees(node, second="alive")
    await first.sees(second="alive")
    back = node.member("second")
    assert back is not None
    assert back.incarnation > gone.incarnation


@both
async def test_t11_tags_change_both_ways(agents: Agents, ours: Ours) -> None:
    first, second = await agents.pool("first", "second", tags={"kind": "real", "x": "1"})
    node = await ours.node("ours", {"role": "mesh"})
    await node.join([first.bind])
    events: list[MemberEvent] = []
    node.listen(events.append)
    for tags in ({"role": "other", "long": "y" * 300}, {}, {"role": "ü", "empty": ""}):
        node.set_tags(tags)
        for agent in (first, second):

            async def shown(agent: Serf = agent, tags: dict[str, str] = tags) -> bool:
                return (await agent.members())["ours"].tags == tags

            await until(shown, f"{agent.name} shows {tags}")
    assert "Successfully updated" in await second.ask(
        "tags", "-set", "kind=changed", "-set", "new=ö", "-delete", "x"
    )
    await until(lambda: _tags(events, "second") == {"kind": "changed", "new": "ö"})
    assert statuses(node) == {"ours": "alive", "first": "alive", "second": "alive"}
    for agent in (first, second):
        assert not agent.lines("EventMember(Failed|Leave)")


def _tags(events: list[MemberEvent], name: str) -> dict[str, str]:
    updates = [e.member for e in events if e.kind == "update" and e.member.name == name]
    return updates[-1].tags if updates else {}


@both
async def test_t12_a_live_member_refuses_to_leave(agents: Agents, ours: Ours) -> None:
    first, second = await agents.pool("first", "second")
    node = await ours.node()
    await node.join([first.bind])
    for agent in (first, second):
        # Before this, the leave could have the same Lamport time as the join, and beat it.
        await agent.logs("messageJoinType: ours")
    # It has been leaving when the command is over.
    await first.ask("force-leave", "ours")
    for agent in (first, second):
        await agent.sees(ours="alive")
    await sees(node, ours="alive")
    await node.force_leave("second")
    assert statuses(node)["second"] == "leaving"
    await sees(node, second="alive")
    await first.sees(second="alive")
    for agent in (first, second):
        assert not agent.lines("EventMember(Failed|Leave)")


async def test_t12_failed_members_are_made_to_leave(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("mine|dead"))
    first, dead = await agents.pool("first", "dead")
    node, mine = await ours.node(), await ours.node("mine")
    for one in (node, mine):
        await one.join([first.bind])
    await sees(node, dead="alive", mine="alive")
    await dead.end()
    await mine.stop()
    await first.sees(dead="failed", mine="failed")
    await sees(node, dead="failed", mine="failed")
    # Ours by theirs, theirs by ours.
    await first.ask("force-leave", "mine")
    await sees(node, mine="left")
    await node.force_leave("dead")
    await first.sees(dead="left", mine="left", ours="alive")


async def test_t12_members_are_forgotten(agents: Agents, ours: Ours) -> None:
    agents.allow(*kill("dead"))
    first, dead = await agents.pool("first", "dead")
    node, mine = await ours.node(), await ours.node("mine")
    for one in (node, mine):
        await one.join([first.bind])
    await sees(node, dead="alive", mine="alive")
    await dead.end()
    await sees(mine, dead="failed")
    await mine.leave()
    await mine.stop()
    await first.sees(dead="failed", mine="left")
    await sees(node, dead="failed", mine="left")
    # Ours by theirs, theirs by ours.
    await first.ask("force-leave", "-prune", "mine")
    await until(lambda: "mine" not in statuses(node))
    await node.force_leave("dead", prune=True)

    async def alone() -> bool:
        return await first.statuses() == {"first": "alive", "ours": "alive"}

    await until(alone, "first has forgotten both")
    assert statuses(node) == {"first": "alive", "ours": "alive"}
