"""The leader's duties on a real log: what it decides is written by itself or not at all."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.daemon.consensus import RaftConsensus
from mesh.errors import NoLeader
from mesh.registry.catalog import Node, Nodes, Register, Service
from mesh.registry.health import GossipChecks
from mesh.registry.port import WriteOptions
from mesh.server.leader import Leader
from mesh.server.reconcile import Seen
from tests.rpc.stack import WORLD, Stack, until

ID = "9e7c2e1c-9d6b-4a65-8a3c-0c1f6f7d2b01"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Stack]:
    stack = await Stack(tmp_path).start()
    yield stack
    await stack.stop()


def duties(server: Stack, members: list[Seen]) -> Leader:
    consensus = RaftConsensus(server.raft, lambda peer: peer.address)
    return Leader(server.forwarded, consensus, lambda: members, WORLD)


def status(server: Stack) -> dict[str, str]:
    return {check.node: check.status for check in server.machine.answers.read(GossipChecks()).value}


async def test_it_follows_members_and_writes_nothing_twice(server: Stack) -> None:
    members = [Seen("n1", ID, "10.0.0.1", "dc1", "alive")]
    leader = duties(server, members)
    running = asyncio.create_task(leader.run())
    leader.wake()
    await until(lambda: status(server) == {"n1": "passing"})
    members[:] = [Seen("n1", ID, "10.0.0.1", "dc1", "failed")]
    leader.wake()
    await until(lambda: status(server) == {"n1": "critical"})
    index = server.raft.applied_index
    await leader.reconcile()
    assert server.raft.applied_index == index
    members[:] = [Seen("n1", ID, "10.0.0.1", "dc1", "left")]
    leader.wake()
    await until(lambda: not server.machine.answers.read(Nodes()).value)
    running.cancel()


async def test_it_decides_nothing_once_deposed(server: Stack) -> None:
    leader = duties(server, [Seen("n1", ID, "10.0.0.1", "dc1", "alive")])
    await server.raft.stop()
    with pytest.raises(NoLeader):
        await leader.reconcile()
    running = asyncio.create_task(leader.run())
    leader.wake()
    await until(lambda: not leader._changed.is_set())
    assert not running.done()
    running.cancel()


async def test_a_member_that_is_refused_hinders_no_other(server: Stack) -> None:
    members = [Seen(name, "no uuid", "10.0.0.1", "dc1", "alive") for name in ("a", "c")]
    members.append(Seen("b", ID, "10.0.0.2", "dc1", "alive"))
    await duties(server, members).reconcile()
    assert status(server) == {"b": "passing"}


async def test_the_last_healthy_instance_is_not_damped(server: Stack) -> None:
    other = ID[:-1] + "2"
    members = [
        Seen("n1", ID, "10.0.0.1", "dc1", "alive"),
        Seen("n2", other, "10.0.0.2", "dc1", "alive"),
    ]
    leader = duties(server, members)
    await leader.reconcile()
    for node in ("n1", "n2"):
        row = Service(node=node, id="web", name="web", port=80)
        await server.forwarded.write(
            Register(node=Node(name=node), service=row, skip_node_update=True),
            WriteOptions(request=WORLD[1].uuid()),
        )
    members[0] = Seen("n1", ID, "10.0.0.1", "dc1", "damped")
    await leader.reconcile()
    assert status(server) == {"n1": "critical", "n2": "passing"}
    members[1] = Seen("n2", other, "10.0.0.2", "dc1", "failed")
    # One reconciliation finds the other gone, the next that the first one is needed.
    await leader.reconcile()
    await leader.reconcile()
    assert status(server) == {"n1": "passing", "n2": "critical"}
    members[1] = Seen("n2", other, "10.0.0.2", "dc1", "alive")
    await leader.reconcile()
    await leader.reconcile()
    assert status(server) == {"n1": "critical", "n2": "passing"}
