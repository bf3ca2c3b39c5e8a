"""A configuration as plain values to show, and what changed between two."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.config.marks import FILLED, RELOADABLE, SECRET, under
from mesh.config.schema import Config
from mesh.config.shape import build, value_at
from mesh.config.wording import leaves

HIDDEN = "hidden"
_SECRET = {"token", "header", "body"}


def to_plain(config: Config) -> dict[str, Any]:
    """Every option as nested dicts and lists, durations in seconds; secrets become "hidden"."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    for key in leaves():
        if under(key, SECRET):
            *parents, name = key.split(".")
            section = plain
            for parent in parents:
                section = section[parent]
            if section[name]:
                section[name] = HIDDEN
    plain["services"] = [_without_tokens(item) for item in plain["services"]]
    plain["checks"] = [_without_tokens(item) for item in plain["checks"]]
    plain["watches"] = [_without_tokens(item) for item in plain["watches"]]
    return plain


def changes(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Dotted keys that differ: those a reload applies, and those that need a restart."""
    changed = [key for key in leaves() if value_at(old, key) != value_at(new, key)]
    applied = [key for key in changed if under(key, RELOADABLE)]
    return applied, [key for key in changed if key not in applied]


def reloaded(old: Config, new: Config) -> Config:
    """What a running node has after a reload: new, but with what needs a restart as it was."""
    _, restart = changes(old, new)
    values = {key: value_at(old if key in restart else new, key) for key in leaves()}
    filled = {name: getattr(new, name) for name in FILLED}
    return build(values, **filled | {"dev": old.dev})


def _without_tokens(value: Any) -> Any:
    """Without what may be a secret: tokens, and headers and bodies, which often hold one."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if key.lower() in _SECRET and inner else _without_tokens(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_tokens(item) for item in value]
    return value
