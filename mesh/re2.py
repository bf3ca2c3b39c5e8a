"""RE2's syntax: expressions as text to a tree. `patterns` looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from mesh.errors import Invalid

NESTING_MAX = 32
REPEAT_MAX = 1000

Ranges: TypeAlias = tuple[tuple[int, int], ...]
_END = 0x10FFFF
_NEWLINE = 10


class Chars(msgspec.Struct, frozen=True):
    """One character out of these ranges, or out of all others."""

    ranges: Ranges
    negated: bool = False
    fold: bool = False

    def has(self, char: str) -> bool:
        found = self._in(ord(char))
        if not found and self.fold:
            others = {*char.lower(), *char.upper()}
            found = any(self._in(ord(other)) for other in others)
        return found != self.negated

    def _in(self, code: int) -> bool:
        return any(low <= code <= high for low, high in self.ranges)


class Assert(msgspec.Struct, frozen=True):
    """A place between characters: `A` and `z` of the text, `^` and `$` of a line, `b` of words."""

    kind: str


class Row(msgspec.Struct, frozen=True):
    """One after the other."""

    parts: Sequence[Node]


class Either(msgspec.Struct, frozen=True):
    """One of them; the first that leads to a match is taken."""

    options: Sequence[Node]


class Repeat(msgspec.Struct, frozen=True):
    """Again and again, as often as it goes or, when not greedy, as seldom."""

    node: Node
    least: int
    most: int | None
    greedy: bool = True


class Group(msgspec.Struct, frozen=True):
    """What stands in parentheses, numbered from 1."""

    node: Node
    number: int


Node: TypeAlias = "Chars | Assert | Row | Either | Repeat | Group"

_DIGITS: Ranges = ((48, 57),)
_UPPER: Ranges = ((65, 90),)
_LOWER: Ranges = ((97, 122),)
WORD: Ranges = (*_DIGITS, *_UPPER, (95, 95), *_LOWER)
_SPACE: Ranges = ((9, 10), (12, 13), (32, 32))
_PERL = {"d": _DIGITS, "w": WORD, "s": _SPACE}
_POSIX: dict[str, Ranges] = {
    "alnum": (*_DIGITS, *_UPPER, *_LOWER),
    "alpha": (*_UPPER, *_LOWER),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": _DIGITS,
    "graph": ((33, 126),),
    "lower": _LOWER,
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": _UPPER,
    "word": WORD,
    "xdigit": (*_DIGITS, (65, 70), (97, 102)),
}
_ESCAPES = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_PLAIN_QUANTIFIERS: dict[str, tuple[int, int | None]] = {
    "*": (0, None),
    "+": (1, None),
    "?": (0, 1),
}


class _Flags(msgspec.Struct, frozen=True):
    i: bool = False
    m: bool = False
    s: bool = False
    U: bool = False
    """Ungreedy: `*` takes as little as it can, and `*?` as much."""


class Parser:
    """Reads one expression."""

    def __init__(self, expression: str) -> None:
        self._text, self._place = expression, 0
        self._nesting = 0
        self.groups = 0
        """How many groups were read so far."""

    def whole(self) -> Node:
        """The tree. Raises Invalid."""
        node = self._either(_Flags())
        if self._place < len(self._text):
            raise Invalid("unexpected )")
        return node

    def _peek(self) -> str:
        return self._text[self._place : self._place + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise Invalid("the expression ends too early")
        self._place += 1
        return char

    def _skip(self, text: str) -> bool:
        found = self._text.startswith(text, self._place)
        if found:
            self._place += len(text)
        return found

    def _until(self, end: str) -> str:
        stop = self._text.find(end, self._place)
        if stop < 0:
            raise Invalid(f"missing {end}")
        found, self._place = self._text[self._place : stop], stop + len(end)
        return found

    def _either(self, flags: _Flags) -> Node:
        self._nesting += 1
        if self._nesting > NESTING_MAX:
            raise Invalid(f"groups are nested more than {NESTING_MAX} deep")
        options: list[Node] = []
        row: list[Node] = []
        while self._peek() not in {"", ")"}:
            if self._skip("|"):
                options.append(Row(row))
                row = []
            elif self._skip("(?P<") or self._skip("(?<"):
                self._until(">")
                row.append(self._quantified(self._numbered(flags), flags))
            elif self._skip("(?"):
                flags, group = self._flags(flags)
                row += [self._quantified(group, flags)] if group else []
            else:
                row.append(self._quantified(self._atom(flags), flags))
        self._nesting -= 1
        return Either([*options, Row(row)]) if options else Row(row)

    def _flags(self, flags: _Flags) -> tuple[_Flags, Node | None]:
        # (?i) changes the rest of this group, (?i:...) only what it holds.
        inner, on = flags, True
        while (char := self._next()) not in ":)":
            if char == "-" and on:
                on = False
            elif char in "imsU":
                inner = msgspec.structs.replace(inner, **{char: on})
            else:
                raise Invalid(f"unknown flag {char}")
        return (inner, None) if char == ")" else (flags, self._group(inner))

    def _group(self, flags: _Flags) -> Node:
        node = self._either(flags)
        if not self._skip(")"):
            raise Invalid("missing )")
        return node

    def _numbered(self, flags: _Flags) -> Node:
        self.groups += 1
        number = self.groups
        return Group(self._group(flags), number)

    def _atom(self, flags: _Flags) -> Node:
        char = self._next()
        if char == "(":
            return self._numbered(flags)
        if char == "[":
            return self._class(flags)
        if char == "\\":
            return self._escape(flags)
        if char in _PLAIN_QUANTIFIERS:
            raise Invalid(f"nothing before {char} to repeat")
        return _symbol(char, flags)

    def _quantified(self, node: Node, flags: _Flags) -> Node:
        times = self._quantifier()
        if times is None:
            return node
        lazy = self._skip("?")
        if self._quantifier() is not None:
            raise Invalid("a repetition of a repetition")
        return Repeat(node, *times, greedy=lazy == flags.U)

    def _quantifier(self) -> tuple[int, int | None] | None:
        plain = _PLAIN_QUANTIFIERS.get(self._peek())
        if plain is not None:
            self._place += 1
            return plain
        if self._peek() != "{":
            return None
        before, end = self._place, self._text.find("}", self._place)
        least, comma, most = self._text[before + 1 : max(end, 0)].partition(",")
        if not _is_number(least) or not (most == "" or _is_number(most)):
            return None  # A plain brace.
        self._place = end + 1
        low = int(least)
        high = low if not comma else (int(most) if most else None)
        if max(low, high or 0) > REPEAT_MAX or (high is not None and high < low):
            raise Invalid(f"bad repetition {{{least}{comma}{most}}}")
        return low, high

    def _escape(self, flags: _Flags) -> Node:
        char = self._next()
        if char in {"A", "z", "b", "B"}:
            return Assert(char)
        if char == "Q":
            stop = self._text.find("\\E", self._place)
            stop = len(self._text) if stop < 0 else stop
            quoted, self._place = self._text[self._place : stop], min(stop + 2, len(self._text))
            return Row([_literal(one, flags) for one in quoted])
        if char.lower() in _PERL:
            return Chars(_PERL[char.lower()], negated=char.isupper())
        return _literal(chr(self._code(char)), flags)

    def _code(self, char: str) -> int:
        """The character that a backslash and this stand for."""
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char == "x":
            digits = self._until("}") if self._skip("{") else self._next() + self._next()
            if not digits or not set(digits) <= set("0123456789abcdefABCDEF") or len(digits) > 6:
                raise Invalid(f"bad character \\x{digits}")
            return min(int(digits, 16), _END)
        if char in "01234567":
            digits = char
            while char == "0" and len(digits) < 3 and self._peek() in set("01234567"):
                digits += self._next()
            if char != "0":
                raise Invalid(f"bad escape \\{char}")
            return int(digits, 8)
        if char.isascii() and not char.isalnum():
            return ord(char)
        raise Invalid(f"bad or unsupported escape \\{char}")

    def _class(self, flags: _Flags) -> Node:
        negated = self._skip("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._skip("]"):
            first = False
            ranges += self._class_part()
        return Chars(tuple(ranges), negated, flags.i)

    def _class_part(self) -> Ranges:
        if self._skip("[:"):
            name = self._until(":]")
            found = _POSIX.get(name.removeprefix("^"))
            if found is None:
                raise Invalid(f"unknown class [:{name}:]")
            return _others(found) if name.startswith("^") else found
        char = self._next()
        if char == "\\" and self._peek().lower() in _PERL:
            kind = self._next()
            return _others(_PERL[kind.lower()]) if kind.isupper() else _PERL[kind]
        low = high = self._code(self._next()) if char == "\\" else ord(char)
        if self._peek() == "-" and self._text[self._place + 1 : self._place + 2] not in {"]", ""}:
            self._place += 1
            end = self._next()
            high = self._code(self._next()) if end == "\\" else ord(end)
        if high < low:
            raise Invalid("a range of characters that ends before it begins")
        return ((low, high),)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 4


def _symbol(char: str, flags: _Flags) -> Node:
    match char:
        case ".":
            return Chars(() if flags.s else ((_NEWLINE, _NEWLINE),), negated=True)
        case "^":
            return Assert("^" if flags.m else "A")
        case "$":
            return Assert("$" if flags.m else "z")
        case _:
            return _literal(char, flags)


def _literal(char: str, flags: _Flags) -> Chars:
    return Chars(((ord(char), ord(char)),), fold=flags.i)


def _others(ranges: Ranges) -> Ranges:
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    return (*found, (start, _END))
