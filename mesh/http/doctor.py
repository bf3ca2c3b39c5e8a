"""/v1/agent/doctor: tests of the network between members, asked for here."""

from __future__ import annotations

from mesh.agent.operations import NodeOperations
from mesh.gossip.diagnosis import Examination, Finding, Path, cell, findings
from mesh.http import respond
from mesh.http.request import Reply, Request
from mesh.http.route import Param, Route
from mesh.http.shapes import Shape


class MemberShape(Shape, frozen=True):
    """A member that took part. Times are seconds; clocks are compared with the asker's."""

    name: str
    address: str
    score: int | None
    clock_ahead: float | None
    clock_uncertain: float | None
    silent: str
    """Why it told nothing; empty when it did."""


class PathShape(Shape, frozen=True):
    """One direction. `Heard` is null where the target does not tell; times are milliseconds."""

    source: str
    target: str
    address: str
    sent: int
    heard: int | None
    answered: int
    large_sent: int
    large_heard: int
    udp_ms: float | None
    tcp_ms: float | None
    tcp_error: str
    shown: str
    """In a few characters, for a matrix."""


class FindingShape(Shape, frozen=True):
    """One sentence."""

    kind: str
    fault: bool
    source: str
    target: str
    text: str


class ReportShape(Shape, frozen=True):
    """A test of the network and what it showed."""

    healthy: bool
    asker: str
    total: int
    members: list[MemberShape]
    paths: list[PathShape]
    findings: list[FindingShape]


async def network(request: Request) -> Reply:
    """Let members test the paths between them; takes some seconds."""
    operations: NodeOperations = request.parts.agent.operations
    done = await operations.examine_network(request.params.get("node", []))
    found = findings(done)
    return respond.json(
        ReportShape(
            not any(one.fault for one in found),
            done.asker,
            done.total,
            [_member(done, name) for name in sorted(done.addresses)],
            [_path(path) for path in done.paths()],
            [_finding(one) for one in found],
        )
    )


def _member(done: Examination, name: str) -> MemberShape:
    sheet, clock = done.sheets.get(name), done.clocks.get(name)
    return MemberShape(
        name,
        done.addresses[name],
        sheet.score if sheet else None,
        round(clock[0], 4) if clock else None,
        round(clock[1], 4) if clock else None,
        done.silent.get(name, ""),
    )


def _path(path: Path) -> PathShape:
    return PathShape(
        path.source,
        path.target,
        path.address,
        path.sent,
        path.heard if path.heard >= 0 else None,
        path.answered,
        path.large_sent,
        path.large_heard,
        _ms(path.rtt),
        _ms(path.tcp),
        path.tcp_error,
        cell(path),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _finding(one: Finding) -> FindingShape:
    return FindingShape(one.kind, one.fault, one.source, one.target, one.text)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/agent/doctor/network",
        network,
        "Test the network between members, or those named by `node`",
        params=(Param("node", "A member that takes part", repeats=True),),
        answer=ReportShape,
        statuses=((429, "A test is running already"),),
    ),
)
