"""Counting the calls that intentions refuse, or would if dry runs were enforced.

Envoy says what it did and what its shadow rules say; the evaluator only names the rule. Pairs and
rules are kept with counts, a bounded number of them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from mesh.connect import identity
from mesh.connect.intentions import Request, decide, deciding
from mesh.connect.paths import bare
from mesh.connect.xds.blueprint import Normalization
from mesh.connect.xds.seen import Held, Seen
from mesh.errors import Invalid
from mesh.registry.intentions import Intention, Policy
from mesh.registry.refusals import (
    EXAMPLES_MAX,
    REFUSALS_MAX,
    TEXT_MAX,
    Kind,
    Refusal,
    is_tried,
    together,
)

CONNECTIONS_MAX = 4096
"""Open connections that are known to have been counted."""
LOG_SECONDS = 60.0
"""Between two lines of the log about one pair."""
PAIRS_MAX = 1024
KEEP_SECONDS = 7 * 86400.0
"""After which what was not seen again is forgotten."""
EXAMPLE_MAX = 120
KINDS: tuple[Kind, ...] = ("denied", "would-deny", "would-allow")
DROPS = ("no_identity", "calls", "lines")
"""Calls of somebody without an identity of the mesh; those of pairs and rules that the report has
no room for any more; lines of the log about a pair that had one within a minute."""
_AS_IT_IS = Normalization(paths=False)
"""Sidecars tell paths as their rules saw them."""


def blame(held: Sequence[Held], source: str, seen: Seen, *, shadow: bool) -> tuple[str, str]:
    """The rule that decided, for people, and where it stands ("": the default).

    That is by the first of the policies by which the sidecar may have done what it did. Neither
    headers nor tokens are told, so where they may have decided it is the intention as a whole.
    """
    found = (_explained(one, source, seen, shadow=shadow) for one in held)
    return next((one for one in found if one is not None), ("a rule that has changed since", ""))


def _explained(held: Held, source: str, seen: Seen, *, shadow: bool) -> tuple[str, str] | None:
    """How the policy comes to this; None if it does not."""
    policy, default_allow = held
    denied = seen.shadow == "denied" if shadow else seen.denied
    request = Request(method=seen.method, path=seen.path) if seen.method else None
    everybody = f"service-intentions/{policy.destination} JWT"
    if seen.by_token and not shadow:
        return "every request needs a token", everybody
    known = policy if request is None else replace(policy, jwt=[])
    found = decide(known, source, request, default_allow, shadow=shadow, normalization=_AS_IT_IS)
    one = deciding(policy, source, shadow=shadow)
    if found.allowed != denied and not (one and request and _needs_more(one)):
        return found.rule, found.entry
    if policy.jwt and denied and found.allowed:
        return "every request needs a token with certain claims", everybody
    if one is None or not _needs_more(one):
        return None
    rule = f'the intention from "{one.source}" to "{one.destination}"'
    return rule, f"service-intentions/{one.destination} Sources[{one.source}]"


def _may(held: Held, source: str) -> bool:
    return decide(held.policy, source, None, held.default_allow).allowed


def _needs_more(one: Intention) -> bool:
    """Whether more than method and path of a request decide."""
    return any(
        each.jwt or (each.http is not None and each.http.headers) for each in one.permissions
    )


def _kinds(seen: Seen) -> Iterator[Kind]:
    if seen.denied:
        yield "denied"
        if seen.shadow == "allowed":
            yield "would-allow"
    elif seen.shadow == "denied":
        yield "would-deny"


class Tally:
    """Counts what was seen, by pair and rule."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, ...], Refusal] = OrderedDict()
        """By when it was last seen."""
        self._counted: OrderedDict[str, None] = OrderedDict()
        self._logged: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._lines: list[str] = []
        self.calls: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        """Of each kind, since this agent began."""
        self.dropped: Counter[str] = Counter(dict.fromkeys(DROPS, 0))
        """What the report and the log do not have, by the reason."""

    def note(self, held: Sequence[Held], seen: Seen, now: float) -> bool:
        """Count a call to the policies' destination; whether it was news.

        Those come first by which it was probably judged.
        """
        try:
            caller = identity.parse(seen.caller)
        except Invalid:
            self.dropped["no_identity"] += 1
            return False
        # What no intention can be about is named by its identity.
        source = caller.name if caller.role == "service" else seen.caller[:TEXT_MAX]
        if seen.ended and _may(held[0], source):
            return False
        if seen.connection and not self._is_new(seen.connection):
            return False
        for kind in _kinds(seen):
            self.calls[kind] += seen.count
            shadow = kind != "denied"
            rule, entry = blame(held, source, seen, shadow=shadow)
            destination = held[0].policy.destination
            self._count(kind, (source, destination, rule, entry), seen, now)
            if kind == "denied":
                self._tell(source, destination, rule, entry, now)
        return True

    def _is_new(self, connection: str) -> bool:
        new = connection not in self._counted
        self._counted[connection] = None
        if len(self._counted) > CONNECTIONS_MAX:
            self._counted.popitem(last=False)
        return new

    def _count(self, kind: Kind, what: tuple[str, str, str, str], seen: Seen, now: float) -> None:
        source, destination, rule, entry = (text[:TEXT_MAX] for text in what)
        one = Refusal(
            kind=kind,
            source=source,
            destination=destination,
            rule=rule,
            entry=entry,
            first=now,
            last=now,
        )
        old = self._found.pop(one.key, one)
        examples = old.examples
        # What follows the path may hold secrets.
        example = f"{seen.method} {bare(seen.path)}"[:EXAMPLE_MAX] if seen.method else ""
        if example and example not in examples and len(examples) < EXAMPLES_MAX:
            examples = [*examples, example]
        self._found[one.key] = replace(
            old, count=old.count + seen.count, last=now, examples=examples
        )
        if len(self._found) > REFUSALS_MAX:
            self.dropped["calls"] += self._found.popitem(last=False)[1].count

    def _tell(self, source: str, destination: str, rule: str, entry: str, now: float) -> None:
        pair = (source, destination)
        before = self._logged.get(pair)
        if before is not None and now - before < LOG_SECONDS:
            self.dropped["lines"] += 1
            return
        self._logged[pair] = now
        self._logged.move_to_end(pair)
        if len(self._logged) > PAIRS_MAX:
            self._logged.popitem(last=False)
        where = f" ({entry})" if entry else ""
        self._lines.append(f"denied: {source} => {destination}: {rule}{where}")

    def lines(self) -> list[str]:
        """What is to be logged, once."""
        found, self._lines = self._lines, []
        return found

    def settle(self, policy: Policy) -> bool:
        """Forget what dry runs would do that are gone; whether there was any."""
        gone = [
            key
            for key, one in self._found.items()
            if one.destination == policy.destination and not is_tried(one, policy.intentions)
        ]
        for key in gone:
            del self._found[key]
        return bool(gone)

    def forget(self, now: float) -> None:
        """Drop what was not seen for long."""
        for key in [key for key, one in self._found.items() if one.last < now - KEEP_SECONDS]:
            del self._found[key]

    def add(self, former: Iterable[Refusal]) -> None:
        """Count on from what an earlier life saw."""
        found = together(former, self._found.values())
        self._found = OrderedDict((one.key, one) for one in found[-REFUSALS_MAX:])

    def all(self) -> list[Refusal]:
        """What was seen, by pair and rule."""
        return sorted(self._found.values(), key=lambda one: one.key)
