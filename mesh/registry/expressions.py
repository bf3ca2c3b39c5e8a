"""Filter expressions as text: `Service == "web" and not Checks.Status == critical` to a tree.

`not` binds tighter than `and`, `and` tighter than `or`. An error shows the expression and points at
the character where it went wrong. Nothing here knows what is filtered; see `filters` for that.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from mesh.errors import Invalid

EXPRESSION_MAX = 4096
DEPTH_MAX = 32
SHOWN_MAX = 72

Operator: TypeAlias = Literal[
    "==", "!=", "in", "not in", "is empty", "is not empty", "matches", "not matches"
]
"""`x contains y` is read as `y in x`."""

NEGATED: dict[Operator, Operator] = {
    "!=": "==",
    "not in": "in",
    "is not empty": "is empty",
    "not matches": "matches",
}

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<word>[^\s()\[\]"`=!]+)
      | (?P<mark>==|!=|[()\[\]])
      | (?P<text>`[^`]*`|"(?:[^"\\]|\\.)*")
      | (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r'\\(?:(?P<plain>[abfnrtv\\"])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})'
    r"|U(?P<U>[0-9a-fA-F]{8})|(?P<bad>.?))",
    re.DOTALL,
)
_PLAIN = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))


class InvalidFilter(Invalid):
    """A filter expression that cannot be understood or does not fit what it filters."""


class Token(msgspec.Struct, frozen=True):
    """A piece of the expression: a word, a quoted text (without its quotes), a mark, or the end."""

    kind: str
    text: str
    start: int


class Name(msgspec.Struct, frozen=True):
    """One step of a selector: a field or the key of a map."""

    text: str
    start: int


class Selector(msgspec.Struct, frozen=True):
    """What a test looks at, such as `Node.Meta["rack"]`."""

    names: tuple[Name, ...]


class Match(msgspec.Struct, frozen=True):
    """One test. `value` is None for `is empty` and `is not empty`."""

    selector: Selector
    operator: Operator
    value: Token | None
    start: int
    """Where the operator stands."""


class Not(msgspec.Struct, frozen=True):
    """True when the other is not."""

    inner: Tree


class Both(msgspec.Struct, frozen=True):
    """True when all are."""

    parts: tuple[Tree, ...]


class Either(msgspec.Struct, frozen=True):
    """True when one is."""

    parts: tuple[Tree, ...]


Tree: TypeAlias = "Match | Not | Both | Either"


def wrong(expression: str, place: int, message: str, advice: str = "") -> InvalidFilter:
    """The error, with the expression, a caret below the place, and a line of advice."""
    first = max(0, min(place - SHOWN_MAX // 2, len(expression) - SHOWN_MAX))
    shown = expression[first : first + SHOWN_MAX]
    before, after = "..." * (first > 0), "..." * (first + SHOWN_MAX < len(expression))
    shown = "".join(char if char.isprintable() else " " for char in shown)
    lines = [
        f"Invalid filter: {message}",
        f"  {before}{shown}{after}",
        f"  {' ' * (len(before) + place - first)}^",
    ]
    return InvalidFilter("\n".join([*lines, advice] if advice else lines))


def parse(expression: str) -> Tree:
    """The tree of an expression. Raises InvalidFilter."""
    if len(expression) > EXPRESSION_MAX:
        given = f"it has {len(expression)} characters"
        raise InvalidFilter(f"Invalid filter: {given}, and {EXPRESSION_MAX} is the limit")
    return _Parser(expression).whole()


def _tokens(expression: str) -> list[Token]:
    found: list[Token] = []
    place = 0
    while not found or found[-1].kind != "end":
        match = _TOKEN.match(expression, place)
        if match is None:
            place += len(expression[place:]) - len(expression[place:].lstrip())
            raise _bad_character(expression, place)
        kind = match.lastgroup or ""
        text, start = match[kind], match.start(kind)
        if kind == "text":
            text = text[1:-1] if text[0] == "`" else _unescaped(expression, text[1:-1], start + 1)
        found.append(Token(kind, text, start))
        place = match.end()
    return found


def _bad_character(expression: str, place: int) -> InvalidFilter:
    char = expression[place]
    if char in '"`':
        return wrong(expression, place, f"the text that begins with {char} has no end")
    return wrong(
        expression,
        place,
        f"unexpected {char}",
        "Equal is ==, not equal is !=. A value that has other than plain characters needs quotes.",
    )


def _unescaped(expression: str, text: str, start: int) -> str:
    if "\\" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        if match["plain"]:
            return _PLAIN[match["plain"]]
        digits = match["x"] or match["u"] or match["U"]
        code = int(digits, 16) if digits else -1
        if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise wrong(
                expression,
                start + match.start(),
                f"unknown escape {match[0]}",
                "Between backticks a backslash stands for itself: `\\d+`.",
            )
        return chr(code)

    return _ESCAPE.sub(replaced, text)


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._tokens = _tokens(expression)
        self._place = 0
        self._depth = 0

    def whole(self) -> Tree:
        tree = self._either()
        if self._next.kind != "end":
            unopened = self._next.kind == "mark" and self._next.text == ")"
            raise self._expected(
                "and, or, or the end", "This ) closes nothing." if unopened else ""
            )
        return tree

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place += token.kind != "end"
        return token

    def _skip(self, kind: str, text: str) -> bool:
        found = self._next.kind == kind and self._next.text == text
        self._place += found
        return found

    def _expected(self, what: str, advice: str = "") -> InvalidFilter:
        token = self._next
        found = "the end" if token.kind == "end" else f'"{token.text[:SHOWN_MAX]}"'
        return wrong(self._expression, token.start, f"expected {what}; found {found}", advice)

    def _either(self) -> Tree:
        parts = [self._both()]
        while self._skip("word", "or"):
            parts.append(self._both())
        return Either(tuple(parts)) if len(parts) > 1 else parts[0]

    def _both(self) -> Tree:
        parts = [self._negation()]
        while self._skip("word", "and"):
            parts.append(self._negation())
        return Both(tuple(parts)) if len(parts) > 1 else parts[0]

    def _negation(self) -> Tree:
        start = self._next.start
        if not self._skip("word", "not"):
            return self._group()
        self._deeper(start)
        inner = self._negation()
        self._depth -= 1
        return Not(inner)

    def _group(self) -> Tree:
        start = self._next.start
        if not self._skip("mark", "("):
            return self._match()
        self._deeper(start)
        tree = self._either()
        if not self._skip("mark", ")"):
            raise wrong(self._expression, start, "this ( is not closed")
        self._depth -= 1
        return tree

    def _deeper(self, start: int) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise wrong(self._expression, start, f"nested more than {DEPTH_MAX} deep")

    def _match(self) -> Match:
        first = self._next
        if first.kind not in {"word", "text"}:
            raise self._expected("a field or a value")
        following = [token.text for token in self._tokens[self._place + 1 : self._place + 3]]
        is_value = first.kind == "text" or following[:1] == ["in"] or following == ["not", "in"]
        return self._value_first() if is_value else self._selector_first()

    def _value_first(self) -> Match:
        value, start = self._take(), self._next.start
        negated = self._skip("word", "not")
        if not self._skip("word", "in"):
            raise self._expected(
                "in or not in",
                f"A field has no quotes: {value.text} == ..."
                if value.text.replace(".", "").isalnum()
                else "What is in quotes is a value, and a test of it is: VALUE in FIELD.",
            )
        return Match(self._selector(), "not in" if negated else "in", value, start)

    def _selector_first(self) -> Match:
        selector, start = self._selector(), self._next.start
        operator = self._operator()
        if operator in {"is empty", "is not empty"}:
            return Match(selector, operator, None, start)
        if self._next.kind not in {"word", "text"}:
            raise self._expected("a value")
        return Match(selector, operator, self._take(), start)

    def _operator(self) -> Operator:
        match self._next.kind, self._next.text:
            case "mark", ("==" | "!=") as mark:
                self._take()
                return "==" if mark == "==" else "!="
            case "word", ("contains" | "matches") as word:
                self._take()
                return "in" if word == "contains" else "matches"
            case "word", "not":
                self._take()
                if self._skip("word", "contains"):
                    return "not in"
                if self._skip("word", "matches"):
                    return "not matches"
                raise self._expected("contains or matches")
            case "word", "is":
                self._take()
                negated = self._skip("word", "not")
                if not self._skip("word", "empty"):
                    raise self._expected("empty" if negated else "empty or not empty")
                return "is not empty" if negated else "is empty"
            case _:
                pass
        raise self._expected("an operator", "Operators: ==, !=, contains, matches, is empty, in.")

    def _selector(self) -> Selector:
        if self._next.kind != "word":
            raise self._expected("a field")
        names = self._dotted(self._take(), 0)
        while True:
            if self._skip("mark", "["):
                if self._next.kind not in {"word", "text"}:
                    raise self._expected("a key")
                key = self._take()
                names.append(Name(key.text, key.start))
                if not self._skip("mark", "]"):
                    raise self._expected("]")
            elif self._next.kind == "word" and self._next.text[0] == ".":
                names += self._dotted(self._take(), 1)
            else:
                break
        if len(names) > DEPTH_MAX:
            place = names[DEPTH_MAX].start
            raise wrong(self._expression, place, f"more than {DEPTH_MAX} names in one selector")
        return Selector(tuple(names))

    def _dotted(self, token: Token, place: int) -> list[Name]:
        names = []
        for text in token.text[place:].split("."):
            if not text:
                raise wrong(self._expression, token.start + place, "a name is missing at this dot")
            names.append(Name(text, token.start + place))
            place += len(text) + 1
        return names
