"""/v1/internal/ui/intention-matrix: who may call whom, at a glance.

Thousands of intentions between just two services say the same but for the two, which stand around
them already. So what cells say is told once, without the two, and each cell is the number of that.
"""

from __future__ import annotations

from msgspec.structs import replace

from mesh.http import params, respond
from mesh.http.defaults import default_allow
from mesh.http.request import Reply, Request
from mesh.http.route import READ, Route
from mesh.http.shapes import Shape
from mesh.registry import policies
from mesh.ui import matrix


class CellShape(Shape, frozen=True, kw_only=True):
    """What holds for calls of one service to another."""

    says: str
    """allow, deny, or requests: it depends on the request."""
    by: str
    """exact, wildcard or default: whether an intention between just these two decides."""
    rule: str
    """What decides, for people; empty for an intention between just these two."""
    source: str
    destination: str
    """The ends of the intention that decides; empty for the default, and for just these two."""
    permissions: int
    token: bool
    """Whether every request needs a token."""
    trial: str
    """What would hold if dry runs were enforced; empty when none is about this."""


class RowShape(Shape, frozen=True):
    """What holds for the callers of a destination."""

    destination: str
    """`*`: every destination without a row of its own."""
    others: int
    """For every source that is not named: which of the cells."""
    sources: dict[str, int]
    """By the name of the source, as the intention writes it if it is between just these two, else
    in lower case."""


class PartyShape(Shape, frozen=True, kw_only=True):
    """A service that may call or be called."""

    name: str
    kind: str
    meshed: bool
    """Whether an instance is in the mesh, by a sidecar or for itself."""
    calls: list[str]
    """The upstreams of its sidecars."""


class MatrixShape(Shape, frozen=True):
    """Who may call whom."""

    default_allow: bool
    intentions: int
    """How many there are, dry runs too."""
    cells: list[CellShape]
    """All that differ."""
    rows: list[RowShape]
    services: list[PartyShape]


async def intention_matrix(request: Request) -> Reply:
    """What holds between all services, without a cell for each pair."""
    options = params.read_options(request)
    found = await request.parts.registry.read(policies.Every(), options)
    allow = await default_allow(request)

    async def shape() -> MatrixShape:
        return _shape(found.value, allow=allow)

    return await respond.shaped(request, found, options, shape)


def _shape(known: policies.Known, *, allow: bool) -> MatrixShape:
    cells: dict[matrix.Cell, int] = {}

    def number(cell: matrix.Cell) -> int:
        if cell.by == "exact":
            cell = replace(cell, rule="", source="", destination="")
        return cells.setdefault(cell, len(cells))

    rows = [
        RowShape(
            row.destination,
            number(row.others),
            {
                one.source if one.by == "exact" else name: number(one)
                for name, one in row.sources.items()
            },
        )
        for row in matrix.rows(known, allow)
    ]
    parties = [
        PartyShape(name=one.name, kind=one.kind, meshed=one.meshed, calls=one.calls)
        for one in known.parties
    ]
    every = len(known.every.intentions)
    count = every + sum(len(one.policy.intentions) - every for one in known.own)
    return MatrixShape(allow, count, [_cell(one) for one in cells], rows, parties)


def _cell(one: matrix.Cell) -> CellShape:
    return CellShape(
        says=one.says,
        by=one.by,
        rule=one.rule,
        source=one.source,
        destination=one.destination,
        permissions=one.permissions,
        token=one.token,
        trial=one.trial,
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/internal/ui/intention-matrix",
        intention_matrix,
        "What intentions say about calls between any two services",
        params=READ,
        answer=MatrixShape,
    ),
)
