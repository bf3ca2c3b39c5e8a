"""Real nodes for tests: meshd processes on loopback addresses of their own."""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mesh.connect.certs import Role
from tests.certificates import Certificates
from tests.cluster.forked import MESHD, Forked

TOP = Path(__file__).parent.parent.parent
T = TypeVar("T")
PLAIN = {"internal_rpc": {"plaintext": True}}
"""As section `tls`: plain TCP on the server port."""
QUICK = {
    "probe_interval": "200ms",
    "probe_timeout": "100ms",
    "gossip_interval": "50ms",
    "suspicion_mult": 2,
}
"""As `gossip_lan`: who is gone is found gone within a second or two."""
PATIENT = {
    "probe_interval": "500ms",
    "probe_timeout": "450ms",
    "gossip_interval": "50ms",
    "suspicion_mult": 4,
}
"""As `gossip_lan`: nobody is found gone because the machine is busy."""

SERVICE = """
import http.server, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Health)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def eventually(probe: Callable[[], T], seconds: float = 60.0) -> T:
    """Ask until the answer is true; the last answer or error tells why it never was."""
    until = time.monotonic() + seconds
    while True:
        problem: object = None
        try:
            answer = probe()
            if answer:
                return answer
        except (OSError, AssertionError, LookupError, ValueError, StopIteration) as error:
            problem, answer = error, None
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds} s; last: {problem or answer!r}")
        time.sleep(0.05)


def free_ports(address: str, count: int) -> list[int]:
    """Ports the system gives on this address, free for TCP and UDP a moment ago."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
            stream.bind((address, 0))
            port = stream.getsockname()[1]
            try:
                datagram.bind((address, port))
            except OSError:
                continue
            if port not in found:
                found.append(port)
    return found


