"""Conflicts: when two nodes have one name, the pool decides which of them is right.

Both ask all others at which address they know the name (`_serf_conflict`). Who is not known by a
majority ends itself. A node that carries the name does not answer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import msgspec

from mesh.errors import Invalid, MeshError
from mesh.gossip.bodies import CONFLICT
from mesh.gossip.members import Member
from mesh.gossip.messages import host, number, pack_map, raw, unpack_map
from mesh.gossip.queries import Answered, Ended, Queries, Question
from mesh.gossip.swim import Remark, Swim

CONFLICT_QUERY = "_serf_conflict"
PAUSE_SECONDS = 10.0
"""After a vote that was won, before another."""


class NameLost(msgspec.Struct, frozen=True):
    """The pool knows another node by this node's name: this one must end."""

    text: str


class Conflicts:
    """The votes about this node's name."""

    def __init__(self, swim: Swim, queries: Queries, *, resolve: bool) -> None:
        """Without `resolve`, nothing is asked: an operator reads of it in the log."""
        self._swim, self._queries, self._resolve = swim, queries, resolve
        self._vote: int | None = None
        self._again = 0.0
        self._for, self._against = 0, 0

    def claimed(self, now: float) -> None:
        """Another node says that it has this node's name."""
        if not self._resolve or self._swim.leaving or self._vote is not None or now < self._again:
            return
        question = Question(CONFLICT_QUERY, self._swim.name.encode("utf-8", "surrogateescape"))
        try:
            self._vote = self._queries.ask(now, question).time
        except MeshError as error:
            self._remark(f"cannot ask whose name {self._swim.name} is: {error.message}")
        self._for, self._against = 0, 0

    def hear(self, now: float, word: Answered | Ended) -> NameLost | None:
        """An answer, or the end of the vote, which may be lost. Raises Invalid."""
        if isinstance(word, Answered):
            self._count(word.answer.payload)
            return None
        self._vote = None
        self._again = now + PAUSE_SECONDS
        votes, name = self._for + self._against, self._swim.name
        if self._against and self._for < votes // 2 + 1:
            me = self._swim.me
            return NameLost(
                f"{name} is another node for {self._against} of {votes} members that were asked, "
                f"this one is at {me.host}:{me.port}: give this node a name of its own"
            )
        self._remark(f"another node is called {name} too; {self._for} of {votes} know this one")
        return None

    def is_about(self, query: int) -> bool:
        """Whether the query of this time is the vote."""
        return query == self._vote

    def _count(self, payload: bytes) -> None:
        there = decode(payload)
        if there is None:
            return  # Who does not know the name has no vote.
        me = self._swim.me
        if there == (me.host, me.port):
            self._for += 1
        else:
            self._against += 1

    def _remark(self, text: str) -> None:
        self._swim.effects.append(Remark(text, warning=True))


def answer(name: str, payload: bytes, member: Callable[[str], Member | None]) -> bytes | None:
    """What the node of this name says when somebody asks who has a name; None for its own."""
    asked = payload.decode("utf-8", "surrogateescape")
    return None if asked == name else encode(member(asked))


def encode(member: Member | None) -> bytes:
    """The bytes of an answer, type byte first; nil for a member that is not known."""
    if member is None:
        return bytes((CONFLICT,)) + b"\xc0"
    low, high, now = member.protocol
    low_above, high_above, now_above = member.delegate
    fields = {
        "Addr": ipaddress.ip_address(member.address).packed,
        "DelegateCur": now_above,
        "DelegateMax": high_above,
        "DelegateMin": low_above,
        "Name": member.name,
        "Port": member.port,
        "ProtocolCur": now,
        "ProtocolMax": high,
        "ProtocolMin": low,
        "Status": int(member.status),
        "Tags": member.tags or None,
    }
    return bytes((CONFLICT,)) + pack_map(fields)


def decode(payload: bytes) -> tuple[str, int] | None:
    """The address and port in an answer; None for a name that is not known. Raises Invalid."""
    if payload[:1] != bytes((CONFLICT,)):
        raise Invalid("conflict response: another kind of message")
    if payload[1:] == b"\xc0":
        return None
    fields = unpack_map(memoryview(payload)[1:])
    address = raw(fields, "Addr")
    if len(address) not in {4, 16}:
        raise Invalid("Addr: expected 4 or 16 bytes")
    return host(address), number(fields, "Port", 65535)
