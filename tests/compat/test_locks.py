"""Locks and semaphores of the Python clients, against a real server over a registry in memory."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import pytest

from mesh.client import Client, Settings, alock, lock
from mesh.client.aio import AsyncClient
from mesh.client.recipes import LOCK_FLAGS, SEMAPHORE_FLAGS, HoldOptions
from mesh.errors import Conflict, Invalid, Unreachable
from mesh.registry import kv, sessions
from tests.compat.conftest import Api, until

FAST = HoldOptions(
    ttl_seconds=1.2,
    lock_delay_seconds=0.0,
    wait_seconds=1.0,
    retry_seconds=0.05,
    value=b"me",
)


@pytest.fixture
async def node(api: Api) -> Api:
    await api.register("n0")
    check = {"CheckID": "serfHealth", "Name": "alive", "Status": "passing"}
    await api.put("/v1/catalog/register", {"Node": "n0", "Address": "10.0.0.1", "Check": check})
    return api


def settings(api: Api) -> Settings:
    host, port = api.address
    return Settings(address=f"{host}:{port}", timeout_seconds=30.0)


def pair(api: Api, key: str) -> kv.Pair | None:
    return kv.Get(key).run(api.registry.database.view())


def surely(one: alock.Lock) -> bool:
    return one.held


def alive(api: Api) -> list[sessions.Session]:
    return sessions.All().run(api.registry.database.view())


async def test_a_lock_is_held_by_one(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        async with alock.Lock(client, "lock", FAST) as one:
            found = pair(node, "lock")
            assert found is not None
            assert (found.session, found.flags, found.value) == (one.session, LOCK_FLAGS, b"me")
            assert (one.held, one.taken.fence, one.taken.index) == (True, 1, found.modify_index)
            two = alock.Lock(client, "lock", FAST)
            assert not await two.acquire(0.1)
            waits = asyncio.create_task(two.acquire())
            await node.blocked(2)
            assert len(alive(node)) == 2
        assert await waits
        assert two.taken.fence == 2
        assert not surely(one)
        with pytest.raises(Conflict, match="held already"):
            await two.acquire()
        assert await two.release()
        assert not await two.release()
        with pytest.raises(Conflict, match="is not held"):
            _ = two.taken
        assert alive(node) == []
        assert await two.cleanup()
        assert pair(node, "lock") is None


async def test_who_loses_the_lock_is_told(node: Api) -> None:
    reasons: list[str] = []
    async with AsyncClient(settings(node)) as client:
        one = alock.Lock(client, "lock", FAST, reasons.append)
        await one.acquire()
        await node.put(f"/v1/session/destroy/{one.session}")
        await asyncio.wait_for(one.lost.wait(), 5.0)
        assert not one.held
        assert reasons == [one.why_lost]
        assert "the session has ended" in one.why_lost
        assert not await one.release()


async def test_a_key_that_was_deleted_is_lost(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        one = alock.Lock(client, "lock", FAST)
        await one.acquire()
        await node.delete("/v1/kv/lock")
        await asyncio.wait_for(one.lost.wait(), 5.0)
        await one.release()
    assert alive(node) == []


async def test_who_can_ask_nobody_counts_the_lock_as_lost(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        one = alock.Lock(client, "lock", FAST)
        await one.acquire()
        node.registry.error = Unreachable("the servers are gone")
        await asyncio.wait_for(one.lost.wait(), 5.0)
        assert "could not be renewed in time: the servers are gone" in one.why_lost
        assert not one.held
        assert not await one.release()


async def test_a_short_outage_loses_nothing(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        one = alock.Lock(client, "lock", msgspec.structs.replace(FAST, ttl_seconds=6.0))
        await one.acquire()
        renewed = len(node.registry.orders)
        node.registry.error = Unreachable("the servers are gone")
        await node.blocked(0)
        node.registry.error = None
        await until(lambda: len(node.registry.orders) > renewed + 1)
        assert one.held
        assert await one.release()


async def test_a_session_that_ends_while_it_waits_is_replaced(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        async with alock.Lock(client, "lock", FAST):
            two = alock.Lock(client, "lock", FAST)
            waits = asyncio.create_task(two.acquire())
            await node.blocked(2)
            first = two.session
            await node.put(f"/v1/session/destroy/{first}")
            await until(lambda: two.session not in {"", first})
        assert await waits
        await two.release()
    assert alive(node) == []


async def test_an_errand_that_is_cancelled_leaves_no_session(node: Api) -> None:
    async with AsyncClient(settings(node)) as client, alock.Lock(client, "lock", FAST):
        waits = asyncio.create_task(alock.Lock(client, "lock", FAST).acquire())
        await node.blocked(2)
        waits.cancel()
        await asyncio.wait([waits])
        await until(lambda: len(alive(node)) == 1)
    assert alive(node) == []


async def test_the_lock_delay_is_waited_for(node: Api) -> None:
    options = msgspec.structs.replace(FAST, lock_delay_seconds=0.3)
    async with AsyncClient(settings(node)) as client:
        one = alock.Lock(client, "lock", options)
        await one.acquire()
        await node.put(f"/v1/session/destroy/{one.session}")
        two = alock.Lock(client, "lock", options)
        assert not await two.acquire(0.0)
        assert await two.acquire()
        await two.release()
        await one.release()


async def test_a_key_with_other_flags_is_no_lock(node: Api) -> None:
    await node.put("/v1/kv/lock?flags=1", "data")
    async with AsyncClient(settings(node)) as client:
        with pytest.raises(Conflict, match="lock is no lock"):
            await alock.Lock(client, "lock", FAST).acquire()
        assert not await alock.Lock(client, "lock", FAST).cleanup()
    assert alive(node) == []


def test_names_that_cannot_be() -> None:
    with Client() as client:
        with pytest.raises(Invalid, match="a lock needs a key"):
            lock.Lock(client, "/lock")
        with pytest.raises(Invalid, match="a semaphore needs one"):
            lock.Semaphore(client, "/", 1)
        with pytest.raises(Invalid, match="at least one place"):
            lock.Semaphore(client, "jobs", 0)


async def test_a_semaphore_has_so_many_places(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        one, two, three = (alock.Semaphore(client, "jobs/", 2, FAST) for _ in range(3))
        assert await one.acquire()
        assert await two.acquire()
        assert two.taken.fence > one.taken.fence
        holders: Any = await client.kv.get("jobs/.lock")
        assert holders.value.flags == SEMAPHORE_FLAGS
        assert msgspec.json.decode(holders.value.value) == {
            "Limit": 2,
            "Holders": {one.session: True, two.session: True},
        }
        assert not await three.acquire(0.1)
        waits = asyncio.create_task(three.acquire())
        await until(lambda: len(alive(node)) == 3)
        assert await one.release()
        assert await waits
        assert not await two.cleanup()
        # A holder that vanishes gives its place back.
        await node.put(f"/v1/session/destroy/{two.session}")
        assert await one.acquire()
        await asyncio.wait_for(two.lost.wait(), 5.0)
        for holder in (one, two, three):
            await holder.release()
        assert await one.cleanup()
        assert (await client.kv.keys("jobs")).value == []
    assert alive(node) == []


async def test_all_must_count_to_the_same_limit(node: Api) -> None:
    async with AsyncClient(settings(node)) as client:
        async with alock.Semaphore(client, "jobs", 2, FAST):
            with pytest.raises(Conflict, match="count to 2, not to 3"):
                await alock.Semaphore(client, "jobs", 3, FAST).acquire()
        await node.put("/v1/kv/other/.lock", "{}")
        with pytest.raises(Conflict, match="is no semaphore"):
            await alock.Semaphore(client, "other", 3, FAST).acquire()
    assert alive(node) == []


async def test_many_contenders_never_overlap(node: Api) -> None:
    inside, most, fences = 0, 0, list[int]()

    async def contend(client: AsyncClient) -> None:
        nonlocal inside, most
        async with alock.Lock(client, "lock", FAST) as held:
            inside += 1
            most = max(most, inside)
            fences.append(held.taken.fence)
            await asyncio.sleep(0)
            inside -= 1

    async with AsyncClient(settings(node)) as client:
        async with asyncio.timeout(30.0):
            await asyncio.gather(*(contend(client) for _ in range(12)))
    assert most == 1
    assert fences == list(range(1, 13))


async def test_the_blocking_client_does_the_same(node: Api) -> None:
    def holds() -> list[object]:
        lost = threading.Event()
        with Client(settings(node)) as client, Client(settings(node)) as other:
            with lock.Lock(client, "lock", FAST) as one:
                two = lock.Lock(other, "lock", FAST, lambda _: lost.set())
                seen: list[object] = [one.held, two.acquire(0.1), one.taken.fence]
            seen += [two.acquire(), two.taken.fence, alive(node)[0].id == two.session]
            client.session.destroy(two.session)
            seen += [two.lost.wait(30.0), lost.wait(30.0), two.held, two.release()]
            with lock.Semaphore(client, "jobs", 1, FAST):
                seen.append(lock.Semaphore(other, "jobs", 1, FAST).acquire(0.1))
            seen += [one.cleanup(), client.session.listed().value]
        return seen

    expected = [True, False, 1, True, 2, True, True, True, False, False, False, True, []]
    assert await asyncio.to_thread(holds) == expected


async def test_the_calls_about_sessions(node: Api) -> None:
    def calls() -> None:
        from mesh.client.session import Session, Terms  # noqa: PLC0415

        with Client(settings(node)) as client:
            terms = Terms(
                name="x", ttl_seconds=30.0, lock_delay_seconds=1.5, behavior="delete",
                service_checks=["serfHealth"],
            )  # fmt: skip
            made = client.session.create(terms)
            found = client.session.info(made).value
            assert isinstance(found, Session)
            assert (found.id, found.name, found.ttl, found.behavior) == (made, "x", "30s", "delete")
            assert found.lock_delay_seconds == 1.5
            assert found.service_checks[0].id == "serfHealth"
            assert client.session.renew(made) == found
            assert client.session.of_node("n0").value == [found]
            bare = client.session.create(Terms(node_checks=[]))
            assert {one.id for one in client.session.listed().value} == {made, bare}
            assert client.session.destroy(made)
            assert client.session.info(made).value is None
            assert client.session.renew(made) is None

    await asyncio.to_thread(calls)
