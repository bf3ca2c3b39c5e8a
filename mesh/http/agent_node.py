"""/v1/agent: the node itself, its members, its log, and how it joins, leaves and reloads."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType, field

from mesh import __version__
from mesh.agent.operations import MemberInfo, NodeOperations
from mesh.agent.reachability import SECONDS_MAX
from mesh.durations import parse_duration
from mesh.errors import Busy, Invalid, MeshError
from mesh.gossip.figures import Figures
from mesh.http import params, respond
from mesh.http.request import TEXT, Reply, Request
from mesh.http.route import FILTER, RELAY_FACTOR, Param, Route
from mesh.http.shapes import Shape
from mesh.http.shapes_agent import MetricsShape, SelfShape
from mesh.telemetry.logs import LEVELS

LINES_MAX = 1024
NO_PROMETHEUS = "Prometheus is not enabled since its retention time is not positive"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
SCRAPERS = ("application/openmetrics-text", "text/plain;version=0.0.4")


class FiguresShape(Shape, frozen=True):
    """Why this agent thinks so of a member."""

    incarnation: int
    state: str
    state_seconds: float | None
    rtt_seconds: float | None
    answered_seconds: float | None
    distance_seconds: float | None
    accusers: list[str]
    verdict_seconds: float | None
    score: int | None


class MemberShape(Shape, frozen=True):
    """A member of the pool."""

    name: str
    addr: str
    port: int
    tags: dict[str, str]
    status: int
    protocol_min: int
    protocol_max: int
    protocol_cur: int
    delegate_min: int
    delegate_max: int
    delegate_cur: int
    frozen: bool
    """This and what follows are ours."""
    penalty: float
    damped: bool
    gossip: FiguresShape | UnsetType = UNSET
    """Only with `detailed`."""


class ChangeShape(Shape, frozen=True):
    """One thing that a reload changed. Ours."""

    what: str
    name: str
    action: str
    field: str
    old: str
    new: str
    restart: bool
    """It is not so yet: that needs a restart."""


class ReachabilityShape(Shape, frozen=True):
    """Who answered whom."""

    node: str
    acknowledged: list[str]
    missing: list[str]
    strangers: list[str]
    advice: list[str]


class VersionShape(Shape, frozen=True):
    """The version of the program; what is empty is known of no build of it."""

    sha: str = field(name="SHA")
    build_date: str
    human_version: str
    fips: str = field(name="FIPS")


def _operations(request: Request) -> NodeOperations:
    operations: NodeOperations = request.parts.agent.operations
    return operations


def _figures(of: Figures) -> FiguresShape:
    return FiguresShape(
        of.incarnation,
        of.state,
        _rounded(of.state_seconds, 3),
        _rounded(of.rtt_seconds, 6),
        _rounded(of.answered_seconds, 3),
        _rounded(of.distance_seconds, 6),
        list(of.accusers),
        _rounded(of.verdict_seconds, 3),
        of.score,
    )


def _rounded(seconds: float | None, digits: int) -> float | None:
    return None if seconds is None else round(seconds, digits)


def _member(info: MemberInfo, figures: Figures | None = None) -> MemberShape:
    return MemberShape(
        info.name,
        info.address,
        info.port,
        info.tags,
        info.status,
        *info.protocol,
        *info.delegate,
        info.frozen,
        info.penalty,
        info.damped_until is not None,
        UNSET if figures is None else _figures(figures),
    )


async def self_(request: Request) -> Reply:
    """This agent: its configuration, member entry and figures."""
    return respond.json(_operations(request).self_info())


async def version(_: Request) -> Reply:
    """The version of the program."""
    return respond.json(VersionShape("", "", __version__, ""))


async def members(request: Request) -> Reply:
    """Every member this agent knows."""
    params.check_filter(request, MemberShape)
    wan, segment = params.flag(request, "wan"), request.param("segment")
    if segment not in {"", "_all"}:
        raise Invalid("segment: mesh has no network segments")
    found = _operations(request).members(wan)
    figures = _operations(request).figures(wan) if params.flag(request, "detailed") else {}
    rows = [_member(info, figures.get(info.name)) for info in found]
    return respond.json(await params.filtered(request, rows, MemberShape))


class DampedShape(Shape, frozen=True):
    """A member that is left out for failing again and again."""

    name: str
    penalty: float
    until: str


class GuardShape(Shape, frozen=True, kw_only=True):
    """What the mass-failure guard does and whom flap damping leaves out. Ours."""

    frozen: bool
    rule: str
    ends: str
    since: str
    ends_by: str
    vanished: int
    pool: int
    members: list[str]
    damped: list[DampedShape]


async def guard(request: Request) -> Reply:
    """Whether removals from discovery are frozen, since when, why, and when that ends."""
    info = _operations(request).guard()
    return respond.json(
        GuardShape(
            frozen=info.frozen,
            rule=info.rule,
            ends=info.ends,
            since=_time(info.since),
            ends_by=_time(info.latest),
            vanished=info.vanished,
            pool=info.pool,
            members=info.held,
            damped=[
                DampedShape(one.name, round(one.penalty, 2), _time(one.until))
                for one in info.damped
            ],
        )
    )


async def reachability(request: Request) -> Reply:
    """Who of the pool says that a query reached it."""
    text = request.param("wait")
    try:
        seconds = parse_duration(text) if text else None
    except Invalid as error:
        raise Invalid(f"Invalid wait time: {error.message}") from error
    if seconds is not None and not 0 < seconds <= SECONDS_MAX:
        raise Invalid(f"Invalid wait time: expected more than 0 and at most {SECONDS_MAX:g}s")
    found = await _operations(request).reach(seconds, params.relay_factor(request))
    return respond.json(
        ReachabilityShape(
            request.options.node_name,
            found.acknowledged,
            found.missing,
            found.strangers,
            found.advice,
        )
    )


async def release_guard(request: Request) -> Reply:
    """End a freeze by an operator's word."""
    return respond.boolean(await _operations(request).release_guard())


