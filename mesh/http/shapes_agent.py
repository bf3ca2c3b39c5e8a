"""JSON shapes of the agent: what it says of itself, and the bodies that register with it."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import UNSET, UnsetType, field

from mesh.http.shapes import AddressShape, LocalityShape, Shape

Duration: TypeAlias = str | int
"""A Go duration such as `10s`, or nanoseconds."""


class ConfigShape(Shape, frozen=True, kw_only=True):
    """The parts of an agent's configuration that clients ask for."""

    datacenter: str
    primary_datacenter: str
    node_name: str
    node_id: str
    revision: str
    server: bool
    version: str
    build_date: str


class SelfMemberShape(Shape, frozen=True, kw_only=True):
    """An agent as a member of the pool."""

    name: str
    addr: str
    port: int
    tags: dict[str, str]
    status: int
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int


class SelfCoordShape(Shape, frozen=True):
    """Where an agent is in the network, in seconds."""

    vec: list[float]
    error: float
    adjustment: float
    height: float


class SelfShape(Shape, frozen=True, kw_only=True):
    """What an agent says of itself. Secrets in `DebugConfig` are `hidden`."""

    config: ConfigShape
    debug_config: dict[str, Any]
    coord: SelfCoordShape | None
    member: SelfMemberShape
    meta: dict[str, str]
    stats: dict[str, dict[str, str]]
    """Figures of each part, as text."""


class GaugeShape(Shape, frozen=True):
    """A number as it is now."""

    name: str
    value: float
    labels: dict[str, str]


class SampleShape(Shape, frozen=True, kw_only=True):
    """What was counted or measured in the last interval; durations are milliseconds."""

    name: str
    count: int
    rate: float
    sum: float
    min: float
    max: float
    mean: float
    stddev: float
    labels: dict[str, str]


class MetricsShape(Shape, frozen=True):
    """The metrics of the last whole interval of ten seconds."""

    timestamp: str
    gauges: list[GaugeShape]
    points: list[Any]
    counters: list[SampleShape]
    samples: list[SampleShape]


class WeightsRegistration(Shape, frozen=True):
    """SRV weights by health."""

    passing: int = 1
    warning: int = 1


class CheckRegistration(Shape, frozen=True, kw_only=True):
    """A check. Names may be in snake case too; `mesh.agent.definitions` reads them."""

    id: str = ""
    check_id: str = ""
    """The same as `ID`."""
    name: str = ""
    notes: str = ""
    service_id: str = ""
    status: str = ""
    token: str = ""
    interval: Duration = ""
    timeout: Duration = ""
    ttl: Duration = ""
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
    script_args: list[str] = []
    """The same as `Args`."""
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
    deregister_critical_service_after: Duration = ""
    output_max_size: int = 0


class ServiceRegistration(Shape, frozen=True, kw_only=True):
    """A service. Names may be in snake case too; `mesh.agent.definitions` reads them."""

    name: str
    service: str | UnsetType = UNSET
    """The same as `Name`."""
    id: str = ""
    kind: str = ""
    tags: list[str] = []
    address: str = ""
    port: int = 0
    socket_path: str = ""
    tagged_addresses: dict[str, AddressShape] = {}
    meta: dict[str, str] = {}
    weights: WeightsRegistration = WeightsRegistration()
    enable_tag_override: bool = False
    token: str = ""
    proxy: dict[str, Any] = {}
    connect: dict[str, Any] = {}
    locality: LocalityShape | UnsetType = UNSET
    check: CheckRegistration | UnsetType = UNSET
    checks: list[CheckRegistration] = field(default_factory=list)
