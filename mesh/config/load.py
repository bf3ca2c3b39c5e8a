"""Loading: files and flags into one configuration, or every error they have at once."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from mesh.config import hcl
from mesh.config.check import checked
from mesh.config.pending import NOT_YET
from mesh.config.schema import Config, Duration
from mesh.durations import parse_duration
from mesh.errors import Invalid

SUFFIXES = (".json", ".hcl", ".yaml", ".yml")
FILE_MAX_BYTES = 4 * 1024 * 1024
_SINGULAR = {"service": "services", "check": "checks"}
_SET_BY_MESH = {"dev", "not_yet", "warnings"}


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    source: str
    key: str
    message: str

    def __str__(self) -> str:
        """One line."""
        return ": ".join(part for part in (self.source, self.key, self.message) if part)


class ConfigError(Invalid):
    """Everything that is wrong with a configuration."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class Fragment(msgspec.Struct, frozen=True):
    """Part of a configuration, and the file or flag it comes from."""

    source: str
    values: dict[str, Any]


def read_paths(paths: Iterable[str]) -> tuple[list[Fragment], list[Problem]]:
    """Read files, and directories (not recursively, in the order of names)."""
    fragments: list[Fragment] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            files = _files(Path(path))
        except OSError as error:
            problems.append(Problem(path, "", f"cannot be read: {error.strerror}"))
            continue
        for file in files:
            try:
                values = read_text(file.read_text(), file.suffix)
                fragments.append(Fragment(str(file), values))
            except OSError as error:
                problems.append(Problem(str(file), "", f"cannot be read: {error.strerror}"))
            except UnicodeDecodeError:
                problems.append(Problem(str(file), "", "is not UTF-8 text"))
            except Invalid as error:
                problems.append(Problem(str(file), "", error.message))
    return fragments, problems


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        path.stat()
        return [path]
    return sorted(one for one in path.iterdir() if one.suffix in SUFFIXES and one.is_file())


