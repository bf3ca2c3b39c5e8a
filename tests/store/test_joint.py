"""What rows are joined with is one bucket: whoever read it is woken by any of it, and nobody else.

A room has a building, and the building has alarms, some of them of one room only.
"""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mesh.store.database import Database, Transaction, View
from mesh.store.joint import Joint
from mesh.store.live import Answers
from mesh.store.snapshot import freeze, thaw
from mesh.store.table import Row, Table


class Building(Row, frozen=True, kw_only=True):
    name: str
    color: str = ""


class Alarm(Row, frozen=True, kw_only=True):
    building: str
    id: str
    room: str = ""
    loud: bool = False


class Room(Row, frozen=True, kw_only=True):
    building: str
    id: str
    use: str


BUILDINGS: Table[Building] = Table("buildings", Building, lambda row: row.name, {})
ALARMS: Table[Alarm] = Table(
    "alarms",
    Alarm,
    lambda row: (row.building, row.id),
    {"place": lambda row: ((row.building, row.room),)},
)
ROOMS: Table[Room] = Table(
    "rooms",
    Room,
    lambda row: (row.building, row.id),
    {"building": lambda row: (row.building,), "use": lambda row: (row.use,)},
)
ROOMS.joint = Joint("use", "building", BUILDINGS, ALARMS, "place", lambda key: (key, ""))
TABLES: list[Table[Any]] = [BUILDINGS, ALARMS, ROOMS]


class Used(msgspec.Struct, frozen=True):
    """The rooms of one use with their buildings and the alarms of those."""

    use: str

    def run(self, view: View) -> list[Any]:
        rows = view.items(ROOMS, "use", self.use)
        joined = view.joined(ROOMS, self.use, [key[0] for key, _ in rows])
        return [
            (row, one, list(many)) for (_, row), (one, many, _) in zip(rows, joined, strict=True)
        ]


class Apart(msgspec.Struct, frozen=True):
    """The same, each row looked up for itself."""

    use: str

    def run(self, view: View) -> list[Any]:
        rows = view.select(ROOMS, "use", self.use)
        return [
            (
                row,
                view.get(BUILDINGS, row.building),
                view.select(ALARMS, "place", (row.building, "")),
            )
            for row in rows
        ]


def remove(transaction: Transaction, name: str) -> None:
    for room in transaction.select(ROOMS, "building", name):
        transaction.delete(ROOMS, ROOMS.key(room))
    transaction.delete(BUILDINGS, name)


NAMES, IDS, USES = st.sampled_from("ab"), st.sampled_from("12"), st.sampled_from(["lab", "hall"])


class JoinedAnswers(RuleBasedStateMachine):
    """An answer of joined rows has the value and the index of one that looks into every bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database(TABLES)
        self.answers = Answers(self.database)
        self.log_index = 1
        self.pairs = [(Used(use), Apart(use)) for use in ("lab", "hall")]
        self.woken: set[object] = set()
        for pair in self.pairs:
            for question in pair:
                self.answers.listen(question, lambda q=question: self.woken.add(q))  # type: ignore[misc]

    def commit(self, *changes: Any, keep: bool = True) -> None:
        self.log_index += 1
        transaction = self.database.begin(self.log_index)
        for change in changes:
            change(transaction)
        for pair in self.pairs:  # What is read before the end is nobody's business.
            assert pair[0].run(transaction) == pair[1].run(transaction)
        if not keep:
            transaction.rollback()
        self.woken.clear()
        self.answers.committed(transaction.commit())
        for joined, apart in self.pairs:
            assert (joined in self.woken) == (apart in self.woken)

    @rule(name=NAMES, color=st.sampled_from(["", "red"]), keep=st.booleans())
    def paint(self, name: str, color: str, keep: bool) -> None:
        self.commit(lambda it: it.put(BUILDINGS, Building(name=name, color=color)), keep=keep)

    @rule(name=NAMES, identity=IDS, use=USES)
    def furnish(self, name: str, identity: str, use: str) -> None:
        self.commit(
            lambda it: it.get(BUILDINGS, name) or it.put(BUILDINGS, Building(name=name)),
            lambda it: it.put(ROOMS, Room(building=name, id=identity, use=use)),
        )

    @rule(name=NAMES, identity=IDS, loud=st.booleans(), room=st.sampled_from(["", "1"]))
    def sound(self, name: str, identity: str, loud: bool, room: str) -> None:
        alarm = Alarm(building=name, id=identity, loud=loud, room=room)
        self.commit(lambda it: it.put(ALARMS, alarm))

    @rule(name=NAMES, identity=IDS, keep=st.booleans())
    def silence(self, name: str, identity: str, keep: bool) -> None:
        self.commit(lambda it: it.delete(ALARMS, (name, identity)), keep=keep)

    @rule(name=NAMES, keep=st.booleans())
    def demolish(self, name: str, keep: bool) -> None:
        self.commit(lambda it: remove(it, name), keep=keep)

    @rule(name=NAMES, identity=IDS)
    def close(self, name: str, identity: str) -> None:
        self.commit(lambda it: it.delete(ROOMS, (name, identity)))

    @rule()
    def restore_own_snapshot(self) -> None:
        pieces = [piece for piece in freeze(self.database, 1) if piece]
        thaw(self.database, iter(pieces)).install()
        self.answers.restored()

    @invariant()
    def same(self) -> None:
        for joined, apart in self.pairs:
            assert self.answers.read(joined).value == self.answers.read(apart).value
            assert self.answers.read(joined).index == self.answers.read(apart).index
            assert self.answers.once(joined) == self.answers.once(apart)


JoinedAnswers.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestJoinedAnswers = JoinedAnswers.TestCase


def test_one_bucket_for_all_that_is_joined() -> None:
    database = Database(TABLES)
    transaction = database.begin(1)
    for number in range(20):
        transaction.put(BUILDINGS, Building(name=str(number)))
        transaction.put(ROOMS, Room(building=str(number), id="1", use="lab"))
    transaction.commit()
    view = database.view()
    assert len(Used("lab").run(view)) == 20
    assert len(view.touched) == 2
