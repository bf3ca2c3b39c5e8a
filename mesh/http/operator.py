"""/v1/operator: who votes, who leads, how the servers fare, and autopilot's settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid, NotFound
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import CAS, READ, STALE, Param, Route
from mesh.http.shapes import Shape, api_name
from mesh.registry import autopilot, orders
from mesh.registry.autopilot import Settings
from mesh.registry.port import Order

RAFT_PROTOCOL = "3"
NEVER_SECONDS = -1e-9
"""The last contact of a server that was never heard: `-1ns`, as Consul says it."""


class PeerShape(Shape, frozen=True):
    """A server that keeps the log. `Barred` is ours: an operator took its vote."""

    id: str
    node: str
    address: str
    leader: bool
    protocol_version: str
    voter: bool
    last_index: int
    barred: bool


class SettingsShape(Shape, frozen=True, kw_only=True):
    """Autopilot's settings."""

    cleanup_dead_servers: bool
    last_contact_threshold: str
    max_trailing_logs: int
    min_quorum: int
    server_stabilization_time: str
    redundancy_zone_tag: str
    disable_upgrade_migration: bool
    upgrade_version_tag: str
    create_index: int
    modify_index: int


class SettingsBody(Shape, frozen=True, kw_only=True):
    """What a client sends; what it leaves out gets its default. Indexes are ignored."""

    cleanup_dead_servers: bool = True
    last_contact_threshold: str | int = "200ms"
    max_trailing_logs: int = 250
    min_quorum: int = 0
    server_stabilization_time: str | int = "10s"
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


class HealthShape(Shape, frozen=True, kw_only=True):
    """How one server fares. `Reason` is ours."""

    id: str
    name: str
    address: str
    serf_status: str
    version: str
    leader: bool
    last_contact: str
    last_term: int
    last_index: int
    healthy: bool
    voter: bool
    stable_since: str
    reason: str


class ServerStateShape(Shape, frozen=True, kw_only=True):
    """How one server fares and what it does. `Reason` is ours."""

    id: str
    name: str
    address: str
    version: str
    last_contact: str
    last_term: int
    last_index: int
    healthy: bool
    stable_since: str
    node_status: str
    read_replica: bool
    status: str
    node_type: str
    meta: dict[str, str] = {}
    reason: str


class AutopilotHealthShape(Shape, frozen=True):
    """How the servers fare."""

    healthy: bool
    failure_tolerance: int
    """Voters that may yet fail while a majority stays."""
    servers: list[HealthShape]


class AutopilotStateShape(Shape, frozen=True, kw_only=True):
    """How the servers fare, by id, and who votes. `LastChange` is ours."""

    healthy: bool
    failure_tolerance: int
    optimistic_failure_tolerance: int
    servers: dict[str, ServerStateShape]
    leader: str
    voters: list[str]
    read_replicas: list[str]
    last_change: str


class RaftShape(Shape, frozen=True):
    """Everyone who keeps the log. `Index` counts the sets of voters; `CommitIndex` is ours."""

    servers: list[PeerShape]
    index: int
    commit_index: int


class ChangeShape(Shape, frozen=True):
    """The log index at which the voters changed. Ours."""

    index: int


class TransferShape(Shape, frozen=True):
    """Who leads now. Id and node are ours."""

    success: bool
    id: str
    node: str


class RaftFigures(Shape, frozen=True):
    """What a server's consensus says of itself, or why it could not be asked."""

    id: str
    node: str
    address: str
    error: str
    figures: dict[str, Any]


class RaftStatusShape(Shape, frozen=True):
    """The figures of servers."""

    servers: list[RaftFigures]


async def raft_configuration(request: Request) -> Reply:
    """Everyone who keeps the log, the voters first."""
    options = params.order_options(request)
    found = await request.parts.registry.operate(orders.RaftConfiguration(), options)
    servers = [
        PeerShape(
            one.id,
            one.name,
            one.address,
            one.leader,
            RAFT_PROTOCOL,
            one.voter,
            one.last_index,
            one.barred,
        )
        for one in found.servers
    ]
    return respond.json(RaftShape(servers, found.epoch, found.commit_index))


