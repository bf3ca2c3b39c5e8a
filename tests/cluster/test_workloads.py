"""A program with somebody else's client of the SPIFFE Workload API, against a real node."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from spiffe import WorkloadApiClient
from spiffe.workloadapi.errors import FetchJwtSvidError
from spiffe.workloadapi.x509_context import X509Context

from tests.cluster.dev import DevNode, dev_node
from tests.cluster.processes import eventually

SECONDS = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as path:  # It is short, as that of a socket has to be.
        yield Path(path)


@pytest.fixture
def node(folder: Path) -> Iterator[DevNode]:
    with dev_node(folder, more=f'connect {{ workload_folder = "{folder}/w" }}') as made:
        yield made


def send(node: DevNode, method: str, path: str, body: Any = None) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{node.address}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=SECONDS):
        pass


def rotate(node: DevNode, *words: str) -> None:
    command = [str(Path(sys.executable).with_name("meshctl")), "connect", "ca", "rotate", *words]
    environment = os.environ | {"CONSUL_HTTP_ADDR": node.address}
    subprocess.run(command, env=environment, check=True, capture_output=True)


class Program:
    """What a client was told, in order."""

    def __init__(self, client: WorkloadApiClient) -> None:
        self._told: queue.Queue[X509Context | Exception] = queue.Queue()
        self.handle = client.stream_x509_contexts(self._told.put, self._told.put)

    def next(self) -> tuple[int, int]:
        """The serial of its certificate, and how many roots it believes."""
        found = self._told.get(timeout=SECONDS)
        assert isinstance(found, X509Context), found
        assert str(found.default_svid.spiffe_id).endswith("/ns/default/dc/dc1/svc/web")
        (bundle,) = found.x509_bundle_set.bundles
        return found.default_svid.leaf.serial_number, len(bundle.x509_authorities)


def test_a_foreign_client_over_a_reissue_and_a_rotation(node: DevNode, folder: Path) -> None:
    native = {"Name": "web", "Port": 80, "Connect": {"Native": True}}
    send(node, "PUT", "/v1/agent/service/register", native)
    socket = folder / "w" / "web" / "workload.sock"
    eventually(socket.exists)
    with WorkloadApiClient(f"unix:{socket}") as client:
        program = Program(client)
        first, believed = program.next()
        assert believed == 1
        send(node, "POST", "/v1/agent/connect/ca/leaf/web/reissue")
        second, _ = program.next()
        assert second != first

        rotate(node, "prepare")
        assert program.next() == (second, 2)
        rotate(node, "activate", "-force")
        send(node, "POST", "/v1/agent/connect/ca/leaf/web/reissue")
        third, believed = program.next()
        assert third not in {first, second}
        assert believed == 2
        rotate(node, "retire", "-force")
        last = program.next()
        while last[1] == 2:  # Another root signs, so the agent may renew by itself as well.
            last = program.next()
        assert last[1] == 1
        with pytest.raises(FetchJwtSvidError, match=r"X[.]509-SVIDs only"):
            client.fetch_jwt_svid({"a"})
        program.handle.cancel()
