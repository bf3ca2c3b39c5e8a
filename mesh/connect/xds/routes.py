"""Routes: what becomes of the requests that a listener takes."""

from __future__ import annotations

from typing import Any

from mesh.connect.xds.messages import PreviousHostsPredicate, any_of, seconds, value

_RETRIES = 2


def everything(name: str, cluster: str, action: dict[str, Any]) -> dict[str, Any]:
    """Routes that send all requests to one cluster."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, **action}}
    return {
        "name": name,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}],
    }


def one_path(name: str, path: str, cluster: str) -> dict[str, Any]:
    """Routes that send requests for this path to the cluster, and answer others with 404."""
    route = {"match": {"path": path}, "route": {"cluster": cluster}}
    return {
        "name": name,
        "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}],
    }


def unseen_retries() -> dict[str, Any]:
    """Try another instance when one has surely seen nothing of the request."""
    previous = any_of(PreviousHostsPredicate())
    return {
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": value(_RETRIES),
            "retry_host_predicate": [
                {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": previous}
            ],
            "host_selection_retry_max_attempts": 3,
        }
    }


def limits(request_seconds: float | None, idle_seconds: float | None) -> dict[str, Any]:
    """How long a request may take, and be silent. None: Envoy's default; 0: as long as it likes."""
    found: dict[str, Any] = {}
    if request_seconds is not None:
        found["timeout"] = seconds(request_seconds)
    if idle_seconds is not None:
        found["idle_timeout"] = seconds(idle_seconds)
    return found
