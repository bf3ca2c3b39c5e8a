"""Checks: the table of health, which sessions rest on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from sys import intern
from typing import Any

import msgspec

from mesh.registry.levels import DATED, SESSIONS, Present
from mesh.store.database import Transaction
from mesh.store.table import Row, Table

SERF_HEALTH = "serfHealth"
STATUSES = ("passing", "warning", "critical")
SESSION = "session"
"""The kind of a check that passes while its node has a session of the name it gives."""


class Check(Row, frozen=True, kw_only=True):
    """The health of a node, or of one of its instances when service_id is set."""

    node: str
    id: str
    name: str = ""
    status: str = "critical"
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] = []
    kind: str = ""
    """How it is checked: `http`, `tcp`, `ttl` ...; shown as `Type`."""
    interval: str = ""
    timeout: str = ""
    exposed_port: int = 0
    definition: dict[str, Any] = {}
    sequence: int | msgspec.UnsetType = msgspec.UNSET
    """The health sequence its node gave the status; see `registry.transitions`. Unset for checks
    that others registered, and written by no cluster below level 3: rows then are as before."""
    since: float | msgspec.UnsetType = msgspec.UNSET
    """Unix seconds of when the catalog learned the status. Set by `put_check`, and only where it
    changed at level 6 or above."""

    @property
    def session_name(self) -> str:
        """The name of the session that it follows; empty for every other kind of check."""
        if self.kind != SESSION:
            return ""
        named = (value for key, value in self.definition.items() if key.lower() == "sessionname")
        name = next(named, "")
        return name if isinstance(name, str) else ""


def folded(value: str) -> Sequence[Hashable]:
    """An index in which text is found whatever its case; what is empty is not in it."""
    return (value.lower(),) if value else ()


def _session(check: Check) -> Sequence[Hashable]:
    name = check.session_name
    return ((check.node.lower(), name),) if name else ()


CHECKS: Table[Check] = Table(
    "checks",
    Check,
    # Many rows name the same node: one text for all of them is found without comparing it.
    key=lambda check: (intern(check.node.lower()), check.id),
    indexes={
        "node": lambda check: folded(check.node),
        "instance": lambda check: ((intern(check.node.lower()), check.service_id),),
        "service": lambda check: folded(check.service_name),
        "status": lambda check: folded(check.status),
        "gossip": lambda check: ("",) if check.id == SERF_HEALTH else (),
        "session": _session,
    },
    later={"session": SESSIONS},
)


def put_check(transaction: Transaction, check: Check) -> Check:
    """Write the check; it has its status since now, or since when the row before had it."""
    old = transaction.get(CHECKS, CHECKS.key(check))
    if old is not None and old.status == check.status:
        since = old.since
    else:
        since = transaction.time if Present().run(transaction) >= DATED else msgspec.UNSET
    if check.since != since:
        check = msgspec.structs.replace(check, since=since)
    return transaction.put(CHECKS, check)
