"""Options of the test run, and which tests share a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite expected output in tests/cases")


LONG = (
    "tests/fuzz/",
    "tests/gossip/netns/",
    "tests/gossip/serf/",
    "tests/gossip/sim/",
    "tests/sim/",
    "tests/browser/",
)
"""Where tests take seconds each, as modules with clusters do."""
ONE = "tests/browser/"
"""Where all tests share a cluster and a browser, and so a process."""
LONG_UNTIL = 0.8
"""Of the tests: nothing long begins after these, so that all processes end at about one time."""


class Together(LoadScopeScheduling):  # type: ignore[misc]  # It has no types.
    """Spreads tests one by one, but keeps a module marked `together` whole, for its clusters.

    Those are real processes, started once for each process that runs a test of theirs. xdist's own
    groups have no effect under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _unit(self.config.rootpath, nodeid)


def _unit(top: Path, nodeid: str) -> str:
    module = nodeid.partition("::")[0]
    if module.startswith(ONE):
        return ONE
    return module if _marked(top / module) else nodeid.partition("[")[0]


@cache
def _marked(module: Path) -> bool:
    return "mark.together" in module.read_text()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # They have their order already.
    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Side by side, what waits runs beside what works: the long in any order, the short between."""
    if not hasattr(config, "workerinput"):
        return
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(_unit(config.rootpath, item.nodeid), []).append(item)
    long = [unit for unit in units if "::" not in unit or unit.startswith(LONG)]
    long.sort(key=lambda unit: crc32(unit.encode()))
    short = [unit for unit in units if unit not in long]
    places = {unit: LONG_UNTIL * place / len(long) for place, unit in enumerate(long)}
    places |= {unit: place / len(short) for place, unit in enumerate(short)}
    items[:] = [item for unit in sorted(units, key=places.__getitem__) for item in units[unit]]
