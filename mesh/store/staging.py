"""Staging: tables that an export is read into, beside those in use, until they take their place."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from mesh.errors import Invalid
from mesh.store.export import Reading
from mesh.store.table import Content, Table


class Staging:
    """Tables being filled. A function of the bytes it was fed, so the same on every server.

    `fed` counts these bytes. What is wrong with them is told at the end: one that was fed the
    rest after a restart must not differ from one that heard of it earlier.
    """

    def __init__(self, tables: Iterable[Table[Any]], ceiling: int) -> None:
        self.contents: dict[str, Content[Any]] = {table.name: Content(table) for table in tables}
        kinds = [content.table for content in self.contents.values()]
        self.reading = Reading(kinds, self._keep, ceiling)
        self.fed = 0
        self.problem = ""
        self._sum = sha256()

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in hexadecimal."""
        return self._sum.hexdigest()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.fed += len(data)
        self._sum.update(data)
        if self.problem:
            return
        try:
            self.reading.feed(data)
        except Invalid as error:
            self.problem = error.message
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # Rows that no command writes, and of which an index can make nothing.
            self.problem = f"the state has rows that make no sense: {error!r}"

    def finish(self) -> dict[str, Content[Any]]:
        """The tables. Raises Invalid when they are not whole."""
        if self.problem:
            raise Invalid(self.problem)
        self.reading.finish()
        for name, tally in self.reading.tally.items():
            if len(self.contents[name].rows) != tally.rows:
                raise Invalid(f'the state has a row of "{name}" twice')
        return self.contents

    def _keep(self, table: Table[Any], rows: list[Any]) -> None:
        self.contents[table.name].load(rows)
