"""Loads: what is asked of a node, and the answers a second that come back."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bench.node import Node

CONNECTIONS = 32


def dns(kind: str) -> Callable[[Node, float], float]:
    """Questions for the service of 20 instances, from dnsperf when it is there."""

    def load(node: Node, seconds: float) -> float:
        domain = "consul" if node.name == "consul" else "mesh"
        if shutil.which("dnsperf") is None:
            return _python_dns(node, f"web.service.{domain}", seconds)
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as questions:
            questions.write(f"web.service.{domain} {kind}\n")
            questions.flush()
            command = ["dnsperf", "-s", "127.0.0.1", "-p", str(node.dns), "-d", questions.name]
            options = ["-l", str(int(seconds)), "-c", "4", "-q", "64"]
            printed = _output([*command, *options])
        return _figure(r"Queries per second:\s+([\d.]+)", printed)

    return load


def http_get(path: str) -> Callable[[Node, float], float]:
    """Reads over keep-alive connections, from wrk when it is there."""

    def load(node: Node, seconds: float) -> float:
        if shutil.which("wrk") is None:
            return _python_http(node, "GET", path, seconds)
        options = ["-t", "1", "-c", str(CONNECTIONS), "-d", f"{int(seconds)}s"]
        return _figure(r"Requests/sec:\s+([\d.]+)", _output(["wrk", *options, node.url(path)]))

    return load


WRITE_SCRIPT = """
local n = 0
wrk.method = "PUT"
request = function()
  n = n + 1
  return wrk.format("PUT", "/v1/kv/bench/" .. (n % 1000), nil, "value " .. n)
end
"""


def puts(clients: int) -> Callable[[Node, float], float]:
    """KV writes of changing values to 1,000 keys, by so many clients that each wait."""

    def load(node: Node, seconds: float) -> float:
        if shutil.which("wrk") is None:
            return _python_http(node, "PUT", "/v1/kv/bench/w", seconds, clients)
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder, "write.lua")
            script.write_text(WRITE_SCRIPT)
            options = ["-t", "1", "-c", str(clients), "-d", f"{int(seconds)}s", "-s", str(script)]
            return _figure(r"Requests/sec:\s+([\d.]+)", _output(["wrk", *options, node.url("/")]))

    return load


http_put = puts(CONNECTIONS)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _figure(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"cannot read the rate in:\n{text}")
    if "Non-2xx" in text:
        raise SystemExit(f"the node refused requests:\n{text}")
    return float(found[1])


def _python_http(node: Node, method: str, path: str, seconds: float, clients: int = 8) -> float:
    counts: list[int] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", node.http)
        count, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            body = f"value {number} {count}" if method == "PUT" else None
            connection.request(method, path, body)
            connection.getresponse().read()
            count += 1
        counts.append(count)

    _together(client, clients)
    return sum(counts) / seconds


def _python_dns(node: Node, name: str, seconds: float) -> float:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    tail = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    counts: list[int] = []

    def client(_: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(1)
            asker.connect(("127.0.0.1", node.dns))
            count, until = 0, time.monotonic() + seconds
            while time.monotonic() < until:
                asker.send((count & 0xFFFF).to_bytes(2, "big") + tail)
                asker.recv(4096)
                count += 1
            counts.append(count)

    _together(client, 8)
    return sum(counts) / seconds


def _together(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
