"""Registering and deregistering nodes, instances and checks."""

from typing import TypeVar

import pytest

from mesh.codec import DEPTH_MAX
from mesh.errors import Conflict, Invalid
from mesh.registry import catalog, entries, health
from mesh.registry.imports import Merge
from mesh.registry.port import Command, Query
from mesh.registry.requests import TABLES
from mesh.store.database import Database

ID1 = "11111111-1111-4111-8111-111111111111"
ID2 = "22222222-2222-4222-8222-222222222222"


T = TypeVar("T")


class Catalog:
    def __init__(self) -> None:
        self.database = Database(TABLES)

    def do(self, command: Command[bool]) -> bool:
        command.validate()
        transaction = self.database.begin(self.database.index + 1)
        try:
            return command.apply(transaction)
        except Exception:
            transaction.rollback()
            raise
        finally:
            transaction.commit()

    def ask(self, query: Query[T]) -> T:
        return query.run(self.database.view())


def register(
    name: str = "n1", service: str = "", node_id: str = "", checks: tuple[catalog.Check, ...] = ()
) -> catalog.Register:
    instance = catalog.Service(node="", id="", name=service, port=80) if service else None
    node = catalog.Node(name=name, address="10.0.0.1", id=node_id)
    return catalog.Register(node=node, service=instance, checks=list(checks))


def check(name: str, status: str = "passing", service_id: str = "") -> catalog.Check:
    return catalog.Check(node="", id=name, status=status, service_id=service_id)


def test_an_instance_has_its_nodes_checks_and_its_own() -> None:
    cluster = Catalog()
    cluster.do(
        register(service="web", checks=(check("disk", "warning"), check("up", "passing", "web")))
    )
    cluster.do(register(service="db", checks=(check("db-up", "critical", "db"),)))
    (web,) = cluster.ask(health.Instances("WEB"))
    assert [one.id for one in web.checks] == ["disk", "up"]
    assert web.status == "warning"
    assert web.checks[1].service_name == "web"


def test_registering_the_same_again_moves_no_index() -> None:
    cluster = Catalog()
    command = register(service="web", checks=(check("up", "passing", "web"),))
    cluster.do(command)
    before = cluster.ask(health.Instances("web"))
    cluster.do(command)
    assert cluster.ask(health.Instances("web")) == before


def test_deregistering_a_service_takes_its_checks_along() -> None:
    cluster = Catalog()
    cluster.do(register(service="web", checks=(check("disk"), check("up", "passing", "web"))))
    cluster.do(catalog.Deregister(node="N1", service_id="web"))
    assert [one.id for one in cluster.ask(health.NodeChecks("n1"))] == ["disk"]
    assert cluster.ask(catalog.Services()) == {}


def test_deregistering_a_node_takes_everything_along() -> None:
    cluster = Catalog()
    cluster.do(register(service="web", checks=(check("disk"),)))
    cluster.do(catalog.Deregister(node="n1"))
    assert cluster.ask(catalog.Nodes()) == []
    assert cluster.ask(health.ChecksInState("any")) == []
    assert cluster.do(catalog.Deregister(node="n1"))


def test_a_check_of_an_unknown_service_changes_nothing() -> None:
    cluster = Catalog()
    with pytest.raises(Invalid, match=r"Check\.ServiceID"):
        cluster.do(register(checks=(check("up", "passing", "ghost"),)))
    assert cluster.ask(catalog.Nodes()) == []


def test_a_live_nodes_name_cannot_be_taken() -> None:
    cluster = Catalog()
    cluster.do(register(node_id=ID1, checks=(check(catalog.SERF_HEALTH),)))
    with pytest.raises(Conflict, match="taken by a live node"):
        cluster.do(register(node_id=ID2))
    cluster.do(register(node_id=ID1, checks=(check(catalog.SERF_HEALTH, "critical"),)))
    assert cluster.do(register(node_id=ID2))


def test_a_node_that_changes_its_name_replaces_its_old_self() -> None:
    cluster = Catalog()
    cluster.do(register("old", service="web", node_id=ID1))
    cluster.do(register("new", node_id=ID1))
    assert [node.name for node in cluster.ask(catalog.Nodes())] == ["new"]
    assert cluster.ask(health.Instances("web")) == []


def test_a_node_is_found_by_an_unambiguous_prefix_of_its_id() -> None:
    cluster = Catalog()
    cluster.do(register("a", node_id=ID1))
    cluster.do(register("b", node_id=ID2))
    found = cluster.ask(catalog.NodeNamed("11"))
    assert found is not None
    assert found.node.name == "a"
    assert cluster.ask(catalog.NodeNamed("1")) is None
    assert cluster.ask(catalog.NodeNamed("zz")) is None


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (catalog.Register(node=catalog.Node(name="")), "Node"),
        (catalog.Register(node=catalog.Node(name="n")), "Address"),
        (register(node_id="x"), "ID"),
        (register(checks=(check("c", "fine"),)), r"Check\.Status"),
        (register(checks=(catalog.Check(node="other", id="c"),)), r"Check\.Node"),
    ],
)
def test_bad_registrations_name_the_field(command: catalog.Register, field: str) -> None:
    with pytest.raises(Invalid, match=f"^{field}:"):
        command.validate()


def test_what_is_nested_so_deeply_that_applying_it_may_fail_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(DEPTH_MAX):
        deep = {"a": deep}
    node = catalog.Node(name="n", address="10.0.0.1")
    for field in ("proxy", "connect"):
        service = catalog.Service(node="", id="", name="web", **{field: deep})  # type: ignore[arg-type]
        with pytest.raises(Invalid, match=f"{field.title()}: nested more than"):
            catalog.Register(node, service).validate()
    check = catalog.Check(node="", id="c", definition=deep)
    with pytest.raises(Invalid, match="Definition: nested"):
        catalog.Register(node, checks=[check]).validate()
    entry = entries.Entry(kind="proxy-defaults", name="global", body=deep)
    for command in (entries.Set(entry.kind, entry.name, deep), Merge(entries=[entry])):
        with pytest.raises(Invalid, match="Entry: nested"):
            command.validate()


def test_a_single_upstream_needs_no_list() -> None:
    proxy = {"Upstreams": {"DestinationName": "db", "LocalBindPort": 5001}}
    row = catalog.Service(node="n1", id="p", name="p", kind="connect-proxy", proxy=proxy)
    assert row.upstreams == ["db"]
