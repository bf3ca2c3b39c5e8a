"""Coordinates: distances, batches, and rows that go with their node."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.registry import catalog, coordinates, levels
from mesh.registry.coordinates import BATCH_MAX, Batch, Coordinate, Placed
from mesh.registry.port import Command, Query
from mesh.registry.requests import TABLES
from mesh.store.database import Database
from mesh.store.snapshot import freeze


def at(seconds: float, **more: float) -> Coordinate:
    return Coordinate(vec=(seconds, *[0.0] * 7), **more)


class World:
    def __init__(self, *nodes: str) -> None:
        self.database = Database(TABLES)
        for node in nodes:
            self.do(catalog.Register(node=catalog.Node(name=node, address="10.0.0.1")))

    def do(self, command: Command[Any]) -> Any:
        command.validate()
        transaction = self.database.begin(self.database.index + 1)
        result = command.apply(transaction)
        self.changed = transaction.commit()
        return result

    def ask(self, query: Query[Any]) -> Any:
        return query.run(self.database.view())


def test_only_nodes_of_the_catalog_have_a_place_and_it_goes_with_them() -> None:
    world = World("Web-1", "db")
    told = (Placed("web-1", at(0.1)), Placed("ghost", at(0.2)), Placed("db", at(0.3)))
    assert world.do(coordinates.Update(told)) == 2
    assert [place.node for place in world.ask(coordinates.All())] == ["db", "Web-1"]
    world.do(coordinates.Update(told))
    assert not world.changed, "what is known already wakes nobody"
    found = world.ask(coordinates.Distances("DB", ("web-1", "ghost", "db")))
    assert found == [pytest.approx(0.20002), None, pytest.approx(0.00002)]
    assert world.ask(coordinates.Distances("ghost", ("db",))) == [None]
    world.do(catalog.Deregister(node="WEB-1"))
    assert world.ask(coordinates.Of("web-1")) is None
    assert world.ask(coordinates.Of("DB")).coordinate == at(0.3)


@pytest.mark.parametrize(
    ("placed", "words"),
    [
        (Placed("", at(0)), "Node"),
        (Placed("a", Coordinate(())), "8 numbers, got 0"),
        (Placed("a", at(math.nan)), "Coord.Vec"),
        (Placed("a", at(1e6)), "Coord.Vec: expected seconds, 86400 at most"),
        (Placed("a", at(0, error=math.inf)), "Coord.Error"),
        (Placed("a", at(0, height=math.nan)), "Coord.Height"),
        (Placed("a", at(0, adjustment=-math.inf)), "Coord.Adjustment"),
    ],
)
def test_what_makes_no_sense_is_refused(placed: Placed, words: str) -> None:
    for request in (coordinates.Update((placed,)), coordinates.Report(placed)):
        with pytest.raises(Invalid, match=words):
            request.validate()


def test_a_batch_keeps_the_latest_and_is_bounded() -> None:
    batch = Batch()
    assert batch.take() is None
    for number in range(BATCH_MAX):
        assert batch.add(Placed(f"n{number:04}", at(1.0)))
    assert not batch.add(Placed("one more", at(1.0)))
    assert batch.add(Placed("N0000", at(2.0))), "one that waits already is replaced"
    assert batch.dropped == 1
    update = batch.take()
    assert update is not None
    update.validate()
    assert update.updates[0] == Placed("N0000", at(2.0))
    assert [one.node.lower() for one in update.updates] == [f"n{n:04}" for n in range(BATCH_MAX)]
    assert batch.take() is None
    with pytest.raises(Invalid, match=f"at most {BATCH_MAX}"):
        coordinates.Update((*update.updates, Placed("more", at(0)))).validate()


def test_snapshots_of_lower_levels_do_not_name_the_table() -> None:
    database = Database(TABLES)
    named = [b"coordinates" in b"".join(freeze(database, level)) for level in (1, 2, 3)]
    assert named == [False, False, True]
    assert levels.HIGHEST >= coordinates.Update.needs == levels.COORDINATES
