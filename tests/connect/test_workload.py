"""The SPIFFE Workload API as a real client sees it: who it is, whom it believes, at each change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from mesh.clock import SeededDice
from mesh.connect.acks import Acks
from mesh.connect.leaves import Leaves
from mesh.connect.workload import WorkloadServer
from mesh.errors import Unreachable
from tests.connect.authority import DOMAIN, START
from tests.connect.hand import HandClock
from tests.connect.servers import Servers
from tests.connect.workload_client import Identity, Program, program

URI = f"spiffe://{DOMAIN}/ns/default/dc/dc1/svc/web"


class Place:
    """A socket of the service `web`, over an authority in memory."""

    def __init__(self, folder: Path) -> None:
        self.servers = Servers(HandClock(START))
        world = (self.servers.hand, SeededDice(1))
        acks = Acks(self.servers, "n1", world)
        self.leaves = Leaves(self.servers, "dc1", acks, world, spread_seconds=0.0)
        self.server = WorkloadServer(self.leaves, "web")
        self.socket = folder / "s"

    async def as_program(self, use: object) -> None:
        """Run what blocks as another program does."""
        await asyncio.to_thread(self._use, use)

    def _use(self, use: object) -> None:
        with program(self.socket) as client:
            use(client)  # type: ignore[operator]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with TemporaryDirectory() as folder:  # Its path is short, as that of a socket has to be.
        made = Place(Path(folder))
        await made.leaves.start()
        await made.server.start(str(made.socket))
        yield made
        await made.server.stop()
        await made.leaves.stop()


async def test_a_program_has_its_certificate_and_the_next_ones(place: Place) -> None:
    loop = asyncio.get_running_loop()

    def use(client: Program) -> None:
        news = client.identities()
        first = next(news)
        assert first.uri == URI
        assert len(first.roots) == 1
        first.check()
        loop.call_soon_threadsafe(place.leaves.reissue, "web")
        second = next(news)
        second.check()
        assert second.serial != first.serial
        assert second.roots == first.roots

        loop.call_soon_threadsafe(place.servers.rotate)
        seen = [next(news)]
        assert len(seen[0].roots) == 2, "those who have the next root's leaves are believed first"
        while seen[-1].chain[1] == second.chain[1]:
            seen.append(next(news))
        for one in seen:
            one.check()

    await place.as_program(use)


async def test_bundles_alone(place: Place) -> None:
    loop = asyncio.get_running_loop()

    def use(client: Program) -> None:
        news = client.bundles()
        (before,) = next(news)[f"spiffe://{DOMAIN}"]
        loop.call_soon_threadsafe(place.servers.rotate)
        after = next(news)[f"spiffe://{DOMAIN}"]
        assert len(after) == 2
        assert before in after

    await place.as_program(use)
    assert not place.leaves.held()


async def test_a_leaf_that_a_sidecar_takes_along_is_made_again(place: Place) -> None:
    loop = asyncio.get_running_loop()

    def use(client: Program) -> None:
        news = client.identities()
        first = next(news)
        loop.call_soon_threadsafe(place.leaves.drop, "web")
        second: Identity = next(news)
        assert second.serial != first.serial

    await place.as_program(use)


@pytest.mark.parametrize("metadata", [(), (("workload.spiffe.io", "yes"),)])
async def test_without_the_header_nobody_is_told(place: Place, metadata: object) -> None:
    def use(client: Program) -> None:
        for method in ("FetchX509SVID", "FetchX509Bundles", "FetchJWTBundles"):
            with pytest.raises(grpc.RpcError) as caught:
                next(client.stream(method, "", metadata))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "workload.spiffe.io" in caught.value.details()
        with pytest.raises(grpc.RpcError) as caught:
            client.ask("FetchJWTSVID", metadata)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    await place.as_program(use)


async def test_what_there_is_not(place: Place) -> None:
    def use(client: Program) -> None:
        for method in ("FetchJWTSVID", "ValidateJWTSVID", "FetchJWTBundles", "Dance"):
            with pytest.raises(grpc.RpcError) as caught:
                client.ask(method)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED
            assert method == "Dance" or "X.509-SVIDs only" in caught.value.details()

    await place.as_program(use)


async def test_who_is_deregistered_hears_so(place: Place) -> None:
    loop = asyncio.get_running_loop()

    def use(client: Program) -> None:
        news = client.identities()
        next(news)
        stopped = asyncio.run_coroutine_threadsafe(place.server.stop(gone=True), loop)
        with pytest.raises(grpc.RpcError) as caught:
            next(news)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        stopped.result()

    await place.as_program(use)


async def test_a_program_is_told_why_there_is_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.servers.down = Unreachable("nobody is there")
    monkeypatch.setattr(Leaves.get, "__defaults__", (0.05,))

    def use(client: Program) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            next(client.identities())
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "nobody is there" in caught.value.details()

    await place.as_program(use)
