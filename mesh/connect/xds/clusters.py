"""Clusters: the application itself, and the services that it calls."""

from __future__ import annotations

import ipaddress
from typing import Any

from mesh.connect import identity
from mesh.connect.xds import secrets
from mesh.connect.xds.blueprint import Blueprint, Exposed, Inbound, Upstream
from mesh.connect.xds.messages import (
    ADS,
    Cluster,
    HttpProtocolOptions,
    any_of,
    parsed,
    resource,
    seconds,
    value,
)
from mesh.connect.xds.snapshot import ENDPOINTS, Cause, Ref, Resource
from mesh.registry.settings import Limits, PassiveCheck

LOCAL_APP = "local_app"
RETRIES = 1024
"""Envoy's own limit of 3 at a time fails requests that have a healthy instance to go to."""
_NO_LIMIT = 2**32 - 1
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(blueprint: Blueprint, upstream: Upstream) -> str:
    """The name of the upstream's cluster, which is its SNI."""
    trust = blueprint.bundle.trust_domain
    return identity.server_name(upstream.service, upstream.datacenter, trust)


def exposed_name(exposed: Exposed) -> str:
    """The cluster behind an exposed path, where that is no port of the application's own."""
    return f"exposed_cluster_{exposed.local_port}"


def local_app(inbound: Inbound, blueprint: Blueprint) -> Resource:
    """The application behind the sidecar."""
    custom = blueprint.config.get("envoy_local_cluster_json")
    origin = f"{blueprint.proxy}: application"
    if custom:
        origin = f"{blueprint.proxy}: envoy_local_cluster_json"
        found = parsed(str(custom), Cluster(), origin)
        found.name = LOCAL_APP
        return resource(found, LOCAL_APP, causes=[Cause(origin)])
    limit = inbound.max_connections or _NO_LIMIT
    threshold = {
        "max_connections": value(limit),
        "max_pending_requests": value(_NO_LIMIT),
        "max_requests": value(_NO_LIMIT),
        "max_retries": value(_NO_LIMIT),
    }
    found = Cluster(
        name=LOCAL_APP,
        connect_timeout=seconds(inbound.connect_seconds),
        circuit_breakers={"thresholds": [threshold]},
    )
    if inbound.local_socket:
        _place(found, {"pipe": {"path": inbound.local_socket}})
    elif inbound.local_port:
        _place_at(found, inbound.local_address, inbound.local_port)
    if inbound.protocol in {"http2", "grpc"}:
        _speak(found, {"explicit_http_config": {"http2_protocol_options": {}}})
    return resource(found, LOCAL_APP, causes=[Cause(origin)])


def exposed_app(exposed: Exposed, inbound: Inbound) -> Resource:
    """The application's port behind an exposed path."""
    name = exposed_name(exposed)
    found = Cluster(name=name, connect_timeout=seconds(inbound.connect_seconds))
    _place_at(found, inbound.local_address, exposed.local_port)
    if exposed.protocol == "http2":
        _speak(found, {"explicit_http_config": {"http2_protocol_options": {}}})
    return resource(found, name, causes=[Cause(f"exposed path {exposed.path}")])


def upstream_cluster(upstream: Upstream, blueprint: Blueprint) -> Resource:
    """A service that the application calls."""
    name = cluster_name(blueprint, upstream)
    custom = upstream.config.get("envoy_cluster_json")
    origin = f"upstream {upstream.service}"
    if custom:
        origin = f"upstream {upstream.service}: envoy_cluster_json"
        found = parsed(str(custom), Cluster(), origin)
        found.name = name
    else:
        found = _upstream(name, upstream)
    trust = blueprint.bundle.trust_domain
    who = identity.service(trust, upstream.datacenter, upstream.service)
    socket = secrets.outbound(blueprint.bundle, blueprint.outgoing, name, who)
    del found.transport_socket_matches[:]
    found.transport_socket.CopyFrom(type(found.transport_socket)(**socket))
    children = list(secrets.refs(blueprint.bundle))
    if found.type == Cluster.EDS:
        asked = found.eds_cluster_config.service_name
        children.insert(0, Ref(ENDPOINTS, asked or name))
    return resource(found, name, children=children, causes=[Cause(origin)])


def _upstream(name: str, upstream: Upstream) -> Any:
    found = Cluster(
        name=name,
        type="EDS",
        eds_cluster_config={"eds_config": ADS},
        connect_timeout=seconds(upstream.connect_seconds),
        circuit_breakers={"thresholds": [_threshold(upstream.limits)]},
        outlier_detection=_outliers(upstream.passive or PassiveCheck()),
        common_lb_config={
            "healthy_panic_threshold": value(0),
            # Else an ejection that follows a change of members takes effect a second late.
            "update_merge_window": seconds(0),
        },
    )
    if upstream.protocol in {"http2", "grpc"}:
        _speak(found, {"explicit_http_config": {"http2_protocol_options": {}}})
    elif upstream.protocol == "http":
        # Whatever the application speaks: sidecars speak HTTP/2 where both can. Upgrades, as to
        # websockets, are extended CONNECT there (RFC 8441).
        _speak(found, {"auto_config": {"http2_protocol_options": {"allow_connect": True}}})
    return found


def _threshold(limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {"max_retries": value(RETRIES)}
    if limits.connections is not None:
        found["max_connections"] = value(limits.connections)
    if limits.pending is not None:
        found["max_pending_requests"] = value(limits.pending)
    if limits.requests is not None:
        found["max_requests"] = value(limits.requests)
    return found


EJECTED_PERCENT = 50
"""Of the hosts of a cluster, at most, unless the user says otherwise."""


def _outliers(check: PassiveCheck) -> dict[str, Any]:
    # Envoy's 10 % would eject none of a few hosts; half of them never is the last one.
    found: dict[str, Any] = {"max_ejection_percent": value(EJECTED_PERCENT)}
    if check.interval_seconds is not None:
        found["interval"] = seconds(check.interval_seconds)
    if check.max_failures is not None:
        found["consecutive_5xx"] = value(check.max_failures)
    if check.enforcing_percent is not None:
        found["enforcing_consecutive_5xx"] = value(check.enforcing_percent)
    if check.max_ejection_percent is not None:
        found["max_ejection_percent"] = value(check.max_ejection_percent)
    if check.base_ejection_seconds is not None:
        found["base_ejection_time"] = seconds(check.base_ejection_seconds)
    return found


def _speak(found: Any, options: dict[str, Any]) -> None:
    chosen = HttpProtocolOptions(**options)
    found.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(any_of(chosen))


def _place_at(found: Any, address: str, port: int) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        found.type = Cluster.STRICT_DNS
    _place(found, {"socket_address": {"address": address, "port_value": port}})


def _place(found: Any, address: dict[str, Any]) -> None:
    found.load_assignment.cluster_name = found.name
    found.load_assignment.endpoints.add(lb_endpoints=[{"endpoint": {"address": address}}])
