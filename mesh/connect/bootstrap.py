"""Envoy's bootstrap: what a sidecar knows before its agent tells it anything.

Names of clusters, tags and options are those that Consul gives its sidecars, so that dashboards and
option files carry over (envoy.config.bootstrap.v3.Bootstrap; `consul connect envoy -bootstrap`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mesh.connect.tagging import TAGS
from mesh.errors import Invalid

AGENT = "local_agent"
ADMIN_MODE = 0o600
PROTOCOL = "protocol"
"""The node metadata that says that a sidecar is of a service that speaks tcp."""
RE2_PROGRAM_MAX = 1024 * 1024
"""All callers of a service are one expression, which outgrows Envoy's default of 100."""
KEEPALIVE = ("5s", "5s")
"""After how long an agent that hangs is taken for gone, and tried again."""
_EXTENSION = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_PREFIX = "type.googleapis.com/"


class Bootstrap(msgspec.Struct, frozen=True, kw_only=True):
    """What a bootstrap is made of. Addresses are `ip:port`, or `unix:///path` for sockets."""

    proxy: str
    """The id of the proxy: Envoy's node id."""
    service: str
    """Envoy's node cluster, and the source in its statistics."""
    node: str
    datacenter: str = "dc1"
    agent: str
    """Where the agent serves xDS."""
    agent_ca: str = ""
    """PEM: the agent is reached by TLS, and must show a certificate of this authority."""
    protocol: str = ""
    """Of the service, where it is known."""
    admin: str = "127.0.0.1:19000"
    token: str = ""
    config: Mapping[str, Any] = {}
    """The proxy's opaque options with Consul's names: envoy_prometheus_bind_addr and so on."""
    prometheus_backend_port: str = ""
    prometheus_scrape_path: str = "/metrics"
    ready: str = ""
    """Answers /ready here too, for health checks; empty: nowhere."""


def speaks_tcp(made: Mapping[str, Any]) -> bool:
    """Whether a bootstrap is for the sidecar of a service whose connections nobody looks into."""
    return bool(made.get("node", {}).get("metadata", {}).get(PROTOCOL) == "tcp")


def bootstrap(given: Bootstrap) -> dict[str, Any]:
    """The bootstrap, as Envoy reads it from JSON. Raises Invalid, naming the option at fault."""
    options = _Options(given.config)
    made: dict[str, Any] = {
        "node": {
            "id": given.proxy,
            "cluster": given.service,
            "metadata": {
                "node_name": given.node,
                "namespace": "default",
                "partition": "default",
                **({PROTOCOL: "tcp"} if given.protocol == "tcp" else {}),
            },
        },
        "admin": {"address": _address(given.admin, "admin-bind", mode=ADMIN_MODE)},
        "layered_runtime": {
            "layers": [
                {
                    "name": "base",
                    "static_layer": {"re2.max_program_size.error_level": RE2_PROGRAM_MAX},
                }
            ]
        },
        "dynamic_resources": _dynamic(given.token),
        "static_resources": {
            "clusters": [_agent(given), *_local_admin(given, options)],
            "listeners": _listeners(given, options),
        },
        "stats_config": _stats(given, options),
    }
    if sinks := _sinks(options):
        made["stats_sinks"] = sinks
    if flush := options.text("envoy_stats_flush_interval"):
        made["stats_flush_interval"] = flush
    _extend(made, options)
    options.refuse_templates()
    return made


