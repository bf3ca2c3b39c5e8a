"""Figures of the log for people."""

from typing import Any

import pytest

from mesh.cli.raft import _text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("LastContact", None, "never"),
        ("LastContact", 0.05, "0.050s"),
        ("Leased", True, "true"),
        ("Log", [1, 7], "1, 7"),
        ("Leader", "", "-"),
        (
            "Sync",
            {"count": 6, "p50": 0.0003, "p99": 0.0173, "max": 0.02, "mean": 0.003},
            "p50 0.3 ms, p99 17.3 ms, max 20.0 ms of 6",
        ),
        ("Followers", {}, "-"),
        ("Followers", {"s2": {"lag": 3, "last_contact": None}}, "s2 (lag 3, last_contact never)"),
    ],
)
def test_a_figure_for_people(name: str, value: Any, text: str) -> None:
    assert _text(name, value) == text
