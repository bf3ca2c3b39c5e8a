"""What a proxy was sent, and what it said to it: for people and for health."""

from __future__ import annotations

import msgspec

from mesh.connect.xds.snapshot import KINDS, SHORT
from mesh.connect.xds.stream import Stream, Topic


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A resource that the proxy refused: it goes on with the one it had, if it had one."""

    name: str
    origin: str
    """What it follows from: the entry, the upstream, the field."""
    error: str
    seconds_ago: float


class KindStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands with the resources of one kind."""

    kind: str
    """clusters, listeners ..."""
    accepted: int
    """Resources that the proxy has."""
    wanted: int
    """Those it subscribed to and is to have."""
    current: bool
    """It has all of them as they are to be."""
    waiting_seconds: float | None = None
    """Since when it owes an answer to a response."""
    accepted_seconds_ago: float | None = None
    """When it last accepted one."""
    refused: list[Refused] = []


class ProxyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of a proxy."""

    proxy: str
    connected_seconds: float
    form: str
    """delta, or state-of-the-world."""
    current: bool
    """The proxy has all that it is to have."""
    known: bool
    """There is a snapshot for it."""
    responses: int
    refusals: int
    resources_sent: int
    kinds: list[KindStatus]
    problems: list[str] = []
    """What was left out because it cannot be read."""


def status_of(proxy: str, stream: Stream, now: float, since: float) -> ProxyStatus:
    """How it stands with a stream that began at `since`."""
    kinds = [_kind(stream, stream.topics[kind], now) for kind in KINDS if kind in stream.topics]
    snapshot = stream.snapshot
    return ProxyStatus(
        proxy=proxy,
        connected_seconds=now - since,
        form="state-of-the-world" if stream.whole else "delta",
        current=snapshot is not None and all(one.current for one in kinds) and stream.complete(),
        known=snapshot is not None,
        responses=stream.sent,
        refusals=stream.refusals,
        resources_sent=stream.resources_sent,
        kinds=kinds,
        problems=[*snapshot.problems.values()] if snapshot else [],
    )


def _kind(stream: Stream, topic: Topic, now: float) -> KindStatus:
    found = stream.snapshot.of(topic.kind) if stream.snapshot else {}
    wanted = [one for name, one in found.items() if topic.wants(name)]
    has = sum(
        one.name in topic.have and topic.have[one.name].version == one.version for one in wanted
    )
    left = stream.snapshot is not None and topic.removes and topic.have.keys() - found.keys()
    return KindStatus(
        kind=SHORT[topic.kind],
        accepted=len(topic.have),
        wanted=len(wanted),
        current=has == len(wanted) and topic.pending is None and not left,
        waiting_seconds=None if topic.pending is None else now - topic.pending.at,
        accepted_seconds_ago=None if topic.accepted_at is None else now - topic.accepted_at,
        refused=[
            Refused(
                name=one.resource.name,
                origin=one.resource.origin(one.error),
                error=one.error,
                seconds_ago=now - one.at,
            )
            for one in topic.refused.values()
        ],
    )
