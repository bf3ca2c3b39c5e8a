"""A sidecar as it is registered with the agent: what it stands before, and whom it calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mesh.client.shapes import Service
from mesh.connect.proxy import Target
from mesh.connect.registration import read
from mesh.errors import Invalid, NotFound

EVERYWHERE = "0.0.0.0"  # noqa: S104  # Consul's default: other nodes are to reach it.
LOOPBACK = "127.0.0.1"
SOCKET_MODE = 0o600
PORT_MAX = 65535
MOST, METRICS = "max_inbound_connections", "envoy_prometheus_bind_addr"
"""Options of proxies, which mean here what they mean for Envoys."""


class Upstream(msgspec.Struct, frozen=True):
    """A service that is called, and where the application finds it."""

    service: str
    address: str
    port: int
    datacenter: str = ""
    path: str = ""
    """Of a unix socket, which is there in place of a port."""
    mode: int = SOCKET_MODE
    """Who may use the socket."""

    @property
    def place(self) -> Target:
        """Where the application finds it."""
        return Target(self.address, self.port, self.path)


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar is to do."""

    service: str
    listen: tuple[str, int] | None = None
    """Where others come in; None when nobody does."""
    target: Target = Target()
    upstreams: Sequence[Upstream] = ()
    most: int = 0
    """How many connections the application gets at most; 0: as many as the service may have."""
    metrics: tuple[str, int] | None = None
    """Where Prometheus finds figures; None when nobody asked."""
    proxy_id: str = ""
    """As registered; empty for one that is not."""


def find(services: Mapping[str, Service], instance: str, proxy: str = "") -> Sidecar:
    """The sidecar of the instance with this id, or the proxy with that one. Raises NotFound."""
    if proxy:
        if proxy not in services:
            raise NotFound(f'no proxy "{proxy}" is registered with this agent')
        return described(services[proxy])
    proxies = [one for one in services.values() if one.kind == "connect-proxy"]
    found = [one for one in proxies if read(one.proxy).destination_service_id == instance]
    if len(found) != 1:
        what = "choose one by --proxy-id" if found else "register its sidecar first"
        raise NotFound(f'service "{instance}" has {len(found)} sidecars here; {what}')
    return described(found[0])


def described(service: Service) -> Sidecar:
    """What the registration of a proxy says. Raises Invalid for one that cannot be read."""
    block = read(service.proxy)
    bound = block.config.get("bind_address") or service.address or EVERYWHERE
    path, port = block.local_service_socket_path, block.local_service_port
    upstreams = [
        Upstream(
            one.destination_name,
            one.local_bind_address or LOOPBACK,
            one.local_bind_port,
            one.datacenter,
            one.local_bind_socket_path,
            int(one.local_bind_socket_mode or f"{SOCKET_MODE:o}", 8),
        )
        for one in block.upstreams
        if one.destination_type in {"", "service"}
        and (one.local_bind_port or one.local_bind_socket_path)
    ]
    own = whole(block.config, "bind_port", PORT_MAX) or service.port
    return Sidecar(
        service=block.destination_service_name,
        listen=(str(bound), own) if port or path else None,
        target=Target(block.local_service_address or LOOPBACK, port, path),
        upstreams=upstreams,
        most=whole(block.config, MOST),
        metrics=_metrics(block.config),
        proxy_id=service.id,
    )


def whole(config: Mapping[str, Any], name: str, most: float = math.inf) -> int:
    """An option of proxies that is a number above 0, or 0. Raises Invalid."""
    given = config.get(name) or 0
    try:
        found = max(0, int(given))
    except (TypeError, ValueError, OverflowError):
        raise Invalid(f"{name}: expected a whole number, got {given!r}") from None
    if found > most:
        raise Invalid(f"{name}: expected 0 to {most}, got {found}")
    return found


def _metrics(config: Mapping[str, Any]) -> tuple[str, int] | None:
    given = str(config.get(METRICS) or "")
    if not given:
        return None
    host, colon, port = given.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise Invalid(f'{METRICS}: expected address:port, got "{given}"')
    return host.strip("[]") or LOOPBACK, int(port)
