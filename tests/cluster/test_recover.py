"""Two of three servers are lost for good: an operator goes on from the one that is left."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import Meshd, cluster, eventually

pytestmark = pytest.mark.together


def recover(node: Meshd, *words: str) -> Any:
    folder = str(node.config["data_dir"])
    done = node.meshctl(
        "operator", "raft", "recover", "--data-dir", folder, *words, "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def voters(node: Meshd) -> set[str]:
    peers = node.get("/v1/operator/raft/configuration")["Servers"]
    return {peer["Node"] for peer in peers if peer["Voter"]}


def test_one_server_that_is_left_goes_on_and_new_ones_join_it(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=3, agents=1) as running:
        for number in range(20):
            assert running.agents[0].put(f"/v1/kv/key{number}", b"%d" % number) is True
        left, *lost = running.servers
        eventually(lambda: left.get("/v1/kv/key19?stale"))
        done = left.meshctl(
            "operator", "raft", "recover", "--data-dir", str(left.config["data_dir"])
        )
        assert done.returncode == 1
        assert "another mesh process uses it" in done.stderr
        for server in running.servers:
            server.kill()
        for server in lost:
            shutil.rmtree(server.config["data_dir"])
        before = recover(left, "--dry-run")
        assert recover(left)["StartIndex"] == before["index"]
        left.start()
        eventually(lambda: running.agents[0].put("/v1/kv/after", b"1") is True)
        values = running.agents[0].get("/v1/kv/key?recurse")
        held = {pair["Key"]: base64.b64decode(pair["Value"]) for pair in values}
        assert held == {f"key{number}": b"%d" % number for number in range(20)}
        assert "written by hand: recovered by" in left.log()
        done = left.meshctl(
            "operator", "autopilot", "set-config", "-server-stabilization-time=500ms"
        )
        assert done.returncode == 0, done.stderr
        for server in lost:
            server.start()
        eventually(lambda: voters(left) == {server.name for server in running.servers})
        left.kill()
        eventually(lambda: lost[0].put("/v1/kv/without", b"1") is True)
        assert lost[0].get("/v1/kv/key7")
