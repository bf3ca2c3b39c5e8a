"""A service whose certificate ends is unhealthy, and so is its sidecar; others are not."""

from __future__ import annotations

import pytest

from mesh.agent.local import Agent, Options
from mesh.agent.reading import service_definition
from mesh.clock import SeededDice, SystemClock
from mesh.connect.leaves import Trouble
from mesh.daemon.identities import show
from tests.registry_memory import MemoryRegistry


@pytest.fixture
def agent() -> Agent:
    options = Options(node_name="n1", node_id="", datacenter="dc1", address="10.0.0.1")
    made = Agent(MemoryRegistry(), options, SystemClock(), SeededDice(1), cluster_size=lambda: 1)
    web = {"Name": "web", "Port": 80, "Connect": {"SidecarService": {}}}
    for definition in (web, {"Name": "db", "Port": 81}):
        made.register_service(service_definition(definition), source="api")
    return made


def told(agent: Agent) -> dict[str, tuple[str, str, str]]:
    return {
        name: (check.row.status, check.row.output, check.row.service_id)
        for name, check in agent.checks().items()
        if name.startswith("mesh-leaf")
    }


def test_it_is_told_of_the_service_and_its_sidecar_and_taken_back(agent: Agent) -> None:
    show(agent, "web", Trouble("warning", "ends soon"))
    assert told(agent) == {
        "mesh-leaf:web": ("warning", "ends soon", "web"),
        "mesh-leaf:web-sidecar-proxy": ("warning", "ends soon", "web-sidecar-proxy"),
    }
    show(agent, "web", Trouble("critical", "has expired"))
    assert {status for status, _, _ in told(agent).values()} == {"critical"}
    assert agent.checks()["mesh-leaf:web"].row.service_name == "web"
    show(agent, "web", None)
    assert told(agent) == {}
    show(agent, "web", None)


def test_what_it_is_told_again_changes_nothing(agent: Agent) -> None:
    show(agent, "web", Trouble("warning", "ends soon"))
    changes: list[int] = []
    agent.listen(lambda: changes.append(1))
    show(agent, "web", Trouble("warning", "ends soon"))
    assert not changes
