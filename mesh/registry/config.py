"""Writes of checked config entries: what contradicts other entries is refused.

An entry is brought into its stored form before it lies in the log (`Write.of`), so that applying it
is no matter of how a program reads bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from mesh.codec import check_depth
from mesh.errors import Conflict, Invalid
from mesh.registry import kinds
from mesh.registry.entries import INTENTIONS, TABLE, Entry, check_name, find
from mesh.registry.intentions import body_of
from mesh.registry.kinds import jwt_provider, parts, proxy_defaults, service_defaults
from mesh.registry.kinds import service_intentions as bodies
from mesh.registry.levels import MESH
from mesh.registry.port import Command
from mesh.registry.settings import HTTP_LIKE, protocol_of, readable
from mesh.store.database import Transaction, View


class Write(Command[bool], frozen=True, tag="config.write"):
    """Write an entry. With check_index only if its modify index is that; 0: it must not exist."""

    result = bool
    needs: ClassVar[int] = MESH
    kind: str
    name: str
    body: dict[str, Any] = {}
    check_index: int | None = None
    owner: str = ""
    """Who writes, if intentions with an owner are to change."""
    force: bool = False
    """Whether owners do not matter."""

    @classmethod
    def of(cls, kind: str, name: str, body: dict[str, Any], **more: Any) -> Write:
        """From a body as users write it. Raises Invalid, naming the place."""
        name = kinds.name_of(kind, name)
        check_name(kind, name)
        check_depth("the entry", body)
        return cls(kind, name, kinds.written(kind, name, body), **more)

    def validate(self) -> None:
        """The body must be as entries of its kind are stored."""
        check_name(self.kind, self.name)
        check_depth("the entry", self.body)
        if kinds.written(self.kind, self.name, self.body) != self.body:
            raise Invalid("the entry: not in the form in which entries are stored")

    def apply(self, transaction: Transaction) -> bool:
        """Write; False when the check index does not match."""
        old = find(transaction, self.kind, self.name)
        if self.check_index is not None and self.check_index != (old.modify_index if old else 0):
            return False
        body = self.body
        if self.kind == INTENTIONS:
            body = _with_ids(old, body)
        store(transaction, Entry(kind=self.kind, name=self.name, body=body), self.owner, self.force)
        return True


class Create(Command[bool], frozen=True, tag="config.create"):
    """Write an entry; False, and nothing changes, when there is one of its name in any case."""

    result = bool
    needs: ClassVar[int] = MESH
    entry: Write

    def validate(self) -> None:
        """It must be as entries of its kind are stored."""
        self.entry.validate()

    def apply(self, transaction: Transaction) -> bool:
        """Look, then write."""
        if find(transaction, self.entry.kind, self.entry.name) is not None:
            return False
        return self.entry.apply(transaction)


class Erase(Command[bool], frozen=True, tag="config.erase"):
    """Delete an entry, if there, ignoring case. With check_index only if its index is that."""

    result = bool
    needs: ClassVar[int] = MESH
    kind: str
    name: str
    check_index: int | None = None
    owner: str = ""
    force: bool = False

    def validate(self) -> None:
        """There is such a kind."""
        check_name(self.kind, self.name)
        kinds.check_kind(self.kind)

    def apply(self, transaction: Transaction) -> bool:
        """Delete; False when it is there with another modify index."""
        old = find(transaction, self.kind, self.name)
        if old is None:
            return True
        if self.check_index is not None and old.modify_index != self.check_index:
            return False
        remove(transaction, old, self.owner, self.force)
        return True


class Restore(Command[bool], frozen=True, tag="config.restore"):
    """Make an entry again what it was, or none. It is part of a revert, never asked for alone."""

    result = bool
    needs: ClassVar[int] = MESH
    kind: str
    name: str
    body: dict[str, Any] | None

    def apply(self, transaction: Transaction) -> bool:
        """Write it as it was stored; other entries may have changed since, and go before."""
        old = transaction.get(TABLE, (self.kind, self.name))
        if self.body is not None:
            store(transaction, Entry(kind=self.kind, name=self.name, body=self.body))
        elif old is not None:
            remove(transaction, old)
        return True


def store(transaction: Transaction, entry: Entry, owner: str = "", force: bool = False) -> None:
    """Write an entry. Raises Invalid or Conflict for what does not fit to other entries."""
    old = find(transaction, entry.kind, entry.name)
    if old is not None and old.name != entry.name:
        raise Conflict(
            f"{entry.kind}/{entry.name}: there is {entry.kind}/{old.name}, and services are the "
            "same in any case: write that one, or delete it first"
        )
    if old is not None and old.body == entry.body:
        return
    if entry.kind == INTENTIONS:
        _check_owners(old, entry, owner, force)
    before = _protocols(transaction, entry.kind, entry.name)
    transaction.put(TABLE, entry)
    _check_protocols(transaction, before)
    if entry.kind == INTENTIONS:
        _check_intentions(transaction, entry)
    elif entry.kind == service_defaults.KIND:
        _check_overrides(transaction, entry)


def remove(transaction: Transaction, old: Entry, owner: str = "", force: bool = False) -> None:
    """Delete an entry. Raises Conflict when others need it."""
    if old.kind == INTENTIONS:
        _check_owners(old, None, owner, force)
    if old.kind == jwt_provider.KIND:
        for user in transaction.select(TABLE, "provider", old.name):
            raise Conflict(
                f"{old.kind}/{old.name} cannot be deleted: {user.kind}/{user.name} needs its tokens"
            )
    before = _protocols(transaction, old.kind, old.name)
    transaction.delete(TABLE, (old.kind, old.name))
    _check_protocols(transaction, before)


def _check_owners(old: Entry | None, new: Entry | None, owner: str, force: bool) -> None:
    """Raise Conflict when somebody else's intention would change."""
    if old is None or force:
        return
    kept = {bodies.key_of(one): one for one in body_of(new).sources} if new else {}
    for source in body_of(old).sources:
        if source.owner and source.owner != owner and kept.get(bodies.key_of(source)) != source:
            raise Conflict(
                f'the intention from "{source.name}" to "{old.name}" belongs to "{source.owner}": '
                f"write it as that owner (owner={source.owner}), or with force"
            )