async def add_peer(request: Request) -> Reply:
    """Give a server that follows the log a vote."""
    return await _change(request, orders.AddPeer(request.param("id"), request.param("address")))


async def remove_peer(request: Request) -> Reply:
    """Take a server's vote."""
    return await _change(request, orders.RemovePeer(request.param("id"), request.param("address")))


async def _change(request: Request, order: Order[int]) -> Reply:
    try:
        index = await _operate(request, order)
    except NotFound as error:
        return respond.text(500, error.message)
    return respond.json(ChangeShape(index))


async def transfer_leader(request: Request) -> Reply:
    """Hand leadership to a voter."""
    try:
        leader = await _operate(request, orders.TransferLeader(request.param("id")))
    except NotFound as error:
        return respond.text(500, error.message)
    return respond.json(TransferShape(True, leader.id, leader.name))


async def raft_status(request: Request) -> Reply:
    """The figures of every server's consensus, or of one server's."""
    order, options = orders.RaftStatus(request.param("server")), params.order_options(request)
    found = await request.parts.registry.operate(order, options)
    servers = [
        RaftFigures(
            one.server.id,
            one.server.name,
            one.server.address,
            one.error,
            {api_name(name): value for name, value in one.figures.items()},
        )
        for one in found
    ]
    return respond.json(RaftStatusShape(servers))


async def autopilot_configuration(request: Request) -> Reply:
    """The settings; the defaults before a leader wrote the first."""
    found = await request.parts.registry.read(autopilot.Get(), params.read_options(request))
    settings = found.value or Settings()
    fields = msgspec.structs.asdict(settings)
    for name in ("last_contact_threshold", "server_stabilization_time"):
        fields[name] = format_duration(fields[name])
    return respond.answered(found, SettingsShape(**fields))


async def set_autopilot_configuration(request: Request) -> Reply:
    """Write the settings; `false` when `cas` is not their index."""
    given = params.body(request, SettingsBody)
    settings = Settings(
        cleanup_dead_servers=given.cleanup_dead_servers,
        last_contact_threshold=_seconds("LastContactThreshold", given.last_contact_threshold),
        max_trailing_logs=given.max_trailing_logs,
        min_quorum=given.min_quorum,
        server_stabilization_time=_seconds(
            "ServerStabilizationTime", given.server_stabilization_time
        ),
        redundancy_zone_tag=given.redundancy_zone_tag,
        disable_upgrade_migration=given.disable_upgrade_migration,
        upgrade_version_tag=given.upgrade_version_tag,
    )
    cas = params.whole(request.param("cas"), "cas") if "cas" in request.params else None
    command = autopilot.Set(settings, cas)
    written = await request.parts.registry.write(command, params.write_options(request))
    return respond.boolean(written)


def _seconds(field: str, value: str | int) -> float:
    """A Go duration, or nanoseconds."""
    if isinstance(value, int):
        return value / 1e9
    try:
        return parse_duration(value)
    except Invalid as error:
        raise Invalid(f"{field}: {error.message}") from error


async def autopilot_health(request: Request) -> Reply:
    """How the servers fare; 429 when one of them is not healthy."""
    found = await _operate(request, orders.AutopilotHealth())
    servers = [
        HealthShape(
            **_shared(one),
            serf_status=one.status,
            leader=one.leader,
            voter=one.voter,
            reason=one.reason,
        )
        for one in found.servers
    ]
    reply = respond.json(AutopilotHealthShape(found.healthy, found.failure_tolerance, servers))
    reply.status = 200 if found.healthy else 429
    return reply


