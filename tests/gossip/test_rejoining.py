"""Rejoining: members that hang keep nobody from those that answer."""

from __future__ import annotations

import asyncio

import pytest

from mesh.errors import Unreachable
from mesh.gossip import rejoining
from mesh.gossip.rejoining import rejoin


class Members:
    """Of the addresses some hang, some are gone, and all others answer."""

    def __init__(self, hung: int = 0, gone: int = 0, answering: int = 0) -> None:
        self.tried: list[str] = []
        self.addresses = [f"hung{n}" for n in range(hung)] + [f"gone{n}" for n in range(gone)]
        self.addresses += [f"there{n}" for n in range(answering)]

    async def join(self, address: str) -> int:
        self.tried.append(address)
        if address.startswith("hung"):
            await asyncio.Event().wait()
        if address.startswith("gone"):
            raise Unreachable("nobody there")
        return 1


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejoining, "FIRST_SECONDS", 0.001)


async def test_those_that_hang_are_passed_over_at_first() -> None:
    members = Members(hung=3, gone=1, answering=2)
    async with asyncio.timeout(30):
        assert await rejoin(members.join, members.addresses, 2, 3600.0) == 2
    assert members.tried == members.addresses


async def test_those_that_are_slow_are_given_time_once_all_were_tried() -> None:
    members, asked = Members(hung=1, answering=1), 0

    async def join(address: str) -> int:
        nonlocal asked
        asked += 1
        if asked == 3:  # By then it answers.
            return 1
        return await members.join(address)

    assert await rejoin(join, members.addresses, 2, 3600.0) == 2
    assert members.tried == members.addresses


async def test_nobody_there_is_no_error() -> None:
    members = Members(gone=2)
    assert await rejoin(members.join, members.addresses, 1, 0.01) == 0
    assert members.tried == 2 * members.addresses
    assert await rejoin(members.join, [], 1, 0.01) == 0


async def test_no_more_are_asked_than_are_enough() -> None:
    members = Members(answering=5)
    assert await rejoin(members.join, members.addresses, 3, 0.01) == 3
    assert len(members.tried) == 3
