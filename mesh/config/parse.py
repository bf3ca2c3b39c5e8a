"""Configuration text in YAML, JSON or HCL to plain dicts, with the place of what cannot be read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import yaml

from mesh.config import hcl
from mesh.config.problems import ConfigError, Problem

FORMATS = ("hcl", "json", "yaml")
SUFFIXES = {".hcl": "hcl", ".json": "json", ".yaml": "yaml", ".yml": "yaml"}
NODES_MAX = 1_000_000

Parsed = tuple[dict[str, Any], list[str]]


def parse_text(text: str, kind: str, source: str) -> Parsed:
    """Read configuration text of a format: hcl, json or yaml. Empty text is an empty dict.

    Returns the values and warnings. Raises ConfigError, naming line and column, for bad syntax,
    and for keys that JSON or YAML text gives twice.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        return {}, []
    if kind == "hcl" and text.lstrip()[0] == "{":
        kind = "json"  # As Consul does, for both have one parser there.
    reader: Callable[[str, str], Parsed] = {"hcl": _hcl, "json": _json, "yaml": _yaml}[kind]
    try:
        values, warnings = reader(text, source)
        _measure(values, source)
    except RecursionError:
        raise _error(source, "", "nested too deeply") from None
    return values, warnings


def _error(source: str, key: str, message: str) -> ConfigError:
    return ConfigError([Problem(source, key, message)])


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}"


def _hcl(text: str, source: str) -> Parsed:
    try:
        values, repeated = hcl.parse(text)
    except hcl.SyntaxProblem as error:
        raise _error(source, _place(error.line, error.column), error.message) from None
    return values, [f"{source}: {key}: set more than once; the last one counts" for key in repeated]


class _Pairs(dict[str, Any]):
    """A JSON object that remembers the keys it was given twice."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        super().__init__(items)
        counts = Counter(key for key, _ in items)
        self.repeated = [key for key, count in counts.items() if count > 1]


def _json(text: str, source: str) -> Parsed:
    def refuse(constant: str) -> None:
        raise _error(source, "", f"{constant} is not a JSON value")

    try:
        values = json.loads(text, object_pairs_hook=_Pairs, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise _error(source, _place(error.lineno, error.colno), error.msg) from None
    except ValueError as error:  # A number with thousands of digits.
        raise _error(source, "", str(error)) from None
    repeated = list(_repeated(values, ""))
    if repeated:
        raise ConfigError([Problem(source, key, "given twice") for key in repeated])
    return _object(values, source), []


def _repeated(value: Any, prefix: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        yield from (f"{prefix}{key}" for key in value.repeated)
        for key, inner in value.items():
            yield from _repeated(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _repeated(inner, f"{prefix.removesuffix('.')}[{at}].")


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may come once and a date stays text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is text", key.start_mark)
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                message = f'"{key.value}" is given twice'
                raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
            seen.add(key.value)
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)


def _yaml(text: str, source: str) -> Parsed:
    try:
        values = yaml.load(text, Loader=_Loader)  # noqa: S506  # A SafeLoader, made stricter.
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = _place(mark.line + 1, mark.column + 1) if mark else ""
        raise _error(source, place, str(error.problem or error)) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _error(source, "", str(error)) from None
    return ({}, []) if values is None else (_object(values, source), [])


def _object(values: Any, source: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise _error(source, "", "expected an object with keys such as node_name")
    return values


def _measure(values: dict[str, Any], source: str) -> None:
    """Refuse what unfolds without end, as YAML aliases can, or is deeper than any option."""
    left = NODES_MAX
    level: list[Any] = [values]
    for _ in range(hcl.DEPTH_MAX + 2):
        inner: list[Any] = []
        for value in level:
            inner += value.values() if isinstance(value, dict) else value
            if len(inner) > left:
                raise _error(source, "", f"more than {NODES_MAX} values")
        left -= len(inner)
        level = [value for value in inner if isinstance(value, dict | list)]
        if not level:
            return
    raise _error(source, "", f"nested deeper than {hcl.DEPTH_MAX}")
