"""What the main process lets workers keep, and when it takes that back."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.front.board import SLOTS, Board
from mesh.front.frames import BODY_MAX_BYTES, HEAD, Frames, Kind, data, frame
from mesh.front.offers import Offers
from mesh.registry.kv import Get, Set
from mesh.registry.port import READ, STALE, Query, ReadOptions
from tests.registry_memory import MemoryRegistry


async def read(registry: MemoryRegistry, key: str) -> tuple[Query[Any], object]:
    query = Get(key)
    answer = registry.at_once(query, READ)
    assert answer is not None
    return query, answer.value


async def test_a_change_raises_the_version_of_its_slot() -> None:
    registry, board = MemoryRegistry(), Board()
    offers = Offers(board, registry)
    for key in "ab":
        await registry.write(Set(key, b"1"))
    query, value = await read(registry, "a")
    one = offers.terms(query, READ, value)
    beside, its = await read(registry, "b")
    other = offers.terms(beside, READ, its)
    assert one is not None
    assert other is not None
    assert one.slot != other.slot
    await registry.write(Set("a", b"2"))
    assert board.version(one.slot) > one.version
    assert board.version(other.slot) == other.version
    again = offers.terms(query, READ, (await read(registry, "a"))[1])
    assert again is not None
    assert (again.slot, again.version) == (one.slot, board.version(one.slot))


async def test_what_is_no_longer_so_is_not_offered() -> None:
    registry = MemoryRegistry()
    offers = Offers(Board(), registry)
    await registry.write(Set("a", b"1"))
    query, value = await read(registry, "a")
    await registry.write(Set("a", b"2"))
    assert offers.terms(query, READ, value) is None
    registry.error = RuntimeError("broken")
    assert offers.terms(query, READ, (await read(MemoryRegistry(), "a"))[1]) is None


@pytest.mark.parametrize(
    ("options", "leased", "limited"),
    [(READ, True, False), (STALE, False, True), (ReadOptions(cached=True), False, True)],
)
async def test_terms_are_those_of_how_it_was_read(
    options: ReadOptions, leased: bool, limited: bool
) -> None:
    registry = MemoryRegistry()
    await registry.write(Set("a", b"1"))
    query, value = await read(registry, "a")
    terms = Offers(Board(), registry).terms(query, options, value, label="GET /")
    assert terms is not None
    assert (terms.leased, terms.seconds is not None, terms.label) == (leased, limited, "GET /")


async def test_those_offered_least_recently_are_taken_back() -> None:
    registry, board = MemoryRegistry(), Board()
    offers = Offers(board, registry, slots=3)
    made = {}
    for key in "abacd":
        await registry.write(Set("x", b""))
        query, value = await read(registry, key)
        made[key] = offers.terms(query, READ, value)
    first, kept = made["b"], made["a"]
    assert first is not None
    assert kept is not None
    assert len(offers) == 3
    assert board.version(first.slot) > first.version
    assert board.version(kept.slot) == kept.version
    offers.clear()
    assert board.version(kept.slot) > kept.version
    assert not registry.answers._heard


def test_another_process_sees_the_same_board() -> None:
    board = Board()
    seen = Board(board.fd)
    board.alive_until, board.leased_until = 1.5, 2.5
    board.bump(SLOTS - 1)
    assert (seen.alive_until, seen.leased_until) == (1.5, 2.5)
    assert [seen.version(slot) for slot in (0, SLOTS - 1)] == [0, 1]
    board.bump_all()
    assert [seen.version(slot) for slot in (0, SLOTS - 1)] == [1, 2]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_frames_come_out_as_they_went_in(size: int) -> None:
    sent = frame(Kind.OPEN, b"x") + data(b"y" * 700_000) + frame(Kind.STAY)
    frames = Frames()
    got: list[tuple[int, bytes]] = []
    for start in range(0, len(sent), size * 997):
        got += frames.feed(sent[start : start + size * 997])
    assert got[0] == (Kind.OPEN, b"x")
    assert got[-1] == (Kind.STAY, b"")
    assert b"".join(body for kind, body in got if kind == Kind.DATA) == b"y" * 700_000


def test_no_frame_is_larger_than_any_that_is_sent() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed(HEAD.pack(BODY_MAX_BYTES + 1, Kind.DATA)))
