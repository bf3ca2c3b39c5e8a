"""HCL as Consul reads it (version 1 of the language): text to dicts and lists."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mesh.errors import Invalid

DEPTH_MAX = 64

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\ufeff]+ | \#[^\n]* | //[^\n]* | /\*.*?\*/)
  | (?P<number>-?(?:0[xX][0-9a-fA-F]+ | (?:[0-9]+(?:\.[0-9]*)? | \.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      (?![\w.]))
  | (?P<name>[^\W\d][\w.\-]*)
  | (?P<string>"(?:[^"\\\n$] | \\. | \$\{[^}]*\} | \$(?!\{))*+")
  | (?P<heredoc><<-?[^\s]+[^\S\n]*\n)
  | (?P<sign>[{}\[\]=,])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\\"'])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))",
    re.DOTALL,
)
_ESCAPED = dict(zip("abfnrtv\\\"'", "\a\b\f\n\r\t\v\\\"'", strict=True))
_HELD = re.compile(r"\$\{[^}]*\}")


class SyntaxProblem(Invalid):
    """The text is not HCL; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        """Say what was expected and where."""
        super().__init__(message)
        self.line, self.column = line, column


class _Token(NamedTuple):
    kind: str
    value: Any
    start: int


def parse(text: str) -> tuple[dict[str, Any], list[str]]:
    """Read HCL. Returns the values, and the names set twice, of which the last one counts.

    A repeated object or block becomes a list of dicts. Raises SyntaxProblem.
    """
    reader = _Reader(text)
    values = reader.items(end="", depth=0)
    return values, reader.repeated


