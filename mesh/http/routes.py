"""The routes: one ordered table of method, path, handler and summary, and how a path is found."""

from __future__ import annotations

import msgspec

from mesh.http import (
    agent,
    agent_host,
    agent_node,
    authorize,
    catalog,
    config,
    connect_ca,
    connect_rotation,
    connected,
    coordinate,
    debug,
    doctor,
    event,
    explain,
    glances,
    health,
    history,
    importing,
    intentions,
    internal,
    keyring,
    kv,
    maintenance,
    matrix,
    metrics_proxy,
    openapi,
    operator,
    outcomes,
    proxies,
    query,
    refusals,
    revocations,
    session,
    snapshot,
    status,
    txn,
    ui,
    ui_certificates,
    ui_now,
    upgrade,
    usage,
    watch,
)
from mesh.http.route import Route

_FAMILIES: tuple[Route, ...] = (
    *agent_node.ROUTES,
    *agent_host.ROUTES,
    *doctor.ROUTES,
    *agent.ROUTES,
    *catalog.ROUTES,
    *health.ROUTES,
    *connected.ROUTES,
    *proxies.ROUTES,
    *connect_ca.ROUTES,
    *connect_rotation.ROUTES,
    *config.ROUTES,
    *refusals.ROUTES,
    *intentions.ROUTES,
    *authorize.ROUTES,
    *kv.ROUTES,
    *txn.ROUTES,
    *session.ROUTES,
    *history.ROUTES,
    *query.ROUTES,
    *coordinate.ROUTES,
    *event.ROUTES,
    *explain.ROUTES,
    *status.ROUTES,
    *snapshot.ROUTES,
    *importing.ROUTES,
    *operator.ROUTES,
    *keyring.ROUTES,
    *revocations.ROUTES,
    *outcomes.ROUTES,
    *maintenance.ROUTES,
    *upgrade.ROUTES,
    *usage.ROUTES,
    *ui.ROUTES,
    *ui_certificates.ROUTES,
    *ui_now.ROUTES,
    *glances.ROUTES,
    *matrix.ROUTES,
    *watch.ROUTES,
    *metrics_proxy.ROUTES,
    *internal.ROUTES,
    *debug.ROUTES,
)
"""Every family has its rows beside its handlers."""

ROUTES = (*_FAMILIES, openapi.route(_FAMILIES))


class Found(msgspec.Struct, frozen=True):
    """The operations on a path, by method, and which part of the path is the parameter."""

    operations: dict[str, Route]
    start: int
    tail: int = 0
    """The length of what follows the parameter."""

    @property
    def allow(self) -> str:
        """The value of the Allow header."""
        return ",".join(["OPTIONS", *self.operations])

    def rest(self, path: str) -> str:
        """The parameter, as the path has it."""
        return path[self.start : len(path) - self.tail]


class Paths:
    """Finds routes by path: an exact one first, else the longest that takes a rest.

    Of those that take one after the same fixed part, one whose tail ends the path goes first.
    """

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[str, Found] = {}
        self._open: dict[str, dict[str, Found]] = {}
        for route in routes:
            start, tail = len(route.fixed), route.tail
            if ":" in route.path:
                tails = self._open.setdefault(route.fixed, {})
                found = tails.setdefault(tail, Found({}, start, len(tail)))
            else:
                found = self._exact.setdefault(route.fixed, Found({}, start))
            assert route.method not in found.operations, f"{route.path} is there twice"
            found.operations[route.method] = route
        wholes = {start.rstrip("/") for start, tails in self._open.items() if "" in tails}
        self._moved = wholes - self._exact.keys()

    def find(self, path: str) -> Found | None:
        """The operations on this path (still percent-encoded), or None."""
        found = self._exact.get(path)
        if found is not None:
            return found
        end = path.rfind("/") + 1
        while end > 0:
            tails = self._open.get(path[:end])
            if tails is not None and (found := _ending(tails, path[end:])) is not None:
                return found
            end = path.rfind("/", 0, end - 1) + 1
        return None

    def moved(self, path: str) -> bool:
        """Whether the path lacks only the slash that ends a route's fixed part."""
        return path in self._moved


def _ending(tails: dict[str, Found], rest: str) -> Found | None:
    for tail, found in tails.items():
        if tail and rest.endswith(tail) and len(rest) > len(tail):
            return found
    return tails.get("")
