"""From a check's change to the event, with a real agent, and back when the catalog has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from mesh.agent.announcer import Announcer
from mesh.clock import SystemClock
from mesh.errors import NoLeader, TooLarge
from mesh.registry.transitions import GONE, Transition, read
from tests.agent.conftest import World, until

Make = Callable[..., World]
TTL = {"TTL": "1h"}
HEARD = list[tuple[str, str, str]]


@asynccontextmanager
async def announcing(made: World, heard: list[Transition]) -> AsyncIterator[None]:
    def fire(payload: bytes) -> None:
        node, transitions = read(payload)
        assert node == "n1"
        heard.extend(one for one in transitions if one not in heard)  # It may be told twice.

    announcer = asyncio.create_task(Announcer(made.agent.news, fire, SystemClock()).run())
    await made.agent.start()
    yield
    announcer.cancel()


def told(heard: list[Transition]) -> HEARD:
    return [(one.service_id, one.check_id, one.status) for one in heard]


async def test_every_kind_of_change_is_told_and_rows_have_the_same_numbers(world: Make) -> None:
    made, heard = world(), list[Transition]()
    made.service(Name="web", Check=TTL | {"CheckID": "c"})
    async with announcing(made, heard):
        await until(lambda: "c" in made.checked())
        assert heard == []  # It has begun as critical, and the catalog says so.
        made.agent.update_ttl("c", "passing", "")
        await until(lambda: told(heard) == [("web", "c", "passing")])
        row = made.agent.checks()["c"].row
        assert row.sequence == heard[0].sequence
        await until(lambda: made.checked()["c"].sequence == row.sequence)
        made.agent.update_ttl("c", "passing", "other words")
        made.agent.set_service_maintenance("web", "")
        made.agent.tell("mesh-raft", "Raft", "critical", "")
        made.agent.tell("mesh-raft", "Raft", "passing", "")
        await until(lambda: len(heard) == 3)
        assert told(heard)[1:] == [
            ("web", "_service_maintenance:web", "critical"),
            ("", "mesh-raft", "passing"),
        ]
        made.agent.deregister_service("web")
        await until(lambda: len(heard) == 6)
        assert set(told(heard)[3:]) == {
            ("web", "c", GONE),
            ("web", "_service_maintenance:web", GONE),
            ("web", "", GONE),
        }
        numbers = [one.sequence for one in heard]
        assert numbers == sorted(set(numbers))
        made.service(Name="web")
        await until(lambda: told(heard)[6:] == [("web", "", "passing")])


async def test_only_the_catalog_ends_the_telling(world: Make) -> None:
    """What it says may be of before: a change and what takes it back are both told to members."""
    made, heard = world(), list[Transition]()
    async with announcing(made, heard):
        made.service(Name="web", Check=TTL | {"CheckID": "c", "Status": "passing"})
        await until(lambda: "c" in made.checked())
        await until(lambda: made.agent._sync.knows(Transition("web", "c", "passing", 0)))
        made.registry.error = NoLeader("down")
        made.agent.set_service_maintenance("web", "")
        made.agent.update_ttl("c", "critical", "")
        await until(lambda: len(heard) >= 2)
        made.agent.set_service_maintenance("web", None)
        made.agent.update_ttl("c", "passing", "")
        made.agent.deregister_service("web")
        made.service(Name="web", Check=TTL | {"CheckID": "c", "Status": "passing"})
        await until(lambda: ("web", "", "passing") in told(heard))
        newest = {(one.service_id, one.check_id): one for one in heard}
        assert {key: one.status for key, one in newest.items()} == {
            ("web", ""): "passing",
            ("web", "c"): "passing",
            ("web", "_service_maintenance:web"): GONE,
        }
        assert not any(made.agent._sync.knows(one) for one in newest.values())
        # Nor does it end while the catalog keeps no sequences (below level 3).
        row = made.agent._sync._told_checks["c"]
        made.agent._sync._told_checks["c"] = msgspec.structs.replace(row, sequence=msgspec.UNSET)
        assert not any(made.agent._sync.knows(one) for one in newest.values())
        made.registry.error = None
        await until(lambda: all(made.agent._sync.knows(one) for one in newest.values()))
        await until(lambda: len(made.agent.news) == 0)


async def test_one_event_that_cannot_be_sent_stops_no_other(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    made, heard = world(), list[bytes]()

    def fire(payload: bytes) -> None:
        heard.append(payload)
        if len(heard) == 1:
            raise TooLarge("512 bytes")

    announcer = asyncio.create_task(Announcer(made.agent.news, fire, SystemClock()).run())
    made.check(ID="c", Name="c", **TTL)
    for status in ("passing", "critical"):
        made.agent.update_ttl("c", status, "")
        await until(lambda status=status: heard and read(heard[-1])[1][0].status == status)  # type: ignore[misc]
    assert "not told over gossip: 512 bytes" in caplog.text
    announcer.cancel()


async def test_numbers_that_others_know_are_passed(world: Make) -> None:
    """After its disk and its clock were lost: the catalog's rows hold higher numbers."""
    first = world()
    first.service(Name="web", Check=TTL | {"CheckID": "c"})
    first.agent.witness(10**15)
    await first.agent.start()
    await until(lambda: "c" in first.checked())
    second = world(first.registry)
    second.service(Name="web", Check=TTL | {"CheckID": "c"})
    await second.agent.start()
    await until(lambda: second.checked()["c"].sequence == 10**15 + 2)
    assert second.agent.checks()["c"].row.sequence == 10**15 + 2
