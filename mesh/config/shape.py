"""From parsed text to options: names, types, merging, and back into one `Config`."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from mesh.agent.reading import read_check, read_service
from mesh.config import definitions
from mesh.config.marks import FILLED, IN_USE, NOT_YET, OLD_NAMES, SECRET, under
from mesh.config.problems import Problem, shown, suggestion
from mesh.config.schema import Config
from mesh.config.sections import Bytes, Seconds
from mesh.config.sizes import parse_size
from mesh.durations import parse_duration
from mesh.errors import Invalid

S = TypeVar("S", bound=msgspec.Struct)

_DEFINITIONS: dict[
    str, tuple[Callable[..., dict[str, Any]], Callable[..., tuple[object, list[str]]]]
] = {
    "services": (definitions.service, read_service),
    "checks": (definitions.check, read_check),
}
"""What knows the keys of each, and what knows the rest."""

COMMENTS = frozenset({"_comment", "//"})
"""Keys that hold remarks in JSON, which has no comments."""


def _table(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if not prefix and name in FILLED:
            continue
        yield f"{prefix}{name}", hint
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _table(hint, f"{prefix}{name}.")


OPTIONS: dict[str, Any] = dict(_table(Config, ""))
"""The type of every option and section, by dotted key."""

_CHILDREN: dict[str, set[str]] = {}
for _key in [*OPTIONS, *OLD_NAMES]:
    _CHILDREN.setdefault(_key.rpartition(".")[0], set()).add(_key.rpartition(".")[2])


def is_section(key: str) -> bool:
    """Whether the dotted key is a group of options."""
    hint = OPTIONS.get(key)
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


class Layer:
    """What one or more sources set: values by dotted key, and the source that set each."""

    def __init__(self) -> None:
        """Begin with nothing set."""
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.warnings: list[str] = []

    def add(self, raw: dict[str, Any], source: str) -> None:
        """Merge what a source says over what is set. Problems are collected."""
        self._section(raw, "", source)

    def set(self, key: str, value: Any, source: str) -> None:
        """Set one option, given its dotted key: a scalar replaces, lists append, maps merge."""
        found, complaint = _convert(value, OPTIONS[key])
        if complaint:
            if under(key, SECRET):
                complaint = complaint.partition(", got ")[0]
            self.problems.append(Problem(source, key, complaint))
            return
        old = self.values.get(key)
        if isinstance(found, tuple) and isinstance(old, tuple):
            found = (*old, *found)
        elif isinstance(found, dict) and isinstance(old, dict):
            found = old | found
        self.values[key], self.sources[key] = found, source

    def not_yet(self) -> tuple[str, ...]:
        """Keys that were set and that mesh does not act on yet."""
        defaults = Config()
        return tuple(
            key
            for key, value in self.values.items()
            if under(key, NOT_YET) and value != value_at(defaults, key)
        )

    def _section(self, raw: dict[str, Any], prefix: str, source: str) -> None:
        for name, value in raw.items():
            if value is not None and name not in COMMENTS:
                self._entry(prefix, name, value, source)

    def _entry(self, prefix: str, name: str, value: Any, source: str) -> None:
        key = f"{prefix}{name.lower()}"
        if key in OLD_NAMES and key not in IN_USE:
            newer = OLD_NAMES[key]
            self.warnings.append(f"{source}: {key}: is an old name; use {newer}")
        key = OLD_NAMES.get(key, key)
        if key not in OPTIONS:
            near = suggestion(name, _CHILDREN.get(prefix[:-1], ()), prefix)
            self.problems.append(Problem(source, f"{prefix}{name}", f"unknown key{near}"))
        elif key in {"services", "checks"}:
            self._definitions(key, value, source)
        elif is_section(key):
            self._blocks(key, value, source)
        else:
            self.set(key, value, source)

    def _blocks(self, key: str, value: Any, source: str) -> None:
        for block in value if isinstance(value, list) else [value]:
            if isinstance(block, dict):
                self._section(block, f"{key}.", source)
            else:
                complaint = f"expected a block of keys, got {shown(value)}"
                self.problems.append(Problem(source, key, complaint))

    def _definitions(self, key: str, value: Any, source: str) -> None:
        read, understand = _DEFINITIONS[key]
        kept: list[dict[str, Any]] = self.values.setdefault(key, [])
        self.sources.setdefault(key, source)

        def report(place: str, complaint: str) -> None:
            self.problems.append(Problem(source, place, complaint))

        for at, item in enumerate(value if isinstance(value, list) else [value]):
            before, place = len(self.problems), f"{key}[{at}]"
            kept.append(read(item, place, report))
            if len(self.problems) == before:
                for problem in understand(kept[-1])[1]:
                    report(place, problem)


def build(values: dict[str, Any], **filled: Any) -> Config:
    """The configuration with these values by dotted key, and defaults for the rest."""
    return _build(Config, values, "", filled)


def value_at(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _build(
    kind: type[S], values: dict[str, Any], prefix: str, filled: dict[str, Any] | None = None
) -> S:
    given: dict[str, Any] = dict(filled or {})
    for name in kind.__struct_fields__:
        key = f"{prefix}{name}"
        if key in values:
            given[name] = values[key]
        elif is_section(key) and any(other.startswith(f"{key}.") for other in values):
            given[name] = _build(OPTIONS[key], values, f"{key}.")
    return kind(**given)


Converted = tuple[Any, str]


def _convert(value: Any, hint: Any) -> Converted:
    """The value as the option's type has it, and what is wrong if anything is."""
    return _CONVERTERS[str(hint)](value)


