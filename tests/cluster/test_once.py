"""Exactly once on real processes: the leader dies between commit and answer, routers retry."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from mesh.client import Client, Settings
from mesh.errors import MeshError, OutcomeUnknown
from mesh.registry.levels import HIGHEST
from tests.cluster.processes import Cluster, Meshd, cluster, eventually

pytestmark = pytest.mark.together
KILLS = 3
COUNTERS = 12


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path, servers=3, agents=1) as made:
        yield made


class Tally(msgspec.Struct):
    """What one counter's only writer was told."""

    done: int = 0
    """Increments that were said to be applied, at once or when asked about later."""
    refused: int = 0
    unknown: int = 0


def count(node: Meshd, key: str, stop: threading.Event) -> Tally:
    """Increase a number as fast as it goes; nobody else writes it, so its cas always fits."""
    tally = Tally()
    settings = Settings(address=f"{node.address}:{node.http}", timeout_seconds=30.0)
    with Client(settings) as client:
        while not stop.is_set():
            try:
                pair = client.kv.get(key).value
                value = int(pair.value) if pair else 0
                assert value == tally.done, f"{key}: {value} after {tally}"
                index = pair.modify_index if pair else 0
                if client.kv.put(key, str(value + 1), cas=index):
                    tally.done += 1
                else:
                    tally.refused += 1
            except OutcomeUnknown as unknown:
                tally.unknown += 1
                tally.done += settled(client, unknown)
            except MeshError:
                continue  # Nothing was done.
    return tally


def settled(client: Client, unknown: OutcomeUnknown) -> bool:
    """Whether a write was applied that its caller had to give up; it never is from now on."""

    def ask() -> str:
        try:
            return client.operator.cancel(unknown.request, unknown.since).status
        except MeshError as error:
            raise AssertionError(error.message) from error

    status = eventually(ask)
    assert status in {"applied", "cancelled"}, status
    return status == "applied"


def test_increments_are_applied_once_while_leaders_die(three: Cluster) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(COUNTERS) as threads:
        agent = three.agents[0]
        running = [
            threads.submit(count, agent, f"counter/{number}", stop) for number in range(COUNTERS)
        ]
        try:
            for _ in range(KILLS):
                progress(agent)
                leader = three.leader()
                leader.kill()
                progress(agent)
                leader.start()
                three.wait_until_ready()
        finally:
            stop.set()
        tallies = [one.result(60) for one in running]
    # Its writer alone writes each: a refusal would mean that a write it knew nothing of came
    # between, as when one that was retried had been applied already.
    assert [tally.refused for tally in tallies] == [0] * COUNTERS
    told = [tally.done for tally in tallies]
    for server in three.servers:
        eventually(lambda server=server: values(server, "&stale") == told)  # type: ignore[misc]


def values(node: Meshd, how: str = "") -> list[int]:
    """Every counter, as this node sees it."""
    return [node.get(f"/v1/kv/counter/{number}?raw{how}") for number in range(COUNTERS)]


def progress(agent: Meshd) -> None:
    """Wait until every counter has gone up by two."""
    before = eventually(lambda: values(agent))

    def grown() -> bool:
        return all(new >= old + 2 for old, new in zip(before, values(agent), strict=True))

    eventually(grown)


def test_a_key_is_applied_once_and_known_on_every_node(three: Cluster) -> None:
    # Founded at the highest level, before anything else was written.
    assert [node.get("/v1/operator/upgrade")["Level"] for node in three.nodes] == [HIGHEST] * 4
    for number, node in enumerate(three.nodes):
        other, named = three.nodes[number - 1], ("--idempotency-key", f"order-{number}")
        assert node.meshctl("kv", "put", *named, "k", "1").returncode == 0
        index = node.get("/v1/kv/k")[0]["ModifyIndex"]
        assert other.meshctl("kv", "put", *named, "k", "1").returncode == 0
        assert node.get("/v1/kv/k")[0]["ModifyIndex"] == index
        again = other.meshctl("kv", "put", *named, "k", "2")
        assert again.returncode == 1
        assert "used for another request" in again.stderr
        asked = other.meshctl("operator", "request", f"order-{number}")
        assert "applied" in asked.stdout, asked.stderr
