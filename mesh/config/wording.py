"""What each option means: the texts under the fields of the schema."""

from __future__ import annotations

import ast
import functools
import inspect

import msgspec

from mesh.config import sections
from mesh.config.schema import Config
from mesh.config.shape import OPTIONS, is_section


@functools.cache
def _texts(module_source: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(module_source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, text in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
            ):
                found[node.name, field.target.id] = str(text.value.value)
    return found


def _meaning(key: str) -> str:
    parent, _, name = key.rpartition(".")
    kind: type[msgspec.Struct] = OPTIONS[parent] if parent else Config
    module = inspect.getmodule(kind) or sections
    texts = _texts(inspect.getsource(module))
    home = next(one for one in kind.__mro__ if (one.__name__, name) in texts)
    return " ".join(texts[home.__name__, name].split())


MEANINGS = {key: _meaning(key) for key in OPTIONS}
"""The meaning of every option and section, by dotted key."""


def leaves() -> list[str]:
    """Dotted keys of every option that is no section."""
    return [key for key in OPTIONS if not is_section(key)]
