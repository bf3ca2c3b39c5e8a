"""Data that is damaged, foreign or newer: one clear line, nothing overwritten, and it can mend."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.processes import TOP, Meshd, cluster, eventually
from tests.daemon.test_main import files, has_key, ready, refused, running, server

OPERATIONS = (TOP / "docs" / "operations.md").read_text()
pytestmark = pytest.mark.together


def made(tmp_path: Path, name: str = "s1") -> tuple[Meshd, Path]:
    """A stopped server with `k1`, a snapshot and entries after it; the folder of its epoch."""
    node = server(tmp_path, name, raft_snapshot_threshold=32, raft_snapshot_interval="0s")
    data = Path(node.config["data_dir"])
    with running(node):
        eventually(lambda: ready(node))
        assert node.put("/v1/kv/k1", b"v1") is True
        for number in range(40):
            assert node.put(f"/v1/kv/more/{number}", b"x" * 100) is True
        eventually(lambda: list((data / "raft").rglob("*.snapshot")))
        assert node.stop() == 0
    (folder,) = (data / "raft").glob("epoch-*")
    return node, folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.rglob(pattern)
    return found


def flip_in_the_middle(folder: Path) -> Path:
    path = only(folder, "*.journal")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return path


def newer_journal(folder: Path) -> Path:
    path = only(folder, "*.journal")
    path.write_bytes(b"MESHJNL9" + path.read_bytes()[8:])
    return path


def half_a_snapshot(folder: Path) -> Path:
    path = only(folder, "*.snapshot")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def an_empty_snapshot(folder: Path) -> Path:
    path = only(folder, "*.snapshot")
    path.write_bytes(b"")
    return path


def no_journal(folder: Path) -> Path:
    shutil.rmtree(folder / "journal")
    return folder / "journal"


def no_snapshot(folder: Path) -> Path:
    only(folder, "*.snapshot").unlink()
    return folder


def newer_record(folder: Path) -> Path:
    path = folder / "epoch.json"
    record = json.loads(path.read_bytes())
    record["format"] = 99
    path.write_text(json.dumps(record))
    return path


def changed_record(folder: Path) -> Path:
    path = folder / "epoch.json"
    path.write_bytes(path.read_bytes().replace(b'"number": 1', b'"number": 2'))
    return path


DAMAGE: list[tuple[Callable[[Path], Path], str]] = [
    (flip_in_the_middle, "damaged at byte"),
    (newer_journal, "written by another mesh"),
    (half_a_snapshot, "restore this server"),
    (an_empty_snapshot, "restore this server"),
    (no_journal, "the journal is missing"),
    (no_snapshot, "but the newest snapshot ends at"),
    (newer_record, "upgrade mesh"),
    (changed_record, "checksum"),
]


def test_damage_is_named_and_left_alone_and_mends_when_restored(tmp_path: Path) -> None:
    node, folder = made(tmp_path)
    good = tmp_path / "good"
    raft = folder.parent
    shutil.copytree(raft, good)
    for damage, words in DAMAGE:
        path = damage(folder)
        before = files(raft)
        (node.folder / "log").unlink()
        refused(node, str(path), words)
        assert words in OPERATIONS
        assert files(raft) == before, damage.__name__
        shutil.rmtree(raft)
        shutil.copytree(good, raft)
    with running(node):
        eventually(lambda: has_key(node))
        assert node.put("/v1/kv/k2", b"v2") is True


def test_the_log_of_another_server_is_refused(tmp_path: Path) -> None:
    node, folder = made(tmp_path)
    other, theirs = made(tmp_path, "s2")
    own = tmp_path / "own"
    folder.parent.rename(own)
    shutil.copytree(theirs.parent, folder.parent)
    before = files(folder.parent)
    (node.folder / "log").unlink()
    known = json.loads((Path(other.config["data_dir"]) / "mesh.json").read_text())["node_id"]
    refused(node, str(folder / "journal"), f"journal of node {known}", "put its own data back")
    assert files(folder.parent) == before
    shutil.rmtree(folder.parent)
    own.rename(folder.parent)
    with running(node):
        eventually(lambda: has_key(node))


def test_what_a_kill_left_half_written_is_no_damage(tmp_path: Path) -> None:
    node, folder = made(tmp_path)
    journal = only(folder, "*.journal")
    journal.write_bytes(journal.read_bytes() + b"\0\0\0\x20torn")
    (folder / "snapshots" / "own.part").write_bytes(b"half")
    (folder / "snapshots" / "incoming.part").write_bytes(b"half")
    (folder / "epoch.json.new").write_bytes(b"{")
    with running(node):
        eventually(lambda: has_key(node))
        assert node.put("/v1/kv/k2", b"v2") is True


def test_a_damaged_server_of_three_comes_back_with_an_empty_directory(tmp_path: Path) -> None:
    """The way out that docs/operations.md gives, step by step."""
    with cluster(tmp_path, servers=3, agents=0) as three:
        assert three.leader().meshctl(
            "operator", "autopilot", "set-config", "-server-stabilization-time=500ms"
        ).returncode == 0  # fmt: skip
        ill = next(one for one in three.servers if not one.leads())
        others = [one for one in three.servers if one is not ill]
        for number in range(20):
            assert others[0].put(f"/v1/kv/{number}", b"%d" % number) is True
        assert ill.stop() == 0
        data = Path(ill.config["data_dir"])
        (folder,) = (data / "raft").glob("epoch-*")
        path = flip_in_the_middle(folder)
        (ill.folder / "log").unlink()
        refused(ill, str(path), "damaged at byte")
        # The others do not miss it.
        assert others[1].put("/v1/kv/meanwhile", b"1") is True
        data.rename(tmp_path / "bad")
        ill.start()
        eventually(lambda: ill.get("/v1/kv/meanwhile?stale"))
        assert len(ill.get("/v1/kv/?recurse&stale")) == 21
        # It votes again, and nobody votes in its old name: without either of the others it goes on.

        def voters() -> set[tuple[str, str]]:
            found = others[0].get("/v1/operator/raft/configuration")["Servers"]
            return {(one["Node"], one["ID"]) for one in found if one["Voter"]}

        new = ill.get("/v1/agent/self")["Config"]["NodeID"]
        eventually(lambda: (ill.name, new) in voters())
        eventually(lambda: len(voters()) == 3)
        others[1].kill()
        assert eventually(lambda: ill.put("/v1/kv/after", b"2")) is True
