from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mesh.connect import binary
from mesh.connect.bootstrap import Bootstrap, bootstrap
from mesh.connect.keeper import Options
from mesh.errors import Invalid

GIVEN: dict[str, Any] = {
    "proxy": "web-sidecar-proxy",
    "service": "web",
    "node": "n1",
    "agent": "unix:///run/mesh/xds.sock",
}
CLUSTER = {
    "name": "collector",
    "type": "STATIC",
    "connect_timeout": "1s",
    "load_assignment": {"cluster_name": "collector", "endpoints": []},
}
LISTENER = {
    "name": "more",
    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
    "filter_chains": [{"filters": []}],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "prometheus": {"envoy_prometheus_bind_addr": "127.0.0.1:9102"},
    "stats page": {"envoy_stats_bind_addr": "[::1]:9103"},
    "statsd": {"envoy_statsd_url": "udp://127.0.0.1:9125"},
    "dogstatsd on a socket": {"envoy_dogstatsd_url": "unix:///run/dog.sock"},
    "tags and interval": {
        "envoy_stats_tags": ["team=shop", "tier=1"],
        "envoy_stats_flush_interval": "10s",
    },
    "clusters": {"envoy_extra_static_clusters_json": json.dumps(CLUSTER)},
    "listeners": {"envoy_extra_static_listeners_json": json.dumps(LISTENER)},
    "statistics of its own": {"envoy_stats_config_json": '{"use_all_default_tags": false}'},
}


def accepts(folder: Path, made: dict[str, Any]) -> str:
    """What Envoy says against it."""
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(made))
    done = subprocess.run(
        [binary.find(), "--mode", "validate", "-c", str(file), "-l", "error"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("name", [*OPTIONS, "plain", "all", "TLS and TCP"])
def test_envoy_accepts_the_bootstrap(name: str, tmp_path: Path) -> None:
    config = dict(OPTIONS.get(name, {}))
    more: dict[str, Any] = {}
    if name == "all":
        config = {key: value for one in OPTIONS.values() for key, value in one.items()}
        more = {"ready": "127.0.0.1:19001", "prometheus_backend_port": "20200", "token": "t"}
    if name == "TLS and TCP":
        more = {"agent": "127.0.0.1:8503"}
    made = bootstrap(Bootstrap(**GIVEN | more, config=config))
    assert not accepts(tmp_path, made)


def test_it_says_who_the_proxy_is_and_where_its_agent() -> None:
    made = bootstrap(Bootstrap(**GIVEN, token="secret", datacenter="dc2"))
    assert made["node"]["id"] == "web-sidecar-proxy"
    assert made["node"]["cluster"] == "web"
    assert made["node"]["metadata"]["node_name"] == "n1"
    agent = made["static_resources"]["clusters"][0]
    assert agent["name"] == "local_agent"
    assert json.dumps(agent).count('"path": "/run/mesh/xds.sock"') == 1
    ads = made["dynamic_resources"]["ads_config"]
    assert ads["api_type"] == "DELTA_GRPC"
    assert ads["grpc_services"][0]["initial_metadata"] == [
        {"key": "x-consul-token", "value": "secret"}
    ]
    fixed = {
        tag["tag_name"]: tag["fixed_value"]
        for tag in made["stats_config"]["stats_tags"]
        if "fixed_value" in tag
    }
    assert fixed["local_cluster"] == fixed["consul.source.service"] == "web"
    assert fixed["consul.source.datacenter"] == "dc2"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"envoy_statsd_url": "tcp://x"}, "envoy_statsd_url: expected udp"),
        ({"envoy_statsd_url": 5}, "envoy_statsd_url: expected text"),
        ({"envoy_tracing_json": "{"}, "envoy_tracing_json: not JSON"),
        ({"envoy_stats_config_json": "[]"}, "envoy_stats_config_json: expected a JSON object"),
        ({"envoy_stats_tags": ["a"]}, 'envoy_stats_tags: expected "name=value"'),
        ({"envoy_stats_tags": "a=b"}, "envoy_stats_tags: expected a list"),
        ({"envoy_prometheus_bind_addr": "9102"}, "envoy_prometheus_metrics: expected ip:port"),
        ({"envoy_bootstrap_json_tpl": "{{ . }}"}, "Go templates are not rendered"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(Invalid, match=message):
        bootstrap(Bootstrap(**GIVEN, config=config))


@pytest.mark.parametrize(("protocol", "drain"), [("tcp", "2"), ("http", "20"), ("", "20")])
def test_connections_that_nobody_looks_into_are_drained_in_a_time_of_their_own(
    protocol: str, drain: str
) -> None:
    options = Options(drain_seconds=20.0, tcp_drain_seconds=2.0)
    flags = options.flags(bootstrap(Bootstrap(**GIVEN, protocol=protocol)))
    assert flags[flags.index("--drain-time-s") + 1] == drain
    assert flags[flags.index("--parent-shutdown-time-s") + 1] == "25"
