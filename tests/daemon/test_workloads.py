"""Sockets of the Workload API: for whom there is one, whose it is, and when it goes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mesh.agent.local import Agent, Options
from mesh.agent.reading import service_definition
from mesh.clock import SeededDice, SystemClock
from mesh.connect.acks import Acks
from mesh.connect.leaves import Leaves
from mesh.daemon.workloads import Workloads
from mesh.errors import Conflict
from tests.compat.conftest import until
from tests.connect.authority import START
from tests.connect.hand import HandClock
from tests.connect.servers import Servers
from tests.connect.workload_client import program
from tests.registry_memory import MemoryRegistry

NATIVE = {"Connect": {"Native": True}}
NOBODY = 65534


class Place:
    """A node with leaves, whose sockets lie in this folder."""

    def __init__(self, folder: Path, users: dict[str, str]) -> None:
        self.folder = folder
        options = Options(node_name="n1", node_id="", datacenter="dc1", address="10.0.0.1")
        self.agent = Agent(
            MemoryRegistry(), options, SystemClock(), SeededDice(1), cluster_size=lambda: 1
        )
        servers = Servers(HandClock(START))
        world = (servers.hand, SeededDice(1))
        self.leaves = Leaves(servers, "dc1", Acks(servers, "n1", world), world)
        self.workloads = Workloads(folder, users, self.agent, self.leaves)

    def register(self, name: str, **more: Any) -> None:
        definition = service_definition({"Name": name, "Port": 80, **more})
        self.agent.register_service(definition, source="api")

    def socket(self, service: str) -> Path:
        return self.folder / service / "workload.sock"

    def warnings(self) -> dict[str, str]:
        found = self.agent.checks().items()
        return {name: one.row.output for name, one in found if name.startswith("mesh-workload")}


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    with TemporaryDirectory() as folder:  # Its path is short, as that of a socket has to be.
        made: list[Place] = []

        async def start(**users: str) -> Place:
            place = Place(Path(folder, "w"), users)
            made.append(place)
            await place.leaves.start()
            await place.workloads.start()
            return place

        yield start
        for place in made:
            await place.workloads.stop()
            await place.leaves.stop()


async def test_who_speaks_for_itself_has_a_socket_until_it_is_gone(start: Start) -> None:
    place: Place = await start(named=str(os.geteuid()))
    place.register("plain")
    place.register("web", **NATIVE)
    place.register("named")
    await until(lambda: place.socket("web").exists() and place.socket("named").exists())
    assert not place.socket("plain").exists()
    for name in ("web", "named"):
        found = place.socket(name).stat()
        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o600
        assert found.st_uid == os.geteuid()

    def use() -> str:
        with program(place.socket("web")) as client:
            return next(client.identities()).uri

    assert (await asyncio.to_thread(use)).endswith("/svc/web")
    place.agent.deregister_service("web")
    await until(lambda: not place.socket("web").parent.exists())
    await until(lambda: "web" not in place.leaves.held())
    assert place.socket("named").exists()
    await place.workloads.stop()
    assert not place.socket("named").exists()


async def test_what_cannot_be_had_is_said(start: Start) -> None:
    place: Place = await start(lost="no-such-user-here")
    place.register("lost")
    place.register("../up", **NATIVE)
    place.register("x" * 90, **NATIVE)
    place.register("web", **NATIVE)
    await until(lambda: len(place.warnings()) == 3 and place.socket("web").exists())
    said = place.warnings()
    assert 'no user "no-such-user-here"' in said["mesh-workload:lost"]
    assert "is none for a folder" in said["mesh-workload:../up"]
    assert "is longer than 107 bytes" in said[f"mesh-workload:{'x' * 90}"]
    assert {path.name for path in place.folder.iterdir()} == {"web", ".new"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
async def test_another_user_gets_the_socket_and_no_folder(start: Start) -> None:
    place: Place = await start(web=str(NOBODY))
    place.register("web")
    await until(lambda: place.socket("web").exists())
    found = place.socket("web").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o600)
    assert place.socket("web").parent.stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root gives files to others")
async def test_who_cannot_give_it_away_makes_none(start: Start) -> None:
    place: Place = await start(web="0")
    place.register("web")
    await until(lambda: bool(place.warnings()))
    assert not place.socket("web").exists()


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    return tmp_path


async def test_a_folder_in_which_others_write_is_refused(open_folder: Path) -> None:
    place = Place(open_folder, {})
    with pytest.raises(Conflict, match="others may write there"):
        await place.workloads.start()
