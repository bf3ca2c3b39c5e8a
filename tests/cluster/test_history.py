"""History on real processes: equal on all servers, through leaders and restarts, and bounded."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.client import Client, ReadOptions, Settings
from mesh.client.history import Change, Which
from mesh.errors import Conflict, NotFound
from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("history"), servers=3, agents=1) as made:
        yield made


def client(node: Meshd) -> Client:
    return Client(Settings(address=f"{node.address}:{node.http}", timeout_seconds=30.0))


def keys(node: Meshd, prefix: str, *, own: bool = False) -> list[Any]:
    """As the leader has it, or a server's own state."""
    found: list[Any] = node.get(f"/v1/history?prefix={prefix}{'&stale' if own else ''}")
    return found


def test_an_agent_tells_what_every_server_knows(three: Cluster) -> None:
    agent = three.agents[0]
    for value in (b"1", b"2"):
        agent.put("/v1/kv/same/a", value)
    agent.ask("DELETE", "/v1/kv/same/a")
    found = keys(agent, "same/")
    assert [(one["Op"], one["Origin"]) for one in found] == [
        ("kv.delete", "a1/http/127.0.0.1"),
        ("kv.set", "a1/http/127.0.0.1"),
        ("kv.set", "a1/http/127.0.0.1"),
    ]
    assert found[0]["Before"]["Value"] == "Mg=="
    for server in three.servers:
        eventually(lambda server=server: keys(server, "same/", own=True) == found)  # type: ignore[misc]


def test_a_read_blocks_until_its_key_changes(three: Cluster) -> None:
    agent = three.agents[0]
    agent.put("/v1/kv/block/a", b"1")
    with client(agent) as asking, client(agent) as writing:
        which = Which(key="block/a")
        answer = asking.history.changes(which)
        woken: list[list[Change]] = []

        def wait() -> None:
            options = ReadOptions(index=answer.index, wait_seconds=60.0)
            woken.append(asking.history.changes(which, options).value)

        waiting = threading.Thread(target=wait)
        waiting.start()
        writing.kv.put("block/b", "unrelated")
        writing.kv.put("block/a", "2")
        waiting.join(30.0)
    assert [change.new_value for change in woken[0]] == [b"2", b"1"]


def test_it_outlasts_the_leader_and_a_revert_says_so(three: Cluster) -> None:
    agent = three.agents[0]
    with client(agent) as asking:
        asking.kv.put("out/a", "1")
        asking.kv.put("out/a", "2")
        first = asking.history.changes(Which(key="out/a")).value[-1]
        leader = three.leader()
        leader.signal(signal.SIGKILL)
        assert leader.process is not None
        leader.process.wait()
        done = eventually(lambda: asking.history.revert("out/a", first.index))
        assert done.changed
        leader.start()
        three.wait_until_ready()
        pair = asking.kv.get("out/a").value
        assert pair is not None
        assert pair.value == b"1"
        with pytest.raises(Conflict, match="was changed by somebody else since"):
            asking.history.revert("out/a", first.index, cas=first.index)
        with pytest.raises(NotFound, match="not known any more"):
            asking.history.revert("kv-of-no-time", 1)
    found = keys(agent, "out/")
    assert [one["Reverts"] for one in found] == [first.index, 0, 0]
    eventually(lambda: keys(leader, "out/", own=True) == found)


def test_pages_hold_together(three: Cluster) -> None:
    agent = three.agents[0]
    for number in range(12):
        agent.put(f"/v1/kv/page/{number}", b"x")
    with client(agent) as asking:
        found: list[str] = []
        before = 0
        while True:
            which = Which(prefix="page/", limit=5, before=before)
            page = asking.history.changes(which).value
            found += [change.key for change in page]
            if len(page) < 5:
                break
            before = page[-1].id
    assert found == [f"page/{number}" for number in reversed(range(12))]


def test_what_an_agent_registered_is_not_reverted(three: Cluster) -> None:
    agent = three.agents[0]
    for port in (1, 2):
        agent.put("/v1/agent/service/register", {"Name": "own", "Port": port})
        eventually(
            lambda port=port: agent.get("/v1/catalog/service/own")[0]["ServicePort"] == port  # type: ignore[misc]
        )
    found = agent.get("/v1/history?kind=service&key=a1/own")
    assert [one["After"]["Port"] for one in found] == [2, 1]
    assert {one["Origin"] for one in found} == {"a1"}
    done = agent.meshctl("revert", "--kind", "service", "a1/own", "--to", str(found[1]["Index"]))
    assert done.returncode == 1
    assert "belongs to the agent on a1" in done.stderr


def test_bad_questions_are_refused_in_words(three: Cluster) -> None:
    agent = three.agents[0]
    for path, words in (
        ("/v1/history?kind=nodes", "400 kind: expected one of autopilot, config"),
        ("/v1/history?key=a&prefix=b", "400 Conflicting parameters: key and prefix"),
        ("/v1/history?limit=0", "400 limit: expected 1 to 1000"),
        ("/v1/history?since=yesterday", "400 since: expected a duration such as 2h, or a time"),
        ("/v1/history?kind=service&key=web", "400 Key: expected NODE/ID for kind service"),
        ("/v1/history/diff", "400 Key: must not be empty"),
        ("/v1/history/diff?key=a&from=x", "400 from: expected an unsigned 64-bit number"),
        ("/v1/history/diff?key=a&from=1", "404 what a was at index 1 is not known"),
    ):
        with pytest.raises(OSError, match=words):
            agent.get(path)
    for body, words in (
        ({"Kind": "kv", "Key": "a"}, "400 Index: expected a log index"),
        ({"Kind": "history", "Key": "a", "Index": 1}, "400 Kind: rows of kind"),
        ({"Key": "a", "Index": 2**60}, "no index of this log yet"),
        ({"Keyy": "a"}, "400 Request decode failed: json: unknown field"),
        ([], "400 Request decode failed"),
    ):
        with pytest.raises(OSError, match=words):
            agent.ask("POST", "/v1/history/revert", body)


def test_the_leaders_limits_hold_for_all_after_a_reload(tmp_path: Path) -> None:
    with cluster(tmp_path, servers=1, agents=0) as made:
        (server,) = made.servers
        server.put("/v1/kv/secret", b"hunter2")
        server.config["history"] = {"max_bytes": "0"}
        server.write_config()
        server.put("/v1/agent/reload")
        eventually(lambda: server.get("/v1/history") == [], 60.0)
        assert json.dumps(server.get("/v1/kv/secret"))
        server.config["history"] = {"max_bytes": "1MiB", "max_age": "1h"}
        server.write_config()
        server.put("/v1/agent/reload")

        def again() -> bool:
            server.put("/v1/kv/other", b"1")
            server.ask("DELETE", "/v1/kv/other")
            return len(server.get("/v1/history?key=other")) > 1

        eventually(again, 60.0)
        server.stop()
        server.start()
        eventually(lambda: len(server.get("/v1/history?key=other")) > 1)
        assert server.get("/v1/history?key=secret") == []
