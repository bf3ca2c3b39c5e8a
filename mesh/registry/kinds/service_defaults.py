"""The kind service-defaults: what holds for all instances of a service and for its sidecars."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

from mesh.registry.kinds.parts import Body, Duration, Fault, Part, json_faults

KIND = "service-defaults"
Protocol: TypeAlias = Literal["", "tcp", "http", "http2", "grpc"]
PORT_MAX = 65535
PERCENT_MAX = 100


class ExposedPathPart(Part, frozen=True, kw_only=True):
    """A path of the application that is open without TLS."""

    ignored: ClassVar[tuple[str, ...]] = ("ParsedFromCheck",)
    path: str = ""
    listener_port: int = 0
    local_path_port: int = 0
    protocol: Literal["", "http", "http2"] = ""

    def faults(self) -> Iterator[Fault]:
        """A path and ports."""
        if not self.path.startswith("/"):
            yield "Path", f'must begin with /, got "{self.path[:64]}"'
        for name, port in (
            ("ListenerPort", self.listener_port),
            ("LocalPathPort", self.local_path_port),
        ):
            if not 1 <= port <= PORT_MAX:
                yield name, f"expected a port from 1 to {PORT_MAX}, got {port}"


class ExposePart(Part, frozen=True, kw_only=True):
    """What of the application is open without TLS."""

    checks: bool = False
    paths: list[ExposedPathPart] = []

    def faults(self) -> Iterator[Fault]:
        """A port is for one path."""
        ports = [one.listener_port for one in self.paths]
        for place, port in enumerate(ports):
            if port in ports[:place]:
                yield f"Paths[{place}].ListenerPort", f"{port} is that of another path"


class LimitsPart(Part, frozen=True, kw_only=True):
    """A circuit breaker."""

    max_connections: int | None = None
    max_pending_requests: int | None = None
    max_concurrent_requests: int | None = None


class PassiveHealthCheckPart(Part, frozen=True, kw_only=True):
    """When an instance is left out for the errors it gives."""

    interval: Duration = ""
    max_failures: int | None = None
    enforcing_consecutive_5xx: int | None = None
    max_ejection_percent: int | None = None
    base_ejection_time: Duration = ""

    def faults(self) -> Iterator[Fault]:
        """Percentages end at 100."""
        for name, percent in (
            ("EnforcingConsecutive5xx", self.enforcing_consecutive_5xx),
            ("MaxEjectionPercent", self.max_ejection_percent),
        ):
            if percent is not None and percent > PERCENT_MAX:
                yield name, f"expected a percentage up to {PERCENT_MAX}, got {percent}"


class MeshGatewayPart(Part, frozen=True, kw_only=True):
    """Through which gateways; there are none yet."""

    mode: Literal["", "none"] = ""


class UpstreamPart(Part, frozen=True, kw_only=True):
    """How the service calls others, or one of them."""

    later: ClassVar[tuple[str, ...]] = ("Peer",)
    name: str = ""
    envoy_listener_json: str = ""
    envoy_cluster_json: str = ""
    protocol: Protocol = ""
    connect_timeout_ms: int = 0
    limits: LimitsPart | None = None
    passive_health_check: PassiveHealthCheckPart | None = None
    mesh_gateway: MeshGatewayPart = MeshGatewayPart()
    balance_outbound_connections: Literal["", "exact_balance"] = ""

    def faults(self) -> Iterator[Fault]:
        """What Envoy is given is JSON."""
        yield from json_faults("EnvoyListenerJSON", self.envoy_listener_json)
        yield from json_faults("EnvoyClusterJSON", self.envoy_cluster_json)


class UpstreamConfigPart(Part, frozen=True, kw_only=True):
    """How the service calls others."""

    defaults: UpstreamPart | None = None
    overrides: list[UpstreamPart] = []

    def faults(self) -> Iterator[Fault]:
        """Only overrides are about somebody, each about another one."""
        if self.defaults is not None and self.defaults.name:
            yield "Defaults.Name", "must be empty: the defaults are for all"
        names = [one.name.lower() for one in self.overrides]
        for place, name in enumerate(names):
            if not name or "*" in name:
                yield f"Overrides[{place}].Name", "must be the name of a service"
            if name in names[:place]:
                yield f"Overrides[{place}].Name", f'"{self.overrides[place].name}" is there twice'


class ServiceDefaults(Body, frozen=True, kw_only=True):
    """What holds for a service."""

    later: ClassVar[tuple[str, ...]] = (
        "TransparentProxy",
        "ExternalSNI",
        "Destination",
        "EnvoyExtensions",
        "RateLimits",
    )
    protocol: Protocol = ""
    mode: Literal["", "direct"] = ""
    mutual_tls_mode: Literal["", "strict"] = ""
    mesh_gateway: MeshGatewayPart = MeshGatewayPart()
    expose: ExposePart = ExposePart()
    upstream_config: UpstreamConfigPart | None = None
    max_inbound_connections: int = 0
    local_connect_timeout_ms: int = 0
    local_request_timeout_ms: int = 0
    balance_inbound_connections: Literal["", "exact_balance"] = ""
