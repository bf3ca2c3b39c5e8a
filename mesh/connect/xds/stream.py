"""One discovery stream without I/O: what the client has asked for, has, and is to be sent next.

The rules, for both forms of the protocol:

- Of each kind at most one response waits for its ACK. What changes meanwhile is not queued: the
  newest snapshot is compared with what the client has when the ACK is there.
- Clusters come before what sends requests to them, and are there with endpoints and secrets before
  that is sent. A cluster goes when nothing that the client has sends requests to it any more.
- When a resource is sent, those that the client subscribes to because of it are sent again: Envoy
  makes a new copy of a cluster that changed, which waits for endpoints though they did not change.
- What was refused (NACK) is not sent again before it changes; what came with it is, without it.
  When the error does not say which it was, each is sent alone.
- Resources subscribed by name are never removed: when they are needed no more the client
  unsubscribes. Only who asks for what there is not is told so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from mesh.connect.xds.snapshot import (
    CLUSTER,
    FILTER,
    KINDS,
    LISTENER,
    ROUTES,
    WHOLE,
    Resource,
    Snapshot,
    digest,
)
from mesh.errors import TooLarge

NAMES_MAX = 65_536
"""Names of one kind that a client may subscribe to."""
RESPONSE_MAX = 2 << 20
"""Bytes of resources after which a response of the delta form is full."""
GRACE_SECONDS = 15.0
"""After so long what waits for its clusters is sent without them: as long as Envoy itself waits."""
ALL = "*"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client says: a subscription, an ACK or a NACK, or several of these."""

    kind: str
    nonce: str = ""
    error: str = ""
    """Why it refuses the response with this nonce; empty: it accepts."""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    """What it has from an earlier stream, by name."""
    names: tuple[str, ...] | None = None
    """Of the state-of-the-world form: all that it subscribes to."""
    version: str = ""
    """Of that form: of what it has, perhaps from an earlier stream."""


class Change(msgspec.Struct, frozen=True):
    """A response to send."""

    kind: str
    nonce: str
    put: list[Resource]
    removed: list[str]
    version: str = ""
    """Of the state-of-the-world form."""


class Refusal(msgspec.Struct, frozen=True):
    """A resource that the client refused: it goes on with the one it had."""

    resource: Resource
    error: str
    at: float


class _Pending(msgspec.Struct):
    nonce: str
    put: dict[str, Resource]
    fresh: set[str]
    """Those of them that the client did not have."""
    removed: list[str]
    at: float


class Topic(msgspec.Struct):
    """All about one kind of resources on one stream."""

    kind: str
    wildcard: bool = False
    names: set[str] = set()
    have: dict[str, Resource] = {}
    """What the client accepted last. One from an earlier stream may have a version only."""
    replaced: dict[str, list[Resource]] = {}
    """What it had before that, and uses as long as the new one waits for its children.

    Of what it has from an earlier stream that is not known."""
    pending: _Pending | None = None
    nonce: str = ""
    """Of the last response."""
    forced: set[str] = set()
    """To be sent again, though the client has them."""
    refused: dict[str, Refusal] = {}
    alone: set[str] = set()
    """One of these was refused, and it is not known which."""
    missing: set[str] = set()
    """Asked for, and told that there is none."""
    answered: bool = False
    dirty: bool = True
    blocked_since: float | None = None
    """Since when something waits for its clusters."""
    sent_at: float | None = None
    accepted_at: float | None = None
    last_refusal: Refusal | None = None

    @property
    def removes(self) -> bool:
        """Whether what is left out is removed."""
        return self.kind in WHOLE

    def wants(self, name: str) -> bool:
        """Whether the client subscribed to it."""
        return self.wildcard or name in self.names

    def lacks(self, resource: Resource) -> bool:
        """Whether it is to be sent, as far as the client's own state tells."""
        refusal = self.refused.get(resource.name)
        if refusal is not None and refusal.resource.version == resource.version:
            return False
        held = self.have.get(resource.name)
        return held is None or held.version != resource.version or resource.name in self.forced


