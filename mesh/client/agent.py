"""Calls to the agent itself: who it knows, what it runs, and joining or leaving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from mesh import codec
from mesh.client.call import (
    DEFAULT_WAIT_SECONDS,
    Answer,
    Call,
    Response,
    decode_json,
    path_of,
    writing,
)
from mesh.client.shapes import AgentSelf, Check, Guard, Member, Reachability, Service, Shape

T = TypeVar("T")
HASH_DIGITS = 16
QUERY_SECONDS = 30.0
"""A question to a large pool takes longer than one to an agent."""


class Change(Shape, frozen=True):
    """One thing that a reload changed, or will with a restart."""

    what: str = ""
    """`service`, `check` or `option`."""
    name: str = ""
    action: str = ""
    """`added`, `removed` or `changed`."""
    field: str = ""
    old: str = ""
    new: str = ""
    restart: bool = False


def about() -> Call[AgentSelf]:
    """The agent's configuration and statistics."""
    return _reading("/v1/agent/self", AgentSelf)


def members(
    *, wan: bool = False, expression: str = "", detailed: bool = False
) -> Call[list[Member]]:
    """Every node the agent knows from gossip; with wan the servers of all datacenters.

    With detailed, each has its `figures`.

    The expression is one of Consul's filter language.
    """
    wanted = (("wan", wan), ("detailed", detailed))
    params = [*((name, "1" if on else "") for name, on in wanted), ("filter", expression)]
    return _reading("/v1/agent/members", list[Member], *(pair for pair in params if pair[1]))


def guard() -> Call[Guard]:
    """Which removals from discovery are frozen, and which members are damped."""
    return _reading("/v1/agent/guard", Guard)


def release_guard() -> Call[bool]:
    """End a freeze; False when there is none."""
    return Call(
        method="PUT",
        path="/v1/agent/guard/release",
        decode=lambda response: decode_json(response.body, bool),
    )


def reachability(*, wait_seconds: float = 0.0, relay_factor: int = 0) -> Call[Reachability]:
    """Ask every member for an acknowledgement; 0 seconds: as long as the pool's size wants."""
    params = [("wait", f"{wait_seconds * 1000:.0f}ms")] if wait_seconds else []
    if relay_factor:
        params.append(("relay-factor", str(relay_factor)))
    call = _reading("/v1/agent/reachability", Reachability, *params)
    return msgspec.structs.replace(call, wait_seconds=wait_seconds or QUERY_SECONDS)


def services() -> Call[dict[str, Service]]:
    """The instances this agent looks after, by id."""
    return _reading("/v1/agent/services", dict[str, Service])


class _ByHash(Call[Answer[Service]], frozen=True, kw_only=True):
    """A read whose index is a hash of what was read."""

    def newer_than(self, index: int) -> Call[Answer[Service]]:
        known = ("hash", f"{index:0{HASH_DIGITS}x}")
        wait = self.wait_seconds or DEFAULT_WAIT_SECONDS
        return msgspec.structs.replace(self, params=(known,), wait_seconds=wait)


def service(service_id: str) -> Call[Answer[Service]]:
    """An instance of this agent, and by `newer_than` the same once it differs. Raises NotFound.

    The answer's index is made of the content, so it does not grow.
    """

    def decode(response: Response) -> Answer[Service]:
        found = decode_json(response.body, Service)
        return Answer(found, int(found.content_hash or "0", 16))

    return _ByHash(method="GET", path=path_of("agent/service", service_id), decode=decode)


def checks() -> Call[dict[str, Check]]:
    """The checks this agent runs, by id."""
    return _reading("/v1/agent/checks", dict[str, Check])


def register(service: Mapping[str, Any], *, replace_checks: bool = False) -> Call[None]:
    """Register an instance, in the shape of `/v1/agent/service/register`.

    With replace_checks, its checks that are not mentioned are removed.
    """
    params = (("replace-existing-checks", "true"),) if replace_checks else ()
    return writing("/v1/agent/service/register", params, codec.to_json(service))


def deregister(service_id: str) -> Call[None]:
    """Remove an instance and its checks. NotFound when this agent does not have it."""
    return writing(path_of("agent/service/deregister", service_id))


def maintenance(*, enable: bool, reason: str = "", service_id: str = "") -> Call[None]:
    """Take the node, or one instance, out of service; or put it back."""
    path = "/v1/agent/maintenance"
    if service_id:
        path = path_of("agent/service/maintenance", service_id)
    params = [("enable", "true" if enable else "false")]
    if reason:
        params.append(("reason", reason))
    return writing(path, params)


def update_check(check_id: str, status: str, output: str = "") -> Call[None]:
    """Set a TTL check to passing, warning or critical, and restart its time."""
    body = codec.to_json({"Status": status, "Output": output})
    return writing(path_of("agent/check/update", check_id), body=body)


def join(address: str, *, wan: bool = False) -> Call[None]:
    """Make the agent join the cluster that a node at this address belongs to."""
    return writing(path_of("agent/join", address), (("wan", "1"),) if wan else ())


def leave() -> Call[None]:
    """Make the agent leave the cluster and stop."""
    return writing("/v1/agent/leave")


def force_leave(node: str, *, prune: bool = False, wan: bool = False) -> Call[None]:
    """Count a failed member as left; with prune forget it."""
    params = [(name, "1") for name, on in (("prune", prune), ("wan", wan)) if on]
    return writing(path_of("agent/force-leave", node), params)


def reload() -> Call[list[Change]]:
    """Make the agent read its configuration again; what that changed.

    Internal, with the reasons, if it cannot: then nothing changed.
    """
    return Call(
        method="PUT",
        path="/v1/agent/reload",
        decode=lambda response: decode_json(response.body or b"[]", list[Change]),
        params=(("explain", "true"),),
        body=b"",
    )


def monitor(level: str = "INFO", *, as_json: bool = False, since: str = "") -> Call[bytes]:
    """The agent's log, live. Give it to a client's `stream`, which yields one line at a time.

    With `since`, a duration such as 10m, first the latest lines that are not older.
    """
    params = [("loglevel", level.lower())]
    if as_json:
        params.append(("logjson", "true"))
    if since:
        params.append(("since", since))
    return Call(
        method="GET",
        path="/v1/agent/monitor",
        decode=lambda response: response.body,
        params=tuple(params),
    )


def _reading(path: str, kind: type[T], *params: tuple[str, str]) -> Call[T]:
    return Call(
        method="GET",
        path=path,
        decode=lambda response: decode_json(response.body, kind),
        params=params,
    )
