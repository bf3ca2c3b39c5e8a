"""JSON Schemas of what travels in bodies and answers, from the structs that hold it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

TEMPLATE = "#/components/schemas/{name}"


class Schemas(msgspec.Struct, frozen=True):
    """The schema of each type asked for, and what these refer to, by name."""

    of: dict[Any, dict[str, Any]]
    components: dict[str, dict[str, Any]]


def schemas(kinds: Iterable[Any]) -> Schemas:
    """The schemas of these types."""
    asked = list(dict.fromkeys(kinds))
    found, components = msgspec.json.schema_components(asked, ref_template=TEMPLATE)
    names = _names(components)
    named = {names[name]: _renamed(one, names) for name, one in components.items()}
    for struct in _structs(asked):
        name = struct.__name__
        name = names[name if name in names else f"{struct.__module__}.{name}"]
        named[name]["title"] = name
        _describe(named[name], struct)
    pairs = zip(asked, found, strict=True)
    return Schemas(
        {kind: _renamed(one, names) for kind, one in pairs},
        {name: named[name] for name in sorted(named)},
    )


def _names(given: Iterable[str]) -> dict[str, str]:
    """Short names: without what says that it is a shape, with the module where two share one."""
    found: dict[str, str] = {}
    for name in given:
        path, _, own = name.rpartition(".")
        module = path.rpartition(".")[2].title().replace("_", "")
        short = module + own.removesuffix("Shape")
        found[name] = short if short not in found.values() else module + own
    return found


def _renamed(schema: Any, names: dict[str, str]) -> Any:
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, names) for key, value in schema.items()}
    if isinstance(ref := found.get("$ref"), str):
        found["$ref"] = TEMPLATE.format(name=names[ref.rpartition("/")[2]])
    return found


def _structs(kinds: Iterable[Any]) -> list[Any]:
    """Every struct that these types are made of."""
    waiting, found = list(kinds), list[Any]()
    while waiting:
        kind = waiting.pop()
        waiting += getattr(kind, "__args__", ())
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found.append(kind)
            waiting += [one.type for one in msgspec.structs.fields(kind)]
    return found


def _describe(schema: dict[str, Any], struct: Any) -> None:
    """Put the docstrings of fields, which Python does not keep, into their schemas."""
    told = _told(struct)
    for one in msgspec.structs.fields(struct):
        if one.name in told:
            field = schema["properties"][one.encode_name]
            schema["properties"][one.encode_name] = {**field, "description": told[one.name]}


@lru_cache(maxsize=1024)
def _told(struct: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for parent in reversed(struct.__mro__):
        if parent.__module__.startswith("mesh."):
            body = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0]
            assert isinstance(body, ast.ClassDef)
            found |= _docstrings(body)
    return found


def _docstrings(body: ast.ClassDef) -> dict[str, str]:
    found: dict[str, str] = {}
    for field, told in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match told:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field.target.id] = " ".join(text.split())
                case _:
                    pass
    return found
