"""Bodies of config entries as typed parts: read from what users write, refused with the path.

Names are taken in any case and with underscores (`PathExact`, `path_exact`). What is read is a
struct whose builtin form has Consul's names and leaves out defaults, so that equal settings are
equal bodies.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import msgspec

from mesh.durations import format_duration, parse_duration
from mesh.errors import Invalid
from mesh.patterns import Pattern

P = TypeVar("P", bound="Part")

Duration: TypeAlias = Annotated[str, "duration"]
"""Go's text, such as 10s; nanoseconds are taken too."""
Fault: TypeAlias = tuple[str, str]
"""Where, from the part on, and what is wrong there."""
WHOLE_MAX = 2**31 - 1
NAMES_SHOWN = 12
META_MAX = 64
META_KEY_MAX = 128
META_VALUE_MAX = 512
_CAPITALS = {
    "id": "ID",
    "tls": "TLS",
    "http": "HTTP",
    "jwt": "JWT",
    "jwks": "JWKS",
    "json": "JSON",
    "uri": "URI",
    "sni": "SNI",
}
_CHOICES = frozenset({"mode", "meshgateway"})
"""Plain names of what is chosen from a list, in which `none` or `default` stands for nothing."""
_TEXTS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def api_name(name: str) -> str:
    """Consul's name of a field: `path_exact` is `PathExact`."""
    return "".join(_CAPITALS.get(part, part.capitalize()) for part in name.split("_"))


