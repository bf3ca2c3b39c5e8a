"""The mesh's options: what is wrong with their values, and the authority they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.connect import ca_config
from mesh.errors import Invalid, explained
from mesh.registry.authority import Rules

if TYPE_CHECKING:
    from mesh.config.schema import Config

STORAGES = ("memory", "disk")
_FILES = {
    f"{name}_file": name
    for name in ("root_cert", "private_key", "intermediate_cert", "intermediate_key")
}


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong, by dotted key."""
    knobs = config.connect
    if knobs.leaf_storage not in STORAGES:
        yield "connect.leaf_storage", f'expected memory or disk, got "{knobs.leaf_storage}"'
    if knobs.ca_provider != ca_config.PROVIDER:
        expected = f'mesh has its own authority only, "{ca_config.PROVIDER}"'
        yield "connect.ca_provider", f"{expected}; one from outside signs by ca_config.sign_command"
    if knobs.workload_folder and not Path(knobs.workload_folder).is_absolute():
        yield "connect.workload_folder", f'expected an absolute path, got "{knobs.workload_folder}"'
    if knobs.workload_users and not knobs.workload_folder:
        yield "connect.workload_users", "has no effect without connect.workload_folder"
    try:
        wanted(config)
    except Invalid as error:
        yield "connect.ca_config", error.message


def wanted(config: Config) -> ca_config.Wanted:
    """The authority that the configuration asks for. Raises Invalid."""
    given = _with_files(config.connect.ca_config)
    found = ca_config.read(given, Rules(), own=True)
    if found.brought.intermediate and not found.cluster_id:
        raise Invalid("cluster_id: is needed with intermediate_cert, which names the trust domain")
    return found


def _with_files(given: dict[str, Any]) -> dict[str, Any]:
    """With what the files hold that it names."""
    found = dict(given)
    for name, stands_for in _FILES.items():
        if name not in found:
            continue
        path = found.pop(name)
        try:
            found[stands_for] = Path(str(path)).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{name}: {explained(error)}") from error
    return found
