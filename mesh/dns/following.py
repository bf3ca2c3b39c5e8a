"""Following: what an answer leads to beyond its one reading: aliases, and names of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from mesh.dns import names
from mesh.dns.foreign import IN, Heard, Outside
from mesh.dns.message import (
    AAAA,
    ANY,
    AXFR,
    CD,
    CNAME,
    IXFR,
    NOERROR,
    NXDOMAIN,
    OPT,
    REFUSED,
    SRV,
    A,
    Name,
    Question,
    Record,
    Reply,
    packed_name,
)
from mesh.dns.names import Lookup, Malformed, NotOurs, ReverseLookup, Zones
from mesh.dns.recursion import Recursion
from mesh.errors import MeshError

DEPTH_MAX = 3  # Names of ours that lead to names of ours.
CHAINED_MAX = 5  # Records behind an alias, for a client without EDNS.
TARGETS_MAX = 8  # Host names of one answer that are looked up.

# How a name of ours is answered, as for a question of this type.
Local = Callable[[Name, int], Awaitable[Reply]]


class Following:
    """Completes replies, by asking ourselves and the recursors, if there are any."""

    def __init__(self, recursion: Recursion | None, zones: Zones) -> None:
        self._recursion = recursion
        self._zones = zones

    def is_due(self, lookup: Lookup, reply: Reply, question: Question) -> bool:
        """Whether the reply is not all there is to say, and more can be had by waiting."""
        return self.leads_on(reply) or self.is_outside(lookup, reply, question)

    def is_outside(self, lookup: Lookup, reply: Reply, question: Question) -> bool:
        """Whether the recursors are to be asked instead: only they may know."""
        if self._recursion is None:
            return False
        if isinstance(lookup, NotOurs):
            sent_on = question.kind not in {AXFR, IXFR, OPT}
            in_class = int.from_bytes(question.raw[-2:]) == IN
            return reply.rcode == REFUSED and sent_on and in_class
        reverse = isinstance(lookup, ReverseLookup) or (
            isinstance(lookup, Malformed) and lookup.reverse
        )
        return reverse and reply.rcode == NXDOMAIN

    def leads_on(self, reply: Reply) -> bool:
        """Whether names in it can be resolved here."""
        if not reply.unresolved:
            return False
        return self._recursion is not None or any(
            _is_ours(host, self._zones) for host in reply.unresolved
        )

    async def outside(self, question: Question, *, tcp: bool) -> Reply:
        """What the recursors say. Raises Unreachable or Busy when they say nothing."""
        assert self._recursion is not None, "is_outside says so"
        edns = question.edns
        outside = Outside(
            raw=question.raw,
            edns=edns is not None,
            dnssec=edns is not None and edns.wants_dnssec,
            unchecked=bool(question.flags & CD),
        )
        heard = await self._recursion.ask(outside, tcp=tcp)
        return Reply(
            rcode=heard.rcode,
            answers=heard.answers,
            authority=heard.authority,
            additional=heard.additional,
            authoritative=False,
            truncated=heard.truncated,
            foreign=True,
        )

    async def completed(
        self, reply: Reply, question: Question, local: Local, *, tcp: bool
    ) -> Reply:
        """The reply and what its host names resolve to. What cannot be resolved stays as it is."""
        kind = question.kind if question.kind in {A, AAAA} else ANY
        most = CHAINED_MAX if question.edns is None else None
        hosts = dict.fromkeys(reply.unresolved[:TARGETS_MAX])
        chases = [_Chase(self._recursion, self._zones, local, kind, tcp=tcp) for _ in hosts]
        for chase in chases:
            chase.seen.add(packed_name(question.name).lower())
        chains = await asyncio.gather(
            *(chase.chain(host, DEPTH_MAX) for chase, host in zip(chases, hosts, strict=True))
        )
        found = [record for chain in chains for record in chain[:most]]
        if question.kind == SRV:
            return msgspec.structs.replace(reply, additional=reply.additional + found)
        answers = [*reply.answers[:1], *found, *reply.answers[1:]]
        return msgspec.structs.replace(reply, answers=answers)


def _is_ours(name: Name, zones: Zones) -> bool:
    return not isinstance(names.find(name, A, zones), NotOurs)


class _Chase:
    """Where one host name leads."""

    def __init__(
        self, recursion: Recursion | None, zones: Zones, local: Local, kind: int, *, tcp: bool
    ) -> None:
        self._recursion = recursion
        self._zones = zones
        self._local = local
        self._kind = kind
        self._tcp = tcp
        self.seen: set[bytes] = set()

    async def chain(self, host: Name, depth: int) -> list[Record]:
        """Its addresses, and the aliases on the way; empty when it has none that we find."""
        key = packed_name(host).lower()
        if key in self.seen:
            return []
        self.seen.add(key)
        if not _is_ours(host, self._zones):
            return await self._outside(host)
        if not depth:
            return []
        reply = await self._local(host, self._kind)
        found = [record for record in reply.answers if record.kind in {A, AAAA, CNAME}]
        for name in reply.unresolved[:1]:
            found += await self.chain(name, depth - 1)
        return found

    async def _outside(self, host: Name) -> list[Record]:
        if self._recursion is None:
            return []
        found: list[Record] = []
        for kind in (A, AAAA) if self._kind == ANY else (self._kind,):
            raw = packed_name(host) + kind.to_bytes(2) + IN.to_bytes(2)
            try:
                heard = await self._recursion.ask(Outside(raw, edns=True), tcp=self._tcp)
            except MeshError:
                continue
            found = _leading_from(host, kind, heard)
            if any(record.kind == kind for record in found):
                return found
        return found


def _leading_from(host: Name, kind: int, heard: Heard) -> list[Record]:
    """The records of an answer that lead from this name to addresses, and no others."""
    if heard.rcode != NOERROR:
        return []
    wanted = {packed_name(host).lower()}
    found = []
    for record in heard.answers:
        if record.kind not in {CNAME, kind} or packed_name(record.name).lower() not in wanted:
            continue
        found.append(record)
        if isinstance(record.data, tuple):
            wanted.add(packed_name(record.data).lower())
    return found
