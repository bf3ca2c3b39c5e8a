"""Cluster-wide maintenance: what it takes out of discovery, and what follows registrations."""

from __future__ import annotations

from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.errors import Invalid, MeshError
from mesh.registry.catalog import Check, Deregister, Node, Register, Service
from mesh.registry.health import Instances, NodeChecks
from mesh.registry.levels import HIGHEST, LEVELS, Level
from mesh.registry.maintenance import (
    CLUSTER_MAINTENANCE,
    ROWS_MAX,
    All,
    Begin,
    End,
    Expire,
    Target,
)
from mesh.registry.port import Command, Query
from mesh.registry.requests import TABLES
from mesh.registry.txn import CheckWrite
from mesh.store.database import Database

T = TypeVar("T")
ON_N1 = f"{CLUSTER_MAINTENANCE}:web1"


class World:
    """Tables of the highest level, and a clock."""

    def __init__(self) -> None:
        self.database, self.now = Database(TABLES), 1000.0
        transaction = self.database.begin(1)
        transaction.put(LEVELS, Level(number=HIGHEST))
        transaction.commit()

    def do(self, command: Command[T]) -> T:
        command.validate()
        transaction = self.database.begin(self.database.index + 1, self.now)
        try:
            return command.apply(transaction)
        except MeshError:
            transaction.rollback()
            raise
        finally:
            transaction.commit()

    def ask(self, query: Query[T]) -> T:
        return query.run(self.database.view())

    def register(self, node: str, service: str = "", service_id: str = "") -> None:
        made = Service(node=node, id=service_id, name=service) if service else None
        self.do(Register(Node(name=node, address="10.0.0.1"), service=made))

    def health(self, service: str) -> dict[str, str]:
        found = self.ask(Instances(service))
        return {one.service.id: one.status for one in found}

    def checks(self, node: str) -> dict[str, Check]:
        return {check.id: check for check in self.ask(NodeChecks(node))}


@pytest.fixture
def world() -> World:
    made = World()
    made.register("n1", "web", "web1")
    made.register("n2", "web", "web2")
    made.register("n2", "db", "db1")
    return made


def test_a_node(world: World) -> None:
    begun = world.do(Begin(Target(node="N2"), "new disk", "ann", seconds=7200))
    assert (begun.instances, begun.row.since, begun.row.until) == (2, 1000, 8200)
    assert world.health("web") == {"web1": "passing", "web2": "maintenance"}
    assert world.health("db") == {"db1": "maintenance"}
    check = world.checks("n2")[CLUSTER_MAINTENANCE]
    assert (check.name, check.kind) == ("Cluster Maintenance Mode", "maintenance")
    assert (check.status, check.notes) == ("critical", "new disk")
    assert check.output == "by ann, until 1970-01-01T02:16:40Z"
    assert world.do(End(Target(node="n2")))
    assert not world.do(End(Target(node="n2")))
    assert not world.checks("n2")


def test_a_service_and_who_registers_it_later(world: World) -> None:
    assert world.do(Begin(Target(service="WEB"))).instances == 2
    world.register("n3", "Web", "web3")
    assert set(world.health("web").values()) == {"maintenance"}
    assert world.health("db") == {"db1": "passing"}
    assert world.checks("n3")[f"{CLUSTER_MAINTENANCE}:web3"].output == (
        "by an operator, until it is ended"
    )
    world.register("n3", "api", "web3")
    assert world.health("api") == {"web3": "passing"}
    world.do(End(Target(service="web")))
    assert set(world.health("web").values()) == {"passing"}


def test_one_instance_of_a_node_that_is_not_there_yet(world: World) -> None:
    assert world.do(Begin(Target(node="n9", service_id="web9"), "r")).instances == 0
    world.register("n9", "web", "web9")
    world.register("n9", "web", "web8")
    assert world.health("web")["web9"] == "maintenance"
    assert world.health("web")["web8"] == "passing"
    world.do(Deregister("n9"))
    world.register("n9", "web", "web9")
    assert world.health("web")["web9"] == "maintenance"


def test_several_reasons_for_one_instance(world: World) -> None:
    world.do(Begin(Target(service="web"), "upgrade"))
    world.do(Begin(Target(node="n1", service_id="web1"), "leak", "bob"))
    check = world.checks("n1")[ON_N1]
    assert (check.notes, check.service_name) == ("upgrade; leak", "web")
    assert check.output == "by an operator, until it is ended; by bob, until it is ended"
    world.do(End(Target(service="web")))
    assert world.checks("n1")[ON_N1].notes == "leak"


