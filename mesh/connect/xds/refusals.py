"""What sidecars log to us: calls that rules refuse, or would if dry runs were enforced.

Envoy notes with each call what its rules said. Access logs with filters on these notes send it here
over the agent's own socket, so a call that is let through costs a look at a note and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.connect.bootstrap import AGENT
from mesh.connect.xds.messages import (
    AccessLog,
    ExpressionFilter,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
    any_of,
    seconds,
)
from mesh.connect.xds.rbac import SHADOW_PREFIX
from mesh.connect.xds.seen import Seen

FLUSH_SECONDS = 1.0
"""How long Envoy gathers what it sends."""
BUFFER_BYTES = 16384
"""What it gathers at most; what comes faster than it is read is dropped."""
CONNECTION_SECONDS = 5.0
"""How often a connection that a dry run denies is told of while it lasts."""
CUT_SECONDS = 1.0
"""What ended sooner is not told of: whoever called comes again, and is refused and told then."""
ENDS = "ends"
"""The name of the log of connections that ended, and of a tag in it."""
_REQUESTS, _CONNECTIONS = "envoy.filters.http.rbac", "envoy.filters.network.rbac"
_SHADOW, _ENFORCED = f"{SHADOW_PREFIX}shadow_engine_result", "enforced_engine_result"
_DENIED, _NO_TOKEN = "rbac_access_denied", "jwt_authn_access_denied"
_UNAUTHORIZED = 401


def of_requests() -> Any:
    """The log of requests. It is always there: a rule changes without touching a connection."""
    code = {"op": "EQ", "value": {"default_value": _UNAUTHORIZED, "runtime_key": "mesh.none"}}
    filters = [
        _noted(_REQUESTS, _ENFORCED),
        _noted(_REQUESTS, _SHADOW),
        {
            "and_filter": {
                "filters": [
                    # First, since an expression costs more.
                    {"status_code_filter": {"comparison": code}},
                    _expression(f"response.code_details.startsWith('{_NO_TOKEN}')"),
                ]
            }
        },
    ]
    config = HttpGrpcAccessLogConfig(common_config=_common())
    return _log("envoy.access_loggers.http_grpc", filters, config)


def of_connections() -> Any:
    """The log of connections that nobody looks into; always there, as that of requests."""
    filters = [
        _expression(f"connection.termination_details.startsWith('{_DENIED}')"),
        _noted(_CONNECTIONS, _SHADOW),
    ]
    config = TcpGrpcAccessLogConfig(common_config=_common())
    return _log("envoy.access_loggers.tcp_grpc", filters, config)


def of_ends() -> Any:
    """The log of connections that end. No filter of Envoy's knows those that new rules cut."""
    least = {"default_value": int(CUT_SECONDS * 1000), "runtime_key": "mesh.none"}
    filters = [
        {"log_type_filter": {"types": ["TcpConnectionEnd"]}},
        {"duration_filter": {"comparison": {"op": "GE", "value": least}}},
    ]
    tag = {"tag": ENDS, "literal": {"value": "1"}}
    config = TcpGrpcAccessLogConfig(common_config={**_common(ENDS), "custom_tags": [tag]})
    chosen = {"and_filter": {"filters": filters}}
    name = "envoy.access_loggers.tcp_grpc"
    return AccessLog(name=name, filter=chosen, typed_config=any_of(config))


def _noted(name: str, key: str) -> dict[str, Any]:
    """Whether the filter noted that it denies."""
    denied = {"string_match": {"exact": "denied"}}
    matcher = {"filter": name, "path": [{"key": key}], "value": denied}
    return {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": {"value": False}}}


def _expression(text: str) -> dict[str, Any]:
    config = any_of(ExpressionFilter(expression=text))
    return {"extension_filter": {"name": "mesh.expression", "typed_config": config}}


def _common(name: str = "intentions") -> dict[str, Any]:
    return {
        "log_name": name,
        "grpc_service": {"envoy_grpc": {"cluster_name": AGENT}},
        "transport_api_version": "V3",
        "buffer_flush_interval": seconds(FLUSH_SECONDS),
        "buffer_size_bytes": {"value": BUFFER_BYTES},
    }


def _log(name: str, filters: list[dict[str, Any]], config: Any) -> Any:
    chosen = {"or_filter": {"filters": filters}}
    return AccessLog(name=name, filter=chosen, typed_config=any_of(config))


def seen(message: Any) -> Iterator[Seen]:
    """The calls that a message of a sidecar is about."""
    for entry in message.http_logs.log_entry:
        common, details = entry.common_properties, entry.response.response_code_details
        notes = _notes(common, _REQUESTS)
        by_token = details.startswith(_NO_TOKEN)
        yield Seen(
            at=_began(common),
            caller=_caller(common),
            denied=by_token or notes.get(_ENFORCED) == "denied",
            shadow=notes.get(_SHADOW, ""),
            by_token=by_token,
            method=_method(entry.request),
            path=entry.request.path,
        )
    for entry in message.tcp_logs.log_entry:
        common = entry.common_properties
        denied = common.connection_termination_details.startswith(_DENIED)
        if ENDS in common.custom_tags:
            if not denied:
                yield Seen(
                    at=_began(common) + _seconds(common.duration),
                    caller=_caller(common),
                    denied=True,
                    ended=True,
                    connection=f"{common.stream_id} ended",
                )
            continue
        yield Seen(
            at=_began(common),
            caller=_caller(common),
            denied=denied,
            shadow=_notes(common, _CONNECTIONS).get(_SHADOW, ""),
            connection=common.stream_id,
        )


def _notes(common: Any, name: str) -> dict[str, str]:
    found = common.metadata.filter_metadata
    if name not in found:
        return {}
    return {key: one.string_value for key, one in found[name].fields.items()}


def _began(common: Any) -> float:
    return _seconds(common.start_time)


def _seconds(time: Any) -> float:
    return float(time.seconds + time.nanos / 1e9)


def _caller(common: Any) -> str:
    names = common.tls_properties.peer_certificate_properties.subject_alt_name
    return next((str(one.uri) for one in names if one.uri), "")


def _method(request: Any) -> str:
    kind = request.DESCRIPTOR.fields_by_name["request_method"].enum_type
    name = str(kind.values_by_number[request.request_method].name)
    return "(other)" if name == "METHOD_UNSPECIFIED" else name
