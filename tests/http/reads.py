"""What a handler reads of its request, found in its source and that of all it calls."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, TypeAlias

import msgspec

PACKAGE = "mesh.http"
Known: TypeAlias = dict[str, tuple[str, ...]]
"""The texts that a variable may have."""
_READERS = {"param", "get"}


class Reads(msgspec.Struct):
    """Query parameters, and those of them of which only their presence counts; the body's type."""

    params: set[str] = msgspec.field(default_factory=set)
    present: set[str] = msgspec.field(default_factory=set)
    refused: set[str] = msgspec.field(default_factory=set)
    bodies: list[Any] = msgspec.field(default_factory=list)
    answers: set[str] = msgspec.field(default_factory=set)
    """The makers of replies: `json`, `answered`, `nothing`, `boolean`."""


def reads(handler: Callable[..., Any]) -> Reads:
    """What this handler reads."""
    found = Reads()
    _walk(handler, {}, found, set())
    found.present -= found.params
    return found


def _walk(function: Callable[..., Any], known: Known, found: Reads, seen: set[Any]) -> None:
    """Add what a function reads, with some of its arguments known to be these texts."""
    at = (getattr(function, "__wrapped__", function), *sorted(known.items()))
    if at in seen:
        return
    seen.add(at)
    for one in _layers(function):
        scope = {**one.__globals__, **inspect.getclosurevars(one).nonlocals}
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        here = known | _loops(tree, scope)
        for node in ast.walk(tree):
            _read(node, here, found)
            if isinstance(node, ast.Call):
                _call(node, scope, here, found, seen)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                _follow(scope.get(node.id), {}, found, seen)


def _layers(function: Any) -> Iterator[FunctionType]:
    """The function and what it wraps."""
    while isinstance(function, FunctionType):
        yield function
        function = getattr(function, "__wrapped__", None)


def _follow(callee: Any, known: Known, found: Reads, seen: set[Any]) -> None:
    if isinstance(callee, FunctionType) and callee.__module__.startswith(PACKAGE):
        _walk(callee, known, found, seen)


def _loops(tree: ast.AST, scope: dict[str, Any]) -> Known:
    """The texts that the variables of loops over constants take."""
    found: Known = {}
    for node in ast.walk(tree):
        match node:
            case (
                ast.For(target=ast.Name(id=name), iter=over)
                | ast.comprehension(target=ast.Name(id=name), iter=over)
            ):
                values = _resolve(over, scope)
                if isinstance(values, tuple) and all(isinstance(one, str) for one in values):
                    found[name] = values
            case _:
                pass
    return found


def _texts(node: ast.expr, known: Known) -> tuple[str, ...]:
    match node:
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.Name(id=name):
            return known.get(name, ())
        case _:
            return ()


def _read(node: ast.AST, known: Known, found: Reads) -> None:
    match node:
        case ast.Call(func=ast.Attribute(attr=reader, value=of), args=[name, *_]) if (
            reader in _READERS and (reader == "param" or _is_params(of))
        ):
            found.params.update(_texts(name, known))
        case ast.Compare(left=name, ops=[ast.In() | ast.NotIn()], comparators=[of]) if _is_params(
            of
        ):
            found.present.update(_texts(name, known))
        case ast.Attribute(attr="body" | "stream", value=ast.Name(id="request")):
            found.bodies.append(bytes)
        case _:
            pass


def _is_params(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(attr="params", value=ast.Name(id="request")):
            return True
        case ast.Name(id="params"):  # In read_options, where it is request.params.
            return True
        case _:
            return False


def _call(
    node: ast.Call, scope: dict[str, Any], known: Known, found: Reads, seen: set[Any]
) -> None:
    callee = _resolve(node.func, scope)
    if not isinstance(callee, FunctionType) or not callee.__module__.startswith(PACKAGE):
        return
    name = callee.__name__
    if callee.__module__ == "mesh.http.respond":
        found.answers.add(name)
        return
    if (callee.__module__, name) == ("mesh.http.params", "body"):
        found.bodies.append(_resolve(node.args[1], scope))
        return
    if (callee.__module__, name) == ("mesh.http.params", "refuse"):
        found.refused.update(*(_texts(one, known) for one in node.args))
        return
    names = list(inspect.signature(callee).parameters)
    given = dict(zip(names, node.args, strict=False))
    given |= {one.arg: one.value for one in node.keywords if one.arg}
    texts = {name: _texts(value, known) for name, value in given.items()}
    _walk(callee, {name: some for name, some in texts.items() if some}, found, seen)


def _resolve(node: ast.expr, scope: dict[str, Any]) -> Any:
    match node:
        case ast.Name(id=name):
            return scope.get(name)
        case ast.Attribute(value=inner, attr=name):
            return getattr(_resolve(inner, scope), name, None)
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return list[_resolve(inner, scope)]  # type: ignore[misc]  # The type that the text names.
        case _:
            return None
