"""Events: what they look like in the pool, whom the filters let through, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent import events
from mesh.agent.events import COST_MAX, KEPT_MAX, PREFIX, Event, Events
from mesh.codec import pack
from mesh.errors import Invalid, TooLarge
from tests.agent.conftest import World

ID = "5f3a1c9e-0b7d-4a64-9a51-2e6d0c8b7f10"


def event(name: str = "deploy", **fields: Any) -> Event:
    return Event(id=ID, name=name, **fields)


class Pool:
    """A pool of one: what is told comes back with a Lamport time."""

    def __init__(self, world: World) -> None:
        self.time = 0
        self.told: list[tuple[str, bytes]] = []
        self.events = Events("web-1", world.agent.services, self.tell)

    def tell(self, name: str, payload: bytes) -> int:
        if len(name) + len(payload) > 512:
            raise TooLarge(f"name and payload take {len(payload)} bytes; the limit is 512")
        self.time += 1
        self.told.append((name, payload))
        self.events.hear(name, payload, self.time)
        return self.time


@pytest.fixture
def pool(world: Callable[..., World]) -> Pool:
    return Pool(world())


@given(
    st.binary(max_size=64),
    st.tuples(*[st.text(max_size=16)] * 3),
    st.integers(0, 2**64 - 1),
)
def test_what_is_told_is_heard(payload: bytes, filters: tuple[str, str, str], time: int) -> None:
    one = event(
        payload=payload,
        node_filter=filters[0],
        service_filter=filters[1],
        tag_filter=filters[2],
        time=time,
    )
    assert events.decode(PREFIX + one.name, events.encode(one), time) == one


@given(st.binary(max_size=64))
def test_whatever_comes_it_is_an_event_or_invalid(data: bytes) -> None:
    with suppress(Invalid):
        events.decode(f"{PREFIX}x", data, 1)


def test_the_wire_costs_few_bytes() -> None:
    assert len(events.encode(event(payload=b"x" * 100))) <= 100 + 26


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        ({}, True),
        ({"node_filter": "web"}, True),
        ({"node_filter": "^web-[0-9]$"}, True),
        ({"node_filter": "^eb"}, False),
        ({"service_filter": "api"}, True),
        ({"service_filter": "^api$"}, False),
        ({"service_filter": "db"}, False),
        ({"service_filter": "api", "tag_filter": "v[12]"}, True),
        ({"service_filter": "api", "tag_filter": "canary"}, False),
        ({"service_filter": "cache", "tag_filter": "v1"}, False),
        ({"node_filter": "db", "service_filter": "api"}, False),
    ],
)
def test_filters(filters: dict[str, str], meant: bool) -> None:
    services = [("cache-1", ["fast"]), ("api-1", ["v1", "blue"])]
    assert events.concerns(event(**filters), "web-1", services) is meant


def test_filters_cannot_hold_up_an_agent_with_many_services() -> None:
    costly = event(service_filter="(x?){60}x{60}$", tag_filter="a")
    services = [("x" * 60, ["b"])] * 10_000
    with pytest.raises(Invalid, match="take too long"):
        events.concerns(costly, "n", services)
    assert COST_MAX <= 500_000


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (event(""), "Missing name"),
        (event("x" * 129), "name: expected at most 128 bytes"),
        (event("a\nb"), "printable"),
        (event(tag_filter="v1"), "tag: a tag filter needs a service filter"),
        (event(node_filter="("), "node: "),
        (event(service_filter="a{2000}"), "service: "),
        (event(service_filter="a", tag_filter="[z-a]"), "tag: "),
    ],
)
def test_what_nobody_should_be_told(pool: Pool, one: Event, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        pool.events.fire(one)
    assert not pool.told


def test_an_event_that_is_too_large_says_what_to_do(pool: Pool) -> None:
    with pytest.raises(Invalid, match=r"event deploy: .* the limit is 512; send less"):
        pool.events.fire(event(payload=b"x" * 600))
    assert not pool.events.kept()


def test_the_last_ones_are_kept_and_listeners_hear_them(pool: Pool) -> None:
    heard: list[Event] = []
    end = pool.events.listen(heard.append)
    fired = pool.events.fire(event(payload=b"1"))
    assert (fired.time, heard) == (1, [fired])
    end()
    for number in range(KEPT_MAX):
        pool.events.fire(event("other", payload=str(number).encode()))
    assert heard == [fired]
    assert len(pool.events.kept()) == KEPT_MAX
    assert pool.events.kept("deploy") == []
    assert [one.time for one in pool.events.kept("other")[-2:]] == [KEPT_MAX, KEPT_MAX + 1]


def test_what_is_meant_for_others_is_not_kept(pool: Pool) -> None:
    pool.events.fire(event(node_filter="^db"))
    pool.events.hear("deploy", b"of another program", 5)
    pool.events.hear(f"{PREFIX}deploy", b"\xc1", 6)
    pool.events.hear(f"{PREFIX}deploy", pack([9, b"newer"]), 7)
    assert not pool.events.kept()
    assert pool.events.counters == {"for_others": 1, "unreadable": 2}


def test_a_handler_has_its_events_to_itself(pool: Pool) -> None:
    handled: list[Event] = []
    pool.events.handle("_rexec", handled.append)
    fired = pool.events.fire(event("_rexec"))
    assert handled == [fired]
    assert not pool.events.kept()


def test_the_index_tells_events_apart() -> None:
    assert events.index_of([]) == 1
    number = int(ID.replace("-", ""), 16)
    assert events.index_of([event()]) == (number >> 64) ^ (number % 2**64)
