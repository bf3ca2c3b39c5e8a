"""A small model of how Envoy treats its configuration, as far as the order of things matters."""

from __future__ import annotations

from mesh.connect.xds.snapshot import (
    CLUSTER,
    ENDPOINTS,
    FILTER,
    LISTENER,
    ROUTES,
    SECRET,
    Ref,
    Resource,
)
from mesh.connect.xds.stream import Change, Request

NAMED = (SECRET, ENDPOINTS, ROUTES, FILTER)


class Warming:
    """A cluster or a listener whose children have not all come yet."""

    def __init__(self, resource: Resource, missing: set[Ref]) -> None:
        self.resource, self.missing = resource, missing


class Envoy:
    """Takes changes and answers them. Asserts what a well-behaved server never does to it."""

    def __init__(self, *, whole: bool = False, names_errors: bool = True) -> None:
        self.whole, self.names_errors = whole, names_errors
        self.bad: set[str] = set()
        """Contents that it refuses."""
        self.active: dict[Ref, Resource] = {}
        self.warming: dict[Ref, Warming] = {}
        self.named: dict[Ref, Resource] = {}
        """Of the kinds subscribed by name."""
        self.subscribed: dict[str, set[str]] = {kind: set() for kind in NAMED}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.known = True
        """The server can know what it uses."""
        self.started = False
        self.listening = False
        self.outbox: list[Request] = []
        self.received = 0
        self.refused: list[str] = []

    # Connecting.

    def connect(self) -> None:
        """Open a stream, perhaps again, with what it has."""
        self.outbox, self.nonces = [], {}
        self.known = not (self.whole and self.active) and not self.warming
        for kind in (CLUSTER, LISTENER, *NAMED):
            if kind == LISTENER and not self.listening:
                continue
            names = self.subscribed.get(kind, set())
            if kind in NAMED and not names:
                continue
            have = {**self.active, **{ref: one.resource for ref, one in self.warming.items()}}
            have |= self.named
            versions = {ref.name: one.version for ref, one in have.items() if ref.kind == kind}
            if self.whole:
                version = self.versions.get(kind, "")
                self.outbox.append(Request(kind=kind, names=tuple(sorted(names)), version=version))
            else:
                first = tuple(sorted(names)) if kind in NAMED else ("*",)
                if kind in NAMED:
                    versions = {name: v for name, v in versions.items() if name in names}
                self.outbox.append(Request(kind=kind, subscribe=first, versions=versions))

    def wait_long(self) -> None:
        """Time passes: what still waits goes on with what it has."""
        for ref, one in list(self.warming.items()):
            one.missing.clear()
            self._settle(ref)
        self._follow()

    # Changes.

    def take(self, change: Change) -> None:
        """Apply a response and answer it."""
        self.received += len(change.put)
        bad = [one.name for one in change.put if one.packed.decode() in self.bad]
        self.nonces[change.kind] = change.nonce
        self.versions[change.kind] = change.version
        if change.kind in NAMED:
            if not bad:
                for one in change.put:
                    self._deliver(one)
            for name in change.removed:
                self._go_on_without(Ref(change.kind, name))
        else:
            removed = list(change.removed)
            if self.whole:
                told = {one.name for one in change.put}
                known = {*self.active, *self.warming}
                removed = [ref.name for ref in known if ref.kind == change.kind]
                removed = [name for name in removed if name not in told]
            for name in removed:
                self._remove(Ref(change.kind, name))
            for one in change.put:
                if one.name not in bad:
                    self._add(one)
        self.refused += bad
        self.known = self.known or change.kind == LISTENER
        error = ""
        if bad:
            error = f"Error adding {bad[0]}: no good" if self.names_errors else "no good"
        self._answer(change, error)
        self._follow()

    def _answer(self, change: Change, error: str) -> None:
        names = None
        if self.whole:
            names = tuple(sorted(self.subscribed.get(change.kind, ())))
        self.outbox.append(Request(kind=change.kind, nonce=change.nonce, error=error, names=names))

    def _add(self, resource: Resource) -> None:
        ref = Ref(resource.kind, resource.name)
        before = self.warming[ref].resource if ref in self.warming else self.active.get(ref)
        if before is not None and before.version == resource.version:
            return
        if ref.kind == LISTENER:
            self._check_needs(resource)
        missing = set()
        for child in resource.children:
            # Endpoints are wanted by each new copy; secrets and filters are shared.
            if child.kind in {ENDPOINTS, ROUTES} or child not in self.named:
                missing.add(child)
        self.warming[ref] = Warming(resource, missing)
        self._settle(ref)

    def _deliver(self, resource: Resource) -> None:
        ref = Ref(resource.kind, resource.name)
        if ref.name not in self.subscribed[ref.kind]:
            return
        if ref.kind in {ROUTES, FILTER}:
            self._check_needs(resource)
        self.named[ref] = resource
        self._go_on_without(ref)

    def _go_on_without(self, ref: Ref) -> None:
        for parent, one in list(self.warming.items()):
            one.missing.discard(ref)
            self._settle(parent)

    def _settle(self, ref: Ref) -> None:
        if ref in self.warming and not self.warming[ref].missing:
            self.active[ref] = self.warming.pop(ref).resource

    def _remove(self, ref: Ref) -> None:
        if ref.kind == CLUSTER:
            used = {need for one in self._users() for need in one.needs}
            # Of one that comes again the server cannot always know what it uses.
            assert ref.name not in used or not self.known, (
                f"{ref.name} was removed while it is used"
            )
        self.active.pop(ref, None)
        self.warming.pop(ref, None)

    def _users(self) -> list[Resource]:
        found = [one for ref, one in self.active.items() if ref.kind == LISTENER]
        found += [one.resource for ref, one in self.warming.items() if ref.kind == LISTENER]
        return found + [one for ref, one in self.named.items() if ref.kind in {ROUTES, FILTER}]

    def _check_needs(self, resource: Resource) -> None:
        for need in resource.needs:
            ref = Ref(CLUSTER, need)
            assert ref in self.active, f"{resource.name} was sent before its cluster {need}"

    def _follow(self) -> None:
        """Subscribe to what is needed now, and to nothing else."""
        parents = [*self.active.values(), *(one.resource for one in self.warming.values())]
        wanted: dict[str, set[str]] = {kind: set() for kind in NAMED}
        for parent in parents:
            for child in parent.children:
                wanted[child.kind].add(child.name)
        for kind in NAMED:
            self._subscribe(kind, wanted[kind])
        self.started = self.started or CLUSTER in self.nonces
        clusters_warm = any(ref.kind == CLUSTER for ref in self.warming)
        if self.started and not clusters_warm and not self.listening:
            self.listening = True
            names = () if self.whole else None
            first = () if self.whole else ("*",)
            self.outbox.append(Request(kind=LISTENER, subscribe=first, names=names))

    def _subscribe(self, kind: str, wanted: set[str]) -> None:
        before = self.subscribed[kind]
        if wanted == before:
            return
        self.subscribed[kind] = wanted
        for name in before - wanted:
            self.named.pop(Ref(kind, name), None)
        if self.whole:
            self.outbox.append(
                Request(kind=kind, nonce=self.nonces.get(kind, ""), names=tuple(sorted(wanted)))
            )
        else:
            self.outbox.append(
                Request(
                    kind=kind,
                    subscribe=tuple(sorted(wanted - before)),
                    unsubscribe=tuple(sorted(before - wanted)),
                )
            )
