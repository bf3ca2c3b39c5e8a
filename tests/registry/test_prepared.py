"""Prepared queries: what a name stands for, what is refused, which instances are meant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from mesh.clock import SystemClock
from mesh.errors import Conflict, Invalid
from mesh.registry import catalog, prepared
from mesh.registry.envelope import Envelope, seal
from mesh.registry.health import Instance
from mesh.registry.levels import HIGHEST, Found
from mesh.registry.port import Command, Query, WriteOptions
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Target, Template
from mesh.registry.requests import TABLES
from mesh.rpc.gate import Gate
from mesh.server.machine import Machine
from mesh.store.database import Database

PREFIX = Template("name_prefix_match")


def id_of(number: int) -> str:
    return str(UUID(int=number))


def query(number: int, name: str = "", **more: Any) -> Prepared:
    service = more.pop("service", ServiceQuery("web"))
    return Prepared(id=id_of(number), name=name, service=service, **more)


class World:
    def __init__(self, *queries: Prepared) -> None:
        self.database = Database(TABLES)
        for one in queries:
            self.do(prepared.Create(one))

    def do(self, command: Command[Any]) -> Any:
        command.validate()
        transaction = self.database.begin(self.database.index + 1)
        try:
            result = command.apply(transaction)
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()
        return result

    def ask(self, question: Query[Any]) -> Any:
        return question.run(self.database.view())

    def resolve(self, name: str) -> int | None:
        """The number of the query that is meant."""
        found = self.find(name)
        return None if found is None else UUID(found.id).int

    def find(self, name: str) -> Prepared | None:
        named: Prepared | None = self.ask(prepared.Named(name))
        return named or prepared.rendered(name, self.ask(prepared.Templates()))


def test_ids_go_before_names_names_before_templates_and_the_longest_prefix_wins() -> None:
    world = World(
        query(1, "web"),
        query(2, "geo-", template=PREFIX, service=ServiceQuery("${name.suffix}")),
        query(3, "Geo-DB-", template=PREFIX),
        query(4, "geo-db-main"),
        query(5, "", template=PREFIX),
    )
    asked = [id_of(1), "WEB", "geo-x", "geo-db-x", "GEO-db-", "geo-db-main", "other", "webs"]
    assert [world.resolve(name) for name in asked] == [1, 1, 2, 3, 3, 4, 5, 5]
    found = world.find("geo-Cache")
    assert found is not None
    assert found.service.service == "Cache"
    assert world.resolve("") is None
    assert world.resolve("n" * 600) is None


def test_without_a_catch_all_other_names_are_unknown() -> None:
    world = World(query(2, "geo-", template=PREFIX), query(1, session="", name="b"))
    assert world.resolve("geo") is None
    assert world.resolve(id_of(9)) is None


def test_they_are_listed_got_changed_and_deleted() -> None:
    world = World(query(2, "b", token="secret"), query(1, "a"))
    assert [one.name for one in world.ask(prepared.All())] == ["a", "b"]
    world.do(prepared.Update(query(2, "c", token=prepared.HIDDEN)))
    changed = world.ask(prepared.Get(id_of(2).upper()))
    assert (changed.name, changed.token) == ("c", "secret")
    assert (changed.create_index, changed.modify_index) == (1, 3)
    world.do(prepared.Update(query(2, "b")))
    assert world.ask(prepared.Get(id_of(2))).token == ""
    world.do(prepared.Delete(id_of(2)))
    assert world.ask(prepared.Get(id_of(2))) is None
    for command in (prepared.Update(query(2, "c")), prepared.Delete(id_of(2))):
        with pytest.raises(Conflict, match="non-existent prepared query"):
            world.do(command)


def test_names_are_unique_whatever_their_case_and_no_other_ones_id() -> None:
    world = World(query(1, "web"), query(2, "", template=PREFIX))
    for clash in (
        query(3, "WEB"),
        query(3, "web", template=PREFIX),
        query(3, "", template=PREFIX),
        query(3, id_of(1)),
        query(1, "new"),
    ):
        with pytest.raises(Conflict):
            world.do(prepared.Create(clash))
    with pytest.raises(Conflict, match="is taken by the prepared query 0000"):
        world.do(prepared.Update(query(2, "Web")))
    world.do(prepared.Update(query(1, "WEB")))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (query(1), "Name: must not be empty, unless"),
        (query(1, "n" * 513), "Name: longer than 512"),
        (query(1, "n", token="<hidden>"), "Token: <hidden> only stands"),
        (query(1, "n", template=Template("regex")), "Template.Type: expected name_prefix_match"),
        (query(1, "n", template=Template("name_prefix_match", "(")), "Template.Regexp: "),
        (query(1, "n", service=ServiceQuery("")), "Service.Service: must not be empty"),
        (query(1, "n", service=ServiceQuery("s", tags=["t"] * 129)), "Service.Tags: more than"),
        (
            query(1, "n", service=ServiceQuery("s", Failover(nearest_n=-1))),
            "Service.Failover.NearestN: expected 0 or more, got -1",
        ),
        (
            query(1, "n", service=ServiceQuery("s", Failover(1, targets=[Target("dc2")]))),
            "Service.Failover: give Targets, or NearestN and Datacenters",
        ),
        (query(1, "n", service=ServiceQuery("s", Failover(datacenters=[""]))), "Service.Failover"),
        (query(1, "n", ttl="soon"), "DNS.TTL: expected a duration"),
        (query(1, "n", ttl="-1s"), "DNS.TTL: expected 0 or more"),
        (msgspec.structs.replace(query(1, "n"), id="X"), "ID: expected a UUID"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_field(bad: Prepared, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        prepared.Create(bad).validate()
    assert caught.value.message.startswith(message)


def test_a_ttl_is_whole_seconds() -> None:
    assert prepared.ttl_seconds(query(1, "n")) is None
    assert prepared.ttl_seconds(query(1, "n", ttl="1m1.9s")) == 61


def instance(*statuses: str, tags: str = "", meta: str = "", node_meta: str = "") -> Instance:
    checks = [
        catalog.Check(
            node="n", id=status.partition("/")[2] or f"c{at}", status=status.split("/")[0]
        )
        for at, status in enumerate(statuses)
    ]
    service = catalog.Service(
        node="n", id="s", name="s", tags=tags.split(), meta={"k": meta} if meta else {}
    )
    node = catalog.Node(name="n", meta={"k": node_meta} if node_meta else {})
    return Instance(node, service, checks)


@pytest.mark.parametrize(
    ("wanted", "given", "usable"),
    [
        ({}, instance(), True),
        ({}, instance("warning"), True),
        ({}, instance("passing", "critical"), False),
        ({}, instance("critical/_node_maintenance"), False),
        ({"only_passing": True}, instance("warning"), False),
        ({"only_passing": True, "ignore_check_ids": ["c0"]}, instance("warning"), True),
        ({"ignore_check_ids": ["c1"]}, instance("passing", "critical"), True),
        ({"ignore_check_ids": ["c1"]}, instance("critical", "critical"), False),
        ({"tags": ["A", "b"]}, instance(tags="B a c"), True),
        ({"tags": ["a", "x"]}, instance(tags="a"), False),
        ({"tags": ["!OLD"]}, instance(tags="old"), False),
        ({"tags": ["!old", "a"]}, instance(tags="a"), True),
        ({"node_meta": {"k": "v"}}, instance(node_meta="v"), True),
        ({"node_meta": {"k": "v"}}, instance(meta="v"), False),
        ({"service_meta": {"k": "v"}}, instance(meta="v"), True),
        ({"service_meta": {"k": "v"}}, instance(meta="V"), False),
    ],
)
def test_which_instances_are_meant(wanted: dict[str, Any], given: Instance, usable: bool) -> None:
    assert (not prepared.unfit(query(1, service=ServiceQuery("s", **wanted)), given)) is usable


def test_they_are_in_snapshots_and_refused_by_clusters_of_an_older_level() -> None:
    machine = Machine()

    def do(index: int, command: Command[Any], level: int) -> object:
        envelope = Envelope(level, f"r{index}", 1.0, "", "test", command, since=index - 1)  # type: ignore[arg-type]
        return machine.apply(index, seal(envelope))

    do(1, Found(HIGHEST), 1)
    row = query(1, "geo-", template=Template("name_prefix_match", "^g"), ttl="5s", token="t")
    assert do(2, prepared.Create(row), HIGHEST) == row.id
    other = Machine()
    other.prepare(2, iter([piece for piece in machine.snapshot() if piece])).install()
    view = other.database.view()
    assert prepared.All().run(view) == prepared.All().run(machine.database.view())
    assert prepared.Templates().run(view)[0].template == row.template
    gate = Gate(SystemClock(), Machine().database)
    with pytest.raises(Conflict, match="feature level 4"):
        gate.admit(prepared.Create(row), WriteOptions(request="r", since=0))
