"""What a command prints: tables on a terminal, plain columns in a pipe, or JSON."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from mesh.errors import MeshError, OutcomeUnknown

GAP = "  "


class Output:
    """Where a command says what it found. Everything it prints has a JSON form."""

    def __init__(self, stdout: TextIO, stderr: TextIO, environment: Mapping[str, str]) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.as_json = False
        self.on_terminal = stdout.isatty() and environment.get("TERM") != "dumb"
        self._color = "NO_COLOR" not in environment

    def table(self, value: object, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under headings. The value is what they were made of."""
        if self.as_json:
            self.json(value)
        elif self.on_terminal:
            # Loaded only now: rich costs 40 ms, and most calls are made by scripts.
            importlib.import_module("mesh.cli.tables").show(
                self.stdout, columns, rows, color=self._color
            )
        else:
            self._write_aligned([list(columns), *(list(row) for row in rows)])

    def fields(self, value: object, pairs: Sequence[tuple[str, str]]) -> None:
        """Names and values, one a line."""
        if self.as_json:
            self.json(value)
        else:
            self._write_aligned([list(pair) for pair in pairs])

    def lines(self, value: object, lines: Sequence[str]) -> None:
        """Plain lines."""
        if self.as_json:
            self.json(value)
        else:
            self.stdout.writelines(f"{line}\n" for line in lines)

    def done(self, message: str, **facts: Any) -> None:
        """One sentence about what was done; in JSON the facts."""
        if self.as_json:
            self.json(facts)
        else:
            self.stdout.write(f"{message}\n")

    def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.stdout.flush()
        self.stdout.buffer.write(data)
        self.stdout.buffer.flush()

    def json(self, value: object) -> None:
        """The value as indented JSON."""
        codec = importlib.import_module("mesh.codec")  # Not every output is JSON.
        self.stdout.write(f"{codec.to_json(value, indent=2).decode()}\n")

    def note(self, message: str) -> None:
        """Something for the person, not for the program that reads the output."""
        self.stderr.write(f"{message}\n")

    def error(self, error: MeshError) -> None:
        """What went wrong; as a JSON object when JSON is asked for."""
        if self.as_json:
            facts = {"Code": error.code, "Message": error.message, "Retry": error.retry}
            if isinstance(error, OutcomeUnknown) and error.request:
                facts |= {"Request": error.request, "Since": error.since}
            self.stderr.write(f"{json.dumps({'Error': facts})}\n")
        else:
            self.stderr.write(f"meshctl: {error.message}\n")

    def _write_aligned(self, rows: list[list[str]]) -> None:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            self.stdout.write(f"{GAP.join(cells).rstrip()}\n")
