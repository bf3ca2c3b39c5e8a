"""Calls about an agent's proxies: what they were told, how they fare, who runs their Envoys."""

from __future__ import annotations

from typing import Any

from mesh.client.call import Call, decode_json, path_of
from mesh.client.shapes import Shape


class Refused(Shape, frozen=True):
    """A resource that a proxy refused: it goes on with the one before, if it had one."""

    name: str = ""
    origin: str = ""
    error: str = ""
    seconds_ago: float = 0.0


class Kind(Shape, frozen=True):
    """How it stands with the resources of one kind."""

    kind: str = ""
    accepted: int = 0
    wanted: int = 0
    current: bool = False
    waiting_seconds: float | None = None
    accepted_seconds_ago: float | None = None
    refused: list[Refused] = []


class Stream(Shape, frozen=True):
    """A stream on which a proxy takes its configuration."""

    form: str = ""
    connected_seconds: float = 0.0
    current: bool = False
    responses: int = 0
    refusals: int = 0
    resources_sent: int = 0
    kinds: list[Kind] = []


class Envoy(Shape, frozen=True):
    """The Envoy that the agent runs for a proxy."""

    state: str = ""
    pid: int = 0
    version: str = ""
    restarts: int = 0
    why: str = ""
    admin: str = ""
    log: str = ""


class Proxy(Shape, frozen=True):
    """A proxy of an agent."""

    id: str = ""
    service: str = ""
    port: int = 0
    managed: bool = False
    envoy: Envoy | None = None
    problems: list[str] = []
    streams: list[Stream] = []


def every() -> Call[list[Proxy]]:
    """The proxies of the agent, by id."""
    return Call(
        method="GET",
        path="/v1/agent/proxies",
        decode=lambda response: decode_json(response.body, list[Proxy]),
    )


def one(proxy: str) -> Call[Proxy]:
    """One of them. Raises NotFound."""
    return Call(
        method="GET",
        path=path_of("agent/proxy", proxy),
        decode=lambda response: decode_json(response.body, Proxy),
    )


def bootstrap(proxy: str, **parameters: str) -> Call[dict[str, Any]]:
    """What an Envoy is started with to be this proxy; parameters as the API has them."""
    return Call(
        method="GET",
        path=f"{path_of('agent/proxy', proxy)}/bootstrap",
        params=tuple(
            (name.replace("_", "-"), value) for name, value in parameters.items() if value
        ),
        decode=lambda response: decode_json(response.body, dict[str, Any]),
    )


def manage(proxy: str, *, enable: bool) -> Call[Proxy]:
    """Have the agent run the proxy's Envoy, or drain, stop and leave it to others."""
    return Call(
        method="PUT",
        path=f"{path_of('agent/proxy', proxy)}/manage",
        params=(("enable", "true" if enable else "false"),),
        decode=lambda response: decode_json(response.body, Proxy),
    )


def grpc_bootstrap(service: str, grpc_addr: str = "") -> Call[dict[str, Any]]:
    """What a gRPC program of the service is started with. Raises NotFound."""
    named = (("service", service), ("grpc-addr", grpc_addr))
    return Call(
        method="GET",
        path="/v1/agent/connect/grpc-bootstrap",
        params=tuple((name, value) for name, value in named if value),
        decode=lambda response: decode_json(response.body, dict[str, Any]),
    )
