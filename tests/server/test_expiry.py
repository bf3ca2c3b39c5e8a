"""Expiry on a real log: sessions end after their TTL, never before, and renewing counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.clock import SystemClock
from mesh.daemon.consensus import RaftConsensus
from mesh.errors import NoLeader
from mesh.registry import kv, levels, sessions
from mesh.registry.catalog import Check, Node, Register
from mesh.registry.port import ORDER, READ
from mesh.registry.sessions import Create, Destroy, Renew
from mesh.server.expiry import FACTOR, SWEEP_SECONDS, Expiry
from mesh.server.operator import ServerOperator
from tests.rpc.stack import WORLD, Stack, until

TTL = 10.0


class HandClock(SystemClock):
    """Time passes when a test says so."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.began = super().monotonic()

    def monotonic(self) -> float:
        return self.began + self.ahead

    def wall(self) -> float:
        return super().wall() + self.ahead

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Leading:
    """One server with expiry, and its clock."""

    def __init__(self, server: Stack) -> None:
        self.server, self.clock = server, HandClock()
        consensus = RaftConsensus(server.raft, lambda peer: peer.address)
        self.reign = "1/1"
        self.expiry = Expiry(
            server.forwarded,
            consensus,
            lambda: self.reign if server.raft.is_leader else "",
            server.machine.database,
            (self.clock, WORLD[1]),
        )
        server.machine.on_commit = self.expiry.committed
        operator = server.forwarded.operator
        assert isinstance(operator, ServerOperator)
        operator.also(self.expiry.orders)

    async def begin(self, ttl: str = "10s", lock_delay: int = 0) -> str:
        create = Create(WORLD[1].uuid(), "n1", ttl=ttl, lock_delay=lock_delay, node_checks=())
        return await self.server.router.write(create)

    async def alive(self) -> set[str]:
        found = await self.server.router.read(sessions.All())
        return {session.id for session in found.value}

    async def renew(self, identity: str) -> sessions.Session | None:
        return await self.server.router.operate(Renew(identity))

    async def later(self, seconds: float) -> None:
        self.clock.ahead += seconds
        await self.expiry.step()


@pytest.fixture
async def leading(tmp_path: Path) -> AsyncIterator[Leading]:
    stack = await Stack(tmp_path).start()
    up = Check(node="n1", id="serfHealth", status="passing")
    await stack.router.write(Register(node=Node(name="n1", address="10.0.0.1"), checks=[up]))
    for level in range(2, levels.HIGHEST + 1):
        await stack.router.write(levels.Finalize(level))
    yield Leading(stack)
    await stack.stop()


async def test_a_session_ends_between_once_and_twice_its_ttl(leading: Leading) -> None:
    await leading.expiry.step()
    one, endless = await leading.begin(), await leading.begin("")
    await leading.later(TTL)
    assert await leading.alive() == {one, endless}
    assert leading.expiry.active == 1
    await leading.later(TTL)
    assert await leading.alive() == {endless}
    assert leading.expiry.active == 0
    assert leading.expiry.expired.total == 1


async def test_renewing_begins_the_ttl_anew(leading: Leading) -> None:
    await leading.expiry.step()
    one, other = await leading.begin(), await leading.begin("20s")
    for _ in range(5):
        await leading.later(TTL)
        found = await leading.renew(one)
        assert found is not None
        assert found.id == one
    assert await leading.alive() == {one}
    assert await leading.renew(other) is None
    assert await leading.renew("junk") is None
    await leading.later(FACTOR * TTL)
    assert await leading.alive() == set()


