"""What the options mean for how the registry is read."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.dns.options import Options
from mesh.registry.port import ReadOptions


@pytest.mark.parametrize(
    ("given", "reads"),
    [
        ({}, ReadOptions("stale", cached=True)),
        ({"max_stale_seconds": 5.0}, ReadOptions("stale", 5.0, cached=True)),
        ({"use_cache": True}, ReadOptions("stale", cached=True)),
        ({"cache_max_age_seconds": 3.0}, ReadOptions("stale", cached=True, max_age=3.0)),
        ({"use_cache": False}, ReadOptions("stale", max_age=0.0)),
        (
            {"use_cache": False, "cache_max_age_seconds": 3.0, "max_stale_seconds": 5.0},
            ReadOptions("stale", 5.0, max_age=0.0),
        ),
        ({"allow_stale": False}, ReadOptions()),
        ({"allow_stale": False, "use_cache": False, "max_stale_seconds": 5.0}, ReadOptions()),
        ({"allow_stale": False, "use_cache": True}, ReadOptions("stale", cached=True)),
        (
            {"allow_stale": False, "use_cache": True, "cache_max_age_seconds": 1.0, "token": "t"},
            ReadOptions("stale", token="t", cached=True, max_age=1.0),
        ),
    ],
)
def test_where_answers_may_come_from(given: dict[str, Any], reads: ReadOptions) -> None:
    assert Options(**given).reads == reads
