from __future__ import annotations

from mesh.http.routes import ROUTES, Paths


def test_every_route_has_a_summary() -> None:
    for route in ROUTES:
        assert route.summary.strip(), route.path
        assert not route.summary.endswith("."), route.path
        assert len(route.summary) <= 80, route.path


def test_every_route_is_found() -> None:
    paths = Paths()
    for route in ROUTES:
        found = paths.find(route.fixed + "x" if ":" in route.path else route.path)
        assert found is not None
        assert found.operations[route.method] is route


def test_paths() -> None:
    for route in ROUTES:
        assert route.path.startswith("/v1/")
        assert ":" not in route.path or route.fixed.endswith("/")
        assert route.method in {"GET", "PUT", "POST", "DELETE"}