def _time(seconds: float) -> str:
    """RFC 3339; empty for never."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(round(seconds), UTC).isoformat().replace("+00:00", "Z")


async def join(request: Request) -> Reply:
    """Join the pool through an address."""
    address = params.required(request, "address to join")
    try:
        await _operations(request).join([address], params.flag(request, "wan"))
    except MeshError as error:
        return respond.text(500, error.message)
    return respond.nothing()


async def leave(request: Request) -> Reply:
    """Leave the pool; the agent stops afterwards."""
    await _operations(request).leave()
    return respond.nothing()


async def force_leave(request: Request) -> Reply:
    """Take a failed member for left."""
    name = params.required(request, "node to force leave")
    prune, wan = params.flag(request, "prune"), params.flag(request, "wan")
    try:
        await _operations(request).force_leave(name, prune, wan)
    except MeshError as error:
        return respond.text(500, error.message)
    return respond.nothing()


async def metrics(request: Request) -> Reply:
    """Counters, gauges and durations: JSON, or the text that Prometheus reads."""
    found = _operations(request).metrics()
    if (wanted := request.param("format")) not in {"", "prometheus"}:
        raise Invalid(f'format: expected prometheus or nothing, got "{wanted}"')
    accepted = request.headers.get("accept", "").replace(" ", "")
    if wanted or any(name in accepted for name in SCRAPERS):
        if not request.options.prometheus:
            return respond.text(415, NO_PROMETHEUS)
        return Reply(found.exposition().encode(), content_type=EXPOSITION)
    return respond.json(found.report())


async def reload(request: Request) -> Reply:
    """Read the configuration anew."""
    explain = params.flag(request, "explain")
    try:
        changed = await _operations(request).reload()
    except MeshError as error:
        return respond.text(500, f"Config reload failed: {error.message}")
    if not explain:
        return respond.nothing()
    return respond.json(
        [
            ChangeShape(one.what, one.name, one.action, one.field, one.old, one.new, one.restart)
            for one in changed
        ]
    )


async def monitor(request: Request) -> Reply:
    """The agent's log as it is written, until the client goes."""
    level = (request.param("loglevel") or "INFO").upper()
    if level not in LEVELS:
        raise Invalid(f"Unknown log level: {level}")
    since, ago = math.inf, request.param("since")
    if ago:
        try:
            since = request.parts.clock.wall() - parse_duration(ago)
        except Invalid as error:
            raise Invalid(f"since: {error.message}") from error
    lines = _lines(request, LEVELS[level], since, as_json=params.flag(request, "logjson"))
    return Reply(content_type=TEXT, stream=lines)