async def autopilot_state(request: Request) -> Reply:
    """How the servers fare, who votes, and what autopilot did last."""
    found = await _operate(request, orders.AutopilotHealth())
    # The leader first, as Consul has it.
    voters = sorted((not one.leader, one.name, one.id) for one in found.servers if one.voter)
    return respond.json(
        AutopilotStateShape(
            healthy=found.healthy,
            failure_tolerance=found.failure_tolerance,
            optimistic_failure_tolerance=found.failure_tolerance,
            servers={one.id: _state(one) for one in found.servers},
            leader=found.leader,
            voters=[name for _, _, name in voters],
            read_replicas=[one.id for one in found.servers if one.read_replica],
            last_change=found.doing,
        )
    )


def _state(one: orders.ServerHealth) -> ServerStateShape:
    return ServerStateShape(
        **_shared(one),
        node_status=one.status,
        read_replica=one.read_replica,
        status="leader" if one.leader else "voter" if one.voter else "non-voter",
        node_type="read-replica" if one.read_replica else "voter",
        reason=one.reason,
    )


def _shared(one: orders.ServerHealth) -> dict[str, Any]:
    """What health and state say of a server in the same words."""
    contact = NEVER_SECONDS if one.last_contact is None else one.last_contact
    since = datetime.fromtimestamp(one.stable_since, UTC).replace(microsecond=0)
    return {
        "id": one.id,
        "name": one.name,
        "address": one.address,
        "version": one.version,
        "last_contact": format_duration(contact if contact < 0 else round(contact, 4)),
        "last_term": one.last_term,
        "last_index": one.last_index,
        "healthy": one.healthy,
        "stable_since": since.isoformat().replace("+00:00", "Z"),
    }


async def _operate(request: Request, order: Order[Any]) -> Any:
    return await request.parts.registry.operate(order, params.order_to(request, "leader"))


_ONE = (
    Param("id", "The server's id or name"),
    Param("address", "Or its address, as IP:port"),
)
_NO_SERVER = (500, "No such server, or the change is under way or not possible now")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/raft/configuration",
        raft_configuration,
        "Servers that keep the log, voters first; `stale` asks any server",
        params=(STALE,),
        answer=RaftShape,
    ),
    Route(
        "PUT",
        "/v1/operator/raft/peer",
        add_peer,
        "Give a server a vote, by `id` (or name) or `address`",
        params=_ONE,
        answer=ChangeShape,
        statuses=(_NO_SERVER,),
    ),
    Route(
        "DELETE",
        "/v1/operator/raft/peer",
        remove_peer,
        "Take a server's vote, by `id` (or name) or `address`",
        params=_ONE,
        answer=ChangeShape,
        statuses=(_NO_SERVER,),
    ),
    Route(
        "POST",
        "/v1/operator/raft/transfer-leader",
        transfer_leader,
        "Hand leadership over, to the voter `id` (or name) if given",
        params=(Param("id", "The voter's id or name; the fittest if not given"),),
        answer=TransferShape,
        statuses=(_NO_SERVER,),
    ),
    Route(
        "GET",
        "/v1/operator/raft/status",
        raft_status,
        "Figures of every server's log, or of `server`; `stale` asks any server",
        params=(Param("server", "Only of this one, by id or name"), STALE),
        answer=RaftStatusShape,
        statuses=((404, "No such server"),),
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/configuration",
        autopilot_configuration,
        "Autopilot's settings",
        params=READ,
        answer=SettingsShape,
    ),
    Route(
        "PUT",
        "/v1/operator/autopilot/configuration",
        set_autopilot_configuration,
        "Write autopilot's settings, if their index is `cas`",
        params=(CAS,),
        body=SettingsBody,
        answer=bool,
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/health",
        autopilot_health,
        "How the servers fare; 429 when one is not healthy",
        answer=AutopilotHealthShape,
        statuses=((429, "A server is not healthy"),),
        answered=(429,),
    ),
    Route(
        "GET",
        "/v1/operator/autopilot/state",
        autopilot_state,
        "How the servers fare, who votes, what autopilot did last",
        answer=AutopilotStateShape,
    ),
)