class Stream:
    """The client's subscriptions, and what is due."""

    def __init__(self, *, whole: bool = False) -> None:
        self.whole = whole
        """The client speaks the state-of-the-world form."""
        self.topics: dict[str, Topic] = {}
        self.snapshot: Snapshot | None = None
        self.sent = self.accepted = self.refusals = 0
        """Responses, of which so many were accepted and refused."""
        self.resources_sent = 0
        self._nonces = 0
        self._resumed = False
        self._early: dict[str, set[str]] = {}
        """What is to be sent, of kinds not subscribed to yet, even to who has it."""

    # What comes in.

    def put(self, snapshot: Snapshot | None) -> None:
        """From now on the client is to have this. None: nothing is known of it yet."""
        before, self.snapshot = self.snapshot, snapshot
        for topic in self.topics.values():
            wanted = snapshot.of(topic.kind) if snapshot else {}
            if before is None or snapshot is None or before.of(topic.kind) != wanted:
                topic.dirty = True
            for name, refusal in list(topic.refused.items()):
                found = wanted.get(name)
                if found is None or found.version != refusal.resource.version:
                    del topic.refused[name]

    def receive(self, request: Request, now: float) -> None:
        """Take note of what the client says. Raises TooLarge for too many names."""
        if request.kind not in KINDS:
            return  # Left unanswered: it may come from a newer client that can do without.
        topic = self.topics.get(request.kind)
        first = topic is None
        if topic is None:
            topic = self.topics[request.kind] = Topic(request.kind)
        if self.whole:
            self._resumed = self._resumed or (first and bool(request.version))
            if request.nonce and request.nonce != topic.nonce:
                return  # Overtaken: what answers the last response has all names.
            self._settle(topic, request, now)
            self._name_all(topic, request.names or ())
        else:
            self._settle(topic, request, now)
            self._subscribe(topic, request, first=first)
        if len(topic.names) > NAMES_MAX:
            raise TooLarge(f"more than {NAMES_MAX} names subscribed")

    def _name_all(self, topic: Topic, names: Iterable[str]) -> None:
        named = set(names)
        if topic.kind in WHOLE and (ALL in named or (not named and not topic.names)):
            topic.wildcard = True
        named.discard(ALL)
        for name in topic.names - named:
            self._forget(topic, name)
        if named - topic.names:
            topic.dirty = True
        topic.names = named

    def _subscribe(self, topic: Topic, request: Request, *, first: bool) -> None:
        if first:
            topic.wildcard = not request.subscribe
            topic.answered = bool(request.versions)
            topic.have = {
                name: _unknown(topic.kind, name, version)
                for name, version in request.versions.items()
            }
            self._resumed = self._resumed or bool(request.versions)
            topic.replaced = {name: [one] for name, one in topic.have.items()}
        for name in request.subscribe:
            topic.dirty = True
            if name == ALL:
                topic.wildcard = True
                continue
            topic.names.add(name)
            if not first:
                # It may have thrown away what it had, and asks because of that.
                self._forget(topic, name)
        topic.forced.update(filter(topic.wants, self._early.pop(topic.kind, ())))
        for name in request.unsubscribe:
            if name == ALL:
                topic.wildcard = False
            else:
                topic.names.discard(name)
            for one in [name] if name != ALL else [*topic.have]:
                if not topic.wants(one):
                    self._forget(topic, one)

    def _forget(self, topic: Topic, name: str) -> None:
        topic.have.pop(name, None)
        topic.missing.discard(name)
        topic.forced.discard(name)
        if topic.pending is not None:
            topic.pending.put.pop(name, None)

    def _settle(self, topic: Topic, request: Request, now: float) -> None:
        """An answer to the response that waits for one."""
        pending = topic.pending
        if pending is None or request.nonce != pending.nonce:
            return
        topic.pending = None
        if request.error:
            self.refusals += 1
            self._refuse(topic, pending, request.error, now)
            return
        self.accepted += 1
        unknown = self.whole and self._resumed and topic.accepted_at is None
        topic.accepted_at = now
        topic.alone.difference_update(pending.put)
        for name in pending.fresh & pending.put.keys():
            old = topic.have.get(name) or (_unknown(topic.kind, name) if unknown else None)
            if topic.kind == LISTENER and old is not None:
                topic.replaced.setdefault(name, []).append(old)
            topic.have[name] = pending.put[name]
        for name in pending.removed:
            topic.have.pop(name, None)
            topic.replaced.pop(name, None)

    def _refuse(self, topic: Topic, pending: _Pending, error: str, now: float) -> None:
        topic.dirty = True
        fresh = [one for name, one in pending.put.items() if name in pending.fresh]
        if not fresh:
            for name in pending.removed:  # Asking again would be refused again.
                topic.have.pop(name, None)
        blamed = fresh if len(fresh) == 1 else [one for one in fresh if _named(one.name, error)]
        for resource in blamed:
            topic.last_refusal = Refusal(resource, error, now)
            topic.refused[resource.name] = topic.last_refusal
            topic.alone.discard(resource.name)
        if not blamed:
            topic.alone.update(one.name for one in fresh)
        if self.snapshot is not None:
            self.put(self.snapshot)  # What changed meanwhile is no longer refused.

    # What goes out.

    def due(self, now: float) -> list[Change]:
        """The responses to send now. They count as sent."""
        if self.snapshot is None:
            return []
        found = []
        for kind in KINDS:
            topic = self.topics.get(kind)
            if topic is not None and topic.dirty and topic.pending is None:
                change = self._due(topic, self.snapshot, now)
                if change is not None:
                    found.append(change)
        return found

    def waiting(self) -> bool:
        """Whether time alone may make something due or overdue."""
        topics = self.topics.values()
        return any(one.pending or one.blocked_since is not None for one in topics)

    def complete(self) -> bool:
        """Whether the client has all that its clusters and listeners wait for."""
        parents = (self.topics[kind] for kind in (CLUSTER, LISTENER) if kind in self.topics)
        return all(self._complete(one) for topic in parents for one in topic.have.values())

    def has(self, kind: str, name: str) -> bool:
        """Whether the client has this as it is to be by now, with all that it waits for."""
        topic = self.topics.get(kind)
        wanted = None if self.snapshot is None else self.snapshot.of(kind).get(name)
        if topic is None or wanted is None:
            return False
        held = topic.have.get(name)
        return held is not None and held.version == wanted.version and self._complete(wanted)

    def unanswered(self, now: float) -> float:
        """For how many seconds the client has owed an ACK or a NACK."""
        waits = (topic.pending.at for topic in self.topics.values() if topic.pending)
        return now - min(waits, default=now)

    def _due(self, topic: Topic, snapshot: Snapshot, now: float) -> Change | None:
        wanted = snapshot.of(topic.kind)
        lacking = self._lacking(topic, wanted)
        ready, blocked = self._ready(topic, lacking, snapshot, now)
        full = _batch(ready, topic, split=not self.whole and topic.kind != LISTENER)
        more = len(full) < len(ready)
        topic.dirty = more or bool(blocked)
        removed = [] if more or blocked else self._gone(topic, wanted)
        absent = [name for name in topic.names if name not in wanted and name not in topic.have]
        absent = sorted(name for name in absent if name not in topic.missing)
        topic.missing.update(absent)
        silent = self.whole and topic.kind not in WHOLE
        said = full or removed or (absent and not silent)
        if not said and (topic.answered or not topic.wildcard or blocked):
            return None
        return self._change(topic, full, removed, [] if self.whole else absent, now)

    def _lacking(self, topic: Topic, wanted: Mapping[str, Resource]) -> list[Resource]:
        names = wanted if topic.wildcard else sorted(topic.names & wanted.keys())
        found = []
        for resource in map(wanted.__getitem__, names):
            if topic.lacks(resource):
                found.append(resource)
            elif resource.name in topic.have and not topic.have[resource.name].packed:
                topic.have[resource.name] = resource
        # Needed no more, but what is about to be removed waits for it.
        last = [topic.have.get(name) for name in sorted(topic.forced - wanted.keys())]
        return found + [one for one in last if one is not None and one.packed]

    def _ready(
        self, topic: Topic, lacking: list[Resource], snapshot: Snapshot, now: float
    ) -> tuple[list[Resource], list[Resource]]:
        """Those whose clusters are there, and those whose clusters are still coming."""
        ready, blocked = [], []
        for resource in lacking:
            states = [self._cluster(need, snapshot) for need in resource.needs]
            if all(state == "there" for state in states):
                ready.append(resource)
            elif "refused" not in states:
                blocked.append(resource)
        if not blocked:
            topic.blocked_since = None
            return ready, blocked
        if topic.blocked_since is None:
            topic.blocked_since = now
        if now - topic.blocked_since >= GRACE_SECONDS:
            return lacking, []
        return ready, blocked

    def _cluster(self, name: str, snapshot: Snapshot) -> str:
        """Whether requests may be sent to a cluster: it is there, refused, or coming."""
        clusters = self.topics.get(CLUSTER)
        wanted = snapshot.of(CLUSTER).get(name)
        if clusters is None or not clusters.wildcard or wanted is None:
            return "there"  # The client follows references from above, or has it from elsewhere.
        if clusters.pending is not None and name in clusters.pending.removed:
            return "coming"
        if name not in clusters.have:
            return "refused" if name in clusters.refused else "coming"
        return "there" if self._complete(wanted) else "coming"

    def _complete(self, parent: Resource) -> bool:
        """Whether the client has been sent, and has answered, all that this waits for."""
        for kind, name in parent.children:
            topic = self.topics.get(kind)
            if topic is None:
                return False
            flying = topic.pending is not None and name in topic.pending.put
            if name not in topic.have or name in topic.forced or flying:
                return False
        return True

    def _gone(self, topic: Topic, wanted: Mapping[str, Resource]) -> list[str]:
        """What is to be removed."""
        if not topic.removes:
            return []
        gone = [name for name in topic.have if name not in wanted]
        if topic.kind == CLUSTER and gone:
            used = self._used()
            left = [] if used is None else [name for name in gone if name not in used]
            topic.dirty = topic.dirty or len(left) < len(gone)
            gone = left
        return sorted(gone)

    def _used(self) -> set[str] | None:
        """The clusters that something the client has sends requests to. None: any."""
        used: set[str] = set()
        listeners = self.topics.get(LISTENER)
        if self._resumed and listeners is None:
            return None  # It has some, and will say which.
        if self._resumed and self.whole and listeners and listeners.accepted_at is None:
            return None  # It has some, and does not say which.
        for kind in (LISTENER, ROUTES, FILTER):
            topic = self.topics.get(kind)
            if topic is None:
                continue
            pending = topic.pending.put if topic.pending else {}
            for resource in [*topic.have.values(), *pending.values(), *self._replaced(topic)]:
                if not resource.packed:
                    return None
                used.update(resource.needs)
        return used

    def _replaced(self, topic: Topic) -> list[Resource]:
        """What the client had before, and may use still."""
        for name in list(topic.replaced):
            held = topic.have.get(name)
            if held is None or (held.packed and self._complete(held)):
                del topic.replaced[name]
        return [one for several in topic.replaced.values() for one in several]

    def _change(
        self, topic: Topic, put: list[Resource], removed: list[str], absent: list[str], now: float
    ) -> Change:
        self._nonces += 1
        topic.nonce = str(self._nonces)
        topic.answered, topic.sent_at = True, now
        fresh = {resource.name for resource in put}
        version = ""
        if self.whole:
            if topic.kind in WHOLE:
                kept = {n: one for n, one in topic.have.items() if n not in removed and one.packed}
                everything = kept | {one.name: one for one in put}
                put = [everything[name] for name in sorted(everything)]
            version = digest("".join(sorted(one.version for one in put)).encode())
        everything = {resource.name: resource for resource in put}
        topic.pending = _Pending(topic.nonce, everything, fresh, removed, now)
        topic.forced.difference_update(everything)
        for resource in put:
            if resource.name in fresh:
                self._force(resource)
        self.sent += 1
        self.resources_sent += len(put)
        return Change(topic.kind, topic.nonce, put, removed + absent, version)

    def _force(self, parent: Resource) -> None:
        for kind, name in parent.children:
            topic = self.topics.get(kind)
            if topic is None:
                self._early.setdefault(kind, set()).add(name)
            elif topic.wants(name) and (name in topic.have or topic.pending is not None):
                topic.forced.add(name)
                topic.dirty = True


def _unknown(kind: str, name: str, version: str = "") -> Resource:
    """What the client has from an earlier stream."""
    return Resource(kind=kind, name=name, version=version, packed=b"")


def _batch(ready: list[Resource], topic: Topic, *, split: bool) -> list[Resource]:
    """As many as go into one response: what may be bad alone, and after the rest."""
    trusted = [resource for resource in ready if resource.name not in topic.alone]
    if not trusted:
        return ready[:1]
    if not split:
        return trusted
    size = 0
    for count, resource in enumerate(trusted):
        size += len(resource.packed)
        if size > RESPONSE_MAX and count:
            return trusted[:count]
    return trusted


def _named(name: str, error: str) -> bool:
    return re.search(rf"(?<![\w.~:-]){re.escape(name)}(?![\w.~-])", error) is not None
