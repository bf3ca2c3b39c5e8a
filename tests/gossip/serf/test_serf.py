"""Gossip with a real serf agent: what came up beside the numbered scenarios."""

from __future__ import annotations

from mesh.gossip.messages import VERSIONS
from tests.gossip.serf.harness import Agents, Ours, bad, sees, statuses, until, where


async def test_serf_and_two_of_us_see_who_left(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start(tags={"kind": "real"})
    node = await ours.node("ours", {"role": "mesh"}, gossip_to_the_dead_seconds=5.0)
    other = await ours.node("other")
    await other.join([where(node)])
    await theirs.says("Successfully", "join", where(node))
    for one in (node, other):
        await sees(one, theirs="alive")
    member = node.member("theirs")
    assert member is not None
    assert member.tags == {"kind": "real"}
    assert member.protocol[1] >= VERSIONS[2]
    await theirs.says("role=mesh", "members", "-detailed")
    await other.leave()
    await other.stop()
    await theirs.sees(other="left")
    await theirs.ask("leave")
    await sees(node, theirs="left")


async def test_a_leave_that_serf_keeps_to_itself_is_refuted(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node = await ours.node()
    assert await node.join([theirs.bind]) == 1
    # Before this, the leave would have the same Lamport time as the join, and beat it.
    await theirs.logs("messageJoinType: ours")
    # A live member that is made to leave says that it is still here. As there is no third, serf
    # does not send its intent: we learn of it by push/pull.
    await theirs.ask("force-leave", "ours")
    await theirs.sees(ours="alive")
    assert statuses(node) == {"ours": "alive", "theirs": "alive"}
    assert bad(node) == {}


async def test_serf_holds_our_death_against_us_until_we_refute(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node = await ours.node()
    await node.join([theirs.bind])
    await theirs.sees(ours="alive")
    await node.stop()
    await theirs.sees(ours="failed")
    again = await ours.again(node)
    await again.join([theirs.bind])
    await theirs.sees(ours="alive")
    await until(lambda: again.pool.swim.me.incarnation > 1)
    await theirs.end()
    await sees(again, theirs="failed")
