"""Intents: Serf's word on joining and leaving, ordered by a Lamport clock.

SWIM alone cannot tell a member that left from one that failed. Before it leaves, a member spreads
a leave intent; who then dies has left, who dies without one has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from mesh.errors import Invalid, NotFound
from mesh.gossip.bodies import JOIN, LEAVE
from mesh.gossip.broadcasts import Broadcasts
from mesh.gossip.members import Member, MemberEvent, Status
from mesh.gossip.messages import (
    NAME_MAX_BYTES,
    check_name,
    decode_tags,
    number,
    pack_map,
    text,
    unpack_map,
)
from mesh.gossip.options import Options
from mesh.gossip.peers import Peer, Table
from mesh.gossip.reconnect import Retries
from mesh.gossip.streams import LEFT
from mesh.gossip.swim import MEMBERS_MAX, Exchange, Notice, Remark, Swim

CLOCK_MAX = 2**64 - 1
INTENTS_MAX = 4096
INTENT_MAX_BYTES = 512
RECENT_SECONDS = 300.0
REAP_SECONDS = 15.0
FLAP_SECONDS = 60.0


class Known:
    """A member in Serf's eyes; outlives the entry in SWIM's list."""

    __slots__ = ("ended", "member", "pruned", "time")

    def __init__(self, member: Member, time: int) -> None:
        self.member = member
        self.time = time
        self.ended = 0.0
        self.pruned = False


class Intents:
    """Serf's member list over SWIM's."""

    def __init__(
        self, core: Swim, options: Options, now: float, known: Table[Known] | None = None
    ) -> None:
        """Nobody is listed, but for `known`."""
        self._swim, self._options = core, options
        self._clock = 1
        self._known: Table[Known] = Table() if known is None else known
        # Those that failed or left, in the order they went: a walk over all members takes long.
        self._gone: dict[str, None] = {}
        self._recent: dict[str, tuple[int, int, float]] = {}
        self._retries = Retries(
            options.reconnect_interval_seconds, options.reconnect_longest_seconds
        )
        self.flaps = 0
        """How often a member failed and was back within a minute."""
        self.queue: Broadcasts[bytes] = Broadcasts(options.retransmit_mult, len)
        self.events: list[MemberEvent] = []
        self._next_reap = now + REAP_SECONDS
        self._next_reconnect = now + options.reconnect_interval_seconds
        self.due = min(self._next_reap, self._next_reconnect)
        """When `tick` has something to do."""

    def take(self) -> list[MemberEvent]:
        """The member events since the last call, in order."""
        events, self.events = self.events, []
        return events

    def members(self) -> list[Member]:
        """Every member known, ordered by name."""
        return [self._known[name].member for name in sorted(self._known)]

    def count(self) -> int:
        """How many members are known, also those that failed or left."""
        return len(self._known)

    def member(self, name: str) -> Member | None:
        """The member of this name."""
        known = self._known.get(name)
        return known.member if known else None

    def _spread(self, body: bytes, done: Callable[[], None] | None = None) -> None:
        # Each body is an item of its own: an old intent must not push a newer one out.
        self.queue.add(body.hex(), body, done)

    # Time

    def tick(self, now: float) -> None:
        """Forget who is gone for long, and try a failed member again now and then."""
        if self._next_reap <= now:
            self._next_reap = now + REAP_SECONDS
            self._reap(now)
        if self._next_reconnect <= now:
            self._next_reconnect = now + self._options.reconnect_interval_seconds
            self._reconnect(now)
        self.due = min(self._next_reap, self._next_reconnect)

    def _reap(self, now: float) -> None:
        patience = {
            Status.FAILED: self._options.reconnect_timeout_seconds,
            Status.LEFT: self._options.tombstone_timeout_seconds,
        }
        for name in list(self._gone):
            known = self._known[name]
            if now - known.ended > patience[known.member.status]:
                self._erase(name)
        for name, (_, _, heard) in list(self._recent.items()):
            if now - heard > RECENT_SECONDS:
                del self._recent[name]

    def _erase(self, name: str) -> None:
        known = self._known.pop(name)
        self._gone.pop(name, None)
        self._retries.forget(name)
        self._swim.forget({name})
        self.events.append(MemberEvent("reap", known.member))

    def _reconnect(self, now: float) -> None:
        gone = [self._known[name].member for name in self._gone]
        failed = [member.name for member in gone if member.status == Status.FAILED]
        alive = len(self._known) - len(gone)
        # The whole pool together tries about one a round for each that failed.
        if not failed or self._swim.dice.uniform(0, 1) >= len(failed) / max(1, alive):
            return
        due = self._retries.due(now, failed)
        if due:
            member = self._known[self._swim.dice.choice(due)].member
            self._retries.tried(now, member.name)
            self._swim.effects.append(Exchange(member.name, member.address, member.port, True))

    # What SWIM notices

    def notice(self, now: float, notice: Notice) -> None:
        """A member came, went or changed."""
        peer = self._swim.peers.get(notice.node)
        if peer is None:
            return
        if notice.kind == "leave":
            self._went(now, peer)
        elif notice.kind == "join" or peer.name not in self._known:
            self._came(now, peer)
        else:
            known = self._known.own(peer.name)
            known.member = _member(peer, known.member.status)
            self.events.append(MemberEvent("update", known.member))

    @property
    def last(self) -> int:
        """The newest time of any intent, 0 for none."""
        return self._clock - 1

    def restore(self, last: int) -> None:
        """Go on after this time, which an earlier life of this node had seen."""
        self._witness(last)

    def enter(self) -> None:
        """List this node itself."""
        self._came(0.0, self._swim.me)

    def _came(self, now: float, peer: Peer) -> None:
        known = self._known.get(peer.name)
        status = Status.ALIVE
        time = known.time if known else 0
        recent = self._recent.pop(peer.name, None)
        if recent is not None and recent[1] > time:
            kind, time, _ = recent
            if kind == LEAVE:
                status = Status.LEAVING
        member = _member(peer, status)
        if known is None:
            if not self._may_list(peer.name):
                return
            self._known[peer.name] = Known(member, time)
        else:
            known = self._known.own(peer.name)
            if known.member.status == Status.FAILED and now - known.ended < FLAP_SECONDS:
                self.flaps += 1
            self._retries.forget(peer.name)
            known.member, known.time, known.ended = member, time, 0.0
            known.pruned = False
            self._gone.pop(peer.name, None)
        self.events.append(MemberEvent("join", member))

    def _may_list(self, name: str) -> bool:
        # Names go into JSON, logs and the catalog, which any bytes do not.
        if not name.isprintable():
            text = f"a member called {name!r} is not listed: the name is not printable text"
            self._swim.effects.append(Remark(text, warning=True))
            return False
        if len(self._known) < MEMBERS_MAX:
            return True
        longest = next(iter(self._gone), None)
        if longest is not None:
            self._erase(longest)
        return longest is not None

    def _went(self, now: float, peer: Peer) -> None:
        known = self._known.get(peer.name)
        if known is None:
            return
        left = known.member.status == Status.LEAVING or peer.state == LEFT
        known = self._known.own(peer.name)
        known.ended = now
        self._gone[peer.name] = None
        known.member = _member(peer, Status.LEFT if left else Status.FAILED)
        self.events.append(MemberEvent("leave" if left else "failed", known.member))
        if left and known.pruned:
            self._erase(peer.name)

    # Messages

    def receive(self, now: float, payload: bytes) -> None:
        """A user message of SWIM. Raises Invalid; kinds this version does not know are ignored."""
        kind = payload[0] if payload else -1
        if kind not in {LEAVE, JOIN}:
            return
        if len(payload) > INTENT_MAX_BYTES:
            raise Invalid(f"intent of {len(payload)} bytes: would fit into no packet with others")
        fields = unpack_map(payload[1:])
        time, name = number(fields, "LTime", CLOCK_MAX), text(fields, "Node")
        check_name(name)
        if kind == JOIN:
            again = self._join(now, time, name)
        else:
            again = self._leave(now, time, name, prune=bool(fields.get(b"Prune")))
        if again:
            self._spread(payload)

    def _witness(self, time: int) -> None:
        self._clock = min(max(self._clock, time + 1), CLOCK_MAX)

    def _remember(self, now: float, kind: int, time: int, name: str) -> bool:
        recent = self._recent.get(name)
        if recent is not None and recent[1] >= time:
            return False
        if recent is None and len(self._recent) >= INTENTS_MAX:
            return False
        if len(name) > NAME_MAX_BYTES:
            return False  # No member can have it; a push/pull may hold any.
        self._recent[name] = (kind, time, now)
        return True

    def _join(self, now: float, time: int, name: str) -> bool:
        self._witness(time)
        known = self._known.get(name)
        if known is None:
            return self._remember(now, JOIN, time, name)
        if time <= known.time:
            return False
        if name == self._swim.name and not self._swim.leaving:
            # Not from here, so it may stand for a leave: in a pool of two, serf keeps that to
            # itself and shows only its time, in a push/pull.
            self.announce_join()
            return False
        known = self._known.own(name)
        known.time = time
        known.pruned = False
        if known.member.status == Status.LEAVING:
            self._set(known, Status.ALIVE, "update")
        return True

    def _set(self, known: Known, status: Status, kind: Literal["leave", "update"]) -> None:
        known.member = msgspec.structs.replace(known.member, status=status)
        self.events.append(MemberEvent(kind, known.member))

    def _leave(self, now: float, time: int, name: str, *, prune: bool) -> bool:
        self._witness(time)
        known = self._known.get(name)
        if known is None:
            return self._remember(now, LEAVE, time, name)
        if name == self._swim.name and not self._swim.leaving:
            # Also at the same time as our own join, which others may not have heard yet.
            if time >= known.time:
                self.announce_join()
            return False
        if time <= known.time:
            return False
        # First of all: a repeated intent must be recognised as old, or it circles for ever.
        known = self._known.own(name)
        known.time = time
        if known.member.status == Status.ALIVE:
            self._set(known, Status.LEAVING, "update")
        elif known.member.status == Status.FAILED:
            self._set(known, Status.LEFT, "leave")
        # Who is still on its way out is forgotten once it is gone.
        known.pruned = prune
        if prune and known.member.status == Status.LEFT:
            self._erase(name)
            # Its echo must be recognised as old.
            self._remember(now, LEAVE, time, name)
        return True

    # What this node says

    def announce_join(self) -> None:
        """Spread that this node is here to stay."""
        me = self._swim.name
        time = self._clock
        # What this node says next, a leave for example, must be newer.
        self._witness(time)
        self._known.own(me).time = time
        self._spread(bytes((JOIN,)) + pack_map({"LTime": time, "Node": me}))

    def announce_leave(
        self, now: float, name: str, *, prune: bool, done: Callable[[], None]
    ) -> None:
        """Spread that a member leaves: this node, or one that failed. Raises NotFound."""
        if name not in self._known:
            raise NotFound(f"No node found with name '{name}'")
        time = self._clock
        self._say_leave(time, name, prune=prune, done=done)
        self._leave(now, time, name, prune=prune)

    def _say_leave(
        self, time: int, name: str, *, prune: bool, done: Callable[[], None] | None = None
    ) -> None:
        fields = {"LTime": time, "Node": name, "Prune": prune}
        self._spread(bytes((LEAVE,)) + pack_map(fields), done)

    # Push/pull

    def fields(self) -> dict[str, Any]:
        """This part of a push/pull."""
        return {
            "LTime": self._clock,
            "LeftMembers": [
                name for name in self._gone if self._known[name].member.status == Status.LEFT
            ],
            "StatusLTimes": {name: known.time for name, known in self._known.items()},
        }

    def merge(self, now: float, fields: Mapping[bytes, Any]) -> None:
        """Take over another node's part of a push/pull. Raises Invalid."""
        self._witness(max(number(fields, "LTime", CLOCK_MAX) - 1, 0))
        left = _names(fields, b"LeftMembers")
        times: Mapping[Any, Any] = fields.get(b"StatusLTimes") or {}
        if not isinstance(times, dict):
            raise Invalid("StatusLTimes: expected a map")
        for key, time in times.items():
            if not isinstance(key, bytes) or not isinstance(time, int) or time < 0:
                raise Invalid("StatusLTimes: expected names and numbers")
            name = key.decode("utf-8", "surrogateescape")
            if key in left:
                self._has_left(now, time, name)
            else:
                self._join(now, time, name)

    def _has_left(self, now: float, time: int, name: str) -> None:
        """Another node says that this member left, at this time or after the join of this time."""
        known = self._known.get(name)
        if known is None:
            # It left before this node heard of it. When it is heard of, it is because it came back.
            self._witness(time)
            self._remember(now, JOIN, time, name)
            return
        # One more than the join before it; but not again and again between two nodes.
        time = min(time + (known.member.status != Status.LEFT), CLOCK_MAX)
        was = known.member.status
        news = self._leave(now, time, name, prune=False)
        if news and (was, self._known[name].member.status) == (Status.ALIVE, Status.LEAVING):
            # It lives, so the other node may not know yet that it came back, and its join may be
            # no newer than the time made up here. Told of it, it can say that it is here.
            self._say_leave(time, name, prune=False)


def _names(fields: Mapping[bytes, Any], key: bytes) -> set[bytes]:
    names = fields.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise Invalid(f"{key.decode()}: expected a list of names")
    return set(names)


def _member(peer: Peer, status: Status) -> Member:
    low, high, now, low_above, high_above, now_above = peer.versions[:6]
    return Member(
        name=peer.name,
        address=peer.host,
        port=peer.port,
        tags=decode_tags(peer.meta),
        status=status,
        incarnation=peer.incarnation,
        protocol=(low, high, now),
        delegate=(low_above, high_above, now_above),
    )
