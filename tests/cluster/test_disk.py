"""Disks that fill, fail or are read-only, under real servers: one clear line, nothing lost."""

from __future__ import annotations

import base64
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.disks import Confined, SmallDisk, can_mount, small_disk
from tests.cluster.processes import Cluster, Meshd, eventually
from tests.daemon.network import network
from tests.daemon.test_main import files, ready, refused, running, server

pytestmark = pytest.mark.together
mounts = pytest.mark.skipif(not can_mount(), reason="needs root, for a mount namespace")
ADDRESS = network(11)
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 48) as made:
        yield made


def confined(tmp_path: Path, disk: SmallDisk, **config: Any) -> Confined:
    return Confined(
        "s1", ADDRESS, tmp_path / "s1", disk, {"server": True, "bootstrap": True, **config}
    )


def refusal(node: Meshd, key: str = "refused") -> str:
    """What a write is refused with; empty when it is taken."""
    try:
        node.put(f"/v1/kv/{key}", b"x")
    except OSError as error:
        return str(error)
    return ""


def value(node: Meshd, key: str) -> bytes:
    return base64.b64decode(node.get(f"/v1/kv/{key}?stale")[0]["Value"])


def journal(folder: Path) -> Path:
    (found,) = folder.rglob("*.journal")
    return found


def ends(node: Meshd, *words: str) -> None:
    """It ends by itself with exit code 1 and one line, the last, that has these words."""
    assert node.process is not None
    assert node.process.wait(60) == 1, node.log()
    plain = [line for line in node.log().splitlines() if line.startswith("meshd: ")]
    assert len(plain) == 1, node.log()
    assert "Traceback" not in node.log()
    for word in words:
        assert word in plain[0]


def fill_until_it_ends(node: Meshd) -> dict[str, bytes]:
    """Write until the server ends; what was acknowledged."""
    kept: dict[str, bytes] = {}
    for number in range(2000):
        sent = b"%d " % number * 8192
        try:
            done = node.put(f"/v1/kv/big/{number}", sent)
        except OSError:
            return kept
        assert done is True
        kept[f"big/{number}"] = sent
    raise AssertionError("it never ended")


def holds(node: Meshd, kept: dict[str, bytes]) -> bool:
    return all(value(node, key) == sent for key, sent in kept.items())


@mounts
@pytest.mark.netns
def test_below_the_floor_writes_are_refused_and_reads_served(
    tmp_path: Path, disk: SmallDisk
) -> None:
    node = confined(tmp_path, disk, raft_disk_floor="8MiB")
    with running(node):
        eventually(lambda: ready(node))
        assert node.put("/v1/kv/a", b"1") is True
        disk.leave(4 * MIB)
        told = eventually(lambda: refusal(node))
        assert "507 this server's disk has 3 MiB left" in told or "has 4 MiB left" in told
        assert "below raft_disk_floor (8 MiB); free space or lower the floor" in told
        for consistency in ("", "?stale", "?consistent"):
            assert node.get(f"/v1/kv/a{consistency}")[0]["Value"]
        assert node.leads()
        disk.empty()
        assert eventually(lambda: node.put("/v1/kv/b", b"2")) is True
        disk.leave(4 * MIB)
        eventually(lambda: refusal(node))
        node.config["raft_disk_floor"] = "1MiB"
        node.write_config()
        node.signal(signal.SIGHUP)
        assert eventually(lambda: node.put("/v1/kv/c", b"3")) is True
        assert node.stop() == 0
    assert "Traceback" not in node.log()


@mounts
@pytest.mark.netns
def test_a_full_disk_ends_the_server_and_nothing_acknowledged_is_lost(
    tmp_path: Path, disk: SmallDisk
) -> None:
    node = confined(tmp_path, disk, raft_disk_floor=0)
    with running(node):
        eventually(lambda: ready(node))
        disk.leave(2 * MIB)
        kept = fill_until_it_ends(node)
        ends(node, str(disk.folder), ".journal: No space left on device")
        assert kept
        assert disk.free < MIB
        before = files(disk.seen / "data")
        node.start()
        # Where even a start finds no room, it says so and changes nothing; or it starts.
        disk.empty()
        node.kill()
        after = files(disk.seen / "data")
        changed = {name for name in before if after.get(name) != before[name]}
        assert all(name.endswith(".journal") or "serf" in name for name in changed)
        node.start()
        eventually(lambda: holds(node, kept))
        assert eventually(lambda: node.put("/v1/kv/more", b"1")) is True


