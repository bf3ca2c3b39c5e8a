"""The routes: one ordered table of method, path, handler and summary, and how a path is found."""

from __future__ import annotations

import msgspec

from mesh.http import status
from mesh.http.request import Handler


class Route(msgspec.Struct, frozen=True):
    """One operation. A `:name` at the end of the path takes all that follows, slashes too."""

    method: str
    path: str
    handler: Handler
    summary: str

    @property
    def fixed(self) -> str:
        """The path up to its first `:name`."""
        return self.path.partition(":")[0]


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/status/leader", status.leader, "Address of the leader"),
    Route("GET", "/v1/status/peers", status.peers, "Addresses of the voting servers"),
)


class Found(msgspec.Struct, frozen=True):
    """The operations on a path, by method, and where the fixed part of the path ends."""

    operations: dict[str, Route]
    end: int

    @property
    def allow(self) -> str:
        """The value of the Allow header."""
        return ",".join(["OPTIONS", *self.operations])


class Paths:
    """Finds routes by path: an exact one first, else the longest that takes a rest."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[str, Found] = {}
        self._open: dict[str, Found] = {}
        for route in routes:
            kind = self._open if ":" in route.path else self._exact
            found = kind.setdefault(route.fixed, Found({}, len(route.fixed)))
            assert route.method not in found.operations, f"{route.path} is there twice"
            found.operations[route.method] = route

    def find(self, path: str) -> Found | None:
        """The operations on this path (still percent-encoded), or None."""
        found = self._exact.get(path)
        if found is not None:
            return found
        end = path.rfind("/") + 1
        while end > 0:
            found = self._open.get(path[:end])
            if found is not None:
                return found
            end = path.rfind("/", 0, end - 1) + 1
        return None

    def moved(self, path: str) -> bool:
        """Whether the path lacks only the slash that ends a route's fixed part."""
        return path not in self._exact and f"{path}/" in self._open
