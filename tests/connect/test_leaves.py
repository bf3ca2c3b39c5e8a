"""Leaves of a node: made on first use, renewed in time, kept over a restart, in trouble said so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mesh.clock import SeededDice
from mesh.connect.acks import Acks
from mesh.connect.leaves import LOOK_SECONDS, Leaves, Trouble
from mesh.connect.vault import Vault
from mesh.errors import Conflict, Unreachable
from mesh.registry import authority
from mesh.registry.authority import HOUR, Signed
from tests.compat.conftest import until
from tests.connect.authority import START, openssl_verifies
from tests.connect.hand import HandClock
from tests.connect.servers import Servers

TTL = 72 * HOUR


class Node:
    """Leaves over these servers, with a clock that a test moves."""

    def __init__(self, servers: Servers, folder: Path | None = None) -> None:
        self.servers, self.clock = servers, servers.hand
        world = (self.clock, SeededDice(1))
        self.acks = Acks(servers, "n1", world)
        vault = Vault(str(folder)) if folder is not None else None
        self.leaves = Leaves(servers, "dc1", self.acks, world, vault)
        self.told: list[tuple[str, Trouble | None]] = []
        self.leaves.tell = lambda *told: self.told.append(told)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let minutes pass until it holds: threads need time too, which stands still here."""
        for _ in range(150):
            for _ in range(30):
                if condition():
                    return
                await asyncio.sleep(0.002)
            await self.clock.advance(LOOK_SECONDS / 2)
        raise AssertionError("waited in vain")

    def reports(self) -> dict[str, authority.Ack]:
        rows = authority.Reports().run(self.servers.database.view())
        return {ack.id: ack for row in rows for ack in row.acks}


@pytest.fixture
async def servers() -> Servers:
    return Servers(HandClock(START))


@pytest.fixture
async def node(servers: Servers) -> AsyncIterator[Node]:
    made = Node(servers)
    await made.leaves.start()
    yield made
    await made.leaves.stop()


async def test_the_first_use_makes_one_and_the_next_ones_get_it(node: Node) -> None:
    leaf = await node.leaves.get("web")
    assert await node.leaves.get("web") is leaf
    assert node.servers.signed == 1
    assert leaf.uri.endswith("/ns/default/dc/dc1/svc/web")
    assert leaf.certificate.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE KEY" in leaf.key
    # The servers knew of it before they signed.
    assert node.reports()["leaf:web"].leaf == ""
    await node.until(lambda: node.reports()["leaf:web"].leaf == leaf.root)


async def test_over_three_lifetimes_there_is_always_a_good_one(node: Node) -> None:
    leaf = await node.leaves.get("web")
    serials, roots = {leaf.serial}, [node.servers.state.active.certificate]
    for _ in range(3 * 72 * 2):
        await node.clock.advance(HOUR / 2)
        late = node.clock.now - START
        life = leaf.valid_before - leaf.valid_after
        if node.clock.now >= leaf.valid_before - 0.1 * life:
            await node.until(lambda: node.leaves.held()["web"].serial not in serials)
        leaf = node.leaves.held()["web"]
        assert leaf.valid_before - node.clock.now > 0.09 * life, late
        serials.add(leaf.serial)
    assert 4 <= len(serials) <= 6
    made = Signed(
        certificate=leaf.certificate,
        chain=[leaf.certificate],
        root=leaf.root,
        uri=leaf.uri,
        serial=leaf.serial,
        valid_after=0,
        valid_before=0,
    )
    assert not openssl_verifies(made, roots, node.clock.now)
    assert not node.told


async def test_another_root_means_another_leaf_soon(node: Node) -> None:
    first = await node.leaves.get("web")
    root = node.servers.rotate()
    await until(lambda: node.leaves.trust.active == root)
    assert node.leaves.held()["web"] is first
    await node.until(lambda: node.leaves.held()["web"].root == root)
    assert node.clock.now - START < 90
    await node.until(lambda: node.reports()["leaf:web"].leaf == root)
    assert node.reports()["leaf:web"].roots == sorted([first.root, root])


