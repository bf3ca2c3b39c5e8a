"""Autopilot's settings: limits, and writing only what nobody else changed."""

from __future__ import annotations

import math

import pytest

from mesh.errors import Invalid
from mesh.registry import autopilot
from mesh.registry.autopilot import Settings
from tests.registry_memory import MemoryRegistry


async def test_check_and_set() -> None:
    registry = MemoryRegistry()
    assert (await registry.read(autopilot.Get())).value is None
    assert registry.apply(autopilot.Set(Settings(min_quorum=3), check_index=0))
    assert not registry.apply(autopilot.Set(Settings(), check_index=0))
    found = (await registry.read(autopilot.Get())).value
    assert found is not None
    assert (found.min_quorum, found.create_index) == (3, found.modify_index)
    assert registry.apply(autopilot.Set(Settings(min_quorum=5), check_index=found.modify_index))
    newer = (await registry.read(autopilot.Get())).value
    assert newer is not None
    assert (newer.min_quorum, newer.create_index) == (5, found.create_index)
    assert newer.modify_index > found.modify_index


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (Settings(last_contact_threshold=-1.0), "LastContactThreshold"),
        (Settings(last_contact_threshold=math.nan), "LastContactThreshold"),
        (Settings(server_stabilization_time=math.inf), "ServerStabilizationTime"),
        (Settings(max_trailing_logs=-1), "MaxTrailingLogs"),
        (Settings(min_quorum=100), "MinQuorum"),
    ],
)
def test_limits(settings: Settings, field: str) -> None:
    with pytest.raises(Invalid, match=field):
        autopilot.Set(settings).validate()
