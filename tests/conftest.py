"""Options of the test run, and which tests share a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite expected output in tests/cases")


class Together(LoadScopeScheduling):  # type: ignore[misc]  # It has no types.
    """Spreads tests one by one, but keeps a module marked `together` whole, for its clusters.

    Those are real processes, started once for each process that runs a test of theirs. xdist's own
    groups have no effect under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return module if _marked(self.config.rootpath / module) else nodeid.partition("[")[0]


@cache
def _marked(module: Path) -> bool:
    return "mark.together" in module.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return Together(config, log)
