"""Entries of the configuration are created once, and what is there stays."""

from typing import Any

from mesh.clock import SeededDice, SystemClock
from mesh.errors import MeshError, NoLeader
from mesh.registry.config import Erase, Write
from mesh.registry.entries import Get
from mesh.registry.port import Command, WriteOptions
from mesh.server.founding import Founding
from tests.registry.world import World


class AsLeader:
    """Writes to tables. `error` is raised instead, once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.error: MeshError | None = None
        self.count = 0

    async def write(self, command: Command[Any], _: WriteOptions) -> Any:
        self.count += 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.world.do(command)


def protocol(world: World, name: str) -> object:
    found = world.ask(Get("service-defaults", name))
    return None if found is None else found.body.get("Protocol")


async def test_what_is_missing_is_created_whenever_a_server_begins_to_lead() -> None:
    world = World()
    leader, leads = AsLeader(world), [True]
    body = {
        "Sources": [{"Name": "a", "Permissions": [{"Action": "deny", "HTTP": {"PathExact": "/"}}]}]
    }
    wanted = [
        Write.of("service-intentions", "unfit", body),  # It speaks tcp.
        Write.of("service-defaults", "web", {"Protocol": "http"}),
        Write.of("service-defaults", "db", {"Protocol": "grpc"}),
    ]
    world.do(Write.of("service-defaults", "db", {"Protocol": "tcp"}))
    founding = Founding(
        leader,  # type: ignore[arg-type]
        lambda: leads[0],
        lambda: 5,
        wanted,
        (SystemClock(), SeededDice(1)),
    )
    leader.error = NoLeader("no leader")
    await founding.look()
    assert (protocol(world, "web"), protocol(world, "db")) == ("http", "tcp")
    await founding.look()  # Again, since one failed for now.
    count = leader.count
    world.do(Erase("service-defaults", "web"))
    await founding.look()
    assert leader.count == count
    leads[0] = False
    await founding.look()
    leads[0] = True
    await founding.look()
    assert protocol(world, "web") == "http"
