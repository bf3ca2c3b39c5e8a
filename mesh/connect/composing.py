"""Composing: what a sidecar needs to know, from its registration and from shared answers."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from mesh.connect.credentials import Bundle, Leaf
from mesh.connect.registration import Path, Proxy
from mesh.connect.registration import Upstream as Registered
from mesh.connect.xds.blueprint import (
    LOOPBACK,
    AccessLog,
    Blueprint,
    Endpoint,
    Exposed,
    Inbound,
    Normalization,
    TlsRules,
    Upstream,
)
from mesh.durations import parse_duration
from mesh.errors import Invalid
from mesh.registry.catalog import SERF_HEALTH
from mesh.registry.health import Instance
from mesh.registry.intentions import JwtProvider, Policy
from mesh.registry.services import Service
from mesh.registry.settings import (
    AccessLogs,
    Direction,
    Limits,
    MeshSettings,
    PassiveCheck,
    Protocol,
    Settings,
)
from mesh.registry.settings import Upstream as Central

WEIGHT_MAX = 128
CONNECT_SECONDS = 5.0
_PROTOCOLS: tuple[Protocol, ...] = ("tcp", "http", "http2", "grpc")


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The node that the sidecar is on."""

    node: str
    datacenter: str
    bind: str = "0.0.0.0"  # noqa: S104 - a sidecar is there for others; nodes may say otherwise.
    """Where sidecars listen whose service has no address."""
    addresses: tuple[str, ...] = ()
    """From which the agent checks the health of services."""
    default_allow: bool = True
    """What becomes of calls that no intention is about."""
    public_roots: str = ""
    """A file with the roots of the public web, for fetching keys of tokens."""


class Reached(msgspec.Struct, frozen=True):
    """An upstream as the catalog has it."""

    settings: Settings
    instances: list[Instance]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The answers that a blueprint follows from."""

    bundle: Bundle
    leaf: Leaf | None
    settings: Settings
    mesh: MeshSettings
    policy: Policy
    providers: list[JwtProvider]
    upstreams: dict[str, Reached]
    """By service."""
    checks: list[Exposed] = []
    """What is open for the agent's own checks."""


def names_of(proxy: Proxy) -> list[str]:
    """The services that are reached through a proxy."""
    found = {one.destination_name for one in proxy.upstreams if _is_service(one)}
    return sorted(found)


def _is_service(upstream: Registered) -> bool:
    return upstream.destination_type in {"", "service"} and not upstream.destination_peer


def _is_reached(upstream: Registered, datacenter: str, problems: list[str]) -> bool:
    name, lacking = upstream.destination_name, ""
    if upstream.destination_type == "prepared_query":
        lacking = "prepared queries as upstreams are not there yet"
    elif upstream.destination_peer:
        lacking = "peers are not there yet"
    elif upstream.datacenter not in {"", datacenter}:
        lacking = f"services in datacenter {upstream.datacenter} cannot be reached yet"
    if lacking:
        problems.append(f"Proxy.Upstreams[{name}]: {lacking}; it is left out")
    return not lacking


def compose(row: Service, proxy: Proxy, place: Place, facts: Facts) -> tuple[Blueprint, list[str]]:
    """The blueprint of a sidecar, and what is wrong with its options.

    An option that makes no sense counts as not given: rules and certificates must reach a sidecar
    whatever else is said of it.
    """
    mesh, opaque = facts.mesh, {**facts.settings.config, **proxy.config}
    problems: list[str] = []
    made = Blueprint(
        proxy=row.id,
        service=proxy.destination_service_name,
        node=place.node,
        datacenter=place.datacenter,
        bundle=facts.bundle,
        leaf=facts.leaf,
        inbound=_inbound(row, proxy, place, facts, _Opaque(opaque, problems)),
        upstreams=[
            _upstream(one, place.datacenter, facts, problems)
            for one in proxy.upstreams
            if _is_reached(one, place.datacenter, problems)
        ],
        policy=facts.policy,
        default_allow=place.default_allow,
        jwt_providers=facts.providers,
        public_roots=place.public_roots,
        sanitize_client_cert=mesh.sanitize_client_cert,
        normalization=Normalization(
            paths=mesh.normalize_paths,
            merge_slashes=mesh.merge_slashes,
            escaped_slashes=mesh.escaped_slashes,
            underscores=mesh.underscores,
        ),
        access_log=_access_log(facts.settings.access_logs),
        incoming=_tls(mesh.incoming),
        outgoing=_tls(mesh.outgoing),
        config=opaque,
    )
    return made, list(dict.fromkeys(problems))


