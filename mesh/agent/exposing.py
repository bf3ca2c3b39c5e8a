"""Exposing: checks of a service that go through its sidecar, when nobody else may reach it.

The sidecar opens a port for each of them, to this machine only. A check is shown as it was
registered, with that port beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from urllib.parse import urlsplit

import msgspec

from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.grpc import PATH as GRPC_HEALTH
from mesh.agent.state import Here
from mesh.connect.xds.blueprint import Exposed

log = logging.getLogger(__name__)


class Exposing:
    """Gives ports to checks, and has checks go through them once they are open."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._ports: dict[str, int] = {}
        """By check."""
        self._of: dict[str, list[str]] = {}
        """The checks that go through each proxy."""

    def through(self, proxy: str, service_id: str, taken: Collection[int]) -> list[Exposed]:
        """What a proxy is to open for the checks of this service; none for ""."""
        wanted: dict[str, Exposed] = {}
        for name, check in sorted(self._here.checks().items()):
            if service_id and check.row.service_id == service_id and check.definition is not None:
                made = exposed(check.definition)
                if made is not None:
                    wanted[name] = made
        for name in self._of.get(proxy, []):
            if name not in wanted:
                self._ports.pop(name, None)
                self._here.lead(name, "", 0)
        found = {name: self._port(name, taken) for name in wanted}
        self._of[proxy] = [name for name, port in found.items() if port]
        return [
            msgspec.structs.replace(wanted[name], listener_port=found[name])
            for name in self._of[proxy]
        ]

    def _port(self, check: str, taken: Collection[int]) -> int:
        if check in self._ports:
            return self._ports[check]
        used = {*self._ports.values(), *taken}
        used.update(local.row.port for local in self._here.services().values())
        lowest, highest = self._here.options.expose_ports
        for port in range(lowest, highest + 1):
            if port > 0 and port not in used:
                self._ports[check] = port
                return port
        log.warning(
            "check %s does not go through the sidecar: every port from ports.expose_min_port %d to "
            "ports.expose_max_port %d is in use",
            check,
            lowest,
            highest,
        )
        return 0

    def opened(self, proxy: str, address: str, ports: Collection[int]) -> None:
        """These ports are open, at this address."""
        host = f"[{address}]" if ":" in address else address
        for name in self._of.get(proxy, []):
            port = self._ports[name]
            if port in ports:
                self._here.lead(name, f"{host}:{port}", port)

    def end(self, proxy: str) -> None:
        """The proxy is gone."""
        self.through(proxy, "", ())
        self._of.pop(proxy, None)


def exposed(check: CheckDefinition) -> Exposed | None:
    """What has to be open for a check, but for the port; None for one that goes straight.

    Those over TLS do: a sidecar speaks plainly to its application.
    """
    if check.kind == "http":
        try:
            target = urlsplit(check.http)
            port = target.port or 80
        except ValueError:
            return None
        if target.scheme.lower() != "http":
            return None
        return Exposed(path=target.path or "/", local_port=port, listener_port=0, for_checks=True)
    if check.kind == "grpc" and not check.grpc_use_tls:
        number = check.grpc.partition("/")[0].rpartition(":")[2]
        if not number.isdecimal():
            return None
        return Exposed(
            path=GRPC_HEALTH,
            local_port=int(number),
            listener_port=0,
            protocol="http2",
            for_checks=True,
        )
    return None


def led(check: CheckDefinition, through: str) -> CheckDefinition:
    """The check as it is run through this address; as it is for ""."""
    if not through:
        return check
    if check.kind == "http":
        target = urlsplit(check.http)._replace(netloc=through)
        return msgspec.structs.replace(check, http=target.geturl())
    _, slash, service = check.grpc.partition("/")
    return msgspec.structs.replace(check, grpc=f"{through}{slash}{service}")