class _Reader:
    def __init__(self, text: str) -> None:
        self.repeated: list[str] = []
        self._text = text
        self._tokens = self._scan()
        self._at = 0

    def items(self, end: str, depth: int) -> dict[str, Any]:
        """Read `key = value` and `key "label" { ... }` up to the end sign, which is consumed."""
        found: dict[str, Any] = {}
        while True:
            token = self._take()
            if token.kind == (end or "end"):
                return found
            if token.kind not in {"name", "string", "word"}:
                raise self._problem(f"expected a key or {_name(end)}, found {_show(token)}", token)
            keys = [str(token.value)]
            while self._peek().kind in {"name", "string"}:
                keys.append(str(self._take().value))
            value = self._assigned(keys, depth)
            for label in reversed(keys[1:]):
                value = {label: value}
            self._add(found, keys[0], value)
            if end and self._peek().kind == ",":
                self._take()

    def _assigned(self, keys: list[str], depth: int) -> Any:
        sign = self._take()
        if sign.kind == "{":
            return self._object(sign, depth)
        if sign.kind == "=" and len(keys) == 1:
            return self._value(depth)
        raise self._problem(f"expected = or {{ after {keys[-1]}, found {_show(sign)}", sign)

    def _add(self, found: dict[str, Any], key: str, value: Any) -> None:
        old = found.get(key)
        objects = isinstance(old, dict) or (isinstance(old, list) and _all_dicts(old))
        new_objects = isinstance(value, dict) or (isinstance(value, list) and _all_dicts(value))
        if objects and new_objects:
            found[key] = [*_listed(old), *_listed(value)]
            return
        if key in found:
            self.repeated.append(key)
        found[key] = value

    def _object(self, opening: _Token, depth: int) -> dict[str, Any]:
        if depth >= DEPTH_MAX:
            raise self._problem(f"nested deeper than {DEPTH_MAX}", opening)
        return self.items("}", depth + 1)

    def _value(self, depth: int) -> Any:
        token = self._take()
        if token.kind in {"string", "number", "word"}:
            return token.value
        if token.kind == "{":
            return self._object(token, depth)
        if token.kind == "[":
            return self._list(token, depth)
        hint = "; texts stand in quotes" if token.kind == "name" else ""
        raise self._problem(f"expected a value, found {_show(token)}{hint}", token)

    def _list(self, opening: _Token, depth: int) -> list[Any]:
        if depth >= DEPTH_MAX:
            raise self._problem(f"nested deeper than {DEPTH_MAX}", opening)
        found: list[Any] = []
        while self._peek().kind != "]":
            found.append(self._value(depth + 1))
            if self._peek().kind == ",":
                self._take()
            elif self._peek().kind != "]":
                token = self._peek()
                raise self._problem(f"expected , or ] in a list, found {_show(token)}", token)
        self._take()
        return found

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _problem(self, message: str, token: _Token) -> SyntaxProblem:
        before = self._text[: token.start]
        line_start = before.rfind("\n") + 1
        return SyntaxProblem(message, before.count("\n") + 1, token.start - line_start + 1)

    def _scan(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._unreadable(at)
            kind, piece = str(match.lastgroup), match.group()
            end = match.end()
            if kind == "heredoc":
                value, end = self._heredoc(match)
                tokens.append(_Token("string", value, at))
            elif kind != "space":
                tokens.append(self._token(kind, piece, at))
            at = end
        tokens.append(_Token("end", "", at))
        return tokens

    def _token(self, kind: str, piece: str, at: int) -> _Token:
        if kind == "sign":
            return _Token(piece, piece, at)
        if kind == "name" and piece in {"true", "false"}:
            return _Token("word", piece == "true", at)
        if kind == "string":
            return _Token(kind, self._unquote(piece[1:-1], at), at)
        if kind == "number":
            return _Token(kind, self._number(piece, at), at)
        return _Token(kind, piece, at)

    def _number(self, piece: str, at: int) -> int | float:
        digits = piece.removeprefix("-")
        if not digits.isdigit() and not digits.lower().startswith("0x"):
            return float(piece)
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
        try:
            return int(piece, 8 if octal else 0)
        except ValueError:
            raise self._problem(f"{piece[:40]} is not a number", _Token("", "", at)) from None

    def _unquote(self, inner: str, at: int) -> str:
        def replace(match: re.Match[str]) -> str:
            simple, hexa, short, long, octal, other = match.groups()
            if simple:
                return _ESCAPED[simple]
            code = int(octal, 8) if octal else int(hexa or short or long or "110000", 16)
            if other is not None or code > 0x10FFFF or 0xD800 <= code < 0xE000:
                start = at + 1 + match.start()
                raise self._problem(f"unknown escape {match.group()}", _Token("", "", start))
            return chr(code)

        pieces, last = [], 0
        for held in _HELD.finditer(inner):
            pieces += [_ESCAPE.sub(replace, inner[last : held.start()]), held.group()]
            last = held.end()
        return "".join([*pieces, _ESCAPE.sub(replace, inner[last:])])

    def _heredoc(self, opening: re.Match[str]) -> tuple[str, int]:
        marker = opening.group().strip().removeprefix("<<")
        indented = marker.startswith("-")
        marker = marker.removeprefix("-")
        closing = re.compile(rf"^([ \t]*){re.escape(marker)}[ \t\r]*$", re.MULTILINE)
        end = closing.search(self._text, opening.end())
        if not marker or end is None:
            start = _Token("", "", opening.start())
            raise self._problem(f"no line ends the text begun with <<{marker}", start)
        body = self._text[opening.end() : end.start()].replace("\r\n", "\n")
        prefix, lines = end[1], body.splitlines(keepends=True)
        if indented and all(line.startswith(prefix) for line in lines):
            body = "".join(line.removeprefix(prefix) for line in lines)
        return body, end.end()

    def _unreadable(self, at: int) -> SyntaxProblem:
        piece = self._text[at]
        word = re.match(r"-?[\w.]+", self._text[at : at + 40])
        message = {
            '"': 'a text lacks its closing "',
            "/": "a comment lacks its closing */" if self._text.startswith("/*", at) else "",
        }.get(piece, f"{word[0]} is not a number" if word else "")
        return self._problem(message or f"unexpected {piece!r}", _Token("", "", at))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _all_dicts(value: list[Any]) -> bool:
    return all(isinstance(item, dict) for item in value)


def _name(end: str) -> str:
    return end or "the end of the file"


def _show(token: _Token) -> str:
    if token.kind == "end":
        return "the end of the file"
    text = str(token.value).lower() if token.kind == "word" else str(token.value)
    return f'"{text[:40]}"' if token.kind == "string" else text[:40]
