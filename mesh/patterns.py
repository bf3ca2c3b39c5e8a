"""Patterns: RE2 expressions from the network, matched in time that is linear in the text.

Python's own `re` backtracks, so that a hostile expression would stop the node. Here an expression
becomes a small program, and a text is read once with all places the program may be at (Thompson
1968; Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009). Which places a
character leads to is remembered, so that most characters cost one look into a table.

What RE2 knows and this does not (Unicode classes such as `\\pL`, `\\C`, class set operations) is
refused, as are programs of more than PROGRAM_MAX steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from mesh.errors import Invalid

EXPRESSION_MAX = 1024
PROGRAM_MAX = 256
VISITS_MAX = 8 * PROGRAM_MAX
NESTING_MAX = 32
REPEAT_MAX = 1000
TEXT_MAX = 1024
KNOWN_MAX = 2048
"""So many states and ways between them are remembered for an expression."""

_Ranges: TypeAlias = tuple[tuple[int, int], ...]
_END = 0x10FFFF
_NEWLINE = 10


class _Chars(msgspec.Struct, frozen=True):
    """One character out of these ranges, or out of all others."""

    ranges: _Ranges
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


class _Assert(msgspec.Struct, frozen=True):
    """A place between characters: `A` and `z` of the text, `^` and `$` of a line, `b` of words."""

    kind: str


class _Row(msgspec.Struct, frozen=True):
    parts: Sequence[_Node]


class _Either(msgspec.Struct, frozen=True):
    options: Sequence[_Node]


class _Repeat(msgspec.Struct, frozen=True):
    node: _Node
    least: int
    most: int | None


_Node: TypeAlias = "_Chars | _Assert | _Row | _Either | _Repeat"

_DIGITS: _Ranges = ((48, 57),)
_UPPER: _Ranges = ((65, 90),)
_LOWER: _Ranges = ((97, 122),)
_WORD: _Ranges = (*_DIGITS, *_UPPER, (95, 95), *_LOWER)
_SPACE: _Ranges = ((9, 10), (12, 13), (32, 32))
_PERL = {"d": _DIGITS, "w": _WORD, "s": _SPACE}
_POSIX: dict[str, _Ranges] = {
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
    "word": _WORD,
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
    """Ungreedy: changes what is found, not whether."""


class _Parser:
    def __init__(self, expression: str) -> None:
        self._text, self._place = expression, 0
        self._nesting = 0

    def whole(self) -> _Node:
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

    def _either(self, flags: _Flags) -> _Node:
        self._nesting += 1
        if self._nesting > NESTING_MAX:
            raise Invalid(f"groups are nested more than {NESTING_MAX} deep")
        options: list[_Node] = []
        row: list[_Node] = []
        while self._peek() not in {"", ")"}:
            if self._skip("|"):
                options.append(_Row(row))
                row = []
            elif self._skip("(?P<") or self._skip("(?<"):
                self._until(">")
                row.append(self._quantified(self._group(flags)))
            elif self._skip("(?"):
                flags, group = self._flags(flags)
                row += [self._quantified(group)] if group else []
            else:
                row.append(self._quantified(self._atom(flags)))
        self._nesting -= 1
        return _Either([*options, _Row(row)]) if options else _Row(row)

    def _flags(self, flags: _Flags) -> tuple[_Flags, _Node | None]:
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

    def _group(self, flags: _Flags) -> _Node:
        node = self._either(flags)
        if not self._skip(")"):
            raise Invalid("missing )")
        return node

    def _atom(self, flags: _Flags) -> _Node:
        char = self._next()
        if char == "(":
            return self._group(flags)
        if char == "[":
            return self._class(flags)
        if char == "\\":
            return self._escape(flags)
        if char in _PLAIN_QUANTIFIERS:
            raise Invalid(f"nothing before {char} to repeat")
        return _symbol(char, flags)

    def _quantified(self, node: _Node) -> _Node:
        times = self._quantifier()
        if times is None:
            return node
        self._skip("?")
        if self._quantifier() is not None:
            raise Invalid("a repetition of a repetition")
        return _Repeat(node, *times)

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

    def _escape(self, flags: _Flags) -> _Node:
        char = self._next()
        if char in {"A", "z", "b", "B"}:
            return _Assert(char)
        if char == "Q":
            stop = self._text.find("\\E", self._place)
            stop = len(self._text) if stop < 0 else stop
            quoted, self._place = self._text[self._place : stop], min(stop + 2, len(self._text))
            return _Row([_literal(one, flags) for one in quoted])
        if char.lower() in _PERL:
            return _Chars(_PERL[char.lower()], negated=char.isupper())
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

    def _class(self, flags: _Flags) -> _Node:
        negated = self._skip("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._skip("]"):
            first = False
            ranges += self._class_part()
        return _Chars(tuple(ranges), negated, flags.i)

    def _class_part(self) -> _Ranges:
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


def _symbol(char: str, flags: _Flags) -> _Node:
    match char:
        case ".":
            return _Chars(() if flags.s else ((_NEWLINE, _NEWLINE),), negated=True)
        case "^":
            return _Assert("^" if flags.m else "A")
        case "$":
            return _Assert("$" if flags.m else "z")
        case _:
            return _literal(char, flags)


def _literal(char: str, flags: _Flags) -> _Chars:
    return _Chars(((ord(char), ord(char)),), fold=flags.i)


def _others(ranges: _Ranges) -> _Ranges:
    found, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    return (*found, (start, _END))


class _Split(msgspec.Struct):
    """Go on at both places."""

    one: int
    other: int


_Step: TypeAlias = _Chars | _Assert | _Split


class _Compiler:
    def __init__(self) -> None:
        self.program: list[_Step] = []
        self._visits = 0

    def add(self, node: _Node) -> None:
        # Also what makes no step takes time: x{1000} of x{1000} of nothing.
        self._visits += 1
        if self._visits > VISITS_MAX or len(self.program) > PROGRAM_MAX:
            raise Invalid(f"the expression takes more than {PROGRAM_MAX} steps")
        match node:
            case _Row():
                for part in node.parts:
                    self.add(part)
            case _Either():
                self._either(node.options)
            case _Repeat():
                self._repeat(node)
            case _:
                self.program.append(node)

    def _either(self, options: Sequence[_Node]) -> None:
        ends = []
        for option in options[:-1]:
            split = self._split()
            self.add(option)
            ends.append(self._split())
            split.other = len(self.program)
        self.add(options[-1])
        for end in ends:
            end.one = end.other = len(self.program)

    def _repeat(self, node: _Repeat) -> None:
        for _ in range(node.least):
            self.add(node.node)
        if node.most is None:
            start, split = len(self.program), self._split()
            self.add(node.node)
            again = self._split()
            again.one = again.other = start
            split.other = len(self.program)
            return
        splits = []
        for _ in range(node.most - node.least):
            splits.append(self._split())
            self.add(node.node)
        for split in splits:
            split.other = len(self.program)

    def _split(self) -> _Split:
        split = _Split(len(self.program) + 1, 0)
        self.program.append(split)
        return split


class _State(msgspec.Struct, eq=False):
    """Where the program may be after some text, as far as it is known where that leads."""

    steps: frozenset[int]
    before: str
    """What stands before: nothing, or a character that words and lines take like it."""
    after: dict[str, _State | None] = {}
    """The state after another character; None when the expression has matched."""


class Pattern:
    """An expression that can be looked for. `steps` is what one character of a text may cost."""

    def __init__(self, expression: str) -> None:
        """Raises Invalid, saying what is wrong or too much."""
        if len(expression) > EXPRESSION_MAX:
            raise Invalid(f"expression of more than {EXPRESSION_MAX} characters")
        compiler = _Compiler()
        compiler.add(_Parser(expression).whole())
        self._program = compiler.program
        self.steps = len(self._program)
        if self.steps > PROGRAM_MAX:
            raise Invalid(f"the expression takes more than {PROGRAM_MAX} steps")
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._known = 0

    def found_in(self, text: str, limit: int = TEXT_MAX) -> bool:
        """Whether the expression matches anywhere in the first `limit` characters."""
        text = text[:limit]
        state = self._state(frozenset({0}), "")
        for char in text:
            try:
                reached = state.after[char]
            except KeyError:
                reached = self._follow(state, char)
            if reached is None:
                return True
            state = reached
        return len(self._program) in self._reach(state.steps, state.before, "")

    def _state(self, steps: frozenset[int], before: str) -> _State:
        kind = before if before in {"", "\n"} else "a" if _is_word(before) else " "
        state = self._states.get((steps, kind))
        if state is None:
            if self._known >= KNOWN_MAX:
                self._states, self._known = {}, 0
            state = self._states[steps, kind] = _State(steps, kind)
            self._known += 1
        return state

    def _follow(self, state: _State, char: str) -> _State | None:
        """Where this character leads, remembered: texts of one kind lead the same few ways."""
        reached = self._reach(state.steps, state.before, char)
        found = None
        if len(self._program) not in reached:
            steps = {
                step + 1
                for step in reached
                if isinstance(chars := self._program[step], _Chars) and chars.has(char)
            }
            found = self._state(frozenset({*steps, 0}), char)
        if self._known < KNOWN_MAX:
            state.after[char] = found
            self._known += 1
        return found

    def _reach(self, starts: frozenset[int], before: str, after: str) -> set[int]:
        """Every step that can be come to from these without reading a character."""
        reached, todo = set(starts), list(starts)
        while todo:
            here = todo.pop()
            if here == len(self._program):
                continue
            step = self._program[here]
            following: tuple[int, ...] = ()
            if isinstance(step, _Split):
                following = (step.one, step.other)
            elif isinstance(step, _Assert) and _holds(step.kind, before, after):
                following = (here + 1,)
            for one in following:
                if one not in reached:
                    reached.add(one)
                    todo.append(one)
        return reached


def _holds(kind: str, before: str, after: str) -> bool:
    match kind:
        case "A":
            return not before
        case "z":
            return not after
        case "^":
            return before in {"", "\n"}
        case "$":
            return after in {"", "\n"}
        case _:
            return (_is_word(before) != _is_word(after)) == (kind == "b")


def _is_word(char: str) -> bool:
    return char != "" and any(low <= ord(char) <= high for low, high in _WORD)
