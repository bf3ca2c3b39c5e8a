"""A cluster whose agents run Envoys, Envoys beside it, and what they cost."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mesh.connect import binary
from mesh.connect.process import kill_left
from tests.cluster.forked import MESHD
from tests.cluster.processes import Cluster, Meshd, eventually

HERE = "127.0.0.1"
PATIENCE_SECONDS = 60.0
_TYPE = "type.googleapis.com/envoy.extensions.filters"


# The cluster.


@contextmanager
def cluster(
    *,
    drain: str = "2s",
    module: str = MESHD,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[Cluster]:
    """A server and two agents, each a program started as users do; with these options for all.

    All of them are run from this module, and find these variables in their environment.
    """
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        made = Cluster(Path(folder), 1, 2)
        for node in made.nodes:
            node.forked = False
            node.module, node.environment = module, dict(environment or {})
            del node.config["gossip_lan"]
            node.config |= {"log_level": "warn", "connect": {"envoy_drain_time": drain}, **options}
        try:
            made.start()
            yield made
        except BaseException:
            for node in made.nodes:
                print(f"---- {node.name} ----\n{node.log()[-2000:]}", file=sys.stderr)
            raise
        finally:
            made.stop()
            kill_left(Path(folder))


def register(node: Meshd, name: str, port: int, upstreams: Mapping[str, int] | None = None) -> None:
    """A service at this port of `HERE`, with a sidecar that finds upstreams at ports there."""
    found = [
        {"destination_name": one, "local_bind_address": HERE, "local_bind_port": bound}
        for one, bound in (upstreams or {}).items()
    ]
    proxy = {"local_service_address": HERE, "upstreams": found}
    body = {"name": name, "port": port, "connect": {"sidecar_service": {"proxy": proxy}}}
    node.put("/v1/agent/service/register", body)


def protocol(node: Meshd, name: str, kind: str) -> None:
    """Have a service speak this."""
    node.put("/v1/config", {"Kind": "service-defaults", "Name": name, "Protocol": kind})


def envoy_of(node: Meshd, service: str) -> int:
    """The process of a service's Envoy."""
    return int(node.get(f"/v1/agent/proxy/{service}-sidecar-proxy")["Envoy"]["Pid"])


def wait_for(port: int, status: int) -> None:
    """Wait until a request at this port of `HERE` is answered so; 0: not at all."""
    eventually(lambda: _status(port) == status, PATIENCE_SECONDS)


def answers(port: int) -> bool:
    """Whether a request at this port of `HERE` is answered by the application."""
    return _status(port) == 200


def _status(port: int) -> int:
    try:
        with socket.create_connection((HERE, port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return int(connection.recv(100)[9:12] or b"0")
    except OSError:
        return 0


# Envoys of our own.


@contextmanager
def backend(port: int) -> Iterator[int]:
    """An Envoy that answers everything itself; its process."""
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    route["direct_response"]["body"] = {"inline_string": "x" * 100}  # type: ignore[index]
    with _envoy("backend", port, route, []) as pid:
        yield pid


@contextmanager
def forwarder(port: int, to: int) -> Iterator[int]:
    """An Envoy that sends all plain requests on, as one without a mesh does; its process."""
    cluster = {
        "name": "to",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "to",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _socket(to)}}]}],
        },
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "to"}}
    with _envoy("forwarder", port, route, [cluster]) as pid:
        yield pid


@contextmanager
def _envoy(
    name: str, port: int, route: dict[str, Any], clusters: Sequence[dict[str, Any]]
) -> Iterator[int]:
    router = {"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}}
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": name, "address": _socket(port), "filter_chains": [chain]}
    config = {"static_resources": {"listeners": [listener], "clusters": clusters}}
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as folder:
        file = Path(folder, "envoy.json")
        file.write_text(json.dumps(config))
        flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
        process = subprocess.Popen([binary.find(), *flags, "-c", str(file)])
        try:
            eventually(lambda: _status(port), PATIENCE_SECONDS)
            yield process.pid
        finally:
            process.kill()
            process.wait()


def _socket(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": HERE, "port_value": port}}


# What it costs.


def cpu_seconds(*pids: int) -> float:
    """Processor time that they have used so far, together; see clock_getcpuclockid(3)."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


class Asked(NamedTuple):
    """What became of a load."""

    requests: int
    rate: float
    p50: float
    p99: float
    """Milliseconds."""


_SCRIPT = """
done = function(summary, latency, requests)
  local failed = summary.errors
  io.write(string.format("count %d in %d p50 %d p99 %d failed %d\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    failed.connect + failed.read + failed.write + failed.status + failed.timeout))
end
"""


def ask(port: int, connections: int, seconds: float) -> Asked:
    """Requests by wrk on so many keep-alive connections, each as fast as answers come."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "told.lua")
        script.write_text(_SCRIPT)
        command = ["wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"]
        command += ["-s", str(script), f"http://{HERE}:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"count (\d+) in (\d+) p50 (\d+) p99 (\d+) failed (\d+)", done.stdout)
    if found is None or int(found[5]):
        raise SystemExit(f"wrk: not all was answered:\n{done.stdout}{done.stderr}")
    count, took, p50, p99 = (int(text) for text in found.groups()[:4])
    return Asked(count, count / took * 1e6, p50 / 1e3, p99 / 1e3)


def percentile(values: Sequence[float], part: float) -> float:
    """The value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part / 100))]


def spread(values: Sequence[float], scale: float = 1e3) -> str:
    """Median, 90 and 99 of a hundred and the largest, in columns; of seconds in milliseconds."""
    shown = [percentile(values, part) for part in (50, 90, 99)]
    return "".join(f"{value * scale:>9,.1f}" for value in (*shown, max(values)))


SPREAD = f"{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}"


def until(done: Callable[[], bool], step: float, what: str) -> float:
    """Ask again after each step until it is so; when that was, by the monotonic clock."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > end:
            raise SystemExit(f"not within {PATIENCE_SECONDS:.0f} s: {what}")
        time.sleep(step)
    return time.monotonic()
