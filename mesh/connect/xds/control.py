"""The control plane of a node: blueprints in, streams out. Loaded when the first proxy is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.clock import Clock
from mesh.connect.xds.blueprint import Blueprint
from mesh.connect.xds.resources import build
from mesh.connect.xds.server import XdsServer
from mesh.connect.xds.snapshot import Snapshot
from mesh.connect.xds.status import ProxyStatus


class Control:
    """Tells each proxy what its blueprint comes to."""

    def __init__(self, clock: Clock, changed: Callable[[str], None]) -> None:
        """`changed` is called with a proxy whose streams come or go."""
        self._server = XdsServer(clock, joined=changed, left=changed)
        self._snapshots: dict[str, Snapshot] = {}

    @property
    def addresses(self) -> list[str]:
        """Where it serves."""
        return self._server.addresses

    async def start(self, addresses: Sequence[str]) -> None:
        """Serve. Raises Unreachable for an address that cannot be had."""
        await self._server.start(addresses)

    def put(self, blueprint: Blueprint) -> None:
        """From now on the proxy is to be this."""
        name = blueprint.proxy
        made = self._snapshots[name] = build(blueprint, self._snapshots.get(name))
        self._server.put(name, made)

    def drop(self, proxy: str) -> None:
        """The proxy is gone; while its Envoy drains it keeps what it has."""
        self._snapshots.pop(proxy, None)
        self._server.put(proxy, None)

    def status(self) -> list[ProxyStatus]:
        """All streams, by proxy."""
        return self._server.status()

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop()
