"""Gossip with a real serf agent: each joins the other, and each learns what became of the other."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.gossip.driver import Gossip
from mesh.gossip.messages import VERSIONS
from tests.gossip.test_driver import Pool, seed, statuses, until

pytestmark = pytest.mark.skipif(
    shutil.which("serf") is None, reason="serf is not on PATH (Debian package: serf)"
)


class Serf:
    """A `serf agent` called theirs, on an address of its own."""

    def __init__(self, address: str) -> None:
        with socket.socket() as one, socket.socket() as two:
            one.bind((address, 0))
            two.bind((address, 0))
            self.bind = f"{address}:{one.getsockname()[1]}"
            self._rpc = f"{address}:{two.getsockname()[1]}"

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *("serf", "agent", "-node", "theirs", "-profile", "local"),
            *("-bind", self.bind, "-rpc-addr", self._rpc, "-tag", "kind=real"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ),
        )
        await self.says("theirs", "members")

    async def ask(self, verb: str, *arguments: str) -> str:
        assert self.process.returncode is None, "the agent ended"
        process = await asyncio.create_subprocess_exec(
            *("serf", verb, f"-rpc-addr={self._rpc}", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return output.decode()

    async def says(self, expected: str, verb: str, *arguments: str) -> None:
        """Ask until the answer holds this."""
        async with asyncio.timeout(20):
            while expected not in await self.ask(verb, *arguments):
                pass

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def theirs() -> AsyncIterator[Serf]:
    agent = Serf("127.0.0.50")
    await agent.start()
    yield agent
    await agent.end()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    for node in made.nodes:
        await node.stop()


async def test_serf_joins_us_and_both_may_leave(pool: Pool, theirs: Serf) -> None:
    ours = await pool.node("ours", {"role": "mesh"}, gossip_to_the_dead_seconds=5.0)
    other = await pool.node("other")
    await other.join([seed(ours)])
    await theirs.says("Successfully", "join", seed(ours))
    for node in (ours, other):
        await until(lambda node=node: statuses(node).get("theirs") == "ALIVE")  # type: ignore[misc]
    member = ours.member("theirs")
    assert member is not None
    assert member.tags == {"kind": "real"}
    assert member.protocol[1] >= VERSIONS[2]
    await theirs.says("role=mesh", "members", "-detailed")
    await other.leave()
    await other.stop()
    await theirs.says("left", "members", "-name=other")
    await theirs.ask("leave")
    await until(lambda: statuses(ours)["theirs"] == "LEFT")


async def test_we_join_serf_and_tags_change_both_ways(pool: Pool, theirs: Serf) -> None:
    ours = await pool.node("ours", {"role": "mesh"})
    assert await ours.join([theirs.bind]) == 1
    await theirs.says("alive", "members", "-name=ours")
    ours.set_tags({"role": "other", "x": "y" * 300})
    await theirs.says("role=other", "members", "-name=ours")
    await theirs.ask("tags", "-set", "kind=changed")
    await until(lambda: ours.members()[1].tags == {"kind": "changed"})
    # A live member that is made to leave says that it is still here. As there is no third, serf
    # does not send its intent: we learn of it by push/pull.
    await theirs.ask("force-leave", "ours")
    await theirs.says("alive", "members", "-name=ours")
    assert statuses(ours) == {"ours": "ALIVE", "theirs": "ALIVE"}
    assert not [name for name in ours.counters if "malformed" in name and ours.counters[name]]


async def test_serf_sees_us_fail_and_return_and_we_see_it_fail(pool: Pool, theirs: Serf) -> None:
    ours = await pool.node("ours")
    await ours.join([theirs.bind])
    await theirs.says("alive", "members", "-name=ours")
    await ours.stop()
    await theirs.says("failed", "members", "-name=ours")
    options = msgspec.structs.replace(ours.options, bind_port=ours.address[1])
    again = Gossip("ours", options, SystemClock(), SeededDice(9))
    await again.start()
    pool.nodes.append(again)
    await again.join([theirs.bind])
    await theirs.says("alive", "members", "-name=ours")
    # Serf held its death against it.
    await until(lambda: again.pool.swim.me.incarnation > 1)
    await theirs.end()
    await until(lambda: statuses(again)["theirs"] == "FAILED")
