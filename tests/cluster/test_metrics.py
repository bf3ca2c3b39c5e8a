"""The metrics of a real server, as Prometheus reads them."""

from __future__ import annotations

import math
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import PLAIN, Meshd, eventually

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(\{{{LABEL}(?:,{LABEL})*\}})? (\S+)")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshd]:
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN}
    server = Meshd("metrics", "127.0.0.1", Path(tmp_path_factory.mktemp("metrics"), "n"), config)
    server.start()
    try:
        # Then the leader has written all that it writes by itself.
        eventually(lambda: server.get("/v1/catalog/service/mesh"))
        yield server
    finally:
        server.kill()


def page(node: Meshd) -> str:
    url = f"http://{node.client_address}:{node.http}/v1/agent/metrics?format=prometheus"
    with urllib.request.urlopen(url, timeout=20) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text: str = response.read().decode()
        return text


def samples(node: Meshd) -> dict[str, float]:
    """Each series with its value, after the page was found to be well formed."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    for line in page(node).splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds, f"{name} has two types"
            assert kind in {"gauge", "counter", "summary"}
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            family = re.sub(r"_(sum|count)$", "", match[1])
            assert family in kinds or match[1] in kinds, line
            series = match[1] + (match[2] or "")
            assert series not in found, f"{series} is there twice"
            found[series] = float(match[3])
    return found


def test_what_was_never_used_is_there_at_zero(node: Meshd) -> None:
    found = samples(node)
    for name in ("mesh_txn_apply_count", "mesh_http_malformed", "mesh_state_sessions"):
        assert found[name] == 0, name
    assert math.isnan(found['mesh_txn_apply{quantile="0.5"}'])


def test_what_is_done_is_measured(node: Meshd) -> None:
    before = samples(node)
    for number in range(3):
        node.put(f"/v1/kv/{number}", b"x")
    service = {"Service": "web", "Connect": {"Native": True}}
    node.put("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1", "Service": service})
    after = samples(node)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown("mesh_kvs_apply_count") == 3
    assert grown("mesh_state_kv_entries") == 3
    assert grown("mesh_catalog_register_count") >= 1
    assert grown('mesh_api_http_count{method="PUT",path="v1_kv_"}') == 3
    assert after['mesh_api_http_sum{method="PUT",path="v1_kv_"}'] > 0
    assert grown("mesh_state_nodes") == grown("mesh_state_connect_instances") == 1
    assert after["mesh_autopilot_healthy"] in {0, 1}
    assert after["mesh_runtime_sys_bytes"] > 2**20
    json = node.get("/v1/agent/metrics")
    assert {"mesh.state.services", "mesh.rpc.queries_blocking"} <= {
        one["Name"] for one in json["Gauges"]
    }


def test_names_and_retention_are_configured(tmp_path: Path) -> None:
    config = {"server": True, "bootstrap_expect": 1, "tls": PLAIN}
    knobs = {"telemetry": {"metrics_prefix": "consul", "prometheus_retention_time": "0s"}}
    node = Meshd("prefix", "127.0.0.1", tmp_path / "n", config | knobs)
    node.start()
    try:
        eventually(lambda: node.get("/v1/status/leader"))
        names = {one["Name"] for one in node.get("/v1/agent/metrics")["Gauges"]}
        assert "consul.state.nodes" in names
        assert not any(name.startswith("mesh.") for name in names)
        with pytest.raises(urllib.error.HTTPError, match="415"):
            page(node)
    finally:
        node.kill()
