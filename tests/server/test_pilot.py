"""The pilot on a real log: settings are replicated, what is due is done, by the leader only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from mesh.errors import Conflict, NoLeader
from mesh.registry import autopilot
from mesh.registry.autopilot import Settings
from mesh.server.observation import Sighting
from mesh.server.pilot import Options
from tests.rpc.stack import Stack, until
from tests.server.electorate import MemoryElectorate, peer

QUICK = Options(Settings(server_stabilization_time=0.0, last_contact_threshold=5.0))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = await Stack(tmp_path).start()
    yield stack
    await stack.stop()


def among(server: Stack, *others: str) -> MemoryElectorate:
    electorate = MemoryElectorate(server.raft, *others)
    server.operate_on(electorate, QUICK)
    me = server.me
    server.sightings.append(Sighting(me.id, me.name, electorate.me.address, "alive"))
    server.sightings += [Sighting(*_fields(name), "alive") for name in others]
    return electorate


def _fields(name: str) -> tuple[str, str, str]:
    one = peer(name)
    return one.id, one.name, one.address


def names(electorate: MemoryElectorate) -> list[str]:
    return sorted(voter.name for voter in electorate.voters)


def written(server: Stack) -> Settings | None:
    found: Settings | None = server.machine.answers.read(autopilot.Get()).value
    return found


async def test_the_first_leader_writes_its_settings_and_later_ones_obey_them(
    server: Stack,
) -> None:
    electorate = among(server)
    await server.pilot.step()
    first = written(server)
    assert first is not None
    assert first.last_contact_threshold == 5.0
    slow = msgspec.structs.replace(first, server_stabilization_time=3600.0)
    assert await server.router.write(autopilot.Set(slow, check_index=first.modify_index))
    assert not await server.router.write(autopilot.Set(first, check_index=first.modify_index))
    server.sightings.append(Sighting(*_fields("s2"), "alive"))
    await server.pilot.step()
    assert names(electorate) == ["s1"]
    assert electorate.learners == [peer("s2")]
    quick = msgspec.structs.replace(slow, server_stabilization_time=0.0)
    assert await server.router.write(autopilot.Set(quick))
    await server.pilot.step()
    assert names(electorate) == ["s1", "s2"]


async def test_it_grows_and_shrinks_with_the_pool(server: Stack) -> None:
    electorate = among(server)
    running = asyncio.create_task(server.pilot.run())
    server.sightings += [Sighting(*_fields(name), "alive") for name in ("s2", "s3")]
    server.sightings.append(Sighting(*_fields("s4"), "alive", read_replica=True))
    server.sightings.append(Sighting(*_fields("s5"), "alive", cluster="another"))
    server.pilot.wake()
    await until(lambda: names(electorate) == ["s1", "s2", "s3"])
    assert electorate.learners == [peer("s4")]
    assert len(electorate.reasons) == 1
    server.sightings[2] = Sighting(*_fields("s3"), "left")
    server.pilot.wake()
    await until(lambda: names(electorate) == ["s1", "s2"])
    assert electorate.reasons[1:] == ["s3 left"]
    running.cancel()


async def test_a_refused_change_is_tried_again(
    server: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    electorate = among(server)
    server.sightings.append(Sighting(*_fields("s2"), "alive"))
    electorate.error = Conflict("s2 has no snapshot yet")
    running = asyncio.create_task(server.pilot.run())
    server.pilot.wake()
    await until(lambda: "s2 has no snapshot yet" in caplog.text)
    server.pilot.wake()
    await until(lambda: names(electorate) == ["s1", "s2"])
    running.cancel()


async def test_it_decides_nothing_when_another_leads(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    server.sightings[2] = Sighting(*_fields("s3"), "left")
    electorate.leader = peer("s2")
    running = asyncio.create_task(server.pilot.run())
    server.pilot.wake()
    await until(lambda: not server.pilot._changed.is_set())
    assert not electorate.reasons
    assert written(server) is None
    running.cancel()
    await server.raft.stop()
    with pytest.raises(NoLeader):
        await server.pilot.step()
