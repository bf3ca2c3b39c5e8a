"""Definitions: services and checks as people write them, in files or in HTTP bodies."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.agent.checks import Thresholds
from mesh.registry.catalog import Locality, TaggedAddress, Weights

PROBES = ("http", "tcp", "udp", "grpc", "h2ping", "docker", "script", "os_service")
"""Kinds of checks that are run at an interval."""


class CheckDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A check. Fields are Consul's; durations are seconds."""

    id: str = ""
    name: str = ""
    notes: str = ""
    service_id: str = ""
    status: str = ""
    token: str = ""
    interval: float = 0.0
    timeout: float = 0.0
    ttl: float = 0.0
    http: str = ""
    method: str = ""
    header: dict[str, list[str]] = {}
    body: str = ""
    disable_redirects: bool = False
    tcp: str = ""
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False
    h2ping: str = ""
    h2ping_use_tls: bool = True
    args: list[str] = []
    docker_container_id: str = ""
    shell: str = ""
    os_service: str = ""
    alias_service: str = ""
    alias_node: str = ""
    tls_server_name: str = ""
    tls_skip_verify: bool = False
    success_before_passing: int = 0
    failures_before_warning: int = 0
    failures_before_critical: int = 0
    deregister_critical_service_after: float = 0.0
    output_max_size: int = 0

    @property
    def kind(self) -> str:
        """What the check does: one of PROBES, `ttl`, `alias`, or "" for nothing."""
        for kind in ("http", "tcp", "udp", "grpc", "h2ping", "ttl"):
            if getattr(self, kind):
                return kind
        if self.args:
            return "docker" if self.docker_container_id else "script"
        if self.os_service:
            return "os_service"
        return "alias" if self.alias_service or self.alias_node else ""

    @property
    def runs_program(self) -> bool:
        """Whether it has a program run, here or in a container, which an operator must allow."""
        return self.kind in {"script", "docker"}


class ServiceDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A service. Fields are Consul's."""

    name: str
    id: str = ""
    kind: str = ""
    tags: list[str] = []
    address: str = ""
    port: int = 0
    socket_path: str = ""
    tagged_addresses: dict[str, TaggedAddress] = {}
    meta: dict[str, str] = {}
    weights: Weights = Weights()
    enable_tag_override: bool = False
    token: str = ""
    proxy: dict[str, Any] = {}
    connect: dict[str, Any] = {}
    locality: Locality | None = None
    checks: list[CheckDefinition] = []
    sidecar: ServiceDefinition | None = None
    """Its proxy, as written in Connect.SidecarService; the agent completes and registers it."""
    sidecar_of: str = ""
    """The id of the service whose proxy this is; set by the agent."""


def thresholds(check: CheckDefinition) -> Thresholds:
    """Of results of runs: what an API call or another check says holds at once."""
    if check.kind not in PROBES:
        return Thresholds()
    return Thresholds(
        check.success_before_passing,
        check.failures_before_warning,
        check.failures_before_critical,
    )


def folded(key: str) -> str:
    """A key as both spellings have it: `TaggedAddresses` and `tagged_addresses` are the same."""
    return key.replace("_", "").lower()
