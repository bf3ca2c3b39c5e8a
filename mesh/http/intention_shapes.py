"""Intentions as the older API shows and takes them."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mesh.codec import check_depth, pack
from mesh.errors import Invalid
from mesh.http.shapes import Shape
from mesh.registry import intentions
from mesh.registry.intentions import Intention
from mesh.registry.kinds import parts, service_intentions

NEVER = "0001-01-01T00:00:00Z"


class IntentionBody(Shape, frozen=True, kw_only=True):
    """An intention. What follows from the rest is ignored: what was read can be sent."""

    id: str = ""
    description: str = ""
    source_ns: str = msgspec.field(name="SourceNS", default="")
    source_name: str = ""
    destination_ns: str = msgspec.field(name="DestinationNS", default="")
    destination_name: str = ""
    source_partition: str = ""
    destination_partition: str = ""
    source_peer: str = ""
    source_type: str = ""
    action: str = ""
    permissions: list[dict[str, Any]] = []
    meta: dict[str, str] = {}
    dry_run: bool = False
    """Evaluated and reported, but not enforced."""
    owner: str = ""
    """Only who writes under this name may change it."""
    default_addr: str = ""
    default_port: int = 0
    precedence: int = 0
    created_at: str = ""
    updated_at: str = ""
    hash: str = ""
    create_index: int = 0
    modify_index: int = 0


class IntentionShape(Shape, frozen=True, kw_only=True):
    """An intention. It has an ID if it was made by this API, and permissions or an action."""

    id: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    source_ns: str = msgspec.field(name="SourceNS", default="default")
    source_name: str
    destination_ns: str = msgspec.field(name="DestinationNS", default="default")
    destination_name: str
    source_type: str = "consul"
    action: str | UnsetType = UNSET
    permissions: list[dict[str, Any]] | UnsetType = UNSET
    dry_run: bool | UnsetType = UNSET
    owner: str | UnsetType = UNSET
    meta: dict[str, str] | UnsetType = UNSET
    precedence: int
    created_at: str
    updated_at: str
    hash: str
    create_index: int
    modify_index: int


def shape(one: Intention) -> IntentionShape:
    """The intention as the API shows it."""
    permissions = [permission_body(permission) for permission in one.permissions]
    what = (one.source, one.destination, one.action, permissions, one.description, one.meta)
    return IntentionShape(
        id=one.id or UNSET,
        description=one.description or UNSET,
        source_name=one.source,
        destination_name=one.destination,
        action=one.action or UNSET,
        permissions=permissions or UNSET,
        dry_run=one.dry_run or UNSET,
        owner=one.owner or UNSET,
        meta=one.meta or UNSET,
        precedence=one.precedence,
        created_at=_time(one.created),
        updated_at=_time(one.updated),
        hash=blake2b(pack(what), digest_size=16).hexdigest(),
        create_index=one.create_index,
        modify_index=one.modify_index,
    )


def permission_body(permission: intentions.Permission) -> dict[str, Any]:
    """The permission as entries have it."""
    body: dict[str, Any] = {"Action": permission.action}
    if (http := permission.http) is not None:
        body["HTTP"] = parts.plain(
            service_intentions.HttpPart(
                path_exact=http.path_exact,
                path_prefix=http.path_prefix,
                path_regex=http.path_regex,
                header=[
                    msgspec.convert(one, service_intentions.HeaderPart, from_attributes=True)
                    for one in http.headers
                ],
                methods=http.methods,
            )
        )
    if permission.jwt:
        providers = []
        for need in permission.jwt:
            claims = [{"Path": one.path, "Value": one.value} for one in need.claims]
            providers.append({"Name": need.provider} | ({"VerifyClaims": claims} if claims else {}))
        body["JWT"] = {"Providers": providers}
    return body


def _time(seconds: float) -> str:
    if not seconds:
        return NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def source_of(body: IntentionBody, name: str, meta: dict[str, str] | None = None) -> dict[str, Any]:
    """The intention as a source of an entry. Raises Invalid."""
    for field, given in (
        ("SourceNS", body.source_ns),
        ("DestinationNS", body.destination_ns),
        ("SourcePartition", body.source_partition),
        ("DestinationPartition", body.destination_partition),
    ):
        if given not in {"", "default"}:
            raise Invalid(f"{field}: mesh has no namespaces or partitions")
    if body.source_peer:
        raise Invalid("SourcePeer: not available yet")
    document: dict[str, Any] = {
        "Name": name,
        "Action": body.action,
        "Permissions": body.permissions,
        "Type": body.source_type,
        "Description": body.description,
        "DryRun": body.dry_run,
        "Owner": body.owner,
        "LegacyMeta": meta or {},
    }
    check_depth("Permissions", body.permissions)
    if not name:
        raise Invalid("SourceName: must not be empty")
    found = parts.read(service_intentions.SourcePart, document)
    return parts.plain(
        service_intentions.ServiceIntentions(sources=[found]).settled("x").sources[0]
    )
