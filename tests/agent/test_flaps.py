"""Checks that flap: held while others are healthy, let go when needed or quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mesh.agent import flaps
from mesh.agent.checks import Result
from mesh.errors import Unreachable
from mesh.registry.catalog import Check, Node, Register, Service
from mesh.registry.damping import Settings
from tests.agent.conftest import World, until

Make = Callable[..., World]
SOON = Settings(suppress=1.5, reuse=1.0, half_life_seconds=3600.0, hold_max_seconds=3600.0)
HTTP = {"CheckID": "c", "HTTP": "http://127.0.0.1:1/", "Interval": "1h"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flaps, "LOOK_SECONDS", 0.01)


def says(made: World, *statuses: str, check_id: str = "c") -> None:
    for status in statuses:
        made.agent.report(check_id, Result(status, f"said {status}"))


async def another(made: World, status: str = "passing", node: str = "n2") -> None:
    """Another instance of web, on another node."""
    service = Service(node=node, id="web", name="web", port=80)
    check = Check(node=node, id="c2", status=status, service_id="web", service_name="web")
    row = Node(name=node, address="10.0.0.2")
    await made.registry.write(Register(node=row, service=service, checks=[check]))


async def flapped(world: Make, settings: Settings = SOON) -> World:
    made = world(damping=settings)
    made.service(Name="web", Check=HTTP)
    await another(made)
    says(made, "passing", "critical", "passing")
    assert made.status("c") == "passing", "once is nothing"
    says(made, "critical", "passing")
    return made


async def test_a_flapping_check_stays_critical_and_says_so(world: Make) -> None:
    made = await flapped(world)
    assert made.status("c") == "critical"
    assert made.output("c").startswith("Damped until 20")
    assert made.output("c").endswith("Z for failing again and again; now passing: said passing")
    assert made.agent.flaps.held == 1
    running = asyncio.create_task(made.agent.flaps.run())
    await asyncio.sleep(0.1)
    assert made.status("c") == "critical", "another instance is healthy"
    says(made, "critical")
    assert made.output("c") == "said critical"
    assert made.agent.flaps.held == 0
    running.cancel()


@pytest.mark.parametrize("status", ["critical", "unreachable"])
async def test_the_last_healthy_instance_is_not_held(world: Make, status: str) -> None:
    made = await flapped(world)
    running = asyncio.create_task(made.agent.flaps.run())
    await asyncio.sleep(0.05)
    assert made.status("c") == "critical"
    if status == "unreachable":
        made.registry.error = Unreachable("no server")
    else:
        await another(made, "critical")
    await until(lambda: made.status("c") == "passing")
    assert made.output("c") == "said passing"
    # It is spared until it falls again; then it is looked at anew.
    made.registry.error = None
    await another(made, "passing")
    says(made, "passing")
    assert made.status("c") == "passing"
    says(made, "critical", "passing")
    assert made.status("c") == "critical"
    running.cancel()


async def test_who_is_quiet_is_let_in(world: Make) -> None:
    soon = Settings(suppress=1.5, reuse=1.0, half_life_seconds=0.2, hold_max_seconds=2.0)
    made = await flapped(world, soon)
    running = asyncio.create_task(made.agent.flaps.run())
    assert made.status("c") == "critical"
    await until(lambda: made.status("c") == "passing")
    assert made.output("c") == "said passing"
    assert made.agent.flaps.held == 0
    running.cancel()


async def test_what_is_not_damped(world: Make) -> None:
    made = world(damping=SOON)
    made.service(Name="web", Check={"CheckID": "ttl", "TTL": "1h"})
    made.check(CheckID="node", Name="node", TCP="127.0.0.1:1", Interval="1h")
    await another(made)
    for check_id in ("ttl", "node"):
        says(made, *("critical", "passing") * 9, check_id=check_id)
        assert made.status(check_id) == "passing"
    off = world()
    off.service(Name="web", Check=HTTP)
    says(off, *("critical", "passing") * 9)
    assert off.status("c") == "passing"


async def test_a_held_check_that_is_removed_is_forgotten(world: Make) -> None:
    made = await flapped(world)
    made.agent.deregister_service("web")
    running = asyncio.create_task(made.agent.flaps.run())
    await until(lambda: made.agent.flaps.held == 0)
    running.cancel()


async def test_a_damped_service_is_not_deregistered_for_it(world: Make) -> None:
    made = world(damping=SOON)
    made.service(Name="web", Check=HTTP | {"DeregisterCriticalServiceAfter": "50ms"})
    await another(made)
    says(made, "passing", "critical", "passing", "critical", "passing")
    assert made.status("c") == "critical"
    assert not made.agent.checks()["c"].clock.expired(made.agent._clock.monotonic() + 60.0)