@cache
def certificates() -> Certificates:
    """The authority of this test process."""
    folder = tempfile.mkdtemp(prefix="mesh-test-ca-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Certificates(Path(folder))


class Meshd:
    """One node: its configuration, and the process while it runs.

    Its server port speaks TLS unless the configuration has a section `tls` of its own.
    """

    def __init__(self, name: str, address: str, folder: Path, config: dict[str, Any]) -> None:
        self.name, self.address, self.folder = name, address, folder
        self.server, self.lan, self.http, self.dns = free_ports(address, 4)
        folder.mkdir(parents=True)
        self.config: dict[str, Any] = {
            "node_name": name,
            "bind_addr": address,
            "client_addr": address,
            "data_dir": str(folder / "data"),
            "log_level": "DEBUG",
            "ports": {
                "server": self.server,
                "serf_lan": self.lan,
                "serf_wan": -1,
                "http": self.http,
                "dns": self.dns,
            },
            "performance": {"raft_multiplier": 1, "workers": 0},
            "gossip_lan": QUICK,
            **config,
        }
        if "tls" not in config:
            role: Role = "server" if config.get("server") else "client"
            made = certificates().beside(folder)
            self.config["tls"] = made.config(role, self.config["node_name"])
        self.flags: list[str] = []
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.module = MESHD
        self.environment: dict[str, str] = {}
        self.prefix: list[str] = []  # A program to start it with, which becomes it.
        self.forked = True  # Its modules need not be loaded anew. A prefix has them loaded anyway.

    @property
    def client_address(self) -> str:
        """Where its HTTP API listens."""
        return str(self.config["client_addr"])

    @property
    def joinable(self) -> str:
        """Its gossip address."""
        return f"{self.address}:{self.lan}"

    def write_config(self) -> Path:
        """Write its configuration, also for a reload; the file."""
        file = self.folder / "config.json"
        file.write_text(json.dumps(self.config))
        return file

    def start(self) -> None:
        """Run it; returns at once."""
        arguments = ["agent", "-config-file", str(self.write_config()), *self.flags]
        if self.forked and not self.prefix:
            log_file = self.folder / "log"
            self.process = Forked(
                arguments, log_file, module=self.module, environment=self.environment
            )
            return
        command = [sys.executable, "-m", self.module, *arguments]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *command],
                cwd=TOP,
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
            )

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it without warning, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 60.0) -> int:
        """SIGTERM it and wait; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def log(self) -> str:
        """What it logged."""
        return (self.folder / "log").read_text(errors="replace")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """An HTTP request; the JSON answer. Raises OSError on any status of 400 and above."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"http://{self.client_address}:{self.http}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            raise OSError(f"{method} {path}: {error.code} {text.decode()}") from None
        return json.loads(text) if text else None

    def get(self, path: str) -> Any:
        """GET."""
        return self.ask("GET", path)

    def put(self, path: str, body: object = b"") -> Any:
        """PUT."""
        return self.ask("PUT", path, body)

    def dig(self, *question: str) -> str:
        """What dig prints for the question asked of this node."""
        command = ["dig", f"@{self.address}", "-p", str(self.dns), "+tries=1", "+time=2"]
        return subprocess.run(
            [*command, *question], capture_output=True, text=True, check=False
        ).stdout

    def meshctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run meshctl against this node."""
        return subprocess.run(
            [sys.executable, "-m", "mesh.cli.main", *arguments],
            cwd=TOP,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | {"MESH_HTTP_ADDR": f"{self.address}:{self.http}"},
        )

    def srv_ports(self, service: str) -> set[int]:
        """The ports in the SRV answer for a service."""
        lines = self.dig(f"{service}.service.mesh", "SRV", "+short").splitlines()
        return {int(line.split()[2]) for line in lines if re.match(r"\d+ \d+ \d+ ", line)}

    def leads(self) -> bool:
        """Whether it is the leader, by its own word."""
        return bool(self.get("/v1/status/leader") == f"{self.address}:{self.server}")


class Cluster:
    """Servers and agents on one loopback network of their own."""

    def __init__(self, folder: Path, servers: int, agents: int, *, plain: bool = False) -> None:
        # A network of its own for each test process, so that runs side by side never meet.
        number = os.getpid()
        network = f"127.{64 + number % 128}.{number // 128 % 250}"
        self.folder = folder
        tls: dict[str, Any] = {"tls": PLAIN} if plain else {}
        self.servers = [
            Meshd(f"s{n}", f"{network}.{n}", folder / f"s{n}", {"server": True} | tls)
            for n in range(1, servers + 1)
        ]
        self.agents = [
            Meshd(f"a{n}", f"{network}.{100 + n}", folder / f"a{n}", tls)
            for n in range(1, agents + 1)
        ]
        self.services: list[subprocess.Popen[bytes]] = []
        join = [server.joinable for server in self.servers]
        for node in self.nodes:
            node.config["retry_join"] = join
        for server in self.servers:
            server.config["bootstrap_expect"] = servers

    @property
    def nodes(self) -> list[Meshd]:
        """Servers, then agents."""
        return [*self.servers, *self.agents]

    def start(self) -> None:
        """Start every node and wait until each of them knows a leader and is in the catalog."""
        for node in self.nodes:
            node.start()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Wait until every node knows a leader and every node is in the catalog."""
        names = {node.name for node in self.nodes}

        def ready(node: Meshd) -> bool:
            found = {entry["Node"] for entry in node.get("/v1/catalog/nodes")}
            return bool(node.get("/v1/status/leader")) and names <= found

        for node in self.nodes:
            eventually(lambda node=node: ready(node))  # type: ignore[misc]

    def leader(self) -> Meshd:
        """The server that says it leads."""
        running = [one for one in self.servers if one.process and one.process.poll() is None]
        return eventually(lambda: next(one for one in running if one.leads()))

    def run_service(self, address: str) -> tuple[subprocess.Popen[bytes], int]:
        """A real HTTP server with a health endpoint; its process and port."""
        command = [sys.executable, "-c", SERVICE, address]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.services.append(process)
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    def stop(self) -> None:
        """Kill everything."""
        for process in self.services:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        for node in self.nodes:
            node.kill()


@contextmanager
def cluster(
    folder: Path, servers: int, agents: int, *, plain: bool = False, **options: Any
) -> Iterator[Cluster]:
    """A running cluster; prints the end of every log when the test fails.

    The options are for every node, by the names in its configuration.
    """
    made = Cluster(folder, servers, agents, plain=plain)
    for node in made.nodes:
        node.config |= options
    try:
        made.start()
        yield made
    except BaseException:
        for node in made.nodes:
            print(f"---- {node.name} ----\n{node.log()[-4000:]}")
        raise
    finally:
        made.stop()
