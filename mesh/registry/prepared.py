"""Prepared queries: which instances of a service are meant by a name, and where else to look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar
from uuid import UUID

import msgspec

from mesh.durations import parse_duration
from mesh.errors import Conflict, Invalid
from mesh.registry import templates
from mesh.registry.health import Instance, worst
from mesh.registry.levels import PREPARED
from mesh.registry.port import Command, Query
from mesh.registry.prepared_rows import NAME_PREFIX_MATCH, TABLE, Prepared
from mesh.registry.sessions import SESSIONS
from mesh.store.database import Transaction, View

NAME_MAX = 512
"""Characters of a name; a DNS name has at most 253."""
LISTED_MAX = 128
"""Tags, check ids, pairs of metadata and datacenters, each."""
HIDDEN = "<hidden>"
"""Shown instead of a token."""
TTL_MAX_SECONDS = 2**31 - 1


class All(Query[list[Prepared]], frozen=True, tag="prepared.all"):
    """Every prepared query, ordered by id."""

    answer = list[Prepared]
    needs: ClassVar[int] = PREPARED

    def run(self, view: View) -> list[Prepared]:
        """Read the table."""
        return view.every(TABLE)


class Get(Query[Prepared | None], frozen=True, tag="prepared.get"):
    """One by its id, or None."""

    answer = Prepared | None
    needs: ClassVar[int] = PREPARED
    id: str

    def run(self, view: View) -> Prepared | None:
        """Look it up."""
        return view.get(TABLE, self.id.lower())


class Named(Query[Prepared | None], frozen=True, tag="prepared.named"):
    """The one with this id, else the one with this name that is no template; or None."""

    answer = Prepared | None
    needs: ClassVar[int] = PREPARED
    name: str

    def run(self, view: View) -> Prepared | None:
        """Look for it in that order."""
        lower = self.name.lower()
        found = view.get(TABLE, lower)
        if found is not None or not self.name or len(self.name) > NAME_MAX:
            return found
        named = view.select(TABLE, "name", lower)
        return next((query for query in named if query.template is None), None)


class Templates(Query[list[Prepared]], frozen=True, tag="prepared.templates"):
    """Every template, ordered by id. One answer serves all the names that they are for."""

    answer = list[Prepared]
    needs: ClassVar[int] = PREPARED

    def run(self, view: View) -> list[Prepared]:
        """Read their bucket."""
        return view.select(TABLE, "template", "")


def rendered(name: str, every: Iterable[Prepared]) -> Prepared | None:
    """What a name is by the template with the longest name that it begins with; None by none."""
    lower, best = name.lower(), None
    for query in every:
        if lower.startswith(query.name.lower()) and (
            best is None or len(query.name) > len(best.name)
        ):
            best = query
    if best is None or not name or len(name) > NAME_MAX:
        return None
    return templates.render(best, name)


class Create(Command[str], frozen=True, tag="prepared.create"):
    """Write a prepared query under an id that whoever asks made up; returns the id."""

    result = str
    needs: ClassVar[int] = PREPARED
    query: Prepared

    def validate(self) -> None:
        """It must make sense, whatever there is already."""
        check(self.query)

    def apply(self, transaction: Transaction) -> str:
        """Its name must be free, and its session there."""
        if transaction.get(TABLE, self.query.id) is not None:
            raise Conflict(f"ID: there is a prepared query {self.query.id} already")
        _check_place(transaction, self.query)
        transaction.put(TABLE, self.query)
        return self.query.id


class Update(Command[bool], frozen=True, tag="prepared.update"):
    """Replace a prepared query. A token that is `<hidden>` stays what it was."""

    result = bool
    needs: ClassVar[int] = PREPARED
    query: Prepared

    def validate(self) -> None:
        """It must make sense, whatever there is already."""
        check(msgspec.structs.replace(self.query, token=""))

    def apply(self, transaction: Transaction) -> bool:
        """It must be there; its name must be free, and its session there."""
        query = self.query
        old = _existing(transaction, query.id)
        if query.token == HIDDEN:
            query = msgspec.structs.replace(query, token=old.token)
        _check_place(transaction, query)
        transaction.put(TABLE, query)
        return True


class Delete(Command[bool], frozen=True, tag="prepared.delete"):
    """Delete a prepared query."""

    result = bool
    needs: ClassVar[int] = PREPARED
    id: str

    def apply(self, transaction: Transaction) -> bool:
        """It must be there."""
        _existing(transaction, self.id)
        return transaction.delete(TABLE, self.id.lower())


def _existing(transaction: Transaction, identity: str) -> Prepared:
    found = transaction.get(TABLE, identity.lower())
    if found is None:
        raise Conflict(f'Cannot modify non-existent prepared query: "{identity}"')
    return found


def _check_place(transaction: Transaction, query: Prepared) -> None:
    """Raise Conflict when another has the name, or the session is not there."""
    others = transaction.select(TABLE, "name", query.name.lower()) if query.name else []
    if query.template is not None and not query.name:
        every = transaction.select(TABLE, "template", "")
        others = [other for other in every if not other.name]
    for other in others:
        if other.id != query.id:
            what = f'the name "{query.name}"' if query.name else "the empty prefix"
            raise Conflict(f"Name: {what} is taken by the prepared query {other.id}")
    # Ids go before names: a query named so would be another's stand-in once that is deleted.
    if transaction.get(TABLE, query.name.lower()) is not None:
        raise Conflict(f'Name: "{query.name}" is the id of another prepared query')
    if query.session and transaction.get(SESSIONS, query.session) is None:
        raise Conflict(f'Session: invalid session "{query.session}": there is none, or no more')


def check(query: Prepared) -> None:
    """Raise Invalid, naming the field and the fix, for what can never be a prepared query."""
    if not is_id(query.id):
        raise Invalid(f'ID: expected a UUID in lower case, got "{query.id[:64]}"')
    if not (query.name or query.session or query.template):
        raise Invalid("Name: must not be empty, unless there is a Template or a Session")
    if len(query.name) > NAME_MAX:
        raise Invalid(f"Name: longer than {NAME_MAX} characters")
    if query.token == HIDDEN:
        raise Invalid(f"Token: {HIDDEN} only stands for a token; give the token itself")
    _check_template(query)
    _check_service(query)
    ttl_seconds(query)


def _check_template(query: Prepared) -> None:
    if query.template is None:
        return
    if query.template.kind != NAME_PREFIX_MATCH:
        raise Invalid(
            f'Template.Type: expected {NAME_PREFIX_MATCH}, got "{query.template.kind[:64]}"'
        )
    templates.check(query)


def _check_service(query: Prepared) -> None:
    service = query.service
    if not service.service:
        raise Invalid("Service.Service: must not be empty: the name of the service to look for")
    failover = service.failover
    if failover.nearest_n < 0:
        raise Invalid(f"Service.Failover.NearestN: expected 0 or more, got {failover.nearest_n}")
    if failover.targets and (failover.nearest_n or failover.datacenters):
        raise Invalid("Service.Failover: give Targets, or NearestN and Datacenters, not both")
    lists: dict[str, Iterable[object]] = {
        "Tags": service.tags,
        "IgnoreCheckIDs": service.ignore_check_ids,
        "NodeMeta": service.node_meta,
        "ServiceMeta": service.service_meta,
        "Failover.Datacenters": failover.datacenters,
        "Failover.Targets": failover.targets,
    }
    for name, values in lists.items():
        if len(list(values)) > LISTED_MAX:
            raise Invalid(f"Service.{name}: more than {LISTED_MAX}")
    if "" in failover.datacenters or any(not one.datacenter for one in failover.targets):
        raise Invalid("Service.Failover: a datacenter without a name")


def is_id(text: str) -> bool:
    """Whether it is a UUID as we write them."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def ttl_seconds(query: Prepared) -> int | None:
    """The TTL of its DNS answers; None when it has none. Raises Invalid for a bad one."""
    if not query.ttl:
        return None
    try:
        seconds = parse_duration(query.ttl)
    except Invalid as error:
        raise Invalid(f"DNS.TTL: {error.message}") from error
    if not 0 <= seconds <= TTL_MAX_SECONDS:
        raise Invalid(f'DNS.TTL: expected 0 or more, up to 68 years, got "{query.ttl}"')
    return int(seconds)


def unfit(query: Prepared, instance: Instance) -> str:
    """Why the query does not mean this instance of its service; empty when it does."""
    wanted = query.service
    checks = [one for one in instance.checks if one.id not in wanted.ignore_check_ids]
    unusable = {"critical", "maintenance", "warning" if wanted.only_passing else ""}
    if (status := worst(checks)) in unusable:
        return f"its health is {status}"
    if not _has_tags(instance.service.tags, wanted.tags):
        return f"the query wants the tags {', '.join(wanted.tags)}"
    if not _has_pairs(instance.node.meta, wanted.node_meta):
        return "its node does not have the NodeMeta that the query wants"
    if not _has_pairs(instance.service.meta, wanted.service_meta):
        return "it does not have the ServiceMeta that the query wants"
    return ""


def _has_tags(tags: Iterable[str], wanted: Iterable[str]) -> bool:
    there = {tag.lower() for tag in tags}
    for tag in wanted:
        if tag.startswith("!"):
            if tag[1:].lower() in there:
                return False
        elif tag.lower() not in there:
            return False
    return True


def _has_pairs(meta: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(meta.get(key) == value for key, value in wanted.items())
