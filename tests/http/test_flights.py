"""Work for which many wait."""

from __future__ import annotations

import asyncio
from typing import Any

from mesh.http.flights import LEFT_MAX, Flight, Flights
from tests.compat.conftest import until


class Landing:
    """Work that ends when told, and how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.end = asyncio.Event()

    async def work(self, flight: Flight) -> int:
        self.begun += 1
        number = self.begun
        await self.end.wait()
        flight.size = 1000
        return number


async def test_who_asks_for_the_same_at_once_waits_for_one() -> None:
    flights, landing = Flights(), Landing()
    both = [asyncio.create_task(flights.share("a", landing.work)) for _ in range(2)]
    other = asyncio.create_task(flights.share("b", landing.work))
    await until(lambda: landing.begun == 2)
    landing.end.set()
    assert [await one for one in both] == [1, 1]
    assert await other == 2
    assert await flights.share("a", landing.work) == 3, "who comes later is not told what was"
    assert len(flights) == 0


async def test_it_ends_with_the_last_who_waits_and_not_with_the_first() -> None:
    flights, landing = Flights(), Landing()
    first, second = (asyncio.create_task(flights.share("a", landing.work)) for _ in range(2))
    await until(lambda: landing.begun == 1)
    first.cancel()
    await asyncio.wait([first])
    assert len(flights) == 1
    second.cancel()
    await until(lambda: len(flights) == 0)


async def test_an_error_is_told_to_all() -> None:
    async def fail(flight: Flight) -> None:
        await asyncio.sleep(0)
        raise ValueError(flight.key)

    flights = Flights()
    found: list[Any] = await asyncio.gather(
        *(flights.share("a", fail) for _ in range(2)), return_exceptions=True
    )
    assert [str(one) for one in found] == ["a", "a"]
    one = flights.join("a", fail)
    await asyncio.wait([one.task])
    flights.leave(one, 60.0, told=False)
    other = flights.join("a", fail)
    assert other is not one, "and to nobody after"
    flights.leave(other, 0.0)


async def test_what_was_left_goes_on_and_is_joined() -> None:
    flights, landing = Flights(), Landing()
    flights.leave(flights.join("a", landing.work), 60.0)
    again = flights.join("a", landing.work)
    landing.end.set()
    assert await again.task == 1
    flights.leave(again, 60.0)
    assert (len(flights), flights.bytes) == (0, 0)


async def test_what_ended_when_nobody_waited_is_for_who_comes_next() -> None:
    flights, landing = Flights(), Landing()
    left = flights.join("a", landing.work)
    flights.leave(left, 60.0)
    landing.end.set()
    await left.task
    await until(lambda: flights.bytes == 1000)
    one = flights.join("a", landing.work)
    assert one is left
    assert flights.bytes == 0
    flights.leave(one, 60.0, told=False)
    assert flights.join("a", landing.work) is left, "who was not told it may be told again"
    other = flights.join("a", landing.work)
    assert other is not left
    for each in (left, other):
        flights.leave(each, 0.0)
    await flights.stop()


async def test_what_is_older_than_what_one_has_is_not_joined() -> None:
    flights, landing = Flights(), Landing()
    first = flights.join("a", landing.work)
    first.since = 5.0
    assert flights.join("a", landing.work, since=5.0) is first
    later = flights.join("a", landing.work, since=6.0)
    assert later is not first
    assert flights.join("a", landing.work) is later
    for each in (first, first, later, later):
        flights.leave(each, 60.0)
    assert not first.task.cancelled()
    await until(first.task.done)
    assert first.task.cancelled(), "nobody can join it any more"
    await flights.stop()
    assert len(flights) == 0


async def test_what_nobody_comes_back_for_ends() -> None:
    flights, landing = Flights(), Landing()
    flights.leave(flights.join("a", landing.work), 0.01)
    await until(lambda: len(flights) == 0)
    again = flights.join("a", landing.work)
    landing.end.set()
    assert await again.task == 2
    flights.leave(again, 0.0)


async def test_no_more_than_so_many_are_left() -> None:
    flights, landing = Flights(), Landing()
    for number in range(LEFT_MAX + 10):
        flights.leave(flights.join(number, landing.work), 60.0)
    await until(lambda: len(flights) == LEFT_MAX)
    await flights.stop()
    assert len(flights) == 0


async def test_no_more_than_so_many_bytes_are_left() -> None:
    async def large(flight: Flight) -> None:
        flight.size = 6 * 1024 * 1024

    flights = Flights()
    for number in range(10):
        flights.leave(flights.join(number, large), 60.0)
    await until(lambda: len(flights) == 0)
    assert flights.bytes == 2 * 6 * 1024 * 1024
    await flights.stop()
    assert flights.bytes == 0


async def large(flight: Flight) -> None:
    flight.size = 1000


async def test_who_leaves_just_when_it_ends_has_its_bytes_counted_once() -> None:
    flights = Flights()
    one = flights.join("a", large)
    await asyncio.sleep(0)
    assert one.task.done(), "and nobody was told yet"
    flights.leave(one, 60.0, told=False)
    await asyncio.sleep(0)
    assert flights.bytes == 1000
    await flights.stop()
    assert flights.bytes == 0


async def test_who_joins_just_when_it_ends_takes_off_no_bytes_that_were_not_counted() -> None:
    flights = Flights()
    one = flights.join("a", large)
    flights.leave(one, 60.0)
    await asyncio.sleep(0)
    assert one.task.done(), "and nobody was told yet"
    assert flights.join("a", large) is one
    await asyncio.sleep(0)
    assert flights.bytes == 0
    flights.leave(one, 60.0)
    assert flights.bytes == 0
