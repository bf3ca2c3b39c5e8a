"""Checks: since when each has its status."""

from __future__ import annotations

import msgspec

from mesh.registry import maintenance
from mesh.registry.catalog import Node, Register, Service
from mesh.registry.checks import CHECKS, Check
from mesh.registry.levels import LEVELS, Level
from tests.registry.world import World


def row(world: World, identity: str, node: str = "n1") -> Check:
    found = world.database.view().get(CHECKS, (node, identity))
    assert found is not None
    return found


def test_a_check_has_its_status_since_it_last_changed() -> None:
    world = World()
    world.check("passing", id="disk")
    assert row(world, "disk").since == 1000.0
    world.now = 2000.0
    world.check("passing", id="disk", output="half full")
    assert row(world, "disk").since == 1000.0
    world.check("critical", id="disk", output="full")
    assert row(world, "disk").since == 2000.0
    world.now = 3000.0
    world.check("critical", id="disk", output="fuller")
    assert row(world, "disk").since == 2000.0


def test_what_says_nothing_new_moves_no_index() -> None:
    world = World()
    world.check("critical", id="disk")
    before = row(world, "disk")
    world.now = 2000.0
    world.check("critical", id="disk")
    assert row(world, "disk") == before


def test_whoever_registers_a_check_does_not_say_since_when() -> None:
    world = World()
    world.check("critical", id="disk", since=1.0)
    assert row(world, "disk").since == 1000.0


def test_a_service_that_is_renamed_keeps_the_dates_of_its_checks() -> None:
    world = World()
    node = Node(name="n1", address="10.0.0.1")
    service = Service(node="n1", id="w", name="web")
    up = Check(node="n1", id="up", status="passing", service_id="w")
    world.do(Register(node, service=service, checks=[up]))
    world.now = 2000.0
    world.do(Register(node, service=msgspec.structs.replace(service, name="shop")))
    assert (row(world, "up").service_name, row(world, "up").since) == ("shop", 1000.0)


def test_maintenance_of_the_cluster_is_dated() -> None:
    world = World()
    world.now = 2000.0
    world.do(maintenance.Begin(maintenance.Target(node="n1"), "disk", "ann", seconds=60))
    assert row(world, maintenance.CLUSTER_MAINTENANCE).since == 2000.0


def test_no_row_is_dated_below_the_level() -> None:
    world = World()
    transaction = world.database.begin(world.database.index + 1)
    transaction.put(LEVELS, Level(number=5))
    transaction.commit()
    world.check("critical", id="disk")
    assert row(world, "disk").since is msgspec.UNSET
