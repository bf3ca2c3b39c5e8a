"""/v1/operator/upgrade: the cluster's feature level, and raising it."""

from __future__ import annotations

import msgspec

from mesh.agent.operations import MemberInfo
from mesh.errors import Conflict, Invalid
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Route
from mesh.http.shapes import Shape
from mesh.registry import levels
from mesh.registry.port import ReadOptions
from mesh.rpc.servers import ServerTags, read_tags

_STATES = {1: "alive", 2: "leaving", 4: "failed"}


class ServerShape(Shape, frozen=True):
    """A server and the feature levels that its program speaks."""

    name: str
    status: str
    level_min: int
    level_max: int


class UpgradeShape(Shape, frozen=True):
    """The cluster's feature level, and what keeps it from rising."""

    level: int
    level_max: int
    """The highest that some server speaks."""
    servers: list[ServerShape]
    waiting_for: list[str]
    """The servers that do not speak the next level; empty also when there is none."""


async def status(request: Request) -> Reply:
    """The feature level, every known server, and who keeps the level from rising."""
    _refuse_elsewhere(request)
    present = await request.parts.registry.read(levels.Present(), params.read_options(request))
    return respond.json(_status(request, present.value))


async def finalize(request: Request) -> Reply:
    """Raise the level as far as every known server speaks it; at the highest one do nothing."""
    _refuse_elsewhere(request)
    registry, options = request.parts.registry, params.write_options(request)
    present = await registry.read(levels.Present(), ReadOptions(token=options.token))
    found = _status(request, present.value)
    if found.waiting_for:
        raise Conflict(levels.unready(found.level + 1, found.waiting_for))
    while found.level < found.level_max and not found.waiting_for:
        # Gossip may tell the leader of others than it tells this node: its gate decides.
        level = await registry.write(levels.Finalize(found.level + 1), options)
        options = msgspec.structs.replace(options, request="")
        found = _status(request, level)
    return respond.json(found)


def _refuse_elsewhere(request: Request) -> None:
    """Gossip shows the servers of this datacenter only, and they decide."""
    if params.datacenter(request) not in {"", request.options.datacenter}:
        raise Invalid(
            "dc: levels are shown and raised in each datacenter; ask an agent of that one"
        )


def _status(request: Request, level: int) -> UpgradeShape:
    shapes, lacking = [], []
    for member, tags in _servers(request):
        state = _STATES[member.status]
        shapes.append(ServerShape(member.name, state, tags.level_min, tags.level_max))
        if tags.level_max <= level:
            lacking.append(f"{member.name} (level {tags.level_max})")
    highest = max([level, *(one.level_max for one in shapes)])
    return UpgradeShape(level, highest, shapes, lacking if highest > level else [])


def _servers(request: Request) -> list[tuple[MemberInfo, ServerTags]]:
    """The servers of the datacenter that have not left, as gossip shows them here, by name."""
    found = []
    members: list[MemberInfo] = request.parts.agent.operations.members(False)
    for member in sorted(members, key=lambda one: one.name):
        tags = read_tags(member.tags)
        if tags and tags.datacenter == request.options.datacenter and member.status in _STATES:
            found.append((member, tags))
    return found


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/operator/upgrade",
        status,
        "Feature levels of the cluster",
        params=READ,
        answer=UpgradeShape,
    ),
    Route(
        "PUT",
        "/v1/operator/upgrade/finalize",
        finalize,
        "Raise the feature level",
        answer=UpgradeShape,
        statuses=((500, "A server does not speak the next level"),),
    ),
)
