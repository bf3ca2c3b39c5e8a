"""Bootstrap: how servers that never had a log agree on the first voters.

Each server that sees `expect` servers fixes a proposal, the digest of their ids, for as long as it
runs, and shows it in its tags. It starts the log only when all servers of its proposal show the
same one. Since nobody changes a proposal, two different sets that share a server can never both
be unanimous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec


class Candidate(msgspec.Struct, frozen=True):
    """A live server as gossip shows it."""

    id: str
    name: str
    address: str
    """`ip:port` of its server port."""
    expect: int
    proposal: str
    cluster: str


class Verdict(msgspec.Struct, frozen=True):
    """What to do now: show this proposal, and start with these voters if there are any."""

    proposal: str = ""
    voters: tuple[Candidate, ...] = ()
    reason: str = ""
    """Why it waits, for people."""
    followed: bool = False
    """The others started before this server agreed, as far as it remembers."""


class Bootstrap:
    """One server's part in the agreement."""

    def __init__(self, me: str, expect: int, digest: Callable[[Sequence[str]], str]) -> None:
        self._me, self._expect, self._digest = me, expect, digest
        self._proposal: tuple[str, tuple[str, ...]] = ("", ())
        self._followed = False

    def decide(self, servers: Sequence[Candidate]) -> Verdict:
        """Judge the live servers of the datacenter, this one among them."""
        if self._expect <= 0:
            return Verdict(reason="bootstrap_expect is not set; waiting to be added to a cluster")
        if not self._proposal[0]:
            waiting = self._choose(servers)
            if waiting:
                return Verdict(reason=waiting)
        proposal, ids = self._proposal
        known = {server.id: server for server in servers}
        missing = [member for member in ids if member not in known]
        if missing:
            return Verdict(proposal, reason=f"waiting for servers {', '.join(missing)} to return")
        voters = tuple(known[member] for member in ids)
        others = [
            server.name
            for server in voters
            if server.id != self._me and proposal not in (server.proposal, server.cluster)
        ]
        if others:
            return Verdict(proposal, reason=f"waiting for {', '.join(others)} to agree")
        return Verdict(proposal, voters, followed=self._followed)

    def _choose(self, servers: Sequence[Candidate]) -> str:
        """Fix the proposal if it can be; otherwise say why not."""
        started = [server for server in servers if server.cluster]
        if len(started) > 0 and not any(server.id == self._me for server in started):
            # A cluster is there. Its founders may still need this server: follow their proposal.
            ids = self._founders(servers, started[0].cluster)
            if not ids:
                return f"cluster {started[0].cluster[:8]} exists; waiting to be added to it"
            self._proposal, self._followed = (started[0].cluster, ids), True
            return ""
        expecting = sorted(server.id for server in servers if server.expect == self._expect)
        if len(expecting) < self._expect:
            return f"{len(expecting)} of {self._expect} expected servers are here"
        ids = tuple(expecting[: self._expect])
        if self._me not in ids:
            return "enough other servers start the cluster; waiting to be added to it"
        self._proposal = (self._digest(ids), ids)
        return ""

    def _founders(self, servers: Sequence[Candidate], cluster: str) -> tuple[str, ...]:
        agreed = {
            server.id for server in servers if cluster in (server.proposal, server.cluster)
        } | {self._me}
        ids = tuple(sorted(agreed))
        return ids if len(ids) == self._expect and self._digest(ids) == cluster else ()