def _check_intentions(view: View, entry: Entry) -> None:
    body = body_of(entry)
    where = bodies.needs_http(body)
    if where and (protocol := protocol_of(view, entry.name)) not in HTTP_LIKE:
        raise Invalid(
            f'{where}: "{entry.name}" speaks {protocol}, in which there are no requests to judge; '
            "give it Protocol http, http2 or grpc in its service-defaults first"
        )
    for provider, path in bodies.providers(body).items():
        if view.get(TABLE, (jwt_provider.KIND, provider)) is None:
            raise Invalid(f'{path}: there is no jwt-provider entry "{provider}"')


def _protocols(view: View, kind: str, name: str) -> Mapping[str, str]:
    """What those services speak whose intentions need to see requests, and which it may change."""
    if kind == service_defaults.KIND:
        found = find(view, INTENTIONS, name)
        entries = [found] if found is not None else []
    elif kind == proxy_defaults.KIND:
        entries = view.select(TABLE, "kind", INTENTIONS)
    else:
        return {}
    needy = [entry.name for entry in entries if bodies.needs_http(body_of(entry))]
    return {name: protocol_of(view, name) for name in needy}


def _check_protocols(view: View, before: Mapping[str, str]) -> None:
    """Raise Conflict when intentions could not be judged any more."""
    for name, protocol in before.items():
        now = protocol_of(view, name)
        if protocol in HTTP_LIKE and now not in HTTP_LIKE:
            raise Conflict(
                f'"{name}" would speak {now}, but service-intentions/{name} has permissions that '
                "need requests: change those first"
            )


def _check_overrides(view: View, entry: Entry) -> None:
    """Raise when a caller would speak something else than the service it calls."""
    own = readable(service_defaults.ServiceDefaults, entry.body)
    for place, one in enumerate(own.upstream_config.overrides if own.upstream_config else ()):
        other = find(view, service_defaults.KIND, one.name)
        if other is None or not one.protocol:
            continue
        spoken = readable(service_defaults.ServiceDefaults, other.body).protocol
        if spoken and spoken != one.protocol:
            raise Invalid(
                f"UpstreamConfig.Overrides[{place}].Protocol: {one.protocol} contradicts "
                f"{spoken}, which is the Protocol of service-defaults/{one.name}"
            )
    for other in view.select(TABLE, "kind", service_defaults.KIND) if own.protocol else ():
        config = readable(service_defaults.ServiceDefaults, other.body).upstream_config
        for one in config.overrides if config else ():
            same = one.name.lower() == entry.name.lower()
            if same and one.protocol and one.protocol != own.protocol:
                raise Invalid(
                    f"Protocol: {own.protocol} contradicts service-defaults/{other.name}, which "
                    f"calls this service with {one.protocol}"
                )


def _with_ids(old: Entry | None, body: dict[str, Any]) -> dict[str, Any]:
    """The body, each source with the id it has; only the older API gives ids."""
    had = {bodies.key_of(one): one for one in body_of(old).sources} if old else {}
    new = msgspec.convert(body, bodies.ServiceIntentions)
    sources = []
    for source in new.sources:
        before = had.get(bodies.key_of(source), bodies.SourcePart())
        sources.append(
            msgspec.structs.replace(
                source,
                legacy_id=before.legacy_id,
                legacy_meta=before.legacy_meta,
                legacy_create_time=before.legacy_create_time,
                legacy_update_time=before.legacy_update_time,
            )
        )
    return parts.plain(msgspec.structs.replace(new, sources=sources))
