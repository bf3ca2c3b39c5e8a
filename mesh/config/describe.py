"""Describing a configuration: for people to look at, and what differs between two."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from mesh.config.schema import RELOADABLE, Config

_SECRET = re.compile(r"token|secret|password|encrypt|(^|_)key$", re.IGNORECASE)
HIDDEN = "hidden"


def to_plain(config: Config) -> dict[str, Any]:
    """All options as plain values; anything that may be a secret is hidden."""
    plain: dict[str, Any] = _hide(msgspec.to_builtins(config))
    return plain


def _hide(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if inner and _SECRET.search(str(key)) else _hide(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_hide(inner) for inner in value]
    return value


def changes(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Keys that differ: those a reload applies, and those that need a restart."""
    differing = [
        name
        for name in old.__struct_fields__
        if name not in {"warnings", "not_yet"} and getattr(old, name) != getattr(new, name)
    ]
    applied = [name for name in differing if name in RELOADABLE]
    return applied, [name for name in differing if name not in RELOADABLE]
