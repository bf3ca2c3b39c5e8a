"""Templates of prepared queries: texts with `${...}` in them, rendered for the name asked for.

The language is the part of HIL that templates need: `${name.full}`, `${name.prefix}`,
`${name.suffix}`, `${match(1)}` and `${agent.segment}`; `$${` stands for a plain `${`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import msgspec

from mesh.errors import Invalid
from mesh.patterns import Pattern
from mesh.registry.prepared_rows import Prepared, ServiceQuery

T = TypeVar("T")

TEXT_MAX = 1024
RENDERED_MAX = 16 * 1024
"""Characters that one text is rendered to; the rest is cut off."""
GROUPS_MAX = 9999
VARIABLES = ("agent.segment", "name.full", "name.prefix", "name.suffix")
_SHOWN = 72


class Variable(msgspec.Struct, frozen=True):
    """`${name.full}` and the like."""

    name: str


class Match(msgspec.Struct, frozen=True):
    """`${match(n)}`: what the n-th group of the expression matched; 0 is the whole of it."""

    group: int


Part: TypeAlias = str | Variable | Match

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_DIGITS = re.compile(r"[0-9]+")


@lru_cache(maxsize=1024)
def parse(text: str) -> tuple[Part, ...]:
    """The parts of a text. Raises Invalid, pointing at the character where it went wrong."""
    if len(text) > TEXT_MAX:
        raise Invalid(f"it has {len(text)} characters, and {TEXT_MAX} is the limit")
    return _Parser(text).parts()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0

    def parts(self) -> tuple[Part, ...]:
        text, parts, plain = self._text, list[Part](), ""
        while self._place < len(text):
            if text.startswith("$${", self._place):
                plain += "${"
                self._place += 3
            elif text.startswith("${", self._place):
                start = self._place
                self._place += 2
                parts += [plain] if plain else []
                plain = ""
                parts.append(self._expression(start))
            else:
                plain += text[self._place]
                self._place += 1
        return (*parts, plain) if plain else tuple(parts)

    def _expression(self, start: int) -> Part:
        self._take(_SPACE)
        place = self._place
        name = self._take(_NAME)
        if not name:
            raise self._wrong(place, f"expected {', '.join(VARIABLES)} or match(n)", start)
        part: Part = Variable(name)
        if name == "match":
            part = self._match(start)
        elif name not in VARIABLES:
            known = ", ".join(VARIABLES)
            raise self._wrong(
                place, f'unknown variable "{name[:64]}": there are {known} and match(n)'
            )
        self._take(_SPACE)
        self._expect("}", start)
        return part

    def _match(self, start: int) -> Match:
        self._take(_SPACE)
        self._expect("(", start)
        self._take(_SPACE)
        place = self._place
        digits = self._take(_DIGITS)
        if not digits:
            raise self._wrong(place, "expected the number of a group, as in match(1)", start)
        if len(digits) > 4:
            raise self._wrong(place, f"no expression has more than {GROUPS_MAX} groups")
        self._take(_SPACE)
        self._expect(")", start)
        return Match(int(digits))

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._place)
        if found is None:
            return ""
        self._place = found.end()
        return found[0]

    def _expect(self, char: str, start: int) -> None:
        if not self._text.startswith(char, self._place):
            raise self._wrong(self._place, f"expected {char}", start)
        self._place += 1

    def _wrong(self, place: int, message: str, start: int | None = None) -> Invalid:
        if place >= len(self._text) and start is not None:
            place, message = start, "this ${ is never closed; write $${ for a plain ${"
        first = max(0, min(place - _SHOWN // 2, len(self._text) - _SHOWN))
        shown = self._text[first : first + _SHOWN]
        shown = "".join(char if char.isprintable() else " " for char in shown)
        return Invalid(f"{message}\n  {shown}\n  {' ' * (place - first)}^")


@lru_cache(maxsize=256)
def pattern(expression: str) -> Pattern:
    """The compiled expression. Raises Invalid."""
    return Pattern(expression)


def check(query: Prepared) -> None:
    """Raise Invalid, naming the field, when a template can never be rendered."""
    template = query.template
    if template is None:
        return
    if template.regexp:
        try:
            pattern(template.regexp)
        except Invalid as error:
            raise Invalid(f"Template.Regexp: {error.message}") from error

    def checked(text: str, field: str) -> str:
        try:
            parse(text)
        except Invalid as error:
            raise Invalid(f"{field}: {error.message}") from error
        return text

    _over_texts(query.service, checked)


def render(query: Prepared, name: str) -> Prepared:
    """The prepared query that a template is for this name, which begins with the template's."""
    template = query.template
    assert template is not None, "only templates are rendered"
    values = {
        "name.full": name,
        "name.prefix": query.name,
        "name.suffix": name[len(query.name) :],
        "agent.segment": "",  # There are no network segments.
    }
    groups = pattern(template.regexp).groups(name) if template.regexp else ()

    def rendered(text: str, _field: str) -> str:
        return _render(parse(text), values, groups or ())[:RENDERED_MAX]

    service = _over_texts(query.service, rendered)
    if template.remove_empty_tags:
        tags = [tag for tag in service.tags if tag]
        service = msgspec.structs.replace(service, tags=tags)
    return msgspec.structs.replace(query, service=service)


def _render(parts: tuple[Part, ...], values: dict[str, str], groups: tuple[str, ...]) -> str:
    found = []
    for part in parts:
        match part:
            case Variable():
                found.append(values[part.name])
            case Match():
                found.append(groups[part.group] if part.group < len(groups) else "")
            case _:
                found.append(part)
    return "".join(found)


def _over_texts(service: ServiceQuery, change: Callable[[str, str], str]) -> ServiceQuery:
    """The same with every text in it changed; `change` gets the text and where it stands."""
    changed: ServiceQuery = _changed(service, "Service", change)
    return changed


def _changed(value: Any, field: str, change: Callable[[str, str], str]) -> Any:
    if isinstance(value, str):
        return change(value, field)
    if isinstance(value, list):
        return [_changed(one, f"{field}[{at}]", change) for at, one in enumerate(value)]
    if isinstance(value, dict):
        return {key: _changed(one, f"{field}.{key}", change) for key, one in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {
            name: _changed(getattr(value, name), f"{field}.{_named(name)}", change)
            for name in value.__struct_fields__
        }
        return type(value)(**fields)
    return value


def _named(field: str) -> str:
    """As users write it."""
    words = (_WORDS.get(word, word.capitalize()) for word in field.split("_"))
    return "".join(words)


_WORDS = {"ids": "IDs"}
