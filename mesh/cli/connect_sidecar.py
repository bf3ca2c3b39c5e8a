"""A sidecar as it is registered with the agent: what it stands before, and whom it calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from mesh.client.shapes import Service
from mesh.connect.proxy import Target
from mesh.connect.registration import read
from mesh.errors import NotFound

EVERYWHERE = "0.0.0.0"  # noqa: S104  # Consul's default: other nodes are to reach it.
LOOPBACK = "127.0.0.1"


class Upstream(msgspec.Struct, frozen=True):
    """A service that is called, and where the application finds it."""

    service: str
    address: str
    port: int
    datacenter: str = ""


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """What a sidecar is to do."""

    service: str
    listen: tuple[str, int] | None = None
    """Where others come in; None when nobody does."""
    target: Target = Target()
    upstreams: Sequence[Upstream] = ()
    proxy_id: str = ""
    """As registered; empty for one that is not."""


def find(services: Mapping[str, Service], instance: str, proxy: str = "") -> Sidecar:
    """The sidecar of the instance with this id, or the proxy with that one. Raises NotFound."""
    if proxy:
        if proxy not in services:
            raise NotFound(f'no proxy "{proxy}" is registered with this agent')
        return _read(services[proxy])
    proxies = [one for one in services.values() if one.kind == "connect-proxy"]
    found = [one for one in proxies if read(one.proxy).destination_service_id == instance]
    if len(found) != 1:
        what = "choose one by --proxy-id" if found else "register its sidecar first"
        raise NotFound(f'service "{instance}" has {len(found)} sidecars here; {what}')
    return _read(found[0])


def _read(service: Service) -> Sidecar:
    block = read(service.proxy)
    bound = block.config.get("bind_address") or service.address or EVERYWHERE
    path, port = block.local_service_socket_path, block.local_service_port
    upstreams = [
        Upstream(
            one.destination_name,
            one.local_bind_address or LOOPBACK,
            one.local_bind_port,
            one.datacenter,
        )
        for one in block.upstreams
        if one.destination_type in {"", "service"} and one.local_bind_port
    ]
    own = int(block.config.get("bind_port") or service.port)
    return Sidecar(
        service=block.destination_service_name,
        listen=(str(bound), own) if port or path else None,
        target=Target(block.local_service_address or LOOPBACK, port, path),
        upstreams=upstreams,
        proxy_id=service.id,
    )
