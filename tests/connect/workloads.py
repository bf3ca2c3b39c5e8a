"""A meshd whose root the test has made, so that it can make leaves of any kind as well."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mesh.client import Settings
from mesh.connect import identity, signing
from mesh.connect.keys import new_key
from mesh.connect.signing import Signer, Validity
from tests.cluster.dev import DevNode, dev_node

CLUSTER = "11111111-2222-3333-4444-555555555555"
DOMAIN = f"{CLUSTER}.consul"
YEAR = 365 * 86400.0


class Authority:
    """A root, and leaves under it."""

    def __init__(self, folder: Path, domain: str = DOMAIN) -> None:
        self.folder, self.domain = folder, domain
        self.key = new_key("ec", 256)
        self.root = signing.make_root(self.key, domain, Validity(time.time() - 2 * YEAR, 9 * YEAR))
        self.root_file, self.key_file = folder / "root.pem", folder / "root-key.pem"
        folder.mkdir(parents=True, exist_ok=True)
        self.root_file.write_text(self.root)
        self.key_file.write_text(self.key)

    def leaf(self, service: str, *, domain: str = "", ended: bool = False) -> Path:
        """A file with a leaf and its key; `ended` a year ago."""
        uri = identity.service(domain or self.domain, "dc1", service).uri
        key = new_key("ec", 256)
        asked = signing.read_request(signing.request_leaf(key, uri))
        start = time.time() - (2 * YEAR if ended else 0)
        made = Signer(self.root, self.key).leaf(asked, service, Validity(start, 3600.0))
        file = self.folder / f"{service}-{domain}-{ended}.pem"
        file.write_text(made + key)
        return file

    def calling(self, leaf: Path | None, *, trusting: Path | None = None) -> ssl.SSLContext:
        """A plain context that shows this leaf and trusts the root, or another."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return self._with(context, leaf, trusting)

    def listening(self, leaf: Path, *, trusting: Path | None = None) -> ssl.SSLContext:
        """The same for a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        return self._with(context, leaf, trusting)

    def _with(
        self, context: ssl.SSLContext, leaf: Path | None, trusting: Path | None
    ) -> ssl.SSLContext:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(trusting or self.root_file)
        if leaf is not None:
            context.load_cert_chain(leaf)
        return context


class Workloads:
    """An agent that is its own server, and what the tests say to it."""

    def __init__(self, node: DevNode, authority: Authority) -> None:
        self.node, self.authority = node, authority
        self.settings = Settings(address=node.address)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """An HTTP request; the JSON answer."""
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://{self.node.address}{path}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
        return json.loads(text) if text.strip() else None

    def say(self, action: str, source: str, destination: str, *, dry_run: bool = False) -> None:
        """Write an intention, or a dry run of it; `delete` deletes it."""
        path = f"/v1/connect/intentions/exact?source={source}&destination={destination}"
        if action == "delete":
            self.ask("DELETE", f"{path}&dry-run" if dry_run else path)
        else:
            self.ask("PUT", path, {"Action": action} | ({"DryRun": True} if dry_run else {}))

    def reissue(self, service: str) -> None:
        """Have the leaf of a service renewed."""
        self.ask("POST", f"/v1/agent/connect/ca/leaf/{service}/reissue")

    def leaf_file(self, service: str) -> Path:
        """The agent's leaf of a service with its key, for other programs."""
        found = self.ask("GET", f"/v1/agent/connect/ca/leaf/{service}")
        file = self.authority.folder / f"{service}-of-agent.pem"
        file.write_text(found["CertPEM"] + found["PrivateKeyPEM"])
        return file


@contextmanager
def workloads(folder: Path, more: str = "") -> Iterator[Workloads]:
    """A running agent; `more` is added to its section `connect`."""
    made = Authority(folder / "authority")
    files = f'root_cert_file = "{made.root_file}"\nprivate_key_file = "{made.key_file}"'
    connect = f'connect {{ ca_config {{ {files}\ncluster_id = "{CLUSTER}" }}\n{more} }}'
    with dev_node(folder, more=connect) as node:
        yield Workloads(node, made)


async def settled() -> None:
    """Wait until whatever serves connections has ended, and its sockets are closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    async with asyncio.timeout(30):
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0)  # Transports close their sockets in a step of their own.
