"""What people do over the pool, on real processes: events, watches, jobs, distances."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import PATIENT, TOP, Cluster, Meshd, eventually

pytestmark = pytest.mark.together


KEY, OTHER = (base64.b64encode(byte * 32).decode() for byte in (b"k", b"o"))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that takes no jobs, and two agents that do; a1 watches. Gossip is encrypted."""
    folder = tmp_path_factory.mktemp("pool")
    made = Cluster(folder, servers=1, agents=2)
    for node in made.nodes:
        node.config |= {"encrypt": KEY, "gossip_lan": PATIENT}
    for agent in made.agents:
        agent.config["disable_remote_exec"] = False
    script = f'echo "$CONSUL_INDEX $(cat)" >> {folder}/told'
    made.agents[0].config["watches"] = [
        {"type": "event", "name": "deploy", "handler": script},
        {"type": "key", "key": "watched", "handler": f"cat >> {folder}/key; echo >> {folder}/key"},
    ]
    try:
        made.start()
        yield made
    except BaseException:
        for node in made.nodes:
            print(f"---- {node.name} ----\n{node.log()[-4000:]}")
        raise
    finally:
        made.stop()


def names(node: Meshd, query: str = "") -> list[str]:
    return [event["Name"] for event in node.get(f"/v1/event/list{query}")]


def test_an_event_reaches_whom_it_is_meant_for(pool: Cluster) -> None:
    a1, a2 = pool.agents
    done = a2.meshctl("event", "-name", "deploy", "-node", "^a", "1.4")
    assert done.returncode == 0, done.stderr
    eventually(lambda: [names(a1, "?name=deploy"), names(a2)] == [["deploy"], ["deploy"]])
    a2.meshctl("event", "-name", "all")
    for node in pool.nodes:
        eventually(lambda node=node: "all" in names(node))  # type: ignore[misc]
    assert "deploy" not in names(pool.servers[0])
    metrics = pool.servers[0].get("/v1/agent/metrics")["Counters"]
    assert "mesh.events.for_others" in {one["Name"] for one in metrics}
    big = a2.meshctl("event", "-name", "deploy", "x" * 600)
    assert big.returncode == 1
    assert "the limit is 512" in big.stderr


def test_watches_are_told_once(pool: Cluster) -> None:
    told = pool.folder / "told"
    before = told.read_text() if told.exists() else ""
    fired = pool.servers[0].ask("PUT", "/v1/event/fire/deploy", b"2.0")
    added = eventually(lambda: told.read_text().removeprefix(before))
    index, _, events = added.partition(" ")
    assert int(index) > 1
    assert [one["ID"] for one in json.loads(events)] == [fired["ID"]]
    key = pool.folder / "key"
    pool.servers[0].put("/v1/kv/watched", b"a")
    pool.servers[0].put("/v1/kv/other", b"b")
    last = eventually(lambda: json.loads(key.read_text().splitlines()[-1]))
    assert last["Key"] == "watched"
    # Whoever restarts is told nothing of before, but of the key's present state.
    seen = told.read_text()
    a1 = pool.agents[0]
    assert a1.stop() == 0
    a1.start()
    pool.wait_until_ready()
    fired = pool.servers[0].ask("PUT", "/v1/event/fire/deploy", b"3.0")
    added = eventually(lambda: told.read_text().removeprefix(seen))
    assert [one["ID"] for one in json.loads(added.partition(" ")[2])] == [fired["ID"]]


def test_meshctl_watch_follows(pool: Cluster) -> None:
    a2, said = pool.agents[1], pool.folder / "watched"
    environment = os.environ | {"MESH_HTTP_ADDR": f"{a2.address}:{a2.http}"}
    words = [
        "watch",
        "-type",
        "keyprefix",
        "-prefix",
        "followed/",
        f"cat >> {said}; echo >> {said}",
    ]
    command = [sys.executable, "-m", "mesh.cli.main", *words]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = subprocess.Popen(command, cwd=TOP, env=environment)
    signal.signal(signal.SIGINT, before)
    try:
        eventually(lambda: said.read_text() == "[]\n")
        a2.put("/v1/kv/followed/a", b"1")
        lines = eventually(lambda: said.read_text().splitlines()[1:])
        assert [pair["Key"] for pair in json.loads(lines[0])] == ["followed/a"]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(60) == 0
    finally:
        watching.kill()
        watching.wait()


def test_jobs_run_where_the_operator_lets_them(pool: Cluster) -> None:
    asked = pool.servers[0]
    done = asked.meshctl("exec", "-verbose", "-node", "1$", "true")
    assert done.stderr.splitlines() == [
        "a1: has taken it",
        "a1: ended with code 0",
        "1 of 1 nodes that took the job have ended it.",
    ]
    done = asked.meshctl("exec", "echo", "on", "$(hostname >/dev/null; echo it)")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["a1: on it", "a2: on it"]
    assert "2 of 2 nodes" in done.stderr
    done = asked.meshctl("exec", "-format", "json", "-node", "2$", "echo part; exit 3")
    assert done.returncode == 2
    assert json.loads(done.stdout)["Nodes"] == {"a2": {"Exit": 3, "Output": "part\n"}}
    done = asked.meshctl("exec", "-wait", "1s", "-node", "^s", "true")
    assert done.returncode == 1
    assert "disable_remote_exec = false" in done.stderr
    assert "is ignored; disable_remote_exec" in asked.log()
    assert not [key for key in asked.get("/v1/kv/?keys") if key.startswith("_rexec")]


