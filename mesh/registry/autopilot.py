"""Autopilot's settings: one row that says how the leader cares for the set of servers."""

from __future__ import annotations

import math
from typing import ClassVar

from mesh.errors import Invalid
from mesh.registry.port import Command, Query
from mesh.store.database import Transaction, View
from mesh.store.table import Row, Table

SECONDS_MAX = 2**63 / 1e9
"""What a Go duration holds, about 292 years."""
MIN_QUORUM_MAX = 99
_KEY = "settings"


class Settings(Row, frozen=True, kw_only=True):
    """How the leader cares for the servers. Times are in seconds, names and defaults Consul's."""

    history: ClassVar[str] = "autopilot"
    cleanup_dead_servers: bool = True
    """Take the vote of servers that failed for good."""
    last_contact_threshold: float = 0.2
    """A server the leader has not heard for longer, beyond its heartbeat, is unhealthy."""
    max_trailing_logs: int = 250
    """A server that lacks more log entries is unhealthy."""
    min_quorum: int = 0
    """Removing servers leaves at least so many voters."""
    server_stabilization_time: float = 10.0
    """How long a server must be healthy before it is given a vote."""
    redundancy_zone_tag: str = ""
    """Kept for Consul's tools; has no effect."""
    disable_upgrade_migration: bool = False
    """Kept for Consul's tools; has no effect."""
    upgrade_version_tag: str = ""
    """Kept for Consul's tools; has no effect."""


TABLE: Table[Settings] = Table("autopilot", Settings, key=lambda _: _KEY, indexes={})


def check(settings: Settings) -> None:
    """Raise Invalid, naming the field, for settings that make no sense."""
    times = {
        "LastContactThreshold": settings.last_contact_threshold,
        "ServerStabilizationTime": settings.server_stabilization_time,
    }
    for name, seconds in times.items():
        if not (math.isfinite(seconds) and 0 <= seconds <= SECONDS_MAX):
            raise Invalid(f"{name}: expected a duration from 0 to 292 years, got {seconds:g} s")
    if not 0 <= settings.max_trailing_logs < 2**63:
        raise Invalid(f"MaxTrailingLogs: expected 0 or more, got {settings.max_trailing_logs}")
    if not 0 <= settings.min_quorum <= MIN_QUORUM_MAX:
        raise Invalid(f"MinQuorum: expected 0 to {MIN_QUORUM_MAX}, got {settings.min_quorum}")


class Get(Query[Settings | None], frozen=True, tag="autopilot.get"):
    """The settings, or None before a leader wrote the first."""

    answer = Settings | None

    def run(self, view: View) -> Settings | None:
        """Read the one row."""
        return view.get(TABLE, _KEY)


class Set(Command[bool], frozen=True, tag="autopilot.set"):
    """Write the settings. With check_index only if their modify index is that; 0: none yet."""

    result = bool
    settings: Settings
    check_index: int | None = None

    def validate(self) -> None:
        """Times and numbers have limits."""
        check(self.settings)

    def apply(self, transaction: Transaction) -> bool:
        """Write; False when the check index does not match."""
        old = transaction.get(TABLE, _KEY)
        if self.check_index is not None and self.check_index != (old.modify_index if old else 0):
            return False
        transaction.put(TABLE, self.settings)
        return True
