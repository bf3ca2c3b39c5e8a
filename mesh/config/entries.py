"""The config entries that a configuration brings along, to be created when they are missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.config.schema import Config
from mesh.errors import Invalid
from mesh.registry.config import Write

KEY = "config_entries"


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """Entries that make no sense, each with the place."""
    for key in config.config_entries:
        if key != "bootstrap":
            yield f"{KEY}.{key}", "unknown; there is bootstrap, a list of entries"
    given = _given(config)
    if not isinstance(given, list):
        yield f"{KEY}.bootstrap", "expected a list of entries"
        return
    for place, entry in enumerate(given):
        where = f"{KEY}.bootstrap[{place}]"
        try:
            _read(entry)
        except Invalid as error:
            field, colon, complaint = error.message.partition(": ")
            yield (f"{where}.{field}", complaint) if colon else (where, error.message)


def wanted(config: Config) -> list[Write]:
    """The entries, checked before."""
    return [_read(entry) for entry in _given(config)]


def _given(config: Config) -> Any:
    given = config.config_entries.get("bootstrap", [])
    return [given] if isinstance(given, dict) else given  # HCL writes one as a block.


def _read(entry: Any) -> Write:
    if not isinstance(entry, dict):
        raise Invalid("expected an object with kind and name")
    found = {str(key).lower(): value for key, value in entry.items()}
    return Write.of(str(found.get("kind", "")), str(found.get("name", "")), entry)
