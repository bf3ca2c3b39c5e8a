"""Rows of mesh out of records of Consul, with Go's field names and durations in nanoseconds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from mesh.durations import format_duration
from mesh.errors import Invalid
from mesh.registry import kinds
from mesh.registry.autopilot import Settings
from mesh.registry.catalog import SERF_HEALTH, Check, Node, Register, Service
from mesh.registry.coordinates import Coordinate, Place
from mesh.registry.entries import Entry
from mesh.registry.kv import Pair
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Target, Template
from mesh.registry.services import TaggedAddress, Weights
from mesh.registry.sessions import Session

NANOSECONDS = 1e9
OWN_SERVICE = "consul"
BOOKKEEPING = frozenset({"CreateIndex", "ModifyIndex", "Hash", "Kind", "Name", "RaftIndex"})
TENANCY = frozenset({"EnterpriseMeta", "Namespace", "Partition", "PeerName"})
DURATIONS = frozenset(
    {
        "ConnectTimeout",
        "DeregisterCriticalServiceAfter",
        "IdleTimeout",
        "Interval",
        "MaxEjectionTime",
        "BaseEjectionTime",
        "RequestTimeout",
        "Timeout",
        "LocalConnectTimeout",
        "LocalRequestTimeout",
    }
)
"""Fields of checks and config entries that JSON has as text such as `5s`."""


def registration(body: dict[str, Any]) -> Register | str:
    """A node, with an instance or a check; or why it is left out."""
    if body.get("PeerName"):
        return "imported by Consul from a peer"
    service, check = body.get("Service"), body.get("Check")
    if service and service.get("Service") == OWN_SERVICE and service.get("ID") == OWN_SERVICE:
        return "Consul's own servers"
    if check and check.get("CheckID") == SERF_HEALTH:
        return "what Consul's gossip said of its nodes"
    return Register(
        node=Node(
            name=body["Node"],
            id=(body.get("ID") or "").lower(),
            address=body.get("Address") or "",
            datacenter=body.get("Datacenter") or "",
            tagged_addresses=body.get("TaggedAddresses") or {},
            meta=_meta(body.get("NodeMeta")),
        ),
        service=_service(service) if service else None,
        checks=[_check(check)] if check else [],
    )


def _meta(found: dict[str, str] | None) -> dict[str, str]:
    """Without what an agent of Consul notes about itself."""
    return {key: value for key, value in (found or {}).items() if not key.startswith("consul-")}


def _service(body: dict[str, Any]) -> Service:
    addresses = body.get("TaggedAddresses") or {}
    kind = body.get("Kind") or ""
    return Service(
        node="",
        id=body.get("ID") or body["Service"],
        name=body["Service"],
        kind=kind,
        tags=body.get("Tags") or [],
        address=body.get("Address") or "",
        port=body.get("Port") or 0,
        tagged_addresses={
            name: TaggedAddress(one.get("Address") or "", one.get("Port") or 0)
            for name, one in addresses.items()
            if not name.startswith("consul-")
        },
        meta=body.get("Meta") or {},
        weights=_weights(body.get("Weights")),
        enable_tag_override=bool(body.get("EnableTagOverride")),
        socket_path=body.get("SocketPath") or "",
        proxy=_kept(body.get("Proxy") or {}) if kind else {},
        connect=_kept(body.get("Connect") or {}),
    )


def _weights(found: dict[str, int] | None) -> Weights:
    """A warning weight of 0 is one: such an instance gets nothing while it has a warning."""
    if not found or not found.get("Passing"):
        return Weights()
    return Weights(found["Passing"], found.get("Warning") or 0)


def _check(body: dict[str, Any]) -> Check:
    return Check(
        node="",
        id=body.get("CheckID") or body.get("Name") or "",
        name=body.get("Name") or "",
        status=body.get("Status") or "critical",
        notes=body.get("Notes") or "",
        output=body.get("Output") or "",
        service_id=body.get("ServiceID") or "",
        kind=body.get("Type") or "",
        interval=body.get("Interval") or "",
        timeout=body.get("Timeout") or "",
        exposed_port=body.get("ExposedPort") or 0,
        definition=_kept(body.get("Definition") or {}),
    )


def pair(body: dict[str, Any], value: bytes, prefix: str) -> Pair:
    """A key, under the prefix, with who holds it."""
    return Pair(
        key=prefix + body["Key"],
        value=value,
        flags=body.get("Flags") or 0,
        lock_index=body.get("LockIndex") or 0,
        session=body.get("Session") or "",
    )


def session(body: dict[str, Any]) -> Session:
    """A session, under its id."""
    named = [one["ID"] for one in body.get("ServiceChecks") or []]
    return Session(
        id=body["ID"],
        name=body.get("Name") or "",
        node=body["Node"],
        lock_delay=body.get("LockDelay") or 0,
        behavior=body.get("Behavior") or "release",
        ttl=body.get("TTL") or "",
        # Before Consul 1.7 all checks stood in one list.
        node_checks=list(dict.fromkeys([*(body.get("NodeChecks") or body.get("Checks") or [])])),
        service_checks=named,
    )


def coordinate(body: dict[str, Any]) -> Place:
    """Where a node is in the network."""
    coord = body["Coord"]
    made = Coordinate(
        vec=tuple(map(float, coord["Vec"])),
        error=float(coord["Error"]),
        adjustment=float(coord["Adjustment"]),
        height=float(coord["Height"]),
    )
    return Place(node=body["Node"], coordinate=made)


def query(body: dict[str, Any]) -> Prepared:
    """A prepared query, under its id."""
    asked, template = body["Service"], body.get("Template") or {}
    failover = asked.get("Failover") or {}
    targets = failover.get("Targets") or []
    if any(one.get("Peer") for one in targets):
        raise Invalid(f"prepared query {body['ID']} fails over to a peer")
    return Prepared(
        id=body["ID"],
        name=body.get("Name") or "",
        session=body.get("Session") or "",
        token=body.get("Token") or "",
        template=Template(
            template["Type"],
            template.get("Regexp") or "",
            bool(template.get("RemoveEmptyTags")),
        )
        if template.get("Type")
        else None,
        service=ServiceQuery(
            service=asked["Service"],
            failover=Failover(
                failover.get("NearestN") or 0,
                failover.get("Datacenters") or [],
                [Target(one.get("Datacenter") or "") for one in targets],
            ),
            only_passing=bool(asked.get("OnlyPassing")),
            ignore_check_ids=asked.get("IgnoreCheckIDs") or [],
            near=asked.get("Near") or "",
            tags=asked.get("Tags") or [],
            node_meta=asked.get("NodeMeta") or {},
            service_meta=asked.get("ServiceMeta") or {},
            connect=bool(asked.get("Connect")),
        ),
        ttl=(body.get("DNS") or {}).get("TTL") or "",
    )


def entry(body: dict[str, Any], kind: str) -> Entry:
    """A config entry as it is stored; one that means more than mesh knows stays as it is."""
    kept = {key: one for key, one in _kept(body).items() if key not in BOOKKEEPING}
    named = body.get("Kind") or kind
    name = body.get("Name") or kinds.name_of(named, "") or named
    with suppress(Invalid):
        kept = kinds.written(named, name, kept)
    return Entry(kind=named, name=name, body=kept)


def settings(body: dict[str, Any]) -> Settings:
    """Autopilot's settings."""
    return Settings(
        cleanup_dead_servers=bool(body.get("CleanupDeadServers")),
        last_contact_threshold=(body.get("LastContactThreshold") or 0) / NANOSECONDS,
        max_trailing_logs=body.get("MaxTrailingLogs") or 0,
        min_quorum=body.get("MinQuorum") or 0,
        server_stabilization_time=(body.get("ServerStabilizationTime") or 0) / NANOSECONDS,
        redundancy_zone_tag=body.get("RedundancyZoneTag") or "",
        disable_upgrade_migration=bool(body.get("DisableUpgradeMigration")),
        upgrade_version_tag=body.get("UpgradeVersionTag") or "",
    )


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    """Without what Go leaves empty and Consul's indexes; durations as text."""
    found = {}
    for key, value in body.items():
        if key in TENANCY or key in BOOKKEEPING - {"Kind", "Name"}:
            continue
        if (one := _filled(key, value)) not in (None, "", 0, False, [], {}):
            found[key] = one
    return found


def _filled(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return _kept(value)
    if isinstance(value, list):
        return [_kept(one) if isinstance(one, dict) else one for one in value]
    if key in DURATIONS and isinstance(value, int) and value and not isinstance(value, bool):
        return format_duration(value / NANOSECONDS)
    return value