async def test_who_waits_is_given_the_next_one(node: Node) -> None:
    first = await node.leaves.get("web")
    waiting = asyncio.create_task(node.leaves.after("web", first.index, 60))
    watched = []

    async def watch() -> None:
        async for leaf in node.leaves.watch("web"):
            watched.append(leaf.serial)  # noqa: PERF401 - it has no end.

    watching = asyncio.create_task(watch())
    await until(lambda: watched == [first.serial])
    assert node.leaves.reissue("web")
    second = await waiting
    assert second.index > first.index
    await until(lambda: watched == [first.serial, second.serial])
    watching.cancel()
    assert not node.leaves.reissue("other")


async def test_with_the_servers_gone_it_lasts_and_then_says_so(node: Node) -> None:
    leaf = await node.leaves.get("web")
    node.servers.down = Unreachable("nobody is there")
    await node.clock.advance(TTL * 0.89)
    assert not node.told
    await node.clock.advance(TTL * 0.011)
    await node.until(lambda: bool(node.told))
    service, trouble = node.told[-1]
    assert service == "web"
    assert trouble is not None
    assert trouble.status == "warning"
    assert "nobody is there" in trouble.reason
    await node.clock.advance(leaf.valid_before - node.clock.now + 60)
    await node.until(lambda: node.leaves.troubles()["web"].status == "critical")
    assert node.leaves.held()["web"] is leaf

    node.servers.down = None
    await node.until(lambda: not node.leaves.troubles())
    assert node.told[-1] == ("web", None)
    assert node.leaves.held()["web"].valid_before > node.clock.now + TTL / 2


async def test_roots_are_followed_again_when_servers_come_back(servers: Servers) -> None:
    servers.lost = Unreachable("nobody is there")
    node = Node(servers)
    await node.leaves.start()
    assert not node.leaves.trust.active
    servers.lost = None
    await node.until(lambda: bool(node.leaves.trust.active))
    await node.leaves.get("web")
    await node.leaves.stop()


async def test_where_the_mesh_is_off_nobody_waits(servers: Servers) -> None:
    node = Node(servers)
    node.leaves.enabled = False
    await node.leaves.start()
    for asked in (
        node.leaves.get("web"),
        node.leaves.after("web", 1, 30.0),
        anext(node.leaves.watch("web")),
        anext(node.leaves.credentials("web")),
        anext(node.leaves.trusts()),
    ):
        with pytest.raises(Conflict, match=r"connect\.enabled"):
            await asked
    assert servers.blocked == 0
    await node.leaves.stop()


async def test_roots_and_leaf_together(node: Node) -> None:
    news = node.leaves.credentials("web")
    leaf, trust = await anext(news)
    active = node.servers.rotate()
    while active not in {root.id for root in trust.roots}:
        before, (leaf, trust) = leaf, await anext(news)
        assert leaf is before
    assert trust.active == active
    node.leaves.drop("web")
    async for _ in news:
        pass  # It ends.


async def test_none_comes(node: Node) -> None:
    node.servers.down = Unreachable("nobody is there")
    with pytest.raises(Unreachable, match="nobody is there"):
        await node.leaves.get("web", 0.05)


async def test_what_is_on_disk_is_there_after_a_restart(servers: Servers, tmp_path: Path) -> None:
    node = Node(servers, tmp_path / "leaves")
    await node.leaves.start()
    leaf = await node.leaves.get("web")
    await node.leaves.stop()
    files = list((tmp_path / "leaves").iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert not any(b"PRIVATE" in path.read_bytes() for path in files)

    servers.down = Unreachable("nobody is there")
    again = Node(servers, tmp_path / "leaves")
    assert await again.leaves.get("web") == leaf
    again.leaves.drop("web")
    await again.leaves.stop()
    third = Node(servers, tmp_path / "leaves")
    with pytest.raises(Unreachable):
        await third.leaves.get("web", 0.05)
    await third.leaves.stop()
