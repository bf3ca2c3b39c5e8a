"""/v1/operator: what became of a request, and the cluster's feature level."""

from __future__ import annotations

import msgspec

from mesh.agent.operations import MemberInfo
from mesh.errors import Conflict
from mesh.http import params, respond
from mesh.http.request import Reply, Request
from mesh.http.shapes import Shape
from mesh.registry import levels, outcomes
from mesh.registry.port import ReadOptions
from mesh.rpc.servers import ServerTags, read_tags

MEANING = {
    "applied": "It was applied, once.",
    "refused": "It was refused and changed nothing.",
    "cancelled": "It was not applied, and never will be.",
    "not-applied": "It was not applied so far. A copy that is still under way may be; DELETE this "
    "request to make sure that none is.",
    "unknown": "It never came, or it was forgotten: it may have been applied or not.",
}
NO_MORE = " No copy of it is applied from now on."
_STATES = {1: "alive", 2: "leaving", 4: "failed"}


class ErrorShape(Shape, frozen=True):
    """Why a request was refused."""

    code: str
    message: str


class OutcomeShape(Shape, frozen=True):
    """What became of a request."""

    request: str
    status: str
    index: int
    value: object
    error: ErrorShape | None
    meaning: str


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


async def find_request(request: Request) -> Reply:
    """What became of the request with this key, from the leader, linearizably."""
    key, since = _asked(request)
    options = ReadOptions(
        consistency="consistent",
        datacenter=params.datacenter(request),
        token=params.token(request),
    )
    found = await request.parts.registry.read(
        outcomes.Find(outcomes.request_of(key), since), options
    )
    return _outcome(key, since, found.value)


async def cancel_request(request: Request) -> Reply:
    """Make sure that the request is not applied, unless it was already."""
    key, since = _asked(request)
    command = outcomes.Cancel(outcomes.request_of(key), since or 0)
    # A request of its own, whatever headers came with it.
    own = outcomes.request_of(request.parts.dice.uuid())
    options = msgspec.structs.replace(params.write_options(request), request=own)
    found = await request.parts.registry.write(command, options)
    return _outcome(key, since or 0, found)


def _asked(request: Request) -> tuple[str, int | None]:
    text = request.param("since")
    return params.required(request, "request key"), params.whole(text, "since") if text else None


def _outcome(key: str, since: int | None, found: outcomes.Outcome) -> Reply:
    meaning = MEANING[found.status]
    if found.status == "unknown" and since is not None and since < found.horizon:
        meaning += NO_MORE
    error = ErrorShape(found.code, found.message) if found.code else None
    return respond.json(OutcomeShape(key, found.status, found.index, found.value, error, meaning))


async def upgrade(request: Request) -> Reply:
    """The feature level, every known server, and who keeps the level from rising."""
    present = await request.parts.registry.read(levels.Present(), params.read_options(request))
    return respond.json(_status(request, present.value))


async def finalize(request: Request) -> Reply:
    """Raise the level as far as every known server speaks it; at the highest one do nothing."""
    registry, options = request.parts.registry, params.write_options(request)
    status = _status(request, (await registry.read(levels.Present())).value)
    if status.waiting_for:
        raise Conflict(levels.unready(status.level + 1, status.waiting_for))
    while status.level < status.level_max and not status.waiting_for:
        # Gossip may tell the leader of others than it tells this node: its gate decides.
        level = await registry.write(levels.Finalize(status.level + 1), options)
        options = msgspec.structs.replace(options, request="")
        status = _status(request, level)
    return respond.json(status)


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