def test_to_begin_again_changes_it_and_to_repeat_changes_nothing(world: World) -> None:
    first = world.do(Begin(Target(node="n1"), "a", until=5000)).row
    world.now = 2000
    assert world.do(Begin(Target(node="n1"), "a", until=5000)).row == first
    second = world.do(Begin(Target(node="n1"), "b", seconds=10)).row
    assert (second.since, second.until, second.reason) == (1000, 2010, "b")
    assert world.checks("n1")[CLUSTER_MAINTENANCE].notes == "b"


def test_what_was_to_end_ends(world: World) -> None:
    world.do(Begin(Target(node="n1"), seconds=10))
    world.do(Begin(Target(service="db")))
    world.now = 1009
    assert world.do(Expire()) == 0
    world.now = 1010
    assert world.do(Expire()) == 1
    assert world.health("web")["web1"] == "passing"
    assert [row.target.service for row in world.ask(All())] == ["db"]


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (Begin(Target()), "Node: give a Node"),
        (Begin(Target(service_id="x")), "Node: an instance is named by"),
        (Begin(Target(node="n", service="s")), "Service: names all instances"),
        (Begin(Target(node="n"), "x" * 2000), "Reason: 2000 characters"),
        (Begin(Target(node="n"), owner="x" * 2000), "Owner: 2000 characters"),
        (Begin(Target(node="n"), seconds=1, until=1), "For and Until exclude each other"),
        (Begin(Target(node="n"), seconds=-1), "For: expected"),
        (Begin(Target(node="n"), until=999), "Until: expected a time to come"),
        (End(Target()), "Node: give a Node"),
        (Deregister("n1", check_id=CLUSTER_MAINTENANCE), "belongs to cluster-wide maintenance"),
        (
            Register(Node(name="n", address="a"), checks=[Check(node="", id=ON_N1)]),
            "belongs to cluster-wide maintenance",
        ),
    ],
)
def test_refusals(world: World, command: Command[object], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        world.do(command)


def test_transactions_leave_its_checks_alone() -> None:
    with pytest.raises(Invalid, match="belongs to cluster-wide maintenance"):
        CheckWrite("delete", Check(node="n1", id=ON_N1)).check()


def test_the_limit() -> None:
    world = World()
    for number in range(ROWS_MAX):
        world.do(Begin(Target(service=f"s{number}")))
    with pytest.raises(Invalid, match="which is the limit"):
        world.do(Begin(Target(node="n")))
    world.do(Begin(Target(service="s0"), "changed"))


NODES = st.sampled_from(["n1", "n2"])
IDS = st.sampled_from(["a", "b"])
NAMES = st.sampled_from(["web", "db"])
TARGETS = st.one_of(
    st.builds(Target, node=NODES),
    st.builds(Target, node=NODES, service_id=IDS),
    st.builds(Target, service=NAMES),
)


class Machine(RuleBasedStateMachine):
    """Whatever is registered and put into maintenance: the checks are those that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(node=NODES, name=NAMES, service_id=IDS)
    def register(self, node: str, name: str, service_id: str) -> None:
        self.world.register(node, name, service_id)

    @rule(node=NODES)
    def deregister(self, node: str) -> None:
        self.world.do(Deregister(node))

    @rule(node=NODES, service_id=IDS)
    def deregister_service(self, node: str, service_id: str) -> None:
        self.world.do(Deregister(node, service_id=service_id))

    @rule(what=TARGETS, seconds=st.sampled_from([0.0, 5.0]))
    def begin(self, what: Target, seconds: float) -> None:
        self.world.do(Begin(what, seconds=seconds))

    @rule(what=TARGETS)
    def end(self, what: Target) -> None:
        self.world.do(End(what))

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.now += seconds
        self.world.do(Expire())

    @invariant()
    def checks_follow(self) -> None:
        keys = {row.target.key for row in self.world.ask(All())}
        for name in ("web", "db"):
            for one in self.world.ask(Instances(name)):
                node = one.node.name
                wanted = {(node, "", ""), (node, "", one.service.id), ("", name, "")}
                assert (one.status == "maintenance") == bool(wanted & keys)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
