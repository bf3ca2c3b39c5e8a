"""The blueprint of a sidecar: all that its configuration follows from, as one value."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mesh.connect.credentials import Bundle, Leaf
from mesh.registry.intentions import JwtProvider, Policy
from mesh.registry.settings import Limits, PassiveCheck, Protocol

LOOPBACK = "127.0.0.1"


class Endpoint(msgspec.Struct, frozen=True):
    """Where an instance is reached: the address of its sidecar, or its own when it needs none."""

    address: str
    port: int
    healthy: bool = True
    weight: int = 1
    """1 to 128."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A service that the application calls through the sidecar."""

    service: str
    datacenter: str
    protocol: Protocol = "tcp"
    address: str = LOOPBACK
    port: int = 0
    socket_path: str = ""
    socket_mode: str = ""
    connect_seconds: float = 5.0
    limits: Limits = Limits()
    passive: PassiveCheck | None = None
    balance_connections: bool = False
    endpoints: list[Endpoint] = []
    config: dict[str, Any] = {}
    """Opaque options with Consul's key names (envoy_listener_json, envoy_cluster_json)."""


class Exposed(msgspec.Struct, frozen=True, kw_only=True):
    """A path of the application that is open without TLS, for health checks and metrics."""

    path: str
    local_port: int
    listener_port: int
    protocol: Literal["http", "http2"] = "http"
    for_checks: bool = False
    """Only from this machine and from the agent's addresses."""


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """How others reach the application."""

    address: str
    port: int
    protocol: Protocol = "tcp"
    local_address: str = LOOPBACK
    local_port: int = 0
    local_socket: str = ""
    connect_seconds: float = 5.0
    request_seconds: float | None = None
    """None: no limit of ours."""
    idle_seconds: float | None = None
    max_connections: int = 0
    """0: no limit."""
    balance_connections: bool = False
    exposed: list[Exposed] = []
    agent_addresses: list[str] = []


class Normalization(msgspec.Struct, frozen=True, kw_only=True):
    """How request paths and headers are read before rules judge them (the mesh entry)."""

    paths: bool = True
    merge_slashes: bool = False
    escaped_slashes: str = ""
    """KEEP_UNCHANGED, REJECT_REQUEST, UNESCAPE_AND_REDIRECT, UNESCAPE_AND_FORWARD; or empty."""
    underscores: str = ""
    """ALLOW, REJECT_REQUEST, DROP_HEADER; or empty."""


class AccessLog(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests and connections are logged, and how."""

    kind: Literal["file", "stdout", "stderr"] = "stdout"
    path: str = ""
    json_format: str = ""
    text_format: str = ""
    listener: bool = True
    """Also connections for which no listener chain was found."""


class TlsRules(msgspec.Struct, frozen=True, kw_only=True):
    """Versions and ciphers of one direction; empty: Envoy's defaults."""

    version_min: str = ""
    version_max: str = ""
    ciphers: list[str] = []


class Blueprint(msgspec.Struct, frozen=True, kw_only=True):
    """A sidecar. Two equal blueprints give the same configuration, byte for byte."""

    proxy: str
    """The id of the proxy, which is the node id of its stream."""
    service: str
    node: str
    datacenter: str
    bundle: Bundle
    leaf: Leaf | None
    """None until there is one: then no listener is open yet."""
    inbound: Inbound | None
    upstreams: list[Upstream] = []
    policy: Policy
    default_allow: bool = True
    """What becomes of calls that no intention is about."""
    jwt_providers: list[JwtProvider] = []
    """Those that the policy names."""
    public_roots: str = "/etc/ssl/certs/ca-certificates.crt"
    """The file with the authorities that hosts of JWT keys are checked against."""
    sanitize_client_cert: bool = False
    """Take x-forwarded-client-cert off requests, and do not add it."""
    normalization: Normalization = Normalization()
    access_log: AccessLog | None = None
    incoming: TlsRules = TlsRules()
    outgoing: TlsRules = TlsRules()
    consul_exact: bool = False
    """Certificates and rules inside listeners and clusters, as Consul has them."""
    config: dict[str, Any] = {}
    """The proxy's opaque options with Consul's key names (envoy_local_cluster_json ...)."""


class Proxyless(msgspec.Struct, frozen=True, kw_only=True):
    """A service whose gRPC programs are in the mesh themselves, without sidecars."""

    proxy: str
    """The node id of their streams."""
    service: str
    node: str
    datacenter: str
    bundle: Bundle
    targets: dict[str, list[Endpoint]] = {}
    """The services that they call, with where each is reached."""
    served: list[str] = []
    """Where they serve, as they say it: address:port."""
    policy: Policy
    default_allow: bool = True
    """What becomes of calls that no intention is about."""
