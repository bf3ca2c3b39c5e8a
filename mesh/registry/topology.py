"""Topology: whom a service calls and who calls it, with all that decides whether they may."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from mesh.registry.catalog import SERVICES, Service
from mesh.registry.health import with_checks
from mesh.registry.intentions import Matching, Policy
from mesh.registry.levels import OVERVIEWS
from mesh.registry.overview import Summary, summary
from mesh.registry.port import Query
from mesh.registry.services import PROXY
from mesh.registry.settings import HTTP_LIKE, protocol_of
from mesh.store.database import View

TRANSPARENT = "transparent"


class Neighbours(msgspec.Struct, frozen=True):
    """The services that one calls, and those that call it."""

    kind: str
    transparent: bool
    """Whether a sidecar of it takes traffic without being addressed."""
    upstreams: list[Summary]
    """Those that its sidecars are registered to call."""
    downstreams: list[Summary]
    """Those whose sidecars are registered to call it."""
    reachable: list[Summary] = []
    """Others that it may call without an upstream, since its sidecar is transparent."""
    reaching: list[Summary] = []
    """Others that may call it so."""
    policies: dict[str, Policy] = {}
    """What decides who may call it, and each that it calls, by name in lower case."""
    protocols: dict[str, str] = {}
    """What each of these speaks."""


class Topology(Query[Neighbours], frozen=True, tag="overview.topology"):
    """Who calls a service and whom it calls, as the sidecars of both sides say."""

    needs: ClassVar[int] = OVERVIEWS
    answer = Neighbours
    service: str

    def run(self, view: View) -> Neighbours:
        """Follow the upstreams of sidecars, both ways."""
        rows, asked = view.every(SERVICES), self.service.lower()
        own = [row for row in view.select(SERVICES, "connect", asked) if not row.native]
        up = {name for row in own for name in row.upstreams}
        down = {row.destination for row in rows if asked in map(str.lower, row.upstreams)}
        transparent = any(_is_transparent(row) for row in own)
        reachable = _names(rows, {row.reached for row in rows}, up) if transparent else []
        taking = {row.reached for row in rows if _is_transparent(row)}
        reaching = _names(rows, taking, down)
        groups = _grouped(rows, {one.lower() for one in (*up, *down, *reachable, *reaching, asked)})
        destinations = sorted({asked, *(one.lower() for one in (*up, *reachable))})
        mine = groups.get(asked)
        return Neighbours(
            mine[0][0].kind if mine and mine[0] else "",
            transparent,
            [_summary(view, groups, name) for name in sorted(up)],
            [_summary(view, groups, name) for name in sorted(down)],
            [_summary(view, groups, name) for name in reachable if name.lower() != asked],
            [_summary(view, groups, name) for name in reaching if name.lower() != asked],
            {name: Matching(name).run(view) for name in destinations},
            {name: protocol_of(view, name) for name in destinations},
        )


def speaks_http(protocol: str) -> bool:
    """Whether sidecars look at the requests of what speaks this."""
    return protocol in HTTP_LIKE


def _is_transparent(row: Service) -> bool:
    return row.kind == PROXY and row.proxy_field("mode") == TRANSPARENT


def _names(rows: Iterable[Service], folded: set[str], known: Iterable[str]) -> list[str]:
    """The services of these names as they are spelled, without those that are known."""
    others = folded - {""} - {name.lower() for name in known}
    spelled = {row.name.lower(): row.name for row in rows if not row.kind}
    return sorted(spelled[name] for name in others if name in spelled)


Groups = dict[str, tuple[list[Service], list[Service]]]
"""By name in lower case: the instances of a service, and its sidecars."""


def _grouped(rows: Iterable[Service], names: set[str]) -> Groups:
    found: Groups = {name: ([], []) for name in names}
    for row in rows:
        if (name := row.name.lower()) in found:
            found[name][0].append(row)
        if row.destination and (name := row.destination.lower()) in found:
            found[name][1].append(row)
    return found


def _summary(view: View, groups: Groups, name: str) -> Summary:
    rows, sidecars = groups[name.lower()]
    if not rows:
        return Summary(name=name)
    return summary(rows[0].name, [with_checks(view, row) for row in rows], sidecars)
