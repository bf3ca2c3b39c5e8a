"""Orders about the servers, through a real route, gate and log, on an electorate in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.errors import Busy, Conflict, NoLeader, NotFound, OutcomeUnknown, Unreachable
from mesh.registry import orders
from mesh.registry.port import HERE
from mesh.rpc.client import Client
from mesh.server.observation import Sighting
from tests.rpc.stack import Stack, agent, client, until
from tests.server.electorate import MemoryElectorate, peer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = await Stack(tmp_path).start()
    yield stack
    await stack.stop()


@pytest.fixture
async def asks() -> AsyncIterator[Client]:
    made = client()
    yield made
    await made.stop()


def among(server: Stack, *others: str) -> MemoryElectorate:
    electorate = MemoryElectorate(server.raft, *others)
    server.operate_on(electorate)
    return electorate


def sighting(name: str, **more: object) -> Sighting:
    one = peer(name)
    return Sighting(one.id, name, one.address, "alive", **more)  # type: ignore[arg-type]


async def test_the_configuration_shows_voters_then_learners(server: Stack) -> None:
    electorate = among(server, "s3", "s2")
    electorate.barred = ["id-s4"]
    server.sightings.append(sighting("s4"))
    electorate.follow([peer("s4")])
    found = await server.router.operate(orders.RaftConfiguration())
    assert [(one.name, one.voter, one.leader, one.barred) for one in found.servers] == [
        ("s1", True, True, False),
        ("s2", True, False, False),
        ("s3", True, False, False),
        ("s4", False, False, True),
    ]
    assert {one.last_index for one in found.servers} == {server.raft.commit_index}
    assert found.epoch == 1


async def test_a_removed_server_is_barred_until_it_is_added_again(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    assert await server.router.operate(orders.RemovePeer(address="127.0.0.1:3")) == 2
    assert [one.name for one in electorate.voters] == ["s1", "s2"]
    assert electorate.barred == ["id-s3"]
    server.sightings.append(sighting("s3"))
    assert await server.router.operate(orders.AddPeer(id="S3")) == 3
    assert [one.name for one in electorate.voters] == ["s1", "s2", "s3"]
    assert electorate.barred == []
    await server.router.operate(orders.AddPeer(id="id-s3"))
    assert electorate.epoch == 3
    assert len(server.audit) == 3


async def test_who_leaves_is_not_barred(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    assert await server.router.operate(orders.RemovePeer(id="id-s3", leaving=True)) == 2
    assert electorate.barred == []
    await server.router.operate(orders.RemovePeer(id="id-s3", leaving=True))
    assert electorate.epoch == 2


async def test_what_cannot_be_is_refused_in_words(server: Stack) -> None:
    electorate = among(server, "s2")
    operate = server.router.operate
    with pytest.raises(NotFound, match=r'id "s9" was not found .* has s1, s2'):
        await operate(orders.RemovePeer(id="s9"))
    with pytest.raises(NotFound, match=r'address "10\.0\.0\.1:1"'):
        await operate(orders.AddPeer(address="10.0.0.1:1"))
    server.sightings.append(sighting("s3", read_replica=True))
    with pytest.raises(Conflict, match="read replica"):
        await operate(orders.AddPeer(id="s3"))
    server.sightings[:] = [sighting("s4")]
    with pytest.raises(Conflict, match="does not follow the log yet"):
        await operate(orders.AddPeer(id="s4"))
    electorate.voters = [electorate.me]
    with pytest.raises(Conflict, match="only voter"):
        await operate(orders.RemovePeer(id="s1"))
    with pytest.raises(Conflict, match="no other voter"):
        await operate(orders.TransferLeader())


async def test_leadership_is_handed_over(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    electorate.error = Unreachable("s3 did not take over")
    with pytest.raises(Conflict, match="did not take over"):
        await server.router.operate(orders.TransferLeader("s3"))
    assert (await server.router.operate(orders.TransferLeader("s1"))).name == "s1"
    assert (await server.router.operate(orders.TransferLeader("s3"))).id == "id-s3"
    assert electorate.leader == peer("s3")


async def test_a_leader_to_be_removed_hands_over_and_leaves_it_to_its_successor(
    server: Stack,
) -> None:
    electorate = among(server, "s2", "s3")
    with pytest.raises(NoLeader, match="handed leadership to s2"):
        await server.forwarded.operator.operate(orders.RemovePeer(id="s1"))
    assert len(electorate.voters) == 3
    electorate.leader, electorate.error = electorate.me, Unreachable("nobody took over")
    await server.forwarded.operator.operate(orders.RemovePeer(id="s1"))
    assert [one.name for one in electorate.voters] == ["s2", "s3"]


async def test_one_change_at_a_time(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    electorate.gate.clear()
    first = asyncio.create_task(server.router.operate(orders.RemovePeer(id="s3")))
    await until(lambda: server.changes.under_way)
    with pytest.raises(Busy, match="s3 loses its vote"):
        await server.forwarded.operator.operate(orders.RemovePeer(id="s2"))
    electorate.gate.set()
    assert await first == 2
    assert not server.changes.under_way


async def test_the_figures_of_every_server_and_of_those_that_do_not_answer(
    server: Stack, asks: Client
) -> None:
    among(server, "s2")
    found = await agent(asks, server).operate(orders.RaftStatus())
    assert [one.server.name for one in found] == ["s1", "s2"]
    assert found[0].figures["term"] == server.raft.term
    assert not found[0].error
    assert "cannot connect" in found[1].error
    (one,) = await agent(asks, server).operate(orders.RaftStatus("id-s2"), HERE)
    assert (one.server.name, one.figures) == ("s2", {})
    with pytest.raises(NotFound):
        await agent(asks, server).operate(orders.RaftStatus("s9"))


async def test_a_change_that_was_given_up_may_have_happened(server: Stack) -> None:
    electorate = among(server, "s2", "s3")
    electorate.slow = True
    with pytest.raises(OutcomeUnknown, match="s3 loses its vote"):
        await server.router.operate(orders.RemovePeer(id="s3"))
    assert electorate.epoch == 1
    assert not server.changes.under_way


async def test_health_is_known_to_the_leader_only(server: Stack, asks: Client) -> None:
    electorate = among(server, "s2", "s3")
    electorate.known["id-s3"].connected = False
    server.sightings += [Sighting("s1", "s1", "127.0.0.1:1", "alive", version="0.1")]
    server.sightings += [sighting("s2"), sighting("s3")]
    found = await agent(asks, server).operate(orders.AutopilotHealth())
    assert (found.healthy, found.failure_tolerance, found.leader) == (False, 0, "s1")
    assert [(one.name, one.healthy, one.reason) for one in found.servers] == [
        ("s1", True, ""),
        ("s2", True, ""),
        ("s3", False, "not connected"),
    ]
    assert found.servers[0].version == "0.1"
    electorate.leader = peer("s2")
    with pytest.raises(NoLeader):
        await server.router.operate(orders.AutopilotHealth(), HERE)
