from __future__ import annotations

from mesh.http.request import Reply, Request
from mesh.http.route import Route
from mesh.http.routes import ROUTES, Paths


def test_every_route_has_a_summary() -> None:
    for route in ROUTES:
        assert route.summary.strip(), route.path
        assert not route.summary.endswith("."), route.path
        assert len(route.summary) <= 80, route.path


def test_every_route_is_found() -> None:
    paths = Paths()
    for route in ROUTES:
        found = paths.find(route.fixed + "x" + route.tail if ":" in route.path else route.path)
        assert found is not None
        assert found.operations[route.method] is route


def test_paths() -> None:
    for route in ROUTES:
        assert route.path.startswith(("/v1/", "/debug/"))
        assert ":" not in route.path or route.fixed.endswith("/")
        assert route.method in {"GET", "PUT", "POST", "DELETE"}


async def _nothing(_: Request) -> Reply:
    return Reply()


def test_a_tail_ends_the_parameter() -> None:
    whole, tailed = (
        Route("GET", path, _nothing, "x") for path in ("/v1/query/:id", "/v1/query/:id/execute")
    )
    paths = Paths((whole, tailed))
    for path, route, rest in (
        ("/v1/query/a", whole, "a"),
        ("/v1/query/a/b/execute", tailed, "a/b"),
        ("/v1/query/execute", whole, "execute"),
        ("/v1/query//execute", whole, "/execute"),
        ("/v1/query/a/executes", whole, "a/executes"),
    ):
        found = paths.find(path)
        assert found is not None
        assert (found.operations["GET"], found.rest(path)) == (route, rest)
    assert paths.moved("/v1/query")
    assert not Paths((tailed,)).moved("/v1/query")