class _Opaque:
    """Opaque options with Consul's names, read with their kind; problems are noted."""

    def __init__(
        self, config: dict[str, Any], problems: list[str], where: str = "Proxy.Config"
    ) -> None:
        self._config, self._problems, self._where = config, problems, where

    def _wrong(self, name: str, expected: str) -> None:
        found = self._config.get(name)
        self._problems.append(f"{self._where}.{name}: expected {expected}, got {found!r}")

    def text(self, name: str) -> str:
        found = self._config.get(name, "")
        if isinstance(found, str):
            return found
        self._wrong(name, "text")
        return ""

    def number(self, name: str) -> float | None:
        """None where it is not there."""
        found = self._config.get(name)
        if found is None:
            return None
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = -1.0
        if 0 <= number < 2**31:
            return number
        self._wrong(name, "a number from 0")
        return None

    def whole(self, name: str) -> int | None:
        number = self.number(name)
        return None if number is None else int(number)

    def seconds(self, name: str) -> float | None:
        """Of an option in milliseconds."""
        number = self.number(name)
        return None if number is None else number / 1000

    def duration(self, name: str) -> float | None:
        """In seconds, of text such as 10s or of nanoseconds."""
        found = self._config.get(name)
        if not isinstance(found, str):
            nanoseconds = self.nanoseconds(name)
            return None if nanoseconds is None else nanoseconds / 1e9
        try:
            return parse_duration(found)
        except Invalid:
            self._wrong(name, "a duration such as 10s")
            return None

    def nanoseconds(self, name: str) -> float | None:
        found = self._config.get(name)
        if found is None or (isinstance(found, int | float) and 0 <= found < 2**63):
            return found
        self._wrong(name, "a duration such as 10s")
        return None

    def protocol(self, default: Protocol) -> Protocol:
        said = self.text("protocol").lower()
        for one in _PROTOCOLS:
            if said == one:
                return one
        if said:
            self._wrong("protocol", ", ".join(_PROTOCOLS))
        return default

    def block(self, name: str) -> _Opaque:
        found = self._config.get(name) or {}
        if not isinstance(found, dict):
            self._wrong(name, "an object")
            found = {}
        lower = {_snake(str(key)): value for key, value in found.items()}
        return _Opaque(lower, self._problems, f"{self._where}.{name}")

    def own(self, config: dict[str, Any]) -> _Opaque:
        """Only these options, with the same place for problems."""
        return _Opaque(config, self._problems, self._where)

    def __bool__(self) -> bool:
        return bool(self._config)


def _snake(key: str) -> str:
    """MaxConnections as max_connections."""
    text = "".join(f"_{char.lower()}" if char.isupper() else char for char in key)
    return text.lstrip("_")


def _inbound(row: Service, proxy: Proxy, place: Place, facts: Facts, opaque: _Opaque) -> Inbound:
    settings = facts.settings
    return Inbound(
        address=opaque.text("bind_address") or row.address or place.bind,
        port=opaque.whole("bind_port") or row.port,
        protocol=opaque.own(proxy.config).protocol(settings.protocol),
        local_address=proxy.local_service_address or LOOPBACK,
        local_port=proxy.local_service_port,
        local_socket=proxy.local_service_socket_path,
        connect_seconds=opaque.seconds("local_connect_timeout_ms")
        or settings.connect_seconds
        or CONNECT_SECONDS,
        request_seconds=_either(
            opaque.seconds("local_request_timeout_ms"), settings.request_seconds
        ),
        idle_seconds=opaque.seconds("local_idle_timeout_ms"),
        max_connections=opaque.whole("max_inbound_connections") or settings.max_inbound_connections,
        balance_connections=settings.balance_connections
        or opaque.text("balance_inbound_connections") == "exact_balance",
        exposed=[*_exposed(proxy, settings), *facts.checks],
        agent_addresses=list(place.addresses),
    )


def _either(first: float | None, second: float | None) -> float | None:
    return second if first is None else first


def _exposed(proxy: Proxy, settings: Settings) -> list[Exposed]:
    central = [
        Path(
            path=one.path,
            local_path_port=one.local_port,
            listener_port=one.listener_port,
            protocol=one.protocol,
        )
        for one in settings.expose_paths
    ]
    return [
        Exposed(
            path=one.path,
            local_port=one.local_path_port,
            listener_port=one.listener_port,
            protocol="http2" if one.protocol == "http2" else "http",
        )
        for one in (*proxy.expose.paths, *central)
    ]