def _bool(value: Any) -> Converted:
    return value, "" if isinstance(value, bool) else f"expected true or false, got {shown(value)}"


def _int(value: Any) -> Converted:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value, ""
    return None, f"expected a whole number, got {shown(value)}"


def _float(value: Any) -> Converted:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value), ""
    return None, f"expected a number, got {shown(value)}"


def _duration(value: Any) -> Converted:
    if not isinstance(value, str) and value != 0:
        return None, f'expected a duration such as "30s", got {shown(value)}'
    try:
        seconds = parse_duration(str(value))
    except Invalid as error:
        return None, error.message
    return seconds, "" if seconds >= 0 else f'expected a duration above 0, got "{value}"'


def _bytes(value: Any) -> Converted:
    if isinstance(value, str):
        try:
            return parse_size(value), ""
        except Invalid as error:
            return None, error.message
    found, complaint = _int(value)
    if complaint or found < 0:
        return None, f'expected a size such as "512MiB" or a number of bytes, got {shown(value)}'
    return found, ""


def _text(value: Any) -> Converted:
    return value, "" if isinstance(value, str) else f"expected a text, got {shown(value)}"


def _texts(value: Any) -> Converted:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value), ""
    return None, f'expected a list of texts such as ["a", "b"], got {shown(value)}'


def _objects(value: Any) -> Converted:
    items = value if isinstance(value, list) else [value]
    if all(isinstance(item, dict) for item in items):
        return tuple(items), ""
    return None, f"expected a list of blocks, got {shown(value)}"


def _object(value: Any) -> Converted:
    blocks = value if isinstance(value, list) else [value]
    if all(isinstance(block, dict) for block in blocks):
        return {name: inner for block in blocks for name, inner in block.items()}, ""
    return None, f"expected a block of keys, got {shown(value)}"


def _map_of(convert: Callable[[Any], Converted]) -> Callable[[Any], Converted]:
    def read(value: Any) -> Converted:
        found, complaint = _object(value)
        if complaint:
            return None, complaint
        pairs = {name: convert(inner) for name, inner in found.items()}
        wrong = [f"{name}: {complaint}" for name, (_, complaint) in pairs.items() if complaint]
        return {name: inner for name, (inner, _) in pairs.items()}, "; ".join(wrong)

    return read


_CONVERTERS: dict[str, Callable[[Any], Converted]] = {
    str(bool): _bool,
    str(bool | None): _bool,
    str(int): _int,
    str(int | None): _int,
    str(float): _float,
    str(Seconds): _duration,
    str(Bytes): _bytes,
    str(Bytes | None): _bytes,
    str(str): _text,
    str(tuple[str, ...]): _texts,
    str(tuple[dict[str, Any], ...]): _objects,
    str(dict[str, Any]): _object,
    str(dict[str, str]): _map_of(_text),
    str(dict[str, Seconds]): _map_of(_duration),
}
