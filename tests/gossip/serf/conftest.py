"""What every test with serf starts from: agents of theirs and nodes of ours, ended afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gossip.serf.harness import Agents, Ours, why_not


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    """Real agents; an error in their logs that the test does not allow fails it."""
    if reason := why_not():
        pytest.skip(reason)
    made = Agents(tmp_path)
    try:
        yield made
    finally:
        await made.end()
    assert made.errors() == []


@pytest.fixture
async def ours() -> AsyncIterator[Ours]:
    made = Ours()
    try:
        yield made
    finally:
        await made.end()
