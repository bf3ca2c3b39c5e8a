"""Snapshot files: written by us and read by real serf, and the reverse."""

from __future__ import annotations

import signal
from pathlib import Path

from mesh.gossip.snapshot import read
from tests.gossip.serf.harness import Agents, Ours, sees, until, where


async def test_t22_serf_goes_on_with_our_snapshot(
    agents: Agents, ours: Ours, tmp_path: Path
) -> None:
    path, file = tmp_path / "ours.snapshot", tmp_path / "events"
    seed = await ours.node("seed")
    node = await ours.node("first", snapshot_path=str(path))
    await node.join([where(seed)])
    await sees(node, seed="alive")
    seed.fire("before", b"")
    heard: list[str] = []
    node.on_event(lambda event: heard.append(event.name))
    await until(lambda: heard == ["before"])
    await node.stop()
    last = node.pool.times()
    await sees(seed, first="failed")
    agents.allow("Error writing payload", "the handler ends before it has read what it is given")
    # An agent that takes the file over, and was told of nobody, finds the seed.
    handler = ["-event-handler", f'user=echo "$SERF_USER_EVENT" >> {file}']
    theirs = await agents.start("theirs", snapshot=path, more=handler)
    await theirs.logs("Re-joined to previously known node: seed")
    await sees(seed, theirs="alive")
    seed.fire("after", b"")
    await until(lambda: file.exists() and file.read_text().split() == ["after"])
    assert not theirs.lines("(?i)unrecognized snapshot line|failed to parse")
    stats = (await theirs.stats())["serf"]
    assert int(stats["event_time"]) > last.event >= 1
    assert int(stats["member_time"]) > last.member


async def test_t22_we_go_on_with_serfs_snapshot(agents: Agents, ours: Ours, tmp_path: Path) -> None:
    path = tmp_path / "theirs.snapshot"
    seed = await agents.start("seed")
    theirs = await agents.start("theirs", snapshot=path)
    await theirs.says("Successfully", "join", seed.bind)
    await seed.says("dispatched", "event", "before")
    await theirs.logs("Received event: user-event: before")
    # Not killed: serf keeps lines to itself until there are more, or it ends in order.
    theirs.signal(signal.SIGTERM)
    await theirs.wait()
    await seed.sees(theirs="failed")
    stored = read(path.read_bytes())
    assert stored.times.event == 1
    assert stored.bad_lines == 0
    assert set(stored.members) == {"seed", "theirs"}
    node = await ours.node("ours", snapshot_path=str(path))
    heard: list[str] = []
    node.on_event(lambda event: heard.append(event.name))
    assert node.pool.times() == stored.times
    assert await node.rejoin() == 1
    await sees(node, seed="alive", ours="alive")
    await seed.says("dispatched", "event", "after")
    await until(lambda: heard == ["after"])
