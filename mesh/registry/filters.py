"""Filters: an expression made into a test of the rows of one type, with the names its JSON has.

A selector leads through objects, maps and lists. Of a list of objects one element that passes is
enough. What a map has no key for is equal to nothing, in nothing and empty. A field that the type
does not have is an error, so that a misspelt one is not taken for a filter that nothing passes.
Fields whose type is `Any` hold whatever it is, and what is not there counts as a missing key.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeAlias, Union, get_args, get_origin

import msgspec

from mesh.errors import Invalid
from mesh.patterns import Pattern
from mesh.registry.expressions import (
    NEGATED,
    Both,
    Either,
    InvalidFilter,
    Match,
    Name,
    Not,
    Operator,
    Token,
    Tree,
    parse,
    wrong,
)

__all__ = ["InvalidFilter", "compiled"]

Test: TypeAlias = Callable[[Any], bool]

CACHED_MAX = 256
MATCHED_MAX = 64 * 1024
"""`matches` looks at so many characters of a value."""
EFFORT_MAX = 100_000
"""Steps that `matches` may take for one value: nothing else is done meanwhile."""
FIELDS_SHOWN_MAX = 60
_MISSING = object()
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}


@lru_cache(maxsize=CACHED_MAX)
def compiled(expression: str, kind: Any) -> Test:
    """A test of rows of this struct type. Raises InvalidFilter."""
    return _Compiler(expression).test(parse(expression), kind)


@lru_cache(maxsize=CACHED_MAX)
def _fields(kind: Any) -> dict[str, tuple[str, Any]]:
    """The JSON names of a struct's fields, with their names and types."""
    return {f.encode_name: (f.name, f.type) for f in msgspec.structs.fields(kind)}


def _plain(kind: Any) -> Any:
    """The type without the None and UNSET that a field may be instead."""
    if get_origin(kind) not in {Union, UnionType}:
        return kind
    choices = [one for one in get_args(kind) if one not in {NoneType, msgspec.UnsetType}]
    return choices[0] if len(choices) == 1 else Any


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _origin(kind: Any) -> Any:
    return get_origin(kind) or kind


