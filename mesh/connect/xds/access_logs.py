"""Access logs of requests, connections and listeners."""

from __future__ import annotations

import json
from typing import Any

from mesh.connect.xds.blueprint import AccessLog as Wanted
from mesh.connect.xds.messages import (
    AccessLog,
    FileAccessLog,
    StderrAccessLog,
    StdoutAccessLog,
    any_of,
)
from mesh.errors import Invalid

FIELDS = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}
"""What is logged when no format is given."""
ORIGIN = "proxy-defaults global: AccessLogs"


def requests(wanted: Wanted | None) -> list[Any]:
    """For each request, or each connection where requests are not looked at."""
    return [] if wanted is None else [_log(wanted)]


def listener(wanted: Wanted | None) -> list[Any]:
    """For connections that no chain of a listener takes."""
    if wanted is None or not wanted.listener:
        return []
    found = _log(wanted)
    found.filter.response_flag_filter.flags.append("NR")
    return [found]


def _log(wanted: Wanted) -> Any:
    form = _format(wanted)
    if wanted.kind == "file":
        config: Any = FileAccessLog(path=wanted.path, log_format=form)
        name = "envoy.access_loggers.file"
    elif wanted.kind == "stderr":
        config, name = StderrAccessLog(log_format=form), "envoy.access_loggers.stderr"
    else:
        config, name = StdoutAccessLog(log_format=form), "envoy.access_loggers.stdout"
    return AccessLog(name=name, typed_config=any_of(config))


def _format(wanted: Wanted) -> dict[str, Any]:
    if wanted.text_format:
        text = wanted.text_format
        return {
            "text_format_source": {"inline_string": text if text.endswith("\n") else f"{text}\n"}
        }
    fields: Any = FIELDS
    if wanted.json_format:
        try:
            fields = json.loads(wanted.json_format)
        except ValueError as error:
            raise Invalid(f"{ORIGIN}: JSONFormat: {error}") from error
        if not isinstance(fields, dict):
            raise Invalid(f"{ORIGIN}: JSONFormat: expected an object")
    return {"json_format": fields}
