"""HCL, version 1, as Consul's files use it: read into plain dicts and lists.

Version 1 and not 2, which quotes no keys, separates no items by commas and gives `{` after a key
another meaning. A key that stands more than once becomes a list of its values.
"""

from __future__ import annotations

import re
from typing import Any

from mesh.errors import Invalid

NESTING_MAX = 64

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r\n]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
  | (?P<heredoc><<-?(?P<mark>[A-Za-z_][A-Za-z0-9_]*)\r?\n)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<number>-?(?:0[xX][0-9A-Fa-f]+|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))(?![A-Za-z_])
  | (?P<word>[A-Za-z_][A-Za-z0-9_.\-]*)
  | (?P<mark_>[={}\[\],:])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._depth = 0
        self.kind, self.value, self._start = "", "", 0
        self.advance()

    def fail(self, expected: str) -> Invalid:
        line = self._text.count("\n", 0, self._start) + 1
        column = self._start - self._text.rfind("\n", 0, self._start)
        found = f'"{self.value}"' if self.kind != "end" else "the end of the file"
        return Invalid(f"line {line}, column {column}: expected {expected}, found {found}")

    def advance(self) -> None:
        while self._place < len(self._text):
            found = _TOKEN.match(self._text, self._place)
            self._start = self._place
            if found is None:
                self.kind, self.value = "bad", self._text[self._place]
                raise self.fail("a key or a value")
            self._place = found.end()
            self.kind = found.lastgroup or ""
            if found["heredoc"] is not None:
                self._heredoc(found["mark"], indented=found["heredoc"].startswith("<<-"))
                return
            if self.kind != "blank":
                self.value = found[0]
                return
        self._start = len(self._text)
        self.kind, self.value = "end", ""

    def _heredoc(self, mark: str, *, indented: bool) -> None:
        end = re.compile(rf"^[ \t]*{mark}[ \t]*$", re.MULTILINE).search(self._text, self._place)
        if end is None:
            raise self.fail(f"a line with {mark} that ends the text")
        body = self._text[self._place : end.start()]
        if indented:
            lines = body.splitlines(keepends=True)
            margin = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
            body = "".join(line[margin:] for line in lines)
        self._place = end.end()
        self.kind, self.value = "heredoc", body

    def items(self, end: str) -> dict[str, Any]:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.fail(f"at most {NESTING_MAX} levels")
        found: dict[str, list[Any]] = {}
        while (self.kind if end == "end" else self.value) != end or self.kind == "string":
            key, value = self._item()
            found.setdefault(key, []).append(value)
            if self.value == "," and self.kind == "mark_":
                self.advance()
        self._depth -= 1
        return {key: one[0] if len(one) == 1 else _flat(one) for key, one in found.items()}

    def _key(self) -> str:
        if self.kind == "string":
            key = self._unquoted()
        elif self.kind in {"word", "number"}:
            key = self.value
        else:
            raise self.fail("a key")
        self.advance()
        return key

    def _item(self) -> tuple[str, Any]:
        key = self._key()
        if self.kind == "mark_" and self.value in {"=", ":"}:
            self.advance()
            return key, self._one()
        labels = []
        while self.kind in {"string", "word"}:
            labels.append(self._key())
        if self.value != "{":
            raise self.fail("= or {")
        value = self._one()
        for label in reversed(labels):
            value = {label: value}
        return key, value

    def _one(self) -> Any:
        if self.kind == "mark_" and self.value == "{":
            self.advance()
            value: Any = self.items("}")
        elif self.kind == "mark_" and self.value == "[":
            self.advance()
            value = self._list()
        elif self.kind == "string":
            value = self._unquoted()
        elif self.kind == "heredoc":
            value = self.value
        elif self.kind == "number":
            value = _number(self.value)
        elif self.kind == "word" and self.value in {"true", "false"}:
            value = self.value == "true"
        else:
            raise self.fail("a value")
        self.advance()
        return value

    def _list(self) -> list[Any]:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise self.fail(f"at most {NESTING_MAX} levels")
        values = []
        while not (self.kind == "mark_" and self.value == "]"):
            values.append(self._one())
            if self.kind == "mark_" and self.value == ",":
                self.advance()
            elif not (self.kind == "mark_" and self.value == "]"):
                raise self.fail(", or ]")
        self._depth -= 1
        return values

    def _unquoted(self) -> str:
        def escape(found: re.Match[str]) -> str:
            if found[1] not in _ESCAPES:
                raise self.fail(f"an escape other than {found[0]}")
            return _ESCAPES[found[1]]

        return re.sub(r"\\(.)", escape, self.value[1:-1])


def _flat(values: list[Any]) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, list) else [value])]


def _number(text: str) -> int | float:
    if "x" in text.lower():
        return int(text, 16)
    return float(text) if re.search(r"[.eE]", text) else int(text)


def parse(text: str) -> dict[str, Any]:
    """Read a file. Raises Invalid with line and column."""
    return _Parser(text).items("end")
