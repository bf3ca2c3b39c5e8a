"""Servers and clients that are stopped after the test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.rpc.client import Client
from tests.rpc.stack import Serve, Stack, client


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    made: list[Stack] = []

    async def start(name: str = "s1", *, leads: bool = True, datacenter: str = "dc1") -> Stack:
        folder = tmp_path / f"{name}-{datacenter}"
        folder.mkdir()
        stack = Stack(folder, name, datacenter=datacenter)
        made.append(stack)
        return await (stack.start() if leads else stack.listen())

    yield start
    for stack in made:
        await stack.stop()


@pytest.fixture
async def server(serve: Serve) -> Stack:
    return await serve()


@pytest.fixture
async def asks() -> AsyncIterator[Client]:
    made = client()
    yield made
    await made.stop()
    assert made._tasks.failures == 0