async def _lines(
    request: Request, lowest: int, since: float, *, as_json: bool
) -> AsyncIterator[bytes]:
    waiting: asyncio.Queue[str] = asyncio.Queue(LINES_MAX)
    lost = Busy("the client reads too slowly; some lines are left out")

    def take(level: int, text: str, json: str) -> None:
        if level < lowest:
            return
        if waiting.full():
            waiting.get_nowait()
            waiting.get_nowait()
            waiting.put_nowait(lost.message)
        waiting.put_nowait(json if as_json else text)

    loop = asyncio.get_running_loop()

    def hear(level: int, text: str, json: str) -> None:
        loop.call_soon_threadsafe(take, level, text, json)  # Any thread may log.

    end = _operations(request).listen_logs(hear, since)
    try:
        while True:
            # A client may have had bytes that are no text logged.
            yield (await waiting.get() + "\n").encode(errors="backslashreplace")
    finally:
        end()


_WAN = Param("wan", "The pool of all datacenters' servers", "boolean")

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/agent/self",
        self_,
        "This agent's configuration and figures",
        answer=SelfShape,
    ),
    Route("GET", "/v1/agent/version", version, "The program's version", answer=VersionShape),
    Route(
        "GET",
        "/v1/agent/members",
        members,
        "Members of the gossip pool; `detailed` says why",
        params=(
            _WAN,
            Param("segment", "Must be empty or _all: mesh has no network segments"),
            Param("detailed", "With what gossip here knows of each", "boolean"),
            *FILTER,
        ),
        answer=list[MemberShape],
    ),
    Route(
        "GET",
        "/v1/agent/guard",
        guard,
        "What is frozen or damped, why, till when",
        answer=GuardShape,
    ),
    Route("PUT", "/v1/agent/guard/release", release_guard, "End a freeze", answer=bool),
    Route(
        "GET",
        "/v1/agent/reachability",
        reachability,
        "Ask every member for an acknowledgement, for `wait` at most",
        params=(Param("wait", "How long to wait for answers", "duration"), RELAY_FACTOR),
        answer=ReachabilityShape,
    ),
    Route(
        "PUT",
        "/v1/agent/join/:addr",
        join,
        "Join the pool through an address",
        params=(_WAN,),
        statuses=((500, "Nobody answered there, or this agent is in no such pool"),),
    ),
    Route("PUT", "/v1/agent/leave", leave, "Leave the pool and stop"),
    Route(
        "PUT",
        "/v1/agent/force-leave/:node",
        force_leave,
        "Take a member for left",
        params=(
            Param("prune", "Take it from the list of members at once", "boolean"),
            Param("wan", "Only in the pool of all datacenters' servers", "boolean"),
        ),
        statuses=((500, "No such member, or this agent is in no such pool"),),
    ),
    Route(
        "GET",
        "/v1/agent/metrics",
        metrics,
        "Metrics: JSON, or for Prometheus",
        params=(Param("format", "prometheus: as its text, version 0.0.4"),),
        answer=MetricsShape,
        statuses=((415, "telemetry.prometheus_retention_time is 0"),),
        media=(EXPOSITION,),
    ),
    Route(
        "PUT",
        "/v1/agent/reload",
        reload,
        "Read the configuration anew",
        params=(Param("explain", "Answer with what changed, instead of nothing", "boolean"),),
        answer=list[ChangeShape],
        statuses=((500, "The configuration has errors, which are all named; nothing changed"),),
    ),
    Route(
        "GET",
        "/v1/agent/monitor",
        monitor,
        "Stream the agent's log until the client goes",
        params=(
            Param("loglevel", "trace, debug, info (if not given), warn or error"),
            Param("logjson", "Each line as JSON", "boolean"),
            Param("since", "First the latest lines that are not older than this, such as 10m"),
        ),
        media=(TEXT,),
    ),
)
