"""meshctl operator autopilot: how the leader cares for the servers, and how they fare."""

from __future__ import annotations

from typing import Any

import msgspec

from mesh.cli.command import FAILED, FALSE, OK, TRUE, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client import ReadOptions
from mesh.client.shapes import ServerHealth, ServerState
from mesh.errors import Conflict

HEALTH_COLUMNS = (
    "Node",
    "ID",
    "Address",
    "Gossip",
    "State",
    "Healthy",
    "Last Contact",
    "Last Index",
    "Stable Since",
    "Reason",
)
STATE_COLUMNS = ("Node", "ID", "Address", "State", "Healthy", "Stable Since", "Reason")
# Field and its name for people, as Consul prints them.
LINES = (
    ("cleanup_dead_servers", "CleanupDeadServers"),
    ("last_contact_threshold", "LastContactThreshold"),
    ("max_trailing_logs", "MaxTrailingLogs"),
    ("min_quorum", "MinQuorum"),
    ("server_stabilization_time", "ServerStabilizationTime"),
    ("redundancy_zone_tag", "RedundancyZoneTag"),
    ("disable_upgrade_migration", "DisableUpgradeMigration"),
    ("upgrade_version_tag", "UpgradeVersionTag"),
)
SETTINGS = (
    Flag("cleanup-dead-servers", "take the vote of servers that failed", value="BOOL"),
    Flag("last-contact-threshold", "heard later than this, a server is unhealthy", value="TIME"),
    Flag("max-trailing-logs", "further behind than this, a server is unhealthy", "number"),
    Flag("min-quorum", "removing servers leaves at least so many voters", "number"),
    Flag("server-stabilization-time", "how long healthy before it gets a vote", value="TIME"),
    Flag("redundancy-zone-tag", "kept for Consul's tools; has no effect"),
    Flag("disable-upgrade-migration", "kept for Consul's tools; has no effect", value="BOOL"),
    Flag("upgrade-version-tag", "kept for Consul's tools; has no effect"),
)


ATTEMPTS = 3
"""Only what was given changes, so that somebody else's change in between is kept."""


def get_config(invocation: Invocation) -> int:
    """Show the settings."""
    settings = invocation.client.operator.autopilot_settings(read_options(invocation.parsed)).value
    known = msgspec.structs.asdict(settings)
    lines = [f"{name} = {_shown_value(known[field])}" for field, name in LINES]
    invocation.out.lines(settings, lines)
    return OK


def set_config(invocation: Invocation) -> int:
    """Change those settings that are given, and keep the others."""
    parsed, operator = invocation.parsed, invocation.client.operator
    changes = _changes(parsed)
    if not changes:
        raise Usage('nothing to change; "meshctl operator autopilot set-config --help" shows what')
    datacenter = parsed.text("datacenter")
    for _ in range(ATTEMPTS):
        before = operator.autopilot_settings(ReadOptions(datacenter=datacenter)).value
        after = msgspec.structs.replace(before, **changes)
        version = before.modify_index
        if operator.set_autopilot_settings(after, cas=version, datacenter=datacenter):
            break
    else:
        raise Conflict("the settings were changed meanwhile; look at them and try again")
    invocation.out.done("Configuration updated!", **_shown(changes))
    return OK


def _changes(parsed: Parsed) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for flag in SETTINGS:
        if not (text := parsed.text(flag.name)):
            continue
        value: Any = text
        if flag.kind == "number":
            value = int(text)
        elif flag.value == "BOOL":
            if text.lower() not in TRUE | FALSE:
                raise Usage(f'--{flag.name}: expected true or false, got "{text}"')
            value = text.lower() in TRUE
        changes[flag.name.replace("-", "_")] = value
    return changes


def _shown(changes: dict[str, Any]) -> dict[str, Any]:
    return {name: changes[field] for field, name in LINES if field in changes}


def health(invocation: Invocation) -> int:
    """A line a server; fails when not all are well."""
    out = invocation.out
    found = invocation.client.operator.autopilot_health(
        datacenter=invocation.parsed.text("datacenter")
    )
    out.table(found, HEALTH_COLUMNS, [_health_row(one) for one in found.servers])
    out.note(_verdict(found.healthy, found.failure_tolerance))
    return OK if found.healthy else FAILED


def _health_row(one: ServerHealth) -> tuple[str, ...]:
    state = "leader" if one.leader else "voter" if one.voter else "non-voter"
    heard = "never" if one.last_contact.startswith("-") else one.last_contact
    return (
        one.name,
        one.id,
        one.address,
        one.serf_status,
        state,
        _text(one.healthy),
        heard,
        str(one.last_index),
        one.stable_since,
        one.reason or "-",
    )


def state(invocation: Invocation) -> int:
    """Who votes, and why the others do not."""
    out = invocation.out
    found = invocation.client.operator.autopilot_state(
        datacenter=invocation.parsed.text("datacenter")
    )
    servers = sorted(found.servers.values(), key=lambda one: (one.name, one.id))
    out.table(found, STATE_COLUMNS, [_state_row(one) for one in servers])
    out.note(_verdict(found.healthy, found.failure_tolerance))
    if found.last_change:
        out.note(f"Last change: {found.last_change}.")
    return OK


def _state_row(one: ServerState) -> tuple[str, ...]:
    kind = "read-replica" if one.read_replica else one.status
    healthy = _text(one.healthy)
    return one.name, one.id, one.address, kind, healthy, one.stable_since, one.reason or "-"


def _verdict(healthy: bool, tolerance: int) -> str:
    well = "All servers are healthy" if healthy else "Not all servers are healthy"
    return f"{well}; {tolerance} more may fail."


def _shown_value(value: object) -> str:
    """As Consul prints it: an empty text in quotes."""
    return '""' if value == "" else _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


COMMANDS = {
    "operator autopilot get-config": Command(
        get_config,
        about="Show how the leader cares for the set of servers.",
        examples=(Example("operator autopilot get-config", "One setting a line"),),
        flags=READ_FLAGS,
    ),
    "operator autopilot set-config": Command(
        set_config,
        about="Change how the leader cares for the set of servers. Settings that are not given\n"
        "stay as they are.",
        examples=(
            Example("operator autopilot set-config --min-quorum 3", "Keep three voters at least"),
            Example("operator autopilot set-config --cleanup-dead-servers=false", "Keep the dead"),
        ),
        flags=(*SETTINGS, DATACENTER),
    ),
    "operator autopilot health": Command(
        health,
        about="Show how each server fares, as the leader sees it.",
        examples=(Example("operator autopilot health", "Exit code 1 when one is not healthy"),),
        flags=(DATACENTER,),
        exits=("1: a server is not healthy, or it failed",),
    ),
    "operator autopilot state": Command(
        state,
        about="Show who votes, and why other servers do not.",
        examples=(Example("operator autopilot state", "A line a server"),),
        flags=(DATACENTER,),
    ),
}