async def test_who_comes_to_lead_begins_all_timers_anew(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    await leading.later(TTL)
    leading.reign = "1/2"
    await leading.later(TTL)
    await leading.later(TTL)
    assert await leading.alive() == {one}
    await leading.later(TTL)
    assert await leading.alive() == set()


async def test_a_restored_snapshot_begins_all_timers_anew(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    await leading.later(TTL)
    leading.expiry.committed(None)
    await leading.later(TTL)
    await leading.later(TTL)
    assert await leading.alive() == {one}


async def test_who_does_not_lead_ends_nothing(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    leading.reign = ""
    await leading.later(10 * TTL)
    assert await leading.alive() == {one}
    assert leading.expiry.active == 0
    await leading.server.raft.stop()
    with pytest.raises(NoLeader):
        await leading.server.forwarded.operate(Renew(one), ORDER)


async def test_sessions_that_are_destroyed_have_no_timer(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    await leading.server.router.write(Destroy(one))
    assert leading.expiry.active == 0


async def test_many_sessions_end_in_few_log_entries(leading: Leading) -> None:
    await leading.expiry.step()
    await asyncio.gather(*(leading.begin() for _ in range(300)))
    before = leading.server.raft.applied_index
    await leading.later(2 * TTL)
    assert await leading.alive() == set()
    assert leading.server.raft.applied_index == before + 3


async def test_a_renewal_waits_until_it_is_sure_that_the_session_ended(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    leading.clock.ahead += 2 * TTL
    ending = asyncio.create_task(leading.expiry.step())
    await asyncio.sleep(0)
    assert one in leading.expiry._ending
    assert await leading.renew(one) is None
    await ending
    assert await leading.alive() == set()


async def test_time_in_which_the_server_stood_still_does_not_count(leading: Leading) -> None:
    await leading.expiry.step()
    one = await leading.begin()
    leading.expiry._woken.clear()
    resting = asyncio.create_task(leading.expiry._rest(5.0))
    await asyncio.sleep(0)
    leading.clock.ahead += 100 * TTL
    leading.expiry.wake()
    await resting
    await leading.expiry.step()
    assert await leading.alive() == {one}
    await leading.later(2 * TTL)
    assert await leading.alive() == set()


async def test_lock_delays_that_are_over_are_forgotten(leading: Leading) -> None:
    server = leading.server
    one = await leading.begin("", lock_delay=1_000_000)
    await server.router.write(kv.Acquire("a", b"", one))
    await server.router.write(Destroy(one))
    delays = server.machine.database.contents["lock-delays"].rows
    assert list(delays) == ["a"]
    await leading.expiry.step()
    leading.server.forwarded._gate._clock = leading.clock  # The log's time goes along.
    await leading.later(SWEEP_SECONDS)
    assert not delays
    before = server.raft.applied_index
    await leading.later(SWEEP_SECONDS)
    assert server.raft.applied_index == before


async def test_a_restore_during_the_sweep_leaves_nothing_to_sweep(leading: Leading) -> None:
    database, writes = leading.server.machine.database, 0
    transaction = database.begin(database.index + 1)
    transaction.put(sessions.DELAYS, sessions.Delay(key="a", until=1.0))
    transaction.commit()

    async def write(*_: object) -> int:
        nonlocal writes
        writes += 1
        assert writes < 5
        database.contents = database.stage(0).contents
        return 1

    leading.expiry._as_leader.write = write  # type: ignore[assignment,method-assign]
    await leading.later(SWEEP_SECONDS)
    assert writes == 1


async def test_the_loop_ends_sessions_by_itself(leading: Leading) -> None:
    server = leading.server
    expiry = Expiry(
        server.forwarded,
        RaftConsensus(server.raft, lambda peer: peer.address),
        lambda: "1/1" if server.raft.is_leader else "",
        server.machine.database,
        WORLD,
    )
    server.machine.on_commit = expiry.committed
    running = asyncio.create_task(expiry.run())
    await until(lambda: expiry._loaded)
    await leading.begin("10ms")
    await leading.begin("20ms")
    await until(lambda: not server.machine.database.contents["sessions"].rows)
    assert (await server.router.read(sessions.All(), READ)).value == []
    running.cancel()