def read_text(text: str, suffix: str) -> dict[str, Any]:
    """Parse by the file's ending; HCL for any other, as it reads JSON too. Raises Invalid."""
    if len(text) > FILE_MAX_BYTES:
        raise Invalid(f"is larger than {FILE_MAX_BYTES} bytes")
    if suffix == ".json":
        values = _json(text)
    elif suffix in {".yaml", ".yml"}:
        values = _yaml(text)
    else:
        values = _json(text) if text.lstrip().startswith("{") else hcl.parse(text)
    if not isinstance(values, dict):
        raise Invalid("expected keys and values at the top")
    return values


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise Invalid(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError:
        raise Invalid("is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f'the key "{twice}" stands twice in one object')
    return found


class _Yaml(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, name in enumerate(names):
            if not isinstance(name, str):
                raise Invalid(f"line {node.start_mark.line + 1}: the key {name!r} is not text")
            if name in names[:place]:
                raise Invalid(f'line {node.start_mark.line + 1}: the key "{name}" stands twice')
        return super().construct_mapping(node, deep)


def _yaml(text: str) -> Any:
    try:
        values = yaml.load(text, Loader=_Yaml)  # noqa: S506 - a safe loader with one more check.
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Invalid(f"{place}{getattr(error, 'problem', None) or error}") from error
    except (RecursionError, ValueError) as error:
        raise Invalid(f"is not YAML: {error}") from error
    return {} if values is None else values


class _Builder:
    """Merges fragments into values that fit the schema, noting what does not."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.not_yet: list[str] = []

    def struct(self, kind: Any, parts: Sequence[Fragment], prefix: str) -> Any:
        fields = typing.get_type_hints(kind, include_extras=True)
        given: dict[str, list[Fragment]] = {}
        for part in parts:
            for key, value in part.values.items():
                name = _SINGULAR.get(key, key) if not prefix else key
                if f"{prefix}{name}" in NOT_YET:
                    self.not_yet.append(f"{prefix}{name}")
                elif name not in fields or (not prefix and name in _SET_BY_MESH):
                    self._unknown(part.source, prefix, key, fields)
                elif value is not None:
                    given.setdefault(name, []).append(Fragment(part.source, {name: value}))
        values = {
            name: self.merge(fields[name], found, prefix, name) for name, found in given.items()
        }
        return kind(**{name: value for name, value in values.items() if value is not None})

    def _unknown(self, source: str, prefix: str, key: str, fields: Iterable[str]) -> None:
        known = [*(set(fields) - _SET_BY_MESH), *_SINGULAR]
        known += [one.removeprefix(prefix) for one in NOT_YET if one.startswith(prefix)]
        close = difflib.get_close_matches(key, known, 1, 0.6)
        hint = f"; did you mean {prefix}{close[0]}?" if close else ""
        self.problems.append(Problem(source, f"{prefix}{key}", f"unknown key{hint}"))

    def merge(self, kind: Any, parts: Sequence[Fragment], prefix: str, name: str) -> Any:
        key = f"{prefix}{name}"
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            inner = []
            for part in parts:
                value = part.values[name]
                if isinstance(value, dict):
                    inner.append(Fragment(part.source, value))
                else:
                    self._wrong(part.source, key, "keys and values", value)
            return self.struct(kind, inner, f"{key}.")
        merged: Any = None
        for part in parts:
            value = self.value(kind, part.values[name], part.source, key)
            if isinstance(value, list) and merged:
                merged = [*merged, *value]
            elif isinstance(value, dict) and merged:
                merged = {**merged, **value}
            elif value is not None:
                merged = value
        return merged

    def _wrong(self, source: str, key: str, expected: str, value: Any) -> None:
        shown = json.dumps(value, default=str)
        self.problems.append(Problem(source, key, f"expected {expected}, got {shown[:60]}"))

    def value(self, kind: Any, value: Any, source: str, key: str) -> Any:
        if kind == Duration:
            return self._duration(value, source, key)
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is list:
            many = value if isinstance(value, list) else [value]
            return [self.value(arguments[0], one, source, key) for one in many]
        if origin is dict:
            # HCL writes a block once more for more keys.
            if isinstance(value, list) and all(isinstance(one, dict) for one in value):
                value = {name: inner for one in value for name, inner in one.items()}
            if not isinstance(value, dict):
                return self._wrong(source, key, "keys and values", value)
            if arguments[1] is Any:
                return value
            return {
                str(name): self.value(arguments[1], inner, source, f"{key}.{name}")
                for name, inner in value.items()
            }
        if origin is types.UnionType:
            kind = arguments[0]
        return self._scalar(kind, value, source, key)

    def _scalar(self, kind: type, value: Any, source: str, key: str) -> Any:
        number = isinstance(value, int) and not isinstance(value, bool)
        expected = {bool: "true or false", int: "a whole number"}.get(kind, "text")
        if (kind is bool and isinstance(value, bool)) or (kind is int and number):
            return value
        if kind is str and (isinstance(value, str | float) or number):
            return str(value)
        return self._wrong(source, key, expected, value)

    def _duration(self, value: Any, source: str, key: str) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value / 1e9
        try:
            if isinstance(value, str):
                return parse_duration(value)
        except Invalid:
            pass
        self._wrong(source, key, "a duration such as 30s", value)
        return None


def build(fragments: Sequence[Fragment], problems: Sequence[Problem]) -> Config:
    """One configuration from fragments, later ones winning. Raises ConfigError with everything."""
    builder = _Builder()
    builder.problems += problems
    dev = any(part.values.get("dev") is True for part in fragments)
    plain = [
        Fragment(part.source, {key: value for key, value in part.values.items() if key != "dev"})
        for part in fragments
    ]
    if dev:
        plain.insert(0, Fragment("-dev", DEV))
    config: Config = builder.struct(Config, plain, "")
    config = msgspec.structs.replace(config, dev=dev, not_yet=tuple(sorted(set(builder.not_yet))))
    config, found = checked(config)
    given = {key: part.source for part in plain for key in part.values}
    builder.problems += [
        Problem(given.get(key.partition(".")[0], ""), key, text) for key, text in found
    ]
    if builder.problems:
        raise ConfigError(builder.problems)
    return config


DEV: dict[str, Any] = {
    "server": True,
    "bind_addr": "127.0.0.1",
    "log_level": "DEBUG",
    "ui_config": {"enabled": True},
    "gossip_lan": {"gossip_interval": "100ms", "probe_interval": "1s"},
}
