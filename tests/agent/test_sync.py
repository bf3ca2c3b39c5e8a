"""Anti-entropy: the catalog comes to say what runs here, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.agent.reloading import reload
from mesh.agent.sync import scale
from mesh.errors import Denied, NoLeader
from mesh.registry.catalog import Check, Deregister, Node, Register, Service
from mesh.registry.port import WRITE, Command, WriteOptions
from tests.agent.conftest import NODE_ID, World, options, until
from tests.registry_memory import MemoryRegistry

Make = Callable[..., World]
TTL = {"TTL": "1h"}
NODE = Node(name="n1", address="10.0.0.1", id=NODE_ID)
QUICK_FULL = {"sync_interval_seconds": 0.03}


def writes(made: World) -> list[Any]:
    return [command for command, _ in made.registry.writes]


async def test_everything_is_told_in_one_write_a_service(world: Make) -> None:
    made = world(tagged_addresses={"lan": "10.0.0.1"}, node_meta={"a": "b"})
    made.service(Name="web", Checks=[TTL, TTL])
    made.check(Name="node", **TTL)
    await made.agent.start()
    await until(lambda: len(made.checked()) == 3)
    assert list(made.listed()) == ["web"]
    node = made.node()
    assert node is not None
    row = node.node
    assert (row.id, row.address, row.datacenter) == (NODE_ID, "10.0.0.1", "dc1")
    assert (row.tagged_addresses, row.meta) == ({"lan": "10.0.0.1"}, {"a": "b"})
    with_service = [one for one in writes(made) if one.service]
    assert [len(one.checks) for one in with_service] == [2]


async def test_changes_are_told_at_once(world: Make) -> None:
    made = world()
    await made.agent.start()
    await until(made.node)
    made.service(Name="web", Check=TTL | {"CheckID": "c"})
    await until(lambda: "c" in made.checked())
    made.agent.update_ttl("c", "passing", "")
    await until(lambda: made.checked()["c"].status == "passing")
    made.agent.deregister_check("c")
    await until(lambda: not made.checked())
    made.agent.deregister_service("web")
    await until(lambda: not made.listed())
    reload(made.agent, options(node_meta={"x": "y"}), [], [])
    await until(lambda: (found := made.node()) is not None and found.node.meta == {"x": "y"})


async def test_what_does_not_run_here_is_removed(world: Make) -> None:
    made = world()
    for service in ("stray", "mesh"):
        row = Service(node="n1", id=service, name=service)
        check = Check(node="n1", id=f"c-{service}", service_id=service)
        await made.registry.write(Register(NODE, row, [check]))
    checks = [Check(node="n1", id=name, status="passing") for name in ("serfHealth", "stray-c")]
    await made.registry.write(Register(NODE, None, checks))
    made.service(Name="web")
    await made.agent.start()
    await until(lambda: sorted(made.listed()) == ["mesh", "web"])
    await until(lambda: sorted(made.checked()) == ["c-mesh", "serfHealth"])


async def test_what_others_broke_is_mended(world: Make) -> None:
    made = world(**QUICK_FULL)
    made.service(Name="web", Tags=["a"], Check=TTL | {"CheckID": "c"})
    await made.agent.start()
    await until(lambda: "c" in made.checked())
    await made.registry.write(Deregister("n1", service_id="web"))
    await until(lambda: "web" in made.listed() and "c" in made.checked())
    await made.registry.write(Register(NODE, Service(node="n1", id="web", name="web", tags=["b"])))
    await until(lambda: made.listed()["web"].tags == ["a"])
    await made.registry.write(Register(Node(name="n1", address="9.9.9.9"), skip_node_update=False))
    await until(lambda: (found := made.node()) is not None and found.node.address == "10.0.0.1")
    await made.registry.write(Deregister("n1"))
    await until(lambda: "web" in made.listed() and "c" in made.checked())


async def test_a_change_after_others_removed_the_service(world: Make) -> None:
    made = world()
    made.service(Name="web", Check=TTL | {"CheckID": "c"})
    await made.agent.start()
    await until(lambda: "c" in made.checked())
    await made.registry.write(Deregister("n1"))
    made.agent.update_ttl("c", "passing", "")
    await until(lambda: "web" in made.listed() and made.checked()["c"].status == "passing")


async def test_tags_of_others_stay_where_allowed(world: Make) -> None:
    made = world(**QUICK_FULL)
    made.service(Name="web", Tags=["a"], EnableTagOverride=True, Check=TTL | {"CheckID": "c"})
    await made.agent.start()
    await until(lambda: "web" in made.listed())
    theirs = Service(node="n1", id="web", name="web", tags=["b"], enable_tag_override=True)
    await made.registry.write(Register(NODE, theirs))
    reads = len(made.registry.reads)
    await until(lambda: len(made.registry.reads) > reads + 4)
    assert made.listed()["web"].tags == ["b"]
    count = len(made.registry.writes)
    reads = len(made.registry.reads)
    await until(lambda: len(made.registry.reads) > reads + 4)
    assert len(made.registry.writes) == count


async def test_without_a_change_nothing_is_written(world: Make) -> None:
    made = world(**QUICK_FULL)
    made.service(Name="web", Address="10.1.1.1", Check=TTL, Tags=["x"], Meta={"a": "b"})
    made.check(Name="node", **TTL)
    await made.agent.start()
    await until(lambda: len(made.checked()) == 2)
    reads, count = len(made.registry.reads), len(made.registry.writes)
    await until(lambda: len(made.registry.reads) > reads + 6)
    assert len(made.registry.writes) == count


async def test_mere_output_is_deferred(world: Make) -> None:
    made = world(check_update_interval_seconds=0.3)
    made.check(ID="c", Name="c", Status="passing", **TTL)
    await made.agent.start()
    await until(lambda: "c" in made.checked())
    count = len(made.registry.writes)
    for number in range(20):
        made.agent.update_ttl("c", "passing", str(number))
    made.service(Name="web")
    await until(lambda: "web" in made.listed())
    assert made.checked()["c"].output == ""
    await until(lambda: made.checked()["c"].output == "19")
    assert len(made.registry.writes) == count + 2
    made.agent.update_ttl("c", "critical", "now")
    await until(lambda: made.checked()["c"].output == "now")


async def test_failures_are_tried_again(world: Make) -> None:
    registry = MemoryRegistry()
    registry.error = NoLeader("none")
    made = world(registry)
    made.service(Name="web")
    await made.agent.start()
    made.service(Name="db")
    registry.error = None
    await until(lambda: sorted(made.listed()) == ["db", "web"])


async def test_a_defect_does_not_end_it(world: Make, caplog: pytest.LogCaptureFixture) -> None:
    registry = MemoryRegistry()
    registry.error = RuntimeError("defect")
    made = world(registry)
    made.service(Name="web")
    await made.agent.start()
    await until(lambda: "defect" in caplog.text)
    registry.error = None
    await until(lambda: "web" in made.listed())


class Keeping(MemoryRegistry):
    """Refuses to remove anything."""

    async def write(self, command: Command[Any], options: WriteOptions = WRITE) -> Any:
        if isinstance(command, Deregister):
            raise Denied("keep it")
        return await super().write(command, options)


async def test_a_refused_removal_keeps_nothing_out(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Keeping()
    await registry.write(Register(NODE, Service(node="n1", id="stray", name="stray")))
    await registry.write(Register(NODE, None, [Check(node="n1", id="old", status="passing")]))
    made = world(registry)
    made.service(Name="web", Check=TTL)
    await made.agent.start()
    await until(lambda: sorted(made.listed()) == ["stray", "web"])
    assert "the catalog refuses to remove service stray: keep it" in caplog.text
    assert "the catalog refuses to remove check old: keep it" in caplog.text
    assert "gone from the catalog" not in caplog.text


async def test_large_pools_wait_longer_after_a_failure(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    registry = MemoryRegistry()
    registry.error = NoLeader("none")
    made = world(registry, size=512, retry_first_seconds=20.0)
    await made.agent.start()
    await until(lambda: "next try in 60.0 s" in caplog.text)


class Picky(MemoryRegistry):
    """Refuses one service."""

    async def write(self, command: Command[Any], options: WriteOptions = WRITE) -> Any:
        if isinstance(command, Register) and command.service and command.service.name == "bad":
            command = Register(Node(name=""))
        return await super().write(command, options)


async def test_a_refused_service_keeps_no_other_out(
    world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    made = world(Picky())
    for name in ("bad", "good", "z"):
        made.service(Name=name, Check=TTL)
    await made.agent.start()
    await until(lambda: sorted(made.listed()) == ["good", "z"])
    assert "the catalog refuses service bad" in caplog.text


async def test_stopping_deregisters_nothing(world: Make) -> None:
    made = world()
    made.service(Name="web")
    await made.agent.start()
    await until(lambda: "web" in made.listed())
    await made.agent.stop()
    assert "web" in made.listed()


@pytest.mark.parametrize(
    ("members", "factor"), [(1, 1), (128, 1), (129, 2), (256, 2), (257, 3), (512, 3), (8192, 7)]
)
def test_large_pools_compare_more_rarely(members: int, factor: int) -> None:
    assert scale(members) == factor