class Part(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename=api_name,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """A part of a body."""

    later: ClassVar[tuple[str, ...]] = ()
    """Names that there are, but that mean nothing yet: refused unless empty.

    A `Mode` below them is also empty as `none` or `default`. A name never is: `Peer = "default"`
    is somebody.
    """
    ignored: ClassVar[tuple[str, ...]] = ()
    """Names that are taken and mean nothing, since others give them when they read."""

    def faults(self) -> Iterator[Fault]:
        """What is wrong beyond names and types."""
        yield from ()


class Body(Part, frozen=True, kw_only=True):
    """The body of an entry."""

    ignored: ClassVar[tuple[str, ...]] = ("CreateIndex", "ModifyIndex", "Hash", "Kind", "Name")
    only_name: ClassVar[str] = ""
    """The name that every entry of the kind has; empty when each has its own."""
    meta: dict[str, str] = {}

    def settled(self, name: str) -> Body:
        """The same with all that follows from the rest filled in."""
        _ = name
        return self

    def faults_of(self, name: str) -> Iterator[Fault]:
        """What is wrong in an entry of this name."""
        if self.only_name and name != self.only_name:
            yield "Name", f'expected "{self.only_name}", got "{name[:64]}"'
        if not self.only_name and "*" in name:
            yield "Name", "wildcards are not allowed"
        yield from meta_faults(self.meta)


def meta_faults(meta: Mapping[str, str], where: str = "Meta") -> Iterator[Fault]:
    """Metadata has Consul's limits."""
    if len(meta) > META_MAX:
        yield where, f"more than {META_MAX} pairs"
    for key, value in meta.items():
        if not key or len(key) > META_KEY_MAX:
            yield where, f"a key must have 1 to {META_KEY_MAX} characters"
        if len(value) > META_VALUE_MAX:
            yield f"{where}.{key}", f"longer than {META_VALUE_MAX} characters"


def regex_faults(where: str, expression: str) -> Iterator[Fault]:
    """An expression must be one that Envoy's RE2 takes."""
    if problem := regex_problem(expression):
        yield where, problem


@lru_cache(maxsize=1024)
def regex_problem(expression: str) -> str:
    """Why an expression is none that Envoy's RE2 takes; empty for one that is."""
    try:
        if expression:
            Pattern(expression, whole=True)
    except Invalid as error:
        return f"not a regular expression of RE2: {error.message}"
    return ""


def json_faults(where: str, text: str, *, several: bool = False) -> Iterator[Fault]:
    """An option for Envoy is empty or a JSON object; `several`: one after another, or a list."""
    text = text.strip()
    try:
        if several:
            msgspec.json.decode(text if text[:1] == "[" else f"[{text}]", type=list[dict[str, Any]])
        elif text:
            msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        what = "JSON objects" if several else "a JSON object"
        yield where, f"expected {what} as text: {error}"


def read(kind: type[P], value: object, path: str = "") -> P:
    """Read a part. Raises Invalid, naming the place and what would be right."""
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    if len(path) > 400:
        raise Invalid(f"{path[:64]}: nested too deeply")
    given, places = _named(kind, value, path)
    fields = _fields(kind)
    values: dict[str, Any] = {}
    for name, inside in given.items():
        field = fields[name]
        found = _value(field.type, inside, places[name])
        # The default itself is left out of what is stored, something equal is not.
        values[field.name] = field.default if found == field.default else found
    made = kind(**values)
    for where, text in made.faults():
        raise Invalid(f"{_join(path, where)}: {text}")
    return made


def plain(part: Part) -> dict[str, Any]:
    """The part as entries hold it."""
    found: dict[str, Any] = msgspec.to_builtins(part)
    return found


def _named(
    kind: type[Part], value: dict[Any, Any], path: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """What is given, by plain names, and where each stands."""
    fields = _fields(kind)
    skipped, later = _plain_names(kind.ignored), _plain_names(kind.later)
    given: dict[str, Any] = {}
    places: dict[str, str] = {}
    for key, inside in value.items():
        name = _plain_name(str(key))
        if name in skipped:
            continue
        if name in later:
            if _is_empty(inside):
                continue
            raise Invalid(f"{_join(path, later[name])}: not available yet")
        if name in {"namespace", "partition"}:
            if inside in (None, "", "default"):
                continue
            raise Invalid(f"{_join(path, str(key))}: mesh has no namespaces or partitions")
        if name not in fields:
            raise Invalid(_unknown(kind, str(key)[:64], path))
        place = _join(path, fields[name].encode_name)
        if name in given and given[name] != inside:
            raise Invalid(f"{place}: given twice, and not the same")
        if inside is not None:
            given[name], places[name] = inside, place
    return given, places


def _unknown(kind: type[Part], key: str, path: str) -> str:
    names = {name: field.encode_name for name, field in _fields(kind).items()}
    names |= _plain_names(kind.later)
    near = get_close_matches(_plain_name(key), names, 1)
    if near:
        return f"{_join(path, key)}: unknown key; did you mean {names[near[0]]}?"
    shown = sorted(field.encode_name for field in _fields(kind).values())
    more = ", ..." if len(shown) > NAMES_SHOWN else ""
    return f"{_join(path, key)}: unknown key; there are {', '.join(shown[:NAMES_SHOWN])}{more}"


def _value(kind: Any, value: Any, path: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        return _value(next(one for one in arguments if one is not types.NoneType), value, path)
    reader = _READERS.get(origin)
    if reader is not None:
        return reader(arguments, value, path)
    if kind is Any:
        return value
    if isinstance(kind, type) and issubclass(kind, Part):
        return read(kind, value, path)
    return _scalar(kind, value, path)


def _object(kinds: tuple[Any, ...], value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _wrong(path, "an object", value)
    return {key: _value(kinds[1], inside, f"{path}.{key}") for key, inside in value.items()}


def _list(kinds: tuple[Any, ...], value: Any, path: str) -> list[Any]:
    (kind,) = kinds
    if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Part):
        value = [value]  # HCL writes a list of one as a block.
    if not isinstance(value, list):
        raise _wrong(path, "a list", value)
    return [_value(kind, inside, f"{path}[{place}]") for place, inside in enumerate(value)]


def _scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not kind:
        raise _wrong(path, _TEXTS[kind], value)
    if kind in {int, float} and not 0 <= value <= WHOLE_MAX:
        raise Invalid(f"{path}: expected {_TEXTS[kind]} from 0 to {WHOLE_MAX}, got {value}")
    return value


def _choice(choices: tuple[str, ...], value: Any, path: str) -> str:
    wanted = [one for one in choices if one]
    if isinstance(value, str):
        for one in choices:
            if one.lower() == value.lower():
                return one
        near = get_close_matches(value.lower(), wanted, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Invalid(f'{path}: expected {" or ".join(wanted)}, got "{value[:64]}"{hint}')
    raise _wrong(path, " or ".join(wanted), value)


def _duration(_: tuple[Any, ...], value: Any, path: str) -> str:
    if type(value) is int:
        return format_duration(value / 1e9)
    if not isinstance(value, str):
        raise _wrong(path, "a duration such as 30s", value)
    try:
        seconds = parse_duration(value) if value else 0.0
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}") from error
    if seconds < 0:
        raise Invalid(f'{path}: expected a duration of 0 or more, got "{value}"')
    return value


_READERS: dict[Any, Callable[[tuple[Any, ...], Any, str], Any]] = {
    Annotated: _duration,
    Literal: _choice,
    list: _list,
    dict: _object,
}
"""By what a type is made with: how a value of it is read."""


def _wrong(path: str, expected: str, value: object) -> Invalid:
    got = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }.get(type(value), "nothing")
    return Invalid(f"{path or 'the entry'}: expected {expected}, got {got}")


def _is_empty(value: object, name: str = "") -> bool:
    if isinstance(value, dict):
        return all(_is_empty(inside, _plain_name(str(key))) for key, inside in value.items())
    if name in _CHOICES and value in ("none", "default"):
        return True
    return value in (None, "", False, 0) or value == []


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _plain_name(name: str) -> str:
    return name.replace("_", "").lower()


@lru_cache(maxsize=256)
def _plain_names(names: tuple[str, ...]) -> dict[str, str]:
    return {_plain_name(name): name for name in names}


@lru_cache(maxsize=256)
def _fields(kind: type[Part]) -> dict[str, msgspec.structs.FieldInfo]:
    return {_plain_name(field.encode_name): field for field in msgspec.structs.fields(kind)}