def test_ctrl_c_ends_a_job_everywhere(pool: Cluster) -> None:
    a2, pids = pool.agents[1], pool.folder / "pids"
    environment = os.environ | {"MESH_HTTP_ADDR": f"{a2.address}:{a2.http}"}
    command = [sys.executable, "-m", "mesh.cli.main", "exec", f"echo $$ >> {pids}; sleep 300"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen(command, cwd=TOP, env=environment, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, before)
    try:
        found = eventually(lambda: pids.read_text().split()[:2][1:] and pids.read_text().split())
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        running.kill()
        running.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))
    eventually(lambda: not [key for key in a2.get("/v1/kv/?keys") if key.startswith("_rexec")])


def test_a_job_whose_asker_was_killed_ends_with_its_session(pool: Cluster) -> None:
    a2, pids = pool.agents[1], pool.folder / "killed-pids"
    environment = os.environ | {"MESH_HTTP_ADDR": f"{a2.address}:{a2.http}"}
    command = [sys.executable, "-m", "mesh.cli.main", "exec", f"echo $$ >> {pids}; sleep 300"]
    running = subprocess.Popen(command, cwd=TOP, env=environment, stderr=subprocess.DEVNULL)
    found = eventually(lambda: pids.read_text().split()[:2][1:] and pids.read_text().split())
    running.kill()
    running.wait()
    (session,) = [one["ID"] for one in a2.get("/v1/session/list") if one["Name"] == "meshctl exec"]
    held = [pair["Session"] for pair in a2.get("/v1/kv/_rexec/?recurse")]
    assert held == [session] * len(held)
    a2.put(f"/v1/session/destroy/{session}")  # Its TTL would do the same, later.
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))
    eventually(lambda: not [key for key in a2.get("/v1/kv/?keys") if key.startswith("_rexec")])


def test_everybody_can_be_reached_but_who_is_stopped(pool: Cluster) -> None:
    a1, a2 = pool.agents
    done = a1.meshctl("reachability")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "All 3 members" in done.stderr
    a2.signal(signal.SIGSTOP)
    try:
        found = a1.get("/v1/agent/reachability?wait=500ms")
    finally:
        a2.signal(signal.SIGCONT)
    assert found["Missing"] == ["a2"] or "a2" not in alive(a1)
    assert found["Acknowledged"] == ["a1", "s1"]
    eventually(lambda: alive(a1) == {"a1", "a2", "s1"})


def test_keys_are_changed_while_all_runs(pool: Cluster) -> None:
    a1, a2 = pool.agents
    eventually(lambda: alive(a1) == {"a1", "a2", "s1"})

    def keys() -> tuple[dict[str, int], dict[str, int]]:
        (ring,) = a2.get("/v1/operator/keyring")
        assert (ring["WAN"], ring["Datacenter"], ring["NumNodes"]) == (False, "dc1", 3), ring
        return ring["Keys"], ring["PrimaryKeys"]

    assert keys() == ({KEY: 3}, {KEY: 3})
    refused = a1.meshctl("keyring", "-use", OTHER)
    assert refused.returncode == 1
    assert "not every member did it" in refused.stderr
    for step in ("-install", "-use"):
        done = a1.meshctl("keyring", step, OTHER)
        assert done.returncode == 0, done.stderr
    assert keys() == ({KEY: 3, OTHER: 3}, {OTHER: 3})
    refused = a1.meshctl("keyring", "-remove", OTHER)
    assert refused.returncode == 1
    assert a1.meshctl("keyring", "-remove", KEY, "-relay-factor", "2").returncode == 0
    assert keys() == ({OTHER: 3}, {OTHER: 3})
    assert "3/3" in a2.meshctl("keyring", "-list-primary").stdout
    assert a2.meshctl("reachability").returncode == 0


def alive(node: Meshd) -> set[str]:
    return {one["Name"] for one in node.get("/v1/agent/members") if one["Status"] == 1}


def test_nodes_are_where_they_say(pool: Cluster) -> None:
    a1, a2 = pool.agents
    here = a1.get("/v1/agent/self")["Coord"]
    assert len(here["Vec"]) == 8

    def place(node: str, seconds: float) -> None:
        coord: dict[str, Any] = {"Vec": [seconds, *[0.0] * 7], "Error": 0.5, "Height": 1e-5}
        a1.put("/v1/coordinate/update", {"Node": node, "Coord": coord})

    a1.put("/v1/catalog/register", {"Node": "far", "Address": "10.0.0.1"})
    a1.put("/v1/catalog/register", {"Node": "further", "Address": "10.0.0.2"})
    place("far", 0.5)
    place("further", 0.75)
    eventually(lambda: {"far", "further"} <= told(a2))
    done = a2.meshctl("rtt", "far", "further")
    assert done.stdout == "Estimated far <-> further rtt: 250.020 ms (using LAN coordinates)\n"
    nearest = [node["Node"] for node in a2.get("/v1/catalog/nodes?near=further")]
    assert nearest[:2] == ["further", "far"]
    # The nodes of the pool tell it themselves.
    eventually(lambda: {"a1", "a2", "s1"} <= told(a2), 60)
    a1.put("/v1/catalog/deregister", {"Node": "far"})
    assert a2.get("/v1/coordinate/nodes?consistent")[0]["Node"] != "far"
    with pytest.raises(OSError, match="404"):
        a2.get("/v1/coordinate/node/far?consistent")


def told(node: Meshd) -> set[str]:
    return {place["Node"] for place in node.get("/v1/coordinate/nodes")}
