"""Patterns: RE2 expressions from the network, matched in time that is linear in the text.

Python's own `re` backtracks, so that a hostile expression would stop the node. Here an expression
becomes a small program, and a text is read once with all places the program may be at (Thompson
1968; Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009). Which places a
character leads to is remembered, so that most characters cost one look into a table.

What RE2 knows and this does not (Unicode classes such as `\\pL`, `\\C`, class set operations) is
refused, as are programs of more than PROGRAM_MAX steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from mesh.errors import Invalid
from mesh.re2 import WORD, Assert, Chars, Either, Group, Node, Parser, Repeat, Row

EXPRESSION_MAX = 1024
PROGRAM_MAX = 256
VISITS_MAX = 8 * PROGRAM_MAX
TEXT_MAX = 1024
KNOWN_MAX = 2048
"""So many states and ways between them are remembered for an expression: up to about 1 MB."""
STEPS_COUNTED = 4


class _Split(msgspec.Struct):
    """Go on at both places; what the one leads to goes before."""

    one: int
    other: int


class _Save(msgspec.Struct, frozen=True):
    """A group begins or ends here."""

    slot: int


_Step: TypeAlias = Chars | Assert | _Split | _Save
_Slots: TypeAlias = tuple[int, ...]


class _Compiler:
    """Trees to steps. With `saves` they also tell where groups begin and end."""

    def __init__(self, *, saves: bool = False) -> None:
        self.program: list[_Step] = []
        self._saves = saves
        self._visits = 0

    def add(self, node: Node) -> None:
        # Also what makes no step takes time: x{1000} of x{1000} of nothing.
        self._visits += 1
        if self._visits > VISITS_MAX or len(self.program) > PROGRAM_MAX:
            raise Invalid(f"the expression takes more than {PROGRAM_MAX} steps")
        match node:
            case Row():
                for part in node.parts:
                    self.add(part)
            case Either():
                self._either(node.options)
            case Repeat():
                self._repeat(node)
            case Group():
                self._group(node)
            case _:
                self.program.append(node)

    def _either(self, options: Sequence[Node]) -> None:
        ends = []
        for option in options[:-1]:
            split = self._split()
            self.add(option)
            ends.append(self._split())
            split.other = len(self.program)
        self.add(options[-1])
        for end in ends:
            end.one = end.other = len(self.program)

    def _group(self, node: Group) -> None:
        if not self._saves:
            self.add(node.node)
            return
        self.program.append(_Save(2 * node.number))
        self.add(node.node)
        self.program.append(_Save(2 * node.number + 1))

    def _repeat(self, node: Repeat) -> None:
        for _ in range(node.least):
            self.add(node.node)
        if node.most is None:
            start, split = len(self.program), self._split()
            self.add(node.node)
            again = self._split()
            again.one = again.other = start
            self._skip(split, node)
            return
        splits = []
        for _ in range(node.most - node.least):
            splits.append(self._split())
            self.add(node.node)
        for split in splits:
            self._skip(split, node)

    def _skip(self, split: _Split, node: Repeat) -> None:
        """Have the split lead past the repetition too."""
        split.other = len(self.program)
        if not node.greedy:
            split.one, split.other = split.other, split.one

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
    """An expression that can be looked for. `steps` is what one character of a text may cost.

    As a `whole` one it is found only where it matches all of the text.
    """

    def __init__(self, expression: str, *, whole: bool = False) -> None:
        """Raises Invalid, saying what is wrong or too much."""
        if len(expression) > EXPRESSION_MAX:
            raise Invalid(f"expression of more than {EXPRESSION_MAX} characters")
        parser, compiler = Parser(expression), _Compiler()
        self._tree = parser.whole()
        if whole:
            self._tree = Row([Assert("A"), self._tree, Assert("z")])
        self._groups = parser.groups
        compiler.add(self._tree)
        self._program = compiler.program
        self._saving: list[_Step] = []
        self.steps = len(self._program)
        if self.steps > PROGRAM_MAX:
            raise Invalid(f"the expression takes more than {PROGRAM_MAX} steps")
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._known = 0

    def found_in(self, text: str, limit: int = TEXT_MAX, effort: float = math.inf) -> bool:
        """Whether the expression matches anywhere in the first `limit` characters.

        Raises Invalid when that takes more than `effort` steps beside what is remembered.
        """
        text, spent = text[:limit], 0
        state = self._state(frozenset({0}), "")
        for char in text:
            try:
                reached = state.after[char]
            except KeyError:
                spent += 1 + len(state.steps)
                if spent > effort:
                    raise Invalid(
                        f"it takes too long on a text of {len(text)} characters"
                    ) from None
                reached = self._follow(state, char)
            if reached is None:
                return True
            state = reached
        return len(self._program) in self._reach(state.steps, state.before, "")

    def groups(self, text: str) -> tuple[str, ...] | None:
        """What the first match and each of its groups are, as far as TEXT_MAX; None without one.

        Of the matches that begin first it is the one that Perl and RE2 choose. A group that took
        no part is empty.
        """
        text = text[:TEXT_MAX]
        if not self._saving:
            compiler = _Compiler(saves=True)
            compiler.add(self._tree)
            self._saving = compiler.program
        slots = self._slots(text)
        if slots is None:
            return None
        pairs = zip(slots[::2], slots[1::2], strict=True)
        return tuple(text[start:end] if end >= 0 else "" for start, end in pairs)

    def _slots(self, text: str) -> _Slots | None:
        """Where the first match and its groups begin and end: threads in order of preference."""
        best: _Slots | None = None
        nowhere = (-1,) * (2 * self._groups + 1)
        threads: list[tuple[int, _Slots]] = []
        for place in range(len(text) + 1):
            if best is None:
                threads.append((0, (place, *nowhere)))
            elif not threads:
                break
            seen: set[int] = set()
            following: list[tuple[int, _Slots]] = []
            for thread in threads:
                done = self._advance(thread, text, place, seen, following)
                if done is not None:
                    best = done
                    break  # Those after it are less preferred.
            threads = following
        return best

    def _advance(
        self,
        thread: tuple[int, _Slots],
        text: str,
        place: int,
        seen: set[int],
        following: list[tuple[int, _Slots]],
    ) -> _Slots | None:
        """Follow a thread until it has to read: the slots, once it is at the end."""
        program, before, after = (
            self._saving,
            text[max(place - 1, 0) : place],
            text[place : place + 1],
        )
        todo = [thread]
        while todo:
            here, slots = todo.pop()
            if here in seen:
                continue
            seen.add(here)
            if here == len(program):
                return (slots[0], place, *slots[2:])
            match step := program[here]:
                case _Split():
                    todo += [(step.other, slots), (step.one, slots)]
                case _Save():
                    todo.append((here + 1, (*slots[: step.slot], place, *slots[step.slot + 1 :])))
                case Assert():
                    todo += [(here + 1, slots)] if _holds(step.kind, before, after) else []
                case Chars():
                    if after and step.has(after):
                        following.append((here + 1, slots))
        return None

    def _state(self, steps: frozenset[int], before: str) -> _State:
        kind = before if before in {"", "\n"} else "a" if _is_word(before) else " "
        state = self._states.get((steps, kind))
        if state is None:
            if self._known >= KNOWN_MAX:
                self._states, self._known = {}, 0
            state = self._states[steps, kind] = _State(steps, kind)
            # A state of many steps counts for several: it is that much larger.
            self._known += 1 + len(steps) // STEPS_COUNTED
        return state

    def _follow(self, state: _State, char: str) -> _State | None:
        """Where this character leads, remembered: texts of one kind lead the same few ways."""
        reached = self._reach(state.steps, state.before, char)
        found = None
        if len(self._program) not in reached:
            steps = {
                step + 1
                for step in reached
                if isinstance(chars := self._program[step], Chars) and chars.has(char)
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
            elif isinstance(step, Assert) and _holds(step.kind, before, after):
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
    return char != "" and any(low <= ord(char) <= high for low, high in WORD)
