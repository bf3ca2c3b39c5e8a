"""The rows of prepared queries."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from mesh.registry.levels import PREPARED as LEVEL
from mesh.store.table import Row, Table

NAME_PREFIX_MATCH = "name_prefix_match"


class Template(msgspec.Struct, frozen=True, omit_defaults=True):
    """Makes a prepared query one of every name that begins with its own."""

    kind: str
    """`name_prefix_match`."""
    regexp: str = ""
    """What `${match(n)}` takes parts of the name by."""
    remove_empty_tags: bool = False
    """Leave out tags that are rendered to nothing."""


class Target(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where to look when there is no instance here."""

    datacenter: str = ""


class Failover(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which datacenters to ask, one after the other, when there is no instance here."""

    nearest_n: int = 0
    """So many of the nearest first,"""
    datacenters: list[str] = []
    """then these."""
    targets: list[Target] = []
    """Instead of both: these, in order."""


class ServiceQuery(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which instances of which service. In a template every text may contain `${...}`."""

    service: str
    failover: Failover = Failover()
    only_passing: bool = False
    """Leave out those with a warning, as critical ones always are."""
    ignore_check_ids: list[str] = []
    """Checks whose status does not matter."""
    near: str = ""
    """The nearest to this node first; `_agent` is the agent asked, `_ip` whoever asks."""
    tags: list[str] = []
    """Tags that an instance must have, or, after a `!`, must not have."""
    node_meta: dict[str, str] = {}
    service_meta: dict[str, str] = {}
    connect: bool = False
    """Its sidecars, and those instances that need none."""


class Prepared(Row, frozen=True, kw_only=True):
    """A prepared query."""

    history: ClassVar[str] = "query"
    id: str
    name: str = ""
    session: str = ""
    """The session with which it ends."""
    token: str = ""
    """With whose permissions it is executed, instead of those of whoever asks."""
    template: Template | None = None
    service: ServiceQuery
    ttl: str = ""
    """TTL of DNS answers, a duration as it was given."""


TABLE: Table[Prepared] = Table(
    "prepared",
    Prepared,
    key=lambda query: query.id,
    indexes={
        "name": lambda query: (query.name.lower(),) if query.name else (),
        "session": lambda query: (query.session,) if query.session else (),
        "template": lambda query: ("",) if query.template is not None else (),
    },
    level=LEVEL,
)
