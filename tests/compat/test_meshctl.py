"""meshctl against a real node: what the cases of tests/cases/cli say of a scripted one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import TOP, eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevNode]:
    with dev_node(tmp_path_factory.mktemp("meshctl")) as started:
        yield started


def meshctl(
    node: DevNode, *words: str, stdin: bytes = b"", code: int = 0, timeout: float = 30
) -> bytes:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "mesh.cli.main", *words],
        cwd=TOP,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=timeout,
        env=os.environ | {"MESH_HTTP_ADDR": node.address},
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert b"\x1b" not in done.stderr, "no progress in a pipe"
    return done.stdout


def test_pairs_go_out_and_in_again(node: DevNode) -> None:
    value = bytes(range(256))
    meshctl(node, "kv", "put", "-flags", "7", "out/bytes", "-", stdin=value)
    meshctl(node, "kv", "put", "out/empty")
    saved = meshctl(node, "kv", "export", "out/")
    meshctl(node, "kv", "delete", "-recurse", "out/")
    said = meshctl(node, "kv", "import", "-prefix", "copy/", "-", stdin=saved)
    assert said.splitlines() == [b"Imported: copy/out/bytes", b"Imported: copy/out/empty"]
    assert meshctl(node, "kv", "get", "-raw", "copy/out/bytes") == value
    (pair,) = json.loads(meshctl(node, "kv", "export", "copy/out/b"))
    assert pair["flags"] == 7


WATCHES: list[tuple[tuple[str, ...], str]] = [
    (("-type", "key", "-key", "watched"), "watched"),
    (("-type", "keyprefix", "-prefix", "watch"), "watched"),
    (("-type", "services"), "mesh"),
    (("-type", "nodes", "-filter", "Node == dev"), "dev"),
    (("-type", "service", "-service", "mesh", "-passingonly"), "dev"),
    (("-type", "checks", "-state", "passing"), "serfHealth"),
    (("-type", "checks", "-service", "none"), "[]"),
    (("-type", "event", "-name", "watched"), "watched"),
]


@pytest.mark.parametrize(("words", "told"), WATCHES, ids=lambda value: "".join(value)[:30])
def test_every_type_of_watch(node: DevNode, words: tuple[str, ...], told: str) -> None:
    meshctl(node, "kv", "put", "watched", "1")
    meshctl(node, "event", "-name", "watched")
    assert told in meshctl(node, "watch", *words).decode()


def test_a_watch_tells_its_handler(node: DevNode, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    words = ["watch", "-type", "key", "-key", "handled", f"cat >> {heard}; echo --- >> {heard}"]
    command = [sys.executable, "-m", "mesh.cli.main", *words]
    environment = os.environ | {"MESH_HTTP_ADDR": node.address}

    def values() -> list[Any]:
        told = heard.read_text().split("---\n")[:-1] if heard.exists() else []
        return [found["Value"] if (found := json.loads(one)) else None for one in told]

    process = subprocess.Popen(command, cwd=TOP, env=environment)
    try:
        eventually(lambda: values() == [None])
        meshctl(node, "kv", "put", "handled", "1")
        eventually(lambda: values() == [None, "MQ=="])
        meshctl(node, "kv", "put", "other", "1")
        meshctl(node, "kv", "put", "handled", "2")
        eventually(lambda: values() == [None, "MQ==", "Mg=="])
    finally:
        process.terminate()
        process.wait()


def test_a_bundle_of_a_real_node(node: DevNode, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    meshctl(node, "debug", "-duration", "500ms", "-output", str(output))
    with tarfile.open(f"{output}.tar.gz") as packed:
        names = {Path(name).name for name in packed.getnames()}
        index = packed.extractfile("bundle/index.json")
        assert index is not None
        found = json.load(index)
    assert found["Failed"] == {}
    assert {"agent.json", "host.json", "members.json", "cluster.json", "usage.json"} <= names
    assert {"autopilot.json", "metrics-000.json", "agent.log", "index.json"} <= names


READING = (
    "members", "catalog nodes", "catalog services", "catalog datacenters", "info", "version",
    "kv list", "kv export", "session list", "query list", "operator raft list-peers",
    "operator raft status", "operator autopilot state", "operator autopilot health",
    "operator autopilot get-config", "operator upgrade status", "operator usage instances",
    "reachability", "guard status",
)  # fmt: skip


@pytest.mark.parametrize("words", READING)
def test_what_reads_gives_json(node: DevNode, words: str) -> None:
    json.loads(meshctl(node, *words.split(), "--format", "json"))