def snapshots(disk: SmallDisk) -> list[Path]:
    """Those of the log; gossip keeps one too."""
    return [path for path in disk.seen.rglob("*.snapshot") if "raft" in path.parts]


@mounts
@pytest.mark.netns
def test_a_snapshot_is_made_only_where_it_fits(tmp_path: Path, disk: SmallDisk) -> None:
    node = confined(
        tmp_path,
        disk,
        raft_disk_floor="4MiB",
        raft_snapshot_threshold=64,
        raft_snapshot_interval="0s",
    )
    with running(node):
        eventually(lambda: ready(node))
        for number in range(40):
            node.put(f"/v1/kv/{number}", b"x" * 200_000)
        disk.leave(6 * MIB)
        for number in range(100):
            node.put(f"/v1/kv/small/{number}", b"x")
        assert node.leads()
        assert not snapshots(disk)
        disk.empty()
        eventually(lambda: snapshots(disk))


@mounts
@pytest.mark.netns
def test_a_read_only_disk_is_named_and_left_alone(tmp_path: Path, disk: SmallDisk) -> None:
    node = confined(tmp_path, disk)
    with running(node):
        eventually(lambda: ready(node))
        assert node.put("/v1/kv/k", b"v") is True
        assert node.stop() == 0
    before = files(disk.seen)
    disk.remount("ro")
    refused(node, f"data_dir {disk.folder}", "Read-only file system")
    assert files(disk.seen) == before
    disk.remount("rw")
    (node.folder / "log").unlink()
    with running(node):
        eventually(lambda: value(node, "k") == b"v")


@mounts
@pytest.mark.netns
def test_a_cluster_goes_on_without_the_server_whose_disk_is_full(
    tmp_path: Path, disk: SmallDisk
) -> None:
    made = Cluster(tmp_path, servers=3, agents=0)
    for each in made.servers:
        each.config["raft_disk_floor"] = "8MiB"
    try:
        made.servers[0].config["data_dir"] = str(disk.folder / "data")
        made.servers[0].prefix = disk.enter
        made.start()
        full = made.servers[0]
        others = made.servers[1:]
        assert full.put("/v1/kv/before", b"1") is True
        eventually(lambda: value(full, "before") == b"1")
        if not full.leads():
            node_id = full.get("/v1/agent/self")["Config"]["NodeID"]
            path = f"/v1/operator/raft/transfer-leader?id={node_id}"
            eventually(lambda: others[0].ask("POST", path))
            eventually(full.leads)
        disk.leave(4 * MIB)
        eventually(lambda: "no writes are taken" in full.log())
        # Leadership goes to a server that has room.
        eventually(lambda: any(other.leads() for other in others))
        eventually(lambda: others[0].put("/v1/kv/first", b"x"))
        for number in range(20):
            assert others[0].put(f"/v1/kv/n{number}", b"x") is True
        assert full.get("/v1/kv/before?stale")
        assert value(others[1], "n0") == b"x"
        with pytest.raises(OSError, match="404"):
            full.get("/v1/kv/n19?stale")
        disk.empty()
        eventually(lambda: value(full, "n19") == b"x")
    except BaseException:
        for each in made.servers:
            print(f"---- {each.name} ----\n{each.log()[-3000:]}")
        raise
    finally:
        made.stop()


def test_a_write_that_the_system_refuses_ends_the_server_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    node = server(tmp_path)
    with running(node):
        eventually(lambda: ready(node))
        kept = {}
        for number in range(30):
            kept[f"first/{number}"] = b"%d" % number * 4000
            assert node.put(f"/v1/kv/first/{number}", kept[f"first/{number}"]) is True
        path = journal(Path(node.config["data_dir"]))
        assert node.process is not None
        # The log of the process is far smaller, so it can still be written.
        limit = path.stat().st_size + 100_000
        assert (node.folder / "log").stat().st_size + 20_000 < limit
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        kept |= fill_until_it_ends(node)
        ends(node, f"{path}: File too large")
        node.start()
        eventually(lambda: holds(node, kept))


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    node = server(tmp_path)
    with running(node):
        eventually(lambda: ready(node))
        assert node.stop() == 0
    data = Path(node.config["data_dir"])
    before = files(data)
    (folder,) = data.rglob("journal")
    folder.chmod(0o500)
    journal(data).chmod(0o400)
    try:
        if os.access(folder, os.W_OK):
            pytest.skip("root may write everywhere")
        refused(node, str(folder), "Permission denied")
    finally:
        folder.chmod(0o700)
        journal(data).chmod(0o600)
    assert {name: data for name, data in files(data).items() if "raft" in name} == {
        name: data for name, data in before.items() if "raft" in name
    }
