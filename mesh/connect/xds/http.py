"""The HTTP side of listeners: connection managers and the filters in them."""

from __future__ import annotations

from typing import Any

from mesh.connect.xds import access_logs
from mesh.connect.xds.blueprint import Blueprint, Normalization
from mesh.connect.xds.messages import (
    ADS,
    GrpcBridge,
    GrpcStats,
    HeaderMutation,
    HeaderToMetadata,
    HttpConnectionManager,
    HttpFilter,
    HttpRbac,
    JwtAuthentication,
    Router,
    TypedExtensionConfig,
    any_of,
    resource,
    value,
)
from mesh.connect.xds.rbac import SHADOW_PREFIX, Rules
from mesh.connect.xds.snapshot import Resource
from mesh.connect.xds.tokens import FILTER_NAME
from mesh.registry.settings import Protocol

RBAC_NAME = "envoy.filters.http.rbac"
_NETWORK_FILTER = "envoy.filters.network.http_connection_manager"
_CALLER_HEADER = "x-mesh-caller"
_CALLER = r"^spiffe://([^/]+)(?:/ap/([^/]+))?/ns/([^/]+)/dc/([^/]+)/svc/([^/]+)$"
_CALLER_PARTS = ("trust-domain", "partition", "namespace", "datacenter", "service")


def manager(
    stat_prefix: str,
    route_config: dict[str, Any],
    filters: list[Any],
    blueprint: Blueprint,
    protocol: Protocol = "http",
) -> Any:
    """A connection manager with these routes and filters, and the router at the end."""
    if protocol == "grpc":
        stats = GrpcStats(stats_for_all_methods=value(True))
        filters = [
            HttpFilter(name="envoy.filters.http.grpc_stats", typed_config=any_of(stats)),
            HttpFilter(
                name="envoy.filters.http.grpc_http1_bridge", typed_config=any_of(GrpcBridge())
            ),
            *filters,
        ]
    router = HttpFilter(name="envoy.filters.http.router", typed_config=any_of(Router()))
    found = HttpConnectionManager(
        stat_prefix=stat_prefix,
        route_config=route_config,
        http_filters=[*filters, router],
        tracing={"random_sampling": value(0)},
        access_log=access_logs.requests(blueprint.access_log),
        upgrade_configs=[{"upgrade_type": "websocket"}],
    )
    found.http2_protocol_options.allow_connect = True  # Websockets between sidecars: RFC 8441.
    return found


def as_network_filter(found: Any) -> dict[str, Any]:
    """The connection manager as the last filter of a chain."""
    return {"name": _NETWORK_FILTER, "typed_config": any_of(found)}


def normalise(found: Any, rules: Normalization) -> None:
    """Have the manager read paths and headers as those who wrote the rules meant them."""
    found.normalize_path.value = rules.paths
    found.merge_slashes = rules.merge_slashes
    if rules.escaped_slashes:
        found.path_with_escaped_slashes_action = found.PathWithEscapedSlashesAction.Value(
            rules.escaped_slashes
        )
    if rules.underscores:
        options = found.common_http_protocol_options
        options.headers_with_underscores_action = options.HeadersWithUnderscoresAction.Value(
            rules.underscores
        )


def tell_caller(found: Any, blueprint: Blueprint) -> None:
    """Tell the application who calls, unless that is switched off."""
    if blueprint.sanitize_client_cert:
        found.forward_client_cert_details = HttpConnectionManager.SANITIZE
        return
    found.forward_client_cert_details = HttpConnectionManager.APPEND_FORWARD
    details = found.set_current_client_cert_details
    details.subject.value = True
    details.cert = details.chain = details.dns = details.uri = True


def guards() -> list[Any]:
    """The filters that decide whether a request passes; what they do comes on its own.

    That for tokens is there also when nobody asks for any, so that the first rule that does leaves
    connections alone.
    """
    return [_discovered(FILTER_NAME, JwtAuthentication), _discovered(RBAC_NAME, HttpRbac)]


def rbac_filter(rules: Rules) -> Resource:
    """What the RBAC filter does."""
    config = HttpRbac(rules=rules.enforced)
    if rules.shadow is not None:
        config.shadow_rules.CopyFrom(rules.shadow)
        config.shadow_rules_stat_prefix = SHADOW_PREFIX
    found = TypedExtensionConfig(name=RBAC_NAME, typed_config=any_of(config))
    return resource(found, RBAC_NAME, causes=rules.causes)


def caller_metadata() -> list[Any]:
    """The filters that take the caller's identity apart, for logs and other filters.

    It is put into a header of its own for as long as that takes: x-forwarded-client-cert is
    kilobytes long with its certificates, and expressions on that would cost more than all the rest
    of a request.
    """
    change = HeaderMutation()
    # One that the caller sent is not overwritten by nothing.
    change.mutations.request_mutations.add(remove=_CALLER_HEADER)
    header = {"key": _CALLER_HEADER, "value": "%DOWNSTREAM_PEER_URI_SAN%"}
    change.mutations.request_mutations.add(append={"header": header})
    last = _CALLER_PARTS[-1]
    rules = [
        {
            "header": _CALLER_HEADER,
            "on_header_present": {
                "metadata_namespace": "consul",
                "key": key,
                "type": "STRING",
                "regex_value_rewrite": {
                    "pattern": {"regex": _CALLER},
                    "substitution": f"\\{number}",
                },
            },
            "remove": key == last,
        }
        for number, key in enumerate(_CALLER_PARTS, 1)
    ]
    config = HeaderToMetadata(request_rules=rules)
    prefix = "envoy.filters.http"
    return [
        HttpFilter(name=f"{prefix}.header_mutation", typed_config=any_of(change)),
        HttpFilter(name=f"{prefix}.header_to_metadata", typed_config=any_of(config)),
    ]


def _discovered(name: str, message: Any) -> Any:
    """A filter whose configuration is a resource: it changes without touching connections.

    The resource has the filter's name.
    """
    config = {"config_source": ADS, "type_urls": [any_of(message()).type_url]}
    return HttpFilter(name=name, config_discovery=config)
