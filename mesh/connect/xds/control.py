"""The control plane of a node: blueprints in, streams out. Loaded when the first proxy is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mesh.clock import Clock
from mesh.connect.xds import proxyless
from mesh.connect.xds.blueprint import Blueprint, Proxyless
from mesh.connect.xds.listeners import exposed_port
from mesh.connect.xds.marks import Marks
from mesh.connect.xds.reach import EVERYBODY, Judged
from mesh.connect.xds.refusals import seen
from mesh.connect.xds.resources import build
from mesh.connect.xds.secrets import LEAF
from mesh.connect.xds.seen import Held, Seen
from mesh.connect.xds.server import XdsServer
from mesh.connect.xds.snapshot import LISTENER, SECRET, Snapshot
from mesh.connect.xds.status import ProxyStatus, status_of
from mesh.connect.xds.stream import Stream
from mesh.telemetry.metrics import Reading

POLICIES_KEPT = 8
"""Of each proxy: those by which calls may have been judged that it tells of now."""
CREDENTIALS_KEPT = 8
"""Of each proxy: those it may still acknowledge."""


class Heard(NamedTuple):
    """What a proxy acknowledged by now."""

    roots: tuple[str, ...]
    """The ids of the roots that it believes; empty while it believes none."""
    leaf: str
    """The id of the root that its certificate is under."""
    current: bool
    """It has all that it is to have."""
    refused: str
    """What it refused, because of what; empty if nothing."""


class Control:
    """Tells each proxy what its blueprint comes to."""

    def __init__(
        self,
        clock: Clock,
        heard: Callable[[str], None],
        saw: Callable[[list[Held], Seen], None],
        folder: Path | None = None,
    ) -> None:
        """`heard` is called with a proxy that said something, or whose streams come or go.

        `saw` is called with a call that a proxy refused, or would by a dry run, and what it may
        have been judged by: what is likely comes first. In the folder is kept what the next life
        has to know of connections that are open.
        """
        self._server = XdsServer(
            clock, joined=heard, left=heard, heard=heard, logged=self._read_log
        )
        self._saw, self._clock = saw, clock
        self._marks = Marks(folder)
        self.unplaced = 0
        """Calls told of by proxies that are not known here, or not any more."""
        self._tcp: set[str] = set()
        """Proxies that look into no connection."""
        self._held: dict[str, list[tuple[float, Held]]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._credentials: dict[str, dict[str, tuple[tuple[str, ...], str]]] = {}

    @property
    def addresses(self) -> list[str]:
        """Where it serves."""
        return self._server.addresses

    async def start(self, addresses: Sequence[str]) -> None:
        """Serve. Raises Unreachable for an address that cannot be had."""
        await self._server.start(addresses)

    def put(self, blueprint: Blueprint) -> None:
        """From now on the proxy is to be this."""
        name = blueprint.proxy
        held = self._held.setdefault(name, [])
        now = Held(blueprint.policy, blueprint.default_allow)
        if not held or held[0][1] != now:
            held.insert(0, (self._clock.wall(), now))
            del held[POLICIES_KEPT:]
        made = self._snapshots[name] = self._built(blueprint, self._snapshots.get(name))
        known = self._credentials.setdefault(name, {})
        for secret in made.of(SECRET).values():
            known.pop(secret.version, None)
            leaf = blueprint.leaf.root if blueprint.leaf is not None else ""
            known[secret.version] = (tuple(sorted(blueprint.bundle.roots)), leaf)
        while len(known) > CREDENTIALS_KEPT:
            del known[next(iter(known))]
        self._server.put(name, made)

    def _built(self, blueprint: Blueprint, before: Snapshot | None) -> Snapshot:
        known = before.judged if before is not None else self._marks.find(blueprint.proxy)
        # Of what is not known nothing may go on.
        unknown = Judged(str(self._clock.wall()), EVERYBODY)
        made = build(blueprint, before, known or unknown)
        is_tcp = blueprint.inbound is not None and blueprint.inbound.protocol == "tcp"
        (self._tcp.add if is_tcp else self._tcp.discard)(blueprint.proxy)
        if is_tcp and made.judged is not None and made.judged != known:
            self._marks.keep(blueprint.proxy, made.judged)
        return made

    def put_proxyless(self, wanted: Proxyless) -> dict[str, str]:
        """From now on gRPC programs are to be this; returns what is wrong with it."""
        name = wanted.proxy
        made = self._snapshots[name] = proxyless.build(wanted, self._snapshots.get(name))
        self._server.put(name, made)
        return made.problems

    def hold(self, proxy: str) -> None:
        """Say nothing more until there is something new to say."""
        self._server.put(proxy, None)

    def asked(self, proxy: str) -> set[str]:
        """The listeners that the streams of a proxy ask for by name."""
        topics = (one.topics.get(LISTENER) for one in self._server.streams(proxy))
        return {name for topic in topics if topic is not None for name in topic.names}

    def _read_log(self, proxy: str, message: Any) -> None:
        held = self._held.get(proxy)
        if not held:
            self.unplaced += sum(1 for _ in seen(message))
            return
        for one in seen(message):
            if one.ended and proxy not in self._tcp:
                continue  # Its rules are about requests now, and end no connection.
            # The newest it may have had then, those before, and last the ones it got later.
            likely = sorted(held, key=lambda each: (each[0] > one.at, -each[0]))
            self._saw([what for _, what in likely], one)

    def heard(self, proxy: str) -> Heard | None:
        """What a proxy acknowledged on all of its streams; None while it has none."""
        streams = self._server.streams(proxy)
        found = [self._of_stream(proxy, stream) for stream in streams]
        if not found:
            return None
        roots = set(found[0].roots).intersection(*(one.roots for one in found[1:]))
        return Heard(
            roots=tuple(sorted(roots)),
            leaf=found[0].leaf if all(one.leaf == found[0].leaf for one in found) else "",
            current=all(one.current for one in found),
            refused=next((one.refused for one in found if one.refused), ""),
        )

    def open_ports(self, proxy: str) -> set[int]:
        """The ports for exposed paths on which all Envoys of the proxy listen as they are told."""
        snapshot, streams = self._snapshots.get(proxy), self._server.streams(proxy)
        if snapshot is None or not streams:
            return set()
        ports = {name: exposed_port(name) for name in snapshot.of(LISTENER)}
        return {
            port
            for name, port in ports.items()
            if port and all(stream.has(LISTENER, name) for stream in streams)
        }

    def _of_stream(self, proxy: str, stream: Stream) -> Heard:
        known, topic = self._credentials.get(proxy, {}), stream.topics.get(SECRET)
        roots: tuple[str, ...] = ()
        leaf = ""
        for name, held in topic.have.items() if topic is not None else ():
            said = known.get(held.version)
            if said is not None and name == LEAF:
                leaf = said[1]
            elif said is not None:
                roots = said[0]
        refusals = (one for topic in stream.topics.values() for one in topic.refused.values())
        refused = next((f"{one.resource.origin(one.error)}: {one.error}" for one in refusals), "")
        return Heard(roots, leaf, status_of(proxy, stream, 0.0, 0.0).current, refused)

    def drop(self, proxy: str) -> None:
        """The proxy is gone; while its Envoy drains it keeps what it has."""
        self._held.pop(proxy, None)
        self._tcp.discard(proxy)
        self._snapshots.pop(proxy, None)
        self._credentials.pop(proxy, None)
        self._marks.forget(proxy)
        self._server.put(proxy, None)

    def status(self) -> list[ProxyStatus]:
        """All streams, by proxy."""
        return self._server.status()

    def measures(self) -> Iterator[Reading]:
        """What there is to say of all streams together."""
        return self._server.measures()

    async def stop(self) -> None:
        """End all streams."""
        await self._server.stop()
