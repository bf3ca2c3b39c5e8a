"""Snapshots of real clusters: saved under load, restored while clients watch and servers die."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import consul
import pytest

from mesh.client import Client
from mesh.client.aio import AsyncClient
from mesh.client.settings import Settings
from mesh.errors import Invalid
from mesh.store.archive import Archive, Meta, read_meta
from tests.cluster.federation import federation
from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together


def raw(
    node: Meshd, method: str, path: str, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """An HTTP request; status, headers and body, whatever they are."""
    url = f"http://{node.client_address}:{node.http}{path}"
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def saved(node: Meshd, query: str = "") -> bytes:
    status, _, data = raw(node, "GET", f"/v1/snapshot{query}")
    assert status == 200, data
    return data


def meta_of(data: bytes) -> Meta:
    archive = Archive([data])
    meta = read_meta(archive)
    for _ in archive.state():
        pass
    return meta


def digests(made: Cluster) -> set[str]:
    """Of the rows that each server holds, taken from the server itself."""
    return {meta_of(saved(server, "?stale")).digest for server in made.servers}


def keys(node: Meshd, prefix: str = "") -> list[str]:
    found: list[str] = node.get(f"/v1/kv/{prefix}?keys")
    return found


def restore(node: Meshd, data: bytes) -> None:
    status, _, text = raw(node, "PUT", "/v1/snapshot", data)
    assert status == 200, text


@contextmanager
def writing(nodes: list[Meshd]) -> Iterator[list[str]]:
    """Write keys through these nodes, one after the other; those acknowledged so far."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            key = f"load/{number}"
            status, _, body = raw(nodes[number % len(nodes)], "PUT", f"/v1/kv/{key}", b"x" * 50)
            if status == 200 and body == b"true":
                acknowledged.append(key)
            number += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join()


def test_saved_under_load_and_restored_on_an_empty_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path / "one", 3, 1) as one:
        agent = one.agents[0]
        with writing([agent]) as acknowledged:
            eventually(lambda: len(acknowledged) > 100)
            before = list(acknowledged)
            status, headers, data = raw(agent, "GET", "/v1/snapshot")
            assert status == 200
            assert headers["Content-Type"] == "application/x-gzip"
            assert int(headers["X-Consul-Index"]) > 100
            assert headers["X-Consul-KnownLeader"] == "true"
        expected = meta_of(data)
        assert expected.tables["kv"].rows >= len(before)  # Nothing acknowledged is missing.
        value = agent.get("/v1/kv/load/7")[0]
    with cluster(tmp_path / "two", 3, 1) as two:
        agent = two.agents[0]
        agent.put("/v1/kv/other", b"gone afterwards")
        restore(agent, data)
        assert set(before) <= set(keys(agent))
        assert "other" not in keys(agent)
        again = agent.get("/v1/kv/load/7")[0]
        assert {**again, "CreateIndex": 0, "ModifyIndex": 0} == {
            **value,
            "CreateIndex": 0,
            "ModifyIndex": 0,
        }
        # The leader brings the catalog in line with the nodes that are there.
        names = {node.name for node in two.nodes}
        eventually(lambda: names <= {one["Node"] for one in agent.get("/v1/catalog/nodes")})
        eventually(lambda: len(digests(two)) == 1)
        # What the catalog lost by that aside, it is what was saved.
        assert meta_of(saved(agent)).tables["kv"] == expected.tables["kv"]
        agent.put("/v1/kv/after", b"1")
        assert "after" in keys(agent)


def test_restored_while_clients_watch(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, 1) as made:
        agent, follower = made.agents[0], next(one for one in made.servers if not one.leads())
        for number in range(300):
            agent.put(f"/v1/kv/app/{number}", b"first")
        agent.put("/v1/kv/untouched", b"same")
        data = saved(agent)
        agent.put("/v1/kv/app/1", b"second")
        paths = ["/v1/kv/app/1", "/v1/kv/untouched", "/v1/kv/app/?recurse", "/v1/catalog/services"]
        watched = [(node, path) for node in (agent, follower, made.leader()) for path in paths]
        indexes = [int(raw(node, "GET", path)[1]["X-Consul-Index"]) for node, path in watched]

        def wait(asked: tuple[tuple[Meshd, str], int]) -> tuple[int, bytes]:
            (node, path), index = asked
            separator = "&" if "?" in path else "?"
            _, headers, body = raw(node, "GET", f"{path}{separator}index={index}&wait=10m")
            return int(headers["X-Consul-Index"]), body

        def wait_as_others_do() -> bytes:
            client = consul.Consul(agent.client_address, agent.http)
            _, pair = client.kv.get("untouched", index=str(indexes[1]), wait="10m")
            return bytes(pair["Value"])

        with ThreadPoolExecutor(len(watched) + 1) as pool:
            theirs = pool.submit(wait_as_others_do)
            waiting = [pool.submit(wait, asked) for asked in zip(watched, indexes, strict=True)]
            restore(follower, data)
            answers = [one.result() for one in waiting]
            assert theirs.result() == b"same"
        assert all(now > then for (now, _), then in zip(answers, indexes, strict=True))
        assert b"Zmlyc3Q=" in answers[0][1]
        assert len(digests(made)) == 1


