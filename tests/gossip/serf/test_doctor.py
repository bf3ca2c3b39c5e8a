"""The network doctor with real serf agents in the pool: they answer pings and no questions."""

from __future__ import annotations

from mesh.gossip.diagnosis import findings
from tests.gossip.serf.harness import Agents, Ours, sees, where


async def test_serf_is_tested_as_far_as_it_answers(agents: Agents, ours: Ours) -> None:
    theirs = await agents.start()
    node = await ours.node("ours")
    other = await ours.node("other")
    assert await node.join([theirs.bind]) == 1
    await other.join([where(node)])
    for one in (node, other):
        await sees(one, ours="alive", other="alive", theirs="alive")
    done = await node.examiner.examine()
    found = [one for one in findings(done) if one.kind != "slow"]
    assert [(one.kind, one.fault, one.target) for one in found] == [("silent", False, "theirs")]
    assert "is it mesh?" in found[0].text
    paths = {(path.source, path.target): path for path in done.paths()}
    assert set(paths) == {
        (source, target)
        for source in ("ours", "other")
        for target in ("ours", "other", "theirs")
        if source != target
    }
    to_them = paths["ours", "theirs"]
    assert to_them.heard == -1
    assert to_them.answered == to_them.sent
    assert to_them.large_heard == to_them.large_sent, "large pings were answered"
    assert to_them.tcp is not None
    # It says that it does not understand, and nothing worse; the fixture looks for errors.
    assert theirs.running
