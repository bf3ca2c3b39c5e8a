"""Figures of a running log: what status tells, and what a full disk does to snapshots."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from mesh.raft.figures import SNAPSHOT_PAUSE_SECONDS, Figures, SnapshotFigures
from tests.raft.cluster import Cluster, until
from tests.sim.clock import HostClock, Timeline


async def test_status_tells_how_a_leader_its_disk_and_its_followers_are(tmp_path: Path) -> None:
    async with Cluster(tmp_path, threshold=50) as cluster:
        leader = await cluster.leader()
        for number in range(120):
            await leader.ask("propose", f"{number}")

        async def caught_up() -> Any:
            status = await leader.ask("status")
            even = all(one["lag"] == 0 for one in status["followers"].values())
            return status if even and status["snapshot_index"] else None

        status = await until(caught_up)
        others = {server.me.name for server in cluster.servers if server is not leader}
        assert set(status["followers"]) == others
        for one in status["followers"].values():
            assert one["match"] == status["last_index"]
            assert one["connected"]
            assert 0 <= one["last_contact"] < 10
            assert not one["snapshot"]
        assert status["leader"] == leader.me.name
        assert status["epoch"] == 1
        assert status["term"] >= 1
        assert status["commit_index"] == status["applied_index"] == status["last_index"]
        assert status["durable_index"] == status["last_index"] == status["log"][1] > 120
        assert status["sync"]["count"] > 0
        assert 0 < status["sync"]["p50"] <= status["sync"]["p99"] <= status["sync"]["max"]
        assert status["commit"]["total"] == 120
        assert status["stall"]["count"] > 0
        assert status["journal_segments"] == 1
        # Some bytes a command, and all of it in one segment.
        assert status["journal_size"] > 120 * 25
        assert status["snapshot_bytes"] > 0
        assert 0 <= status["snapshot_age"] < 60
        assert status["snapshot_failures"] == 0
        assert status["disk_free"] > status["disk_floor"] > 0
        assert status["disk_low"] is False

        follower = next(server for server in cluster.servers if server is not leader)
        status = await follower.ask("status")
        assert status["followers"] == {}
        assert status["leader"] == leader.me.name


def test_a_snapshot_that_found_no_space_is_tried_again_after_a_pause() -> None:
    timeline = Timeline(100.0)
    figures = SnapshotFigures(HostClock(timeline))
    full = OSError(errno.ENOSPC, "No space left on device", "/x/own.part")
    assert not figures.held_back()
    for failure in (1, 2):
        figures.began()
        assert figures.ended(full)
        assert figures.failures == failure
        assert figures.reason == "/x/own.part: No space left on device"
        assert figures.held_back()
        timeline.now += SNAPSHOT_PAUSE_SECONDS
        assert not figures.held_back()
    figures.began()
    assert not figures.ended(OSError(errno.EIO, "Input/output error"))
    figures.began()
    timeline.now += 3.0
    assert not figures.ended(None)
    assert (figures.failures, figures.reason, figures.times.summary().max) == (0, "", 3.0)
    assert not figures.held_back()


def test_a_timer_that_comes_late_is_a_stall_and_a_pause_is_none() -> None:
    timeline = Timeline(100.0)
    figures = Figures(HostClock(timeline))
    figures.tick(0.1)
    timeline.now += 0.1
    figures.tick(0.1)
    timeline.now += 0.6
    figures.tick(0.1)
    found = figures.stalls.summary()
    assert (found.count, round(found.max, 6)) == (2, 0.5)
    timeline.now += 100.0
    figures.pause()
    figures.tick(0.1)
    assert figures.stalls.summary().count == 0
