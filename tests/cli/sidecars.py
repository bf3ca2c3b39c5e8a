"""`meshctl connect proxy` as processes beside a real agent, and applications behind them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from tests.cluster.processes import TOP, eventually, free_ports
from tests.connect import websites
from tests.connect.websites import ADDRESS, Pages, connection, website
from tests.connect.workloads import Workloads

BULK = bytes(range(256)) * 4096 * 4
"""More than lies in the buffers of a connection."""


class Digest(Pages):
    """Answers a GET with who it is, a POST with the digest of the body and the body."""

    def get(self) -> bytes:
        return b"payments"

    def post(self, body: bytes) -> bytes:
        return hashlib.sha256(body).digest() + body


def application() -> AbstractContextManager[int]:
    return website(Digest)


class Proxy:
    """`meshctl connect proxy` with these words."""

    def __init__(self, mesh: Workloads, *words: str) -> None:
        self.log_file = mesh.node.folder / f"proxy-{hashlib.md5(repr(words).encode()).hexdigest()}"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mesh.cli.main", "connect", "proxy", *words],
                cwd=TOP,
                stdout=log,
                stderr=log,
                env=os.environ | {"MESH_HTTP_ADDR": mesh.node.address},
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def proxied(mesh: Workloads, *words: str) -> Iterator[Proxy]:
    running = Proxy(mesh, *words)
    try:
        yield running
    except BaseException:
        print(running.log)
        raise
    finally:
        with suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait()


class Pair:
    """web and payments, each behind a proxy of its own."""

    def __init__(self, mesh: Workloads, ports: list[int], payments: Proxy, web: Proxy) -> None:
        self.mesh, (self.public, self.door, self.page) = mesh, ports
        self.payments, self.web = payments, web

    def counted(self) -> dict[str, int]:
        return counted(self.page)


@contextmanager
def paired(mesh: Workloads) -> Iterator[Pair]:
    ports = free_ports(ADDRESS, 3)
    with application() as port:
        listen = ["--listen", f"{ADDRESS}:{ports[0]}", "--service-addr", f"{ADDRESS}:{port}"]
        upstream = f"payments:{ports[1]}"
        with (
            proxied(
                mesh,
                "--service",
                "payments",
                *listen,
                "--register",
                "--metrics-bind",
                f":{ports[2]}",
            ) as payments,
            proxied(mesh, "--service", "web", "--upstream", upstream) as web,
        ):
            eventually(lambda: reached(ports[1]))
            yield Pair(mesh, ports, payments, web)


def reached(port: int) -> bool:
    return websites.reached(connection(port))


def counted(port: int) -> dict[str, int]:
    """What Prometheus reads: `refused denied` and so on, of all listeners together."""
    url = f"http://{ADDRESS}:{port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    found: dict[str, int] = {}
    for name, labels, value in re.findall(r"^mesh_proxy_(\w+){(.*)} (\d+)$", text, re.MULTILINE):
        reason = re.search('reason="(.*?)"', labels)
        key = f"{name} {reason[1]}" if reason else name
        found[key] = found.get(key, 0) + int(value)
    return found


def instances(mesh: Workloads, service: str) -> list[Any]:
    found: list[Any] = mesh.ask("GET", f"/v1/health/connect/{service}")
    return found


def run(mesh: Workloads, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mesh.cli.main", "connect", *words],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"MESH_HTTP_ADDR": mesh.node.address},
    )
