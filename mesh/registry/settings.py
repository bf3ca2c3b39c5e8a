"""Settings of services and of the mesh, as service-defaults, proxy-defaults and mesh entries say.

An import may have written bodies that nobody checked: what cannot be understood in one counts for
nothing, and the rest does.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeVar

import msgspec

from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.registry.entries import find
from mesh.registry.kinds import mesh, parts, proxy_defaults, service_defaults
from mesh.registry.kinds.parts import Body
from mesh.registry.levels import MESH
from mesh.registry.port import Query
from mesh.store.database import View

B = TypeVar("B", bound=Body)
Protocol = Literal["tcp", "http", "http2", "grpc"]
HTTP_LIKE = frozenset({"http", "http2", "grpc"})


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """A circuit breaker; None: Envoy's default."""

    connections: int | None = None
    pending: int | None = None
    requests: int | None = None


class PassiveCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Outlier detection; None: Envoy's default."""

    interval_seconds: float | None = None
    max_failures: int | None = None
    enforcing_percent: int | None = None
    max_ejection_percent: int | None = None
    base_ejection_seconds: float | None = None


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """How a service calls another, or all others; None or empty: not said."""

    service: str = ""
    """Empty for all."""
    protocol: str = ""
    connect_seconds: float | None = None
    limits: Limits | None = None
    passive: PassiveCheck | None = None
    balance_connections: bool = False
    listener_json: str = ""
    cluster_json: str = ""


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """A path of the application that is open without TLS."""

    path: str
    listener_port: int
    local_port: int
    protocol: Literal["http", "http2"] = "http"


class AccessLogs(msgspec.Struct, frozen=True, kw_only=True):
    """Where sidecars log requests and connections, and how."""

    enabled: bool = False
    kind: Literal["file", "stdout", "stderr"] = "stdout"
    path: str = ""
    json_format: str = ""
    text_format: str = ""
    listener: bool = True
    """Also connections for which no listener chain was found."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a service: its own entry over proxy-defaults."""

    service: str
    protocol: Protocol = "tcp"
    connect_seconds: float | None = None
    """To the application; None: not said, 5 s then."""
    request_seconds: float | None = None
    """Of the application; None: not said, no limit then."""
    max_inbound_connections: int = 0
    """0: no limit."""
    balance_connections: bool = False
    expose_checks: bool = False
    expose_paths: list[Path] = []
    config: dict[str, Any] = {}
    """Opaque options of proxy-defaults, with Consul's key names."""
    upstream_defaults: Upstream = Upstream()
    upstream_overrides: list[Upstream] = []
    access_logs: AccessLogs = AccessLogs()

    def upstream(self, name: str) -> Upstream:
        """How it calls this service: the override for it over the defaults, field by field."""
        for one in self.upstream_overrides:
            if one.service.lower() == name.lower():
                fields = ((field, getattr(one, field)) for field in one.__struct_fields__)
                given = {field: value for field, value in fields if value}
                return msgspec.structs.replace(self.upstream_defaults, **given)
        return msgspec.structs.replace(self.upstream_defaults, service=name)


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """TLS versions and ciphers of one direction; empty: Envoy's defaults."""

    version_min: str = ""
    version_max: str = ""
    ciphers: list[str] = []


class MeshSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for the whole mesh. The names are those of `xds.blueprint`."""

    validate_clusters: bool = False
    sanitize_client_cert: bool = False
    normalize_paths: bool = True
    merge_slashes: bool = False
    escaped_slashes: str = ""
    """KEEP_UNCHANGED, REJECT_REQUEST, UNESCAPE_AND_REDIRECT, UNESCAPE_AND_FORWARD; or empty."""
    underscores: str = ""
    """ALLOW, REJECT_REQUEST, DROP_HEADER; or empty."""
    incoming: Direction = Direction()
    outgoing: Direction = Direction()


class Service(Query[Settings], frozen=True, tag="settings.service"):
    """What holds for a service, known or not."""

    answer = Settings
    needs: ClassVar[int] = MESH
    service: str

    def run(self, view: View) -> Settings:
        """Read both entries."""
        every = _body(view, proxy_defaults.ProxyDefaults, proxy_defaults.KIND, proxy_defaults.NAME)
        own = _body(view, service_defaults.ServiceDefaults, service_defaults.KIND, self.service)
        return _merged(self.service, every, own)


class Mesh(Query[MeshSettings], frozen=True, tag="settings.mesh"):
    """What holds for the whole mesh."""

    answer = MeshSettings
    needs: ClassVar[int] = MESH

    def run(self, view: View) -> MeshSettings:
        """Read the entry."""
        body = _body(view, mesh.Mesh, mesh.KIND, mesh.NAME)
        requests = body.http.incoming.request_normalization
        action = requests.path_with_escaped_slashes_action
        return MeshSettings(
            validate_clusters=body.validate_clusters,
            sanitize_client_cert=body.http.sanitize_x_forwarded_client_cert,
            normalize_paths=not requests.insecure_disable_path_normalization,
            merge_slashes=requests.merge_slashes,
            escaped_slashes="" if action == "IMPLEMENTATION_SPECIFIC_DEFAULT" else action,
            underscores=requests.headers_with_underscores_action,
            incoming=_direction(body.tls.incoming),
            outgoing=_direction(body.tls.outgoing),
        )


def protocol_of(view: View, service: str) -> Protocol:
    """What a service speaks: as its own entry says, else as all do, else tcp."""
    return Service(service).run(view).protocol


def _body(view: View, kind: type[B], name_of_kind: str, name: str) -> B:
    entry = find(view, name_of_kind, name)
    return kind() if entry is None else readable(kind, entry.body)


def readable(kind: type[B], body: dict[str, Any]) -> B:
    """The settings in a body; of one that nobody checked, those that can be understood."""
    try:
        return msgspec.convert(body, type=kind)
    except (msgspec.ValidationError, ValueError):
        found = empty = kind()
    for key, value in body.items():
        try:
            one = parts.read(kind, {key: value})
        except Invalid:
            continue
        given = {name: getattr(one, name) for name in one.__struct_fields__}
        news = {name: new for name, new in given.items() if new != getattr(empty, name)}
        found = msgspec.structs.replace(found, **news)
    return found


def _merged(
    name: str,
    every: proxy_defaults.ProxyDefaults,
    own: service_defaults.ServiceDefaults,
) -> Settings:
    shared = every.config.get("protocol")
    logs, upstreams = every.access_logs, own.upstream_config
    expose = own.expose if own.expose != type(own.expose)() else every.expose
    return Settings(
        service=name,
        protocol=own.protocol or (shared if shared in HTTP_LIKE else "tcp"),
        connect_seconds=_seconds_of_ms(own.local_connect_timeout_ms),
        request_seconds=_seconds_of_ms(own.local_request_timeout_ms),
        max_inbound_connections=own.max_inbound_connections,
        balance_connections=own.balance_inbound_connections == "exact_balance",
        expose_checks=expose.checks,
        expose_paths=[
            Path(
                path=one.path,
                listener_port=one.listener_port,
                local_port=one.local_path_port,
                protocol=one.protocol or "http",
            )
            for one in expose.paths
        ],
        config=every.config,
        upstream_defaults=_upstream(upstreams.defaults if upstreams else None),
        upstream_overrides=[_upstream(one) for one in (upstreams.overrides if upstreams else ())],
        access_logs=AccessLogs(
            enabled=logs.enabled,
            kind=logs.type or "stdout",
            path=logs.path,
            json_format=logs.json_format,
            text_format=logs.text_format,
            listener=not logs.disable_listener_logs,
        ),
    )


def _upstream(part: service_defaults.UpstreamPart | None) -> Upstream:
    if part is None:
        return Upstream()
    limits, passive = part.limits, part.passive_health_check
    return Upstream(
        service=part.name,
        protocol=part.protocol,
        connect_seconds=_seconds_of_ms(part.connect_timeout_ms),
        limits=None
        if limits is None
        else Limits(
            connections=limits.max_connections,
            pending=limits.max_pending_requests,
            requests=limits.max_concurrent_requests,
        ),
        passive=None
        if passive is None
        else PassiveCheck(
            interval_seconds=seconds_of(passive.interval),
            max_failures=passive.max_failures,
            enforcing_percent=passive.enforcing_consecutive_5xx,
            max_ejection_percent=passive.max_ejection_percent,
            base_ejection_seconds=seconds_of(passive.base_ejection_time),
        ),
        balance_connections=part.balance_outbound_connections == "exact_balance",
        listener_json=part.envoy_listener_json,
        cluster_json=part.envoy_cluster_json,
    )


def _direction(part: mesh.TlsPart) -> Direction:
    return Direction(
        version_min=part.tls_min_version,
        version_max=part.tls_max_version,
        ciphers=part.cipher_suites,
    )


def seconds_of(duration: str) -> float | None:
    """Seconds of a duration as entries have it; None for none, or what is none."""
    try:
        return parse_duration(duration) if duration else None
    except Invalid:
        return None


def _seconds_of_ms(milliseconds: int) -> float | None:
    return milliseconds / 1000 if milliseconds else None
