"""Differences: what a reload changed, field by field, for people and for programs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mesh.agent.definitions import CheckDefinition, ServiceDefinition
from mesh.codec import to_json
from mesh.durations import format_duration

HIDDEN = "hidden"
SHOWN_MAX = 80
_SECRET = {"token", "header", "body"}
_LEFT_OUT = {"id", "checks", "sidecar", "sidecar_of"}
_DURATIONS = {"interval", "timeout", "ttl", "deregister_critical_service_after"}


class Change(msgspec.Struct, frozen=True):
    """One thing that is different now, or that will be after a restart."""

    what: Literal["service", "check", "option", "tls"]
    name: str
    """The id of a service or check, or the dotted key of an option."""
    action: Literal["added", "removed", "changed"]
    field: str = ""
    """What of it changed; empty when it came, went, or is an option."""
    old: str = ""
    new: str = ""
    """Values in words; secrets are hidden."""
    restart: bool = False
    """It is not so yet: that needs a restart."""

    def __str__(self) -> str:
        """One line: `service web: port: 80 -> 81`."""
        if self.action != "changed" or not (self.old or self.new):
            return f"{self.what} {self.name} {self.action}"
        field = f" {self.field}:" if self.field else ""
        line = f"{self.what} {self.name}:{field} {self.old} -> {self.new}"
        return f"{line} (needs a restart)" if self.restart else line


def of_service(name: str, old: ServiceDefinition, new: ServiceDefinition) -> list[Change]:
    """What of a service itself is different; its checks and its sidecar are things of their own."""
    return _between("service", name, old, new)


def of_check(name: str, old: CheckDefinition, new: CheckDefinition) -> list[Change]:
    """What of a check is different."""
    return _between("check", name, old, new)


def _between(
    what: Literal["service", "check"], name: str, old: msgspec.Struct, new: msgspec.Struct
) -> list[Change]:
    found = []
    for field in old.__struct_fields__:
        before, after = getattr(old, field), getattr(new, field)
        if field not in _LEFT_OUT and before != after:
            words = (_words(field, before), _words(field, after))
            found.append(Change(what, name, "changed", field, *words))
    return found


def _words(field: str, value: Any) -> str:
    if field in _SECRET and value:
        return HIDDEN
    if field in _DURATIONS:
        return format_duration(value) if value else "none"
    return words(value)


def words(value: Any) -> str:
    """A value as a configuration has it, cut to a readable length."""
    text = value if isinstance(value, str) else to_json(value).decode()
    text = text or "none"
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 3]}..."
