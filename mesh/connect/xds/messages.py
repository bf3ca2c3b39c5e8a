"""The messages of Envoy's configuration, and how they are encoded. Importing it takes 20 MB."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import pkgutil
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import (
    StderrAccessLog,
    StdoutAccessLog,
)
from envoy.extensions.filters.http.grpc_http1_bridge.v3.config_pb2 import (
    Config as GrpcBridge,
)
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2 import (
    HeaderMutation,
)
from envoy.extensions.filters.http.header_to_metadata.v3.header_to_metadata_pb2 import (
    Config as HeaderToMetadata,
)
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import (
    ConnectionLimit,
)
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import (
    PreviousHostsPredicate,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import (
    DownstreamTlsContext,
    UpstreamTlsContext,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf import descriptor_pool, json_format
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError, Message

from mesh.connect.xds import wire
from mesh.connect.xds.snapshot import Cause, Ref, Resource, digest
from mesh.errors import Invalid

__all__ = [
    "RBAC",
    "AccessLog",
    "Cluster",
    "ClusterLoadAssignment",
    "ConnectionLimit",
    "DecodeError",
    "DeltaDiscoveryRequest",
    "DeltaDiscoveryResponse",
    "DiscoveryRequest",
    "DiscoveryResponse",
    "DownstreamTlsContext",
    "ExpressionFilter",
    "FileAccessLog",
    "Filter",
    "FilterChain",
    "GrpcBridge",
    "GrpcStats",
    "HeaderMutation",
    "HeaderToMetadata",
    "HttpConnectionManager",
    "HttpFilter",
    "HttpGrpcAccessLogConfig",
    "HttpProtocolOptions",
    "HttpRbac",
    "HttpRbacOfRoute",
    "JwtAuthentication",
    "LbEndpoint",
    "Listener",
    "Message",
    "NetworkRbac",
    "Packed",
    "Permission",
    "Policy",
    "PreviousHostsPredicate",
    "Principal",
    "RouteConfiguration",
    "Router",
    "Secret",
    "StderrAccessLog",
    "StdoutAccessLog",
    "StreamAccessLogsMessage",
    "TcpGrpcAccessLogConfig",
    "TcpProxy",
    "TypedExtensionConfig",
    "UpstreamTlsContext",
    "any_of",
    "encoded",
    "parsed",
    "readable",
    "resource",
    "seconds",
    "value",
]

HttpRbac = http_rbac_pb2.RBAC
HttpRbacOfRoute = http_rbac_pb2.RBACPerRoute
NetworkRbac = network_rbac_pb2.RBAC
ADS = {"resource_api_version": "V3", "ads": {}}
"""Where a resource that is named comes from: the same stream."""
_ENVOY = re.compile(r"(envoy|xds|udpa)(\.[a-z][a-z0-9_]*){1,12}")
_PREFIX = "type.googleapis.com/"


def any_of(message: Any) -> Any:
    """The message as one of any type."""
    return Packed(type_url=_PREFIX + message.DESCRIPTOR.full_name, value=encoded(message))


def encoded(message: Any) -> bytes:
    """The same bytes for equal messages."""
    content: bytes = message.SerializeToString(deterministic=True)
    return content


def resource(
    message: Any,
    name: str,
    *,
    children: Sequence[Ref] = (),
    needs: Iterable[str] = (),
    causes: Iterable[Cause] = (),
) -> Resource:
    """The message as a resource with this name."""
    content = encoded(message)
    kind = _PREFIX + message.DESCRIPTOR.full_name
    return Resource(
        kind=kind,
        name=name,
        version=digest(content),
        packed=wire.message_any(kind, content),
        children=tuple(children),
        needs=tuple(needs),
        causes=tuple(causes),
    )


def seconds(count: float) -> dt.timedelta:
    """A duration."""
    return dt.timedelta(seconds=count)


def value(content: float) -> dict[str, float]:
    """A number, or a truth, that may also be absent."""
    return {"value": content}


def parsed(text: str, message: Any, origin: str) -> Any:
    """Read what a user wrote in JSON, as the message or as an Any of one, into `message`.

    Raises Invalid, naming the origin.
    """
    try:
        given = msgspec.json.decode(text)
        _learn(given)
        if isinstance(given, dict) and "@type" in given:
            box = json_format.ParseDict(given, Packed())
            if not box.Unpack(message):
                raise Invalid(f"{origin}: expected {message.DESCRIPTOR.full_name}")
        else:
            json_format.ParseDict(given, message)
    except (json_format.ParseError, TypeError, msgspec.MsgspecError) as error:
        raise Invalid(f"{origin}: {error}") from error
    return message


def _learn(given: Any) -> None:
    """Have protobuf know the types that are named: it knows those that were imported."""
    if isinstance(given, list):
        for one in given:
            _learn(one)
    if not isinstance(given, dict):
        return
    kind = str(given.get("@type", "")).rpartition("/")[2]
    package = kind.rpartition(".")[0]
    if _ENVOY.fullmatch(package) and not _known(kind):
        with contextlib.suppress(ImportError):
            folder = importlib.import_module(package)
            for module in pkgutil.iter_modules(folder.__path__, f"{package}."):
                if module.name.endswith("_pb2"):
                    importlib.import_module(module.name)
    for one in given.values():
        _learn(one)


def _known(kind: str) -> bool:
    try:
        descriptor_pool.Default().FindMessageTypeByName(kind)
    except KeyError:
        return False
    return True


def readable(found: Resource) -> dict[str, Any]:
    """The resource as JSON, for people."""
    box = Packed.FromString(found.packed)
    content: dict[str, Any] = json_format.MessageToDict(box, preserving_proto_field_name=True)
    return content
