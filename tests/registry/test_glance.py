"""Nodes and sessions at a glance."""

from __future__ import annotations

import pytest

from mesh.registry import glance, kv, sessions
from mesh.registry.catalog import Check, Node, Register, Service
from tests.registry.test_history import World as Logged
from tests.registry.world import S1, S2, World


@pytest.fixture
def world() -> World:
    return World()


def test_a_node_is_as_well_as_the_worst_check_on_it(world: World) -> None:
    sidecar = Service(node="n1", id="p", name="web-proxy", kind="connect-proxy")
    native = Service(node="n1", id="a", name="api", connect={"Native": True})
    plain = [Service(node="n1", id=f"web-{n}", name="web") for n in (1, 2)]
    ill = Check(node="n1", id="up", status="critical", service_id="web-1", service_name="web")
    for service in (*plain, sidecar, native):
        world.do(Register(Node(name="n1", address="10.0.0.1"), service=service))
    world.do(Register(Node(name="n1", address="10.0.0.1"), checks=[ill]))
    world.node("n2")
    one, other = world.ask(glance.Nodes())
    assert (one.status, one.checks) == ("critical", {"passing": 1, "critical": 1})
    assert (one.services, one.instances, one.meshed) == (["api", "web", "web-proxy"], 4, 2)
    assert (other.status, other.services, other.instances) == ("passing", [], 0)
    of_web = {"service_id": "web-1", "service_name": "web"}
    world.check("critical", id="_service_maintenance:web-1", **of_web)
    one = world.ask(glance.Nodes())[0]
    assert (one.status, one.checks["maintenance"]) == ("passing", 1)
    world.check("critical", id="_node_maintenance")
    assert world.ask(glance.Nodes())[0].status == "maintenance"


def test_a_session_names_what_it_holds(world: World) -> None:
    world.begin(S1)
    for number in range(glance.KEYS_SHORT + 1):
        world.do(kv.Acquire(f"lock/{number}", b"", session=S1))
    world.begin(S2)
    every = {one.session.id: one for one in world.ask(glance.Sessions())}
    assert (every[S1].held, every[S1].keys) == (4, ["lock/0", "lock/1", "lock/2"])
    assert (every[S2].held, every[S2].keys) == (0, [])
    assert len(world.ask(glance.Sessions(S1.upper()))[0].keys) == 4
    world.do(sessions.Destroy(S1))
    assert world.ask(glance.Sessions(S1)) == []


def test_history_tells_about_when_a_session_began() -> None:
    world = Logged()
    world.do(Register(Node(name="n1", address="10.0.0.1")))
    known = world.time
    world.do(sessions.Create(S1, "n1", node_checks=()))
    [one] = world.machine.answers.read(glance.Sessions()).value
    assert (one.begun_after, one.begun_before) == (known, 0.0)
    world.do(kv.Acquire("lock", b"", session=S1))
    [one] = world.machine.answers.read(glance.Sessions()).value
    assert (one.begun_after, one.begun_before) == (known, known + 2)