def _upstream(
    registered: Registered, datacenter: str, facts: Facts, problems: list[str]
) -> Upstream:
    name = registered.destination_name
    reached, central = facts.upstreams[name], facts.settings.upstream(name)
    opaque = _Opaque(registered.config, problems, f"Proxy.Upstreams[{name}].Config")
    default: Protocol = reached.settings.protocol
    if central.protocol:
        default = opaque.own({"protocol": central.protocol}).protocol(default)
    return Upstream(
        service=name,
        datacenter=registered.datacenter or datacenter,
        protocol=opaque.protocol(default),
        address=registered.local_bind_address or LOOPBACK,
        port=registered.local_bind_port,
        socket_path=registered.local_bind_socket_path,
        socket_mode=registered.local_bind_socket_mode,
        connect_seconds=opaque.seconds("connect_timeout_ms")
        or central.connect_seconds
        or CONNECT_SECONDS,
        limits=_limits(opaque.block("limits"), central),
        passive=_passive(opaque.block("passive_health_check"), central),
        balance_connections=central.balance_connections
        or opaque.text("balance_outbound_connections") == "exact_balance",
        endpoints=endpoints(reached.instances),
        config=_escapes(central) | registered.config,
    )


def _escapes(central: Central) -> dict[str, Any]:
    texts = {
        "envoy_listener_json": central.listener_json,
        "envoy_cluster_json": central.cluster_json,
    }
    return {name: text for name, text in texts.items() if text}


def _limits(own: _Opaque, central: Central) -> Limits:
    given = central.limits
    base = given or Limits()
    said = {
        "connections": own.whole("max_connections"),
        "pending": own.whole("max_pending_requests"),
        "requests": own.whole("max_concurrent_requests"),
    }
    return msgspec.structs.replace(base, **_given(said))


def _given(said: dict[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in said.items() if value is not None}


def _passive(own: _Opaque, central: Central) -> PassiveCheck | None:
    given = central.passive
    if not own and given is None:
        return None
    base = given or PassiveCheck()
    times = {
        "interval_seconds": own.duration("interval"),
        "base_ejection_seconds": own.duration("base_ejection_time"),
    }
    base = msgspec.structs.replace(
        base, **{name: seconds for name, seconds in times.items() if seconds is not None}
    )
    said = {
        "max_failures": own.whole("max_failures"),
        "enforcing_percent": own.whole("enforcing_consecutive5xx"),
        "max_ejection_percent": own.whole("max_ejection_percent"),
    }
    return msgspec.structs.replace(base, **_given(said))


def endpoints(instances: list[Instance]) -> list[Endpoint]:
    """Where a service is reached.

    When no instance is healthy, those count whose only fault is that their agent is not heard: it
    may be restarting, and a sidecar that is gone is found out by the first call. An instance with
    a name for an address, or without a port, is left out: Envoy would refuse all because of it.
    """
    instances = [one for one in instances if _is_address(one)]
    found = [endpoint(one) for one in instances]
    if any(one.healthy for one in found):
        return found
    return [endpoint(_without_agent(one)) for one in instances]


def _is_address(instance: Instance) -> bool:
    try:
        ipaddress.ip_address(instance.service.address or instance.node.address)
    except ValueError:
        return False
    return instance.service.port > 0


def _without_agent(instance: Instance) -> Instance:
    checks = [check for check in instance.checks if check.id != SERF_HEALTH]
    return msgspec.structs.replace(instance, checks=checks)


def endpoint(instance: Instance) -> Endpoint:
    """Where an instance is reached in its own datacenter, and how much it is given."""
    service, status = instance.service, instance.status
    weight = service.weights.warning if status == "warning" else service.weights.passing
    return Endpoint(
        service.address or instance.node.address,
        service.port,
        healthy=status in {"passing", "warning"} and weight > 0,
        weight=min(max(weight, 1), WEIGHT_MAX),
    )


def _access_log(given: AccessLogs) -> AccessLog | None:
    if not given.enabled:
        return None
    return AccessLog(
        kind=given.kind,
        path=given.path,
        json_format=given.json_format,
        text_format=given.text_format,
        listener=given.listener,
    )


def _tls(given: Direction) -> TlsRules:
    return TlsRules(
        version_min=given.version_min, version_max=given.version_max, ciphers=given.ciphers
    )
