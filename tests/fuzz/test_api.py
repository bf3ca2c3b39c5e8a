"""A short run of requests made of the OpenAPI document; `./dev fuzz api` makes longer ones."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import api

SECONDS = 1.0


def test_no_request_does_harm(tmp_path: Path) -> None:
    node = api.server(tmp_path, "127.0.0.1")
    try:
        found = api.run(node, SECONDS)
    finally:
        node.stop()
    assert found.statuses[200] > 100
    assert found.statuses[400] > 100