class _Compiler:
    def __init__(self, expression: str) -> None:
        self._expression = expression

    def test(self, tree: Tree, kind: Any) -> Test:
        match tree:
            case Not():
                inner = self.test(tree.inner, kind)
                return lambda row: not inner(row)
            case Both():
                tests = [self.test(part, kind) for part in tree.parts]
                return lambda row: all(test(row) for test in tests)
            case Either():
                tests = [self.test(part, kind) for part in tree.parts]
                return lambda row: any(test(row) for test in tests)
            case Match():
                return self._along(tree, kind, 0)

    def _along(self, match: Match, kind: Any, step: int) -> Test:
        """The test of what lies from this step of the selector on."""
        kind, names = _plain(kind), match.selector.names
        origin, arguments = _origin(kind), get_args(kind)
        if step == len(names):
            return self._leaf(match, kind)
        name = names[step]
        if _is_struct(kind):
            if name.text not in _fields(kind):
                raise self._unknown(name, kind, names[:step])
            attribute, inside = _fields(kind)[name.text]
            return _of_attribute(attribute, self._along(match, inside, step + 1))
        if origin is dict:
            value = arguments[1] if arguments else Any
            return _of_key(name.text, self._along(match, value, step + 1))
        if origin in {list, tuple}:
            return _of_any(self._along(match, arguments[0] if arguments else Any, step))
        if kind in {Any, msgspec.Raw}:
            return _of_anything([one.text for one in names[step:]], self._leaf(match, Any))
        before = ".".join(one.text for one in names[:step])
        raise wrong(
            self._expression, name.start, f'"{before}" is {_called(kind)} and has no fields'
        )

    def _unknown(self, name: Name, kind: Any, before: Sequence[Name]) -> InvalidFilter:
        known = sorted(_fields(kind))
        lower = {one.lower(): one for one in known}
        near = difflib.get_close_matches(name.text[:64].lower(), lower, n=1, cutoff=0.6)
        hint = f'; did you mean "{lower[near[0]]}"?' if near else ""
        of = f'"{".".join(one.text for one in before)}" has' if before else "there is"
        shown = ", ".join(known[:FIELDS_SHOWN_MAX])
        return wrong(
            self._expression,
            name.start,
            f'{of} no field "{name.text[:64]}"{hint}',
            f"Fields: {shown}",
        )

    def _leaf(self, match: Match, kind: Any) -> Test:
        negated = match.operator in NEGATED
        operator: Operator = NEGATED.get(match.operator, match.operator)
        test = self._positive(match, operator, match.value or Token("text", "", 0), kind)
        missing = operator == "is empty"

        def answer(value: Any) -> bool:
            found = missing if value is _MISSING else test(value)
            return found != negated

        return answer

    def _positive(self, match: Match, operator: Operator, value: Token, kind: Any) -> Test:
        """The test that the operator without its negation stands for."""
        if kind in {Any, msgspec.Raw}:
            return self._of_any_kind(operator, value)
        origin = _origin(kind)
        if origin is dict:
            return self._of_container(match, operator, value, kind, str)
        if origin in {list, tuple}:
            inside = _plain((*get_args(kind), Any)[0])
            return self._of_container(match, operator, value, kind, inside)
        if _is_struct(kind):
            selected = ".".join(name.text for name in match.selector.names)
            some = ", ".join(f"{selected}.{name}" for name in list(_fields(kind))[:3])
            raise self._refuse(match, kind, f"a test of one of its fields, such as {some}")
        if kind in {int, float, bool}:
            if operator != "==":
                raise self._refuse(match, kind, "== and !=")
            wanted = self._read(value, kind)
            return lambda found: bool(_zeroed(found, kind) == wanted)
        return self._of_text(operator, value)

    def _refuse(self, match: Match, kind: Any, takes: str) -> InvalidFilter:
        selected = ".".join(name.text for name in match.selector.names)
        return wrong(
            self._expression, match.start, f'"{selected}" is {_called(kind)}: it takes {takes}'
        )

    def _of_text(self, operator: Operator, value: Token) -> Test:
        wanted = value.text
        match operator:
            case "==":
                return lambda found: _text(found) == wanted
            case "in":
                return lambda found: wanted in _text(found)
            case "matches":
                return self._of_pattern(value)
            case _:
                return lambda found: not _text(found)

    def _of_container(
        self, match: Match, operator: Operator, value: Token, kind: Any, inside: Any
    ) -> Test:
        if operator == "is empty":
            return lambda found: not _zeroed(found, tuple)
        simple = inside in {str, int, float, bool, Any}
        if operator != "in" or not simple:
            raise self._refuse(match, kind, "in, contains and is empty" if simple else "is empty")
        wanted = self._read(value, inside)
        return lambda found: wanted in _zeroed(found, tuple)

    def _of_any_kind(self, operator: Operator, value: Token) -> Test:
        text = self._of_text(operator, value)

        def test(found: Any) -> bool:
            found = _decoded(found)
            if isinstance(found, list | tuple | dict):
                if operator == "is empty":
                    return not found
                return operator == "in" and any(_text(one) == value.text for one in found)
            return text(found)

        return test

    def _of_pattern(self, value: Token) -> Test:
        pattern = self._pattern(value)

        def test(found: Any) -> bool:
            try:
                return pattern.found_in(_text(found), MATCHED_MAX, EFFORT_MAX)
            except Invalid as error:
                raise wrong(self._expression, value.start, error.message) from error

        return test

    def _pattern(self, value: Token) -> Pattern:
        try:
            return Pattern(value.text)
        except Invalid as error:
            message = f"not a regular expression: {error.message}"
            raise wrong(self._expression, value.start, message) from error

    def _read(self, value: Token, kind: Any) -> Any:
        if kind not in {int, float, bool}:
            return value.text
        if kind is bool and value.text in _TRUE | _FALSE:
            return value.text in _TRUE
        if kind is not bool:
            try:
                return int(value.text[:64], 0) if kind is int else float(value.text)
            except ValueError:
                pass
        expected = "true or false" if kind is bool else "a number"
        raise wrong(
            self._expression, value.start, f'expected {expected}, found "{value.text[:64]}"'
        )


def _called(kind: Any) -> str:
    if _is_struct(kind):
        return "an object"
    names = {int: "a number", float: "a number", bool: "true or false"}
    return names.get(kind) or {dict: "a map", list: "a list"}.get(_origin(kind)) or "text"


def _text(found: Any) -> str:
    if isinstance(found, str):
        return found
    if found is None or found is msgspec.UNSET:
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found)


def _decoded(found: Any) -> Any:
    return msgspec.json.decode(found) if isinstance(found, msgspec.Raw) else found


def _zeroed(found: Any, kind: Callable[[], Any]) -> Any:
    """The value, or the empty one of its type where a field is left out."""
    return kind() if found is None or found is msgspec.UNSET else found


def _is_missing(found: Any) -> bool:
    return found is None or found is msgspec.UNSET or found is _MISSING


def _of_attribute(attribute: str, inner: Test) -> Test:
    return lambda row: inner(_MISSING if _is_missing(row) else getattr(row, attribute))


def _of_key(key: str, inner: Test) -> Test:
    return lambda pairs: inner(_MISSING if _is_missing(pairs) else pairs.get(key, _MISSING))


def _of_any(inner: Test) -> Test:
    def test(items: Iterable[Any]) -> bool:
        return not _is_missing(items) and any(inner(item) for item in items)

    return test


def _of_anything(keys: Sequence[str], inner: Test) -> Test:
    """The value at the keys, through maps, and any element of lists on the way."""
    if not keys:
        return inner
    further = _of_anything(keys[1:], inner)

    def test(found: Any) -> bool:
        found = _decoded(found)
        if isinstance(found, list | tuple):
            return any(test(item) for item in found)
        return further(found.get(keys[0], _MISSING) if isinstance(found, Mapping) else _MISSING)

    return test
