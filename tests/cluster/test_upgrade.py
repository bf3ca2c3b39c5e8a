"""Upgrades on real processes: two feature levels at once, back again, and no way back."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from mesh.errors import Conflict
from mesh.registry.levels import HIGHEST, Finalize
from mesh.registry.port import WriteOptions
from mesh.rpc.client import Client
from mesh.rpc.client import Options as ClientOptions
from tests.cluster.processes import Cluster, Meshd, certificates, eventually

pytestmark = pytest.mark.together


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Cluster]:
    """Three servers and an agent that act as programs of level 1 and snapshot often."""
    made = Cluster(tmp_path, servers=3, agents=1)
    for node in made.nodes:
        node.config["upgrade"] = {"level_max": 1}
        node.config |= {"raft_snapshot_threshold": 40, "raft_snapshot_interval": "0s"}
    try:
        made.start()
        yield made
    except BaseException:
        for node in made.nodes:
            print(f"---- {node.name} ----\n{node.log()[-4000:]}")
        raise
    finally:
        made.stop()


@contextmanager
def writing(agent: Meshd) -> Iterator[list[str]]:
    """Write one key after another meanwhile; those acknowledged."""
    stop, written = threading.Event(), list[str]()

    def write() -> None:
        while not stop.is_set():
            key = f"upgrade/{len(written):05}"
            eventually(lambda key=key: agent.put(f"/v1/kv/{key}", key.encode()))  # type: ignore[misc]
            written.append(key)

    with ThreadPoolExecutor(1) as threads:
        writer: Future[None] = threads.submit(write)
        try:
            yield written
        finally:
            stop.set()
        writer.result(60)


def more(written: list[str], count: int = 60) -> None:
    """Wait for so many more writes."""
    goal = len(written) + count
    eventually(lambda: len(written) >= goal)


def replace(running: Cluster, node: Meshd, level: int) -> None:
    """Stop the node and start it as a program of that level, and wait until it has caught up."""
    assert node.stop() == 0
    newest = next(one for one in running.nodes if one is not node).get("/v1/kv/upgrade/?keys")[-1]
    node.config["upgrade"] = {"level_max": level}
    node.start()
    eventually(lambda: node.get(f"/v1/kv/{newest}?stale"))
    eventually(lambda: speaks(running.servers[0], node) == level or node in running.agents)


def speaks(asked: Meshd, server: Meshd) -> int | None:
    known = asked.get("/v1/operator/upgrade")["Servers"]
    return next((one["LevelMax"] for one in known if one["Name"] == server.name), None)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def level(node: Meshd) -> int:
    found: int = node.get("/v1/operator/upgrade")["Level"]
    return found


def test_up_one_by_one_back_up_again_and_finalize(old: Cluster) -> None:
    agent, servers = old.agents[0], old.servers
    with writing(agent) as written:
        more(written)
        for server in servers:
            refused = agent.meshctl("operator", "upgrade", "finalize")
            if server is not servers[0]:
                assert refused.returncode == 1
                assert f"{server.name} (level 1)" in refused.stderr
                assert f"{servers[0].name} (level" not in refused.stderr
                asyncio.run(the_leader_refuses_too(old.leader(), server))
            assert level(server) == 1
            replace(old, server, HIGHEST)
            more(written)
        for server in servers:  # Nothing written so far keeps anybody from going back.
            replace(old, server, 1)
            more(written)
        for node in old.nodes:
            replace(old, node, HIGHEST)
        eventually(lambda: not agent.get("/v1/operator/upgrade")["WaitingFor"])
        for _ in range(2):
            done = agent.meshctl("operator", "upgrade", "finalize")
            assert done.returncode == 0, done.stderr
            assert f"The feature level is {HIGHEST}" in done.stdout
        more(written)
    for node in old.nodes:
        eventually(lambda node=node: level(node) == HIGHEST)  # type: ignore[misc]
        eventually(lambda node=node: node.get("/v1/kv/upgrade/?keys&stale") == written)  # type: ignore[misc]
    refuses_to_go_back(servers[1])
    eventually(lambda: servers[1].get("/v1/kv/upgrade/?keys&stale") == written)


async def the_leader_refuses_too(leader: Meshd, lagging: Meshd) -> None:
    """Whatever the node that was asked saw in gossip, the leader decides."""
    shown = certificates().beside(leader.folder).credentials("client", "test")
    asks = Client(ClientOptions("test", "dc1", credentials=shown))
    address = f"{leader.address}:{leader.server}"
    with pytest.raises(Conflict, match=rf"{lagging.name} \(level 1\)"):
        await asks.write(address, Finalize(2), WriteOptions(request=f"test {lagging.name}"))
    await asks.stop()


def refuses_to_go_back(server: Meshd) -> None:
    assert server.stop() == 0
    data = Path(server.config["data_dir"])
    before, said = digest(data), len(server.log())
    server.config["upgrade"] = {"level_max": 1}
    server.start()
    assert server.process is not None
    assert server.process.wait(60) == 1
    (line,) = [one for one in server.log()[said:].splitlines() if "newer mesh" in one]
    assert "data_dir" in line
    assert f"written by a newer mesh (level {HIGHEST}); upgrade mesh" in line
    assert "Traceback" not in server.log()[said:]
    assert digest(data) == before
    server.config["upgrade"] = {"level_max": HIGHEST}
    server.start()
