"""Prometheus and HAProxy from Debian, unmodified: they find services through a real node.

Debian builds Prometheus without `consul_sd_configs` ("until its Debian package is back in shape"),
so there VictoriaMetrics, which reads the same configuration, is the one that discovers; a
Prometheus that can is tried wherever it is on PATH.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import eventually, free_ports

pytestmark = pytest.mark.together

INSTANCE = """
import http.server, sys
class Instance(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b'instance{name="%s"} 1\\n' % sys.argv[1].encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Instance)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
PROMETHEUS = """
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: mesh
    consul_sd_configs:
      - server: 127.0.0.1:{http}
        services: [web]
        refresh_interval: 1s
    relabel_configs:
      - source_labels: [__meta_consul_service_id]
        target_label: id
      - source_labels: [__meta_consul_health]
        target_label: checks
"""
SCRAPERS = {
    "prometheus": lambda port: [
        f"--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=series",
    ],
    "victoria-metrics": lambda port: [
        f"-httpListenAddr=127.0.0.1:{port}",
        "-promscrape.config=prometheus.yml",
        "-promscrape.consulSDCheckInterval=1s",
        "-promscrape.config.strictParse=false",
        "-storageDataPath=series",
    ],
}
HAPROXY = """
global
    maxconn 100
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
resolvers mesh
    nameserver agent 127.0.0.1:{dns}
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 100ms
    hold nx 100ms
    hold obsolete 100ms
frontend web
    bind 127.0.0.1:{port}
    default_backend web
backend web
    balance roundrobin
    server-template web 5 _web._tcp.service.mesh resolvers mesh resolve-prefer ipv4 init-addr none
"""


class Instance:
    """A program with a port, registered with the agent together with a check of its own."""

    def __init__(self, node: DevNode, name: str) -> None:
        self.node, self.name = node, name
        command = [sys.executable, "-c", INSTANCE, name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        url = f"http://127.0.0.1:{self.port}/"
        check = {"HTTP": url, "Interval": "200ms", "Timeout": "1s"}
        body = {"Name": "web", "ID": name, "Port": self.port, "Tags": ["v1"], "Check": check}
        self._put("/v1/agent/service/register", body)

    def _put(self, path: str, body: object = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        url = f"http://{self.node.address}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=60):
            pass

    def deregister(self) -> None:
        """Take it out of the catalog."""
        self._put(f"/v1/agent/service/deregister/{self.name}")

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def program(name: str, folder: Path, *arguments: str) -> Iterator[None]:
    """A program that runs meanwhile; what it said is shown when the test fails."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([name, *arguments], cwd=folder, stdout=output, stderr=output)
    try:
        yield
    except BaseException:
        print(f"---- {name} ----\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def needs(name: str) -> pytest.MarkDecorator:
    """Skip, and say so, where the program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def get(url: str) -> bytes:
    """What is there."""
    with urllib.request.urlopen(url, timeout=60) as response:
        data: bytes = response.read()
        return data


def discovers(name: str, folder: Path) -> bool:
    """Whether this build knows consul_sd_configs at all."""
    if name != "prometheus" or shutil.which("promtool") is None:
        return True
    command = ["promtool", "check", "config", str(folder / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "consul_sd_configs not found" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("prometheus", marks=needs("prometheus")),
        pytest.param("victoria-metrics", marks=needs("victoria-metrics")),
    ],
)
def test_prometheus_discovers_services_and_follows_them(name: str, tmp_path: Path) -> None:
    (port,) = free_ports("127.0.0.1", 1)

    def targets() -> dict[str, dict[str, Any]]:
        found = json.loads(get(f"http://127.0.0.1:{port}/api/v1/targets?state=active"))
        return {one["labels"]["id"]: one for one in found["data"]["activeTargets"]}

    def state(instance: str, health: str, checks: str) -> bool:
        one = targets().get(instance)
        found = one and (one["health"], one["labels"]["checks"])
        return found == (health, checks)

    config = tmp_path / "prometheus.yml"
    config.write_text(PROMETHEUS.format(http=1))
    if not discovers(name, tmp_path):
        pytest.skip("this build of Prometheus has no consul_sd_configs (Debian's has not)")
    with dev_node(tmp_path) as node, ExitStack() as stack:
        config.write_text(PROMETHEUS.format(http=node.http))
        stack.enter_context(program(name, tmp_path, *SCRAPERS[name](port)))
        first = Instance(node, "web-1")
        stack.callback(first.kill)
        eventually(lambda: state("web-1", "up", "passing"), 60)
        second = Instance(node, "web-2")
        stack.callback(second.kill)
        eventually(lambda: state("web-2", "up", "passing"), 60)
        labels = targets()["web-2"]["discoveredLabels"]
        assert labels["__address__"] == f"127.0.0.1:{second.port}"
        assert labels["__meta_consul_tags"] == ",v1,"
        assert labels["__meta_consul_node"] == "dev"
        assert labels["__meta_consul_dc"] == "dc1"
        second.kill()
        eventually(lambda: state("web-2", "down", "critical"), 60)
        second.deregister()
        eventually(lambda: {*targets()} == {"web-1"}, 60)


@needs("haproxy")
def test_haproxy_balances_from_dns_and_follows_a_death(tmp_path: Path) -> None:
    (port,) = free_ports("127.0.0.1", 1)

    def answered() -> set[str]:
        """Who answers eight requests in a row; an error in between counts as nobody."""
        found = set()
        for _ in range(8):
            try:
                found.add(get(f"http://127.0.0.1:{port}/").decode().split('"')[1])
            except OSError:
                found.add("nobody")
        return found

    with dev_node(tmp_path) as node, ExitStack() as stack:
        config = tmp_path / "haproxy.cfg"
        config.write_text(HAPROXY.format(dns=node.dns, port=port))
        made = {}
        for name in ("web-1", "web-2"):
            made[name] = Instance(node, name)
            stack.callback(made[name].kill)
        stack.enter_context(program("haproxy", tmp_path, "-db", "-f", str(config)))
        eventually(lambda: answered() == {"web-1", "web-2"}, 60)
        made["web-1"].kill()  # HAProxy checks nothing itself: it hears of this through DNS only.
        eventually(lambda: answered() == {"web-2"})
        third = Instance(node, "web-3")
        stack.callback(third.kill)
        eventually(lambda: answered() == {"web-2", "web-3"})