def test_the_leader_dies_in_mid_restore(tmp_path: Path) -> None:
    with cluster(tmp_path, 3, 0) as made:
        leader = made.leader()
        follower = next(one for one in made.servers if one is not leader)
        value = json.dumps(["x" * 40] * 10).encode()
        for number in range(200):
            follower.put(f"/v1/kv/app/{number}", value * 100)
        data = saved(follower)
        follower.put("/v1/kv/later", b"1")
        outcome: list[tuple[int, dict[str, str], bytes]] = []
        thread = threading.Thread(
            target=lambda: outcome.append(raw(follower, "PUT", "/v1/snapshot", data))
        )
        applied = leader.get("/v1/agent/self")["Stats"]["raft"]["applied_index"]
        thread.start()
        eventually(
            lambda: (
                int(leader.get("/v1/agent/self")["Stats"]["raft"]["applied_index"])
                > int(applied) + 10
            )
        )
        leader.kill()
        thread.join()
        status, _, text = outcome[0]
        found = eventually(lambda: keys(follower))
        # It went on with the next leader; else nothing has changed, and the answer says so.
        assert ("later" in found) == (status != 200), text
        assert len([key for key in found if key.startswith("app/")]) == 200
        leader.start()
        eventually(lambda: len(digests(made)) == 1, 60)
        restore(follower, data)
        assert "later" not in keys(follower)
        eventually(lambda: len(digests(made)) == 1, 60)


def test_an_abandoned_restore_is_cleaned_up_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, 1) as made:
        server, agent = made.servers[0], made.agents[0]
        agent.put("/v1/kv/a", b"1")
        data = saved(agent)
        for bad, words in (
            (b"", "is empty"),
            (b"hello", "no snapshot at all"),
            (data[:-20], "is cut short"),
            (data[: len(data) // 2], "is cut short"),
        ):
            status, _, text = raw(agent, "PUT", "/v1/snapshot", bad)
            assert status == 400
            assert words in text.decode()
        status, _, text = raw(agent, "PUT", "/v1/snapshot?stale", data)
        assert (status, text) == (400, b"stale not allowed for restore")
        assert keys(server) == ["a"]
        restore(agent, data)
        assert keys(server) == ["a"]
        path = tmp_path / "x.snap"
        done = agent.meshctl("snapshot", "save", "-append-filename", "dc,status", str(path))
        assert done.stdout.startswith("Saved and verified snapshot"), done.stderr
        agent.put("/v1/kv/b", b"2")
        path = tmp_path / "x-dc1-leader.snap"
        done = agent.meshctl("snapshot", "restore", str(path))
        assert (done.returncode, done.stderr) == (0, "")
        assert keys(server) == ["a"]
        assert '"key":"a"' in agent.meshctl("snapshot", "decode", str(path)).stdout


def test_another_datacenter_is_saved_and_restored_from_afar(tmp_path: Path) -> None:
    with federation(tmp_path, [(1, 1), (2, 0)]) as (one, two):
        agent, there = one.agents[0], two.servers[0]
        agent.put("/v1/kv/here", b"1")
        there.put("/v1/kv/there", b"2")
        data = saved(agent, "?dc=dc2")
        assert meta_of(data).datacenter == "dc2"
        assert meta_of(saved(agent, "?dc=dc2&stale")).tables["kv"].rows == 1
        there.put("/v1/kv/more", b"3")
        status, _, text = raw(agent, "PUT", "/v1/snapshot?dc=dc2", data)
        assert status == 200, text
        assert keys(there) == ["there"]
        assert keys(agent) == ["here"]


def test_the_python_client_streams_both_ways(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, 0) as made:
        server = made.servers[0]
        server.put("/v1/kv/a", b"1")
        settings = Settings(address=f"{server.client_address}:{server.http}")

        async def there_and_back() -> None:
            async with AsyncClient(settings) as client:
                data = [portion async for portion in client.snapshot.save()]
                await client.kv.put("b", b"2")

                async def again() -> AsyncIterator[bytes]:
                    for portion in data:
                        yield portion

                await client.snapshot.restore(again())

        asyncio.run(there_and_back())
        assert keys(server) == ["a"]
        with Client(settings) as client, pytest.raises(Invalid, match="no snapshot at all"):
            client.snapshot.restore([b"none"])
        with Client(settings) as client:
            data = b"".join(client.snapshot.save())
            client.snapshot.restore(iter([data[:9], data[9:]]))
            assert not client.snapshot.schedules()[0].kept
        assert keys(server) == ["a"]


def test_the_leader_takes_them_by_itself_and_trouble_turns_health_red(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    kept = {"interval": "1s", "directory": str(shelf), "retain": 2}
    with cluster(tmp_path, 1, 1, snapshots=kept) as made:
        server, agent = made.servers[0], made.agents[0]
        agent.put("/v1/kv/a", b"1")

        def listed() -> list[dict[str, str]]:
            (one,) = agent.get("/v1/operator/snapshots")
            assert one["Leader"]
            return list(one["Kept"])

        def health() -> dict[str, str]:
            checks = agent.get(f"/v1/health/node/{server.name}")
            return next(check for check in checks if check["CheckID"] == "mesh-snapshots")

        eventually(lambda: len(listed()) == 2)
        assert all(one["Verified"] for one in listed())
        eventually(lambda: health()["Status"] == "passing")
        assert "mesh-" in agent.meshctl("operator", "snapshots").stdout
        shelf.rename(tmp_path / "away")
        shelf.write_text("a file where the directory should be")
        eventually(lambda: health()["Status"] == "critical")
        assert "the scheduled snapshot failed" in health()["Output"]
        assert agent.meshctl("operator", "snapshots").returncode == 1
        (service,) = agent.get("/v1/health/service/mesh?passing")
        assert service["Node"]["Node"] == server.name  # What runs there is no worse for it.
        shelf.unlink()
        eventually(lambda: health()["Status"] == "passing")
        eventually(lambda: len(listed()) == 2)
        newest = max(shelf.glob("*.snap"))
        restore(agent, newest.read_bytes())
        assert keys(agent) == ["a"]