class _Options:
    """The opaque options that a bootstrap heeds."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def text(self, name: str) -> str:
        found = self._config.get(name, "")
        if not isinstance(found, str):
            raise Invalid(f"Proxy.Config.{name}: expected text, got {type(found).__name__}")
        return found

    def parsed(self, name: str, *, several: bool = False) -> Any:
        """What an option holds as JSON; `several`: one object after another, as Consul has it."""
        text = self.text(name).strip()
        if not text:
            return [] if several else None
        try:
            return json.loads(f"[{text}]" if several and text[0] != "[" else text)
        except ValueError as error:
            raise Invalid(f"Proxy.Config.{name}: not JSON: {error}") from None

    def texts(self, name: str) -> list[str]:
        found = self._config.get(name, [])
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise Invalid(f"Proxy.Config.{name}: expected a list of texts")
        return found

    def refuse_templates(self) -> None:
        if self.text("envoy_bootstrap_json_tpl"):
            raise Invalid(
                "Proxy.Config.envoy_bootstrap_json_tpl: Go templates are not rendered here; write "
                "the bootstrap with `meshctl connect envoy -bootstrap`, edit it, and start Envoy "
                "with that"
            )


def _dynamic(token: str) -> dict[str, Any]:
    ads = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {
        "lds_config": ads,
        "cds_config": ads,
        "ads_config": {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {
                    "initial_metadata": [{"key": "x-consul-token", "value": token}],
                    "envoy_grpc": {"cluster_name": AGENT},
                }
            ],
        },
    }


def _agent(given: Bootstrap) -> dict[str, Any]:
    interval, timeout = KEEPALIVE
    http2 = {"connection_keepalive": {"interval": interval, "timeout": timeout}}
    made = _static(AGENT, _address(given.agent, "grpc-addr")) | {
        "ignore_health_on_host_removal": False,
        "typed_extension_protocol_options": {
            _EXTENSION: {
                "@type": f"{_PREFIX}{_EXTENSION}",
                "explicit_http_config": {"http2_protocol_options": http2},
            }
        },
    }
    if given.agent_ca:
        tls = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        trusted = {"trusted_ca": {"inline_string": given.agent_ca}}
        made["transport_socket"] = {
            "name": "tls",
            "typed_config": {
                "@type": f"{_PREFIX}{tls}",
                "common_tls_context": {"validation_context": trusted},
            },
        }
    return made


def _local_admin(given: Bootstrap, options: _Options) -> list[dict[str, Any]]:
    wanted = ("envoy_prometheus_bind_addr", "envoy_stats_bind_addr")
    if not given.ready and not any(options.text(name) for name in wanted):
        return []
    made = [_static("self_admin", _address(given.admin, "admin-bind"))]
    if given.prometheus_backend_port:
        backend = f"127.0.0.1:{given.prometheus_backend_port}"
        made.append(_static("prometheus_backend", _address(backend, "prometheus-backend-port")))
    return made


def _static(name: str, address: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s" if name == AGENT else "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }


def _listeners(given: Bootstrap, options: _Options) -> list[dict[str, Any]]:
    found = []
    backend = "prometheus_backend" if given.prometheus_backend_port else "self_admin"
    if address := options.text("envoy_prometheus_bind_addr"):
        route = ("/stats/prometheus", backend, given.prometheus_scrape_path)
        found.append(_page("envoy_prometheus_metrics", address, route))
    if address := options.text("envoy_stats_bind_addr"):
        found.append(_page("envoy_metrics", address, ("/stats", "self_admin", "")))
    if given.ready:
        found.append(_page("envoy_ready", given.ready, ("/ready", "self_admin", "/ready")))
    return found


def _page(name: str, address: str, route: tuple[str, str, str]) -> dict[str, Any]:
    """A listener with one page of the admin interface; without a path under any path."""
    target, cluster, path = route
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "envoy.extensions.filters.http.router.v3.Router"
    to = {"cluster": cluster}
    shown = {"match": {"path": path}, "route": {**to, "prefix_rewrite": target}}
    whole = {"match": {"prefix": "/"}, "route": {**to, "prefix_rewrite": target}}
    hidden = {"match": {"prefix": "/"}, "direct_response": {"status": 404}}
    hosts = [{"name": name, "domains": ["*"], "routes": [shown, hidden] if path else [whole]}]
    filters = [{"name": "router", "typed_config": {"@type": f"{_PREFIX}{router}"}}]
    config = {
        "@type": f"{_PREFIX}{manager}",
        "stat_prefix": name,
        "codec_type": "HTTP1",
        "route_config": {"name": f"self_admin_{name}", "virtual_hosts": hosts},
        "http_filters": filters,
    }
    return {
        "name": f"{name}_listener",
        "address": _address(address, name),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": config}]}],
    }


def _stats(given: Bootstrap, options: _Options) -> dict[str, Any]:
    if (own := options.parsed("envoy_stats_config_json")) is not None:
        if not isinstance(own, dict):
            raise Invalid("Proxy.Config.envoy_stats_config_json: expected a JSON object")
        return own
    fixed = {
        "local_cluster": given.service,
        "consul.source.service": given.service,
        "consul.source.namespace": "default",
        "consul.source.partition": "default",
        "consul.source.datacenter": given.datacenter,
    }
    for one in options.texts("envoy_stats_tags"):
        name, found, value = one.partition("=")
        if not found or not name:
            raise Invalid(f'Proxy.Config.envoy_stats_tags: expected "name=value", got "{one}"')
        fixed[name] = value
    tags = [{"tag_name": name, "regex": regex} for name, regex in TAGS.items()]
    tags += [{"tag_name": name, "fixed_value": value} for name, value in fixed.items()]
    return {"stats_tags": tags, "use_all_default_tags": True}


def _sinks(options: _Options) -> list[dict[str, Any]]:
    found = list(options.parsed("envoy_extra_stats_sinks_json", several=True))
    for name, kind, plain in (
        ("envoy_statsd_url", "StatsdSink", "envoy.stat_sinks.statsd"),
        ("envoy_dogstatsd_url", "DogStatsdSink", "envoy.stat_sinks.dog_statsd"),
    ):
        if text := options.text(name):
            config = {"@type": f"{_PREFIX}envoy.config.metrics.v3.{kind}"}
            found.append({"name": plain, "typed_config": config | {"address": _udp(text, name)}})
    return found


def _udp(text: str, name: str) -> dict[str, Any]:
    url = urlsplit(text)
    if url.scheme == "unix" and url.path:
        return {"pipe": {"path": url.path}}
    if url.scheme != "udp" or not url.hostname or not url.port:
        raise Invalid(f'Proxy.Config.{name}: expected udp://ip:port or unix:///path, got "{text}"')
    socket = {"address": url.hostname, "port_value": url.port, "protocol": "UDP"}
    return {"socket_address": socket}


def _extend(made: dict[str, Any], options: _Options) -> None:
    static = made["static_resources"]
    static["clusters"] += options.parsed("envoy_extra_static_clusters_json", several=True)
    static["listeners"] += options.parsed("envoy_extra_static_listeners_json", several=True)
    if (tracing := options.parsed("envoy_tracing_json")) is not None:
        made["tracing"] = tracing


def _address(text: str, name: str, mode: int | None = None) -> dict[str, Any]:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        return {"pipe": {"path": path} | ({"mode": mode} if mode is not None else {})}
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Invalid(f'{name}: expected ip:port or unix:///path, got "{text}"')
    host = {"localhost": "127.0.0.1"}.get(host, host.strip("[]"))
    return {"socket_address": {"address": host, "port_value": int(port)}}
