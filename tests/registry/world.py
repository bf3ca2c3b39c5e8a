"""A world for tests of sessions: tables, a healthy node and a clock that stands still."""

from __future__ import annotations

from typing import Any, TypeVar

from mesh.errors import MeshError
from mesh.registry import kv, sessions
from mesh.registry.catalog import Check, Node, Register
from mesh.registry.levels import HIGHEST, LEVELS, Level
from mesh.registry.port import Command, Query
from mesh.registry.requests import TABLES
from mesh.registry.sessions import Create
from mesh.store.database import Database

T = TypeVar("T")


def identity(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


S1, S2, S3 = identity(1), identity(2), identity(3)


class World:
    """Tables of the highest level with one healthy node, and a clock."""

    def __init__(self) -> None:
        self.database, self.now = Database(TABLES), 1000.0
        transaction = self.database.begin(1)
        transaction.put(LEVELS, Level(number=HIGHEST))
        transaction.commit()
        self.node("n1")

    def do(self, command: Command[T]) -> T:
        command.validate()
        transaction = self.database.begin(self.database.index + 1, self.now)
        try:
            result = command.apply(transaction)
        except MeshError:
            transaction.rollback()
            raise
        finally:
            transaction.commit()
        return result

    def ask(self, query: Query[T]) -> T:
        return query.run(self.database.view())

    def node(self, name: str) -> None:
        alive = Check(node=name, id="serfHealth", status="passing")
        self.do(Register(Node(name=name, address="10.0.0.1"), checks=[alive]))

    def check(self, status: str, node: str = "n1", **fields: Any) -> None:
        fields = {"id": "serfHealth"} | fields
        check = Check(node=node, status=status, **fields)
        self.do(Register(Node(name=node), checks=[check], skip_node_update=True))

    def begin(self, one: str = S1, **fields: Any) -> str:
        return self.do(Create(one, **({"node": "n1"} | fields)))

    def acquire(self, key: str, session: str, value: bytes = b"") -> bool:
        return self.do(kv.Acquire(key, value, session))

    def pair(self, key: str) -> kv.Pair:
        found = self.ask(kv.Get(key))
        assert found is not None
        return found

    def alive(self) -> list[str]:
        return [session.id for session in self.ask(sessions.All())]
