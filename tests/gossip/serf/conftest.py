"""What every test with serf starts from: agents of theirs and nodes of ours, ended afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gossip.serf.harness import Agents, Ours, why_not


@pytest.fixture
def key() -> bytes:
    """What the pool of the test is encrypted with; a test that wants both sets it."""
    return b""


@pytest.fixture
async def ours(key: bytes) -> AsyncIterator[Ours]:
    made = Ours(key)
    try:
        yield made
    finally:
        await made.end()


@pytest.fixture
async def agents(tmp_path: Path, key: bytes, ours: Ours) -> AsyncIterator[Agents]:
    """Real agents; an error in their logs that the test does not allow fails it.

    They end before the nodes of ours, whose end they would complain about.
    """
    if reason := why_not():
        pytest.skip(reason)
    made = Agents(tmp_path, key)
    try:
        yield made
    finally:
        await made.end()
    assert made.errors() == []
