"""Who may open connections to a service that nobody looks into, and when that became less.

A connection is judged once, when it begins. So the rules for new ones are apart from the listener
and change without touching any that is open; and when they take something away, the listener gets
rules of another name. For Envoy that is another filter chain, and connections of the old one end
with its drain. The old one takes new connections until the rules of the new name are there, and
these end with it too: none is left over that the new rules would refuse.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from mesh.codec import pack


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Who may open connections."""

    trust_domain: str
    strangers: bool
    """Whether those of it may that are no services."""
    others: bool
    """Whether services may that are not named."""
    named: frozenset[str]
    """The services, in lower case, with which it is the other way around."""

    def may(self, service: str) -> bool:
        """Whether a service may."""
        return (service.lower() in self.named) != self.others

    def exceeds(self, other: Reach) -> bool:
        """Whether there is somebody who may here and may not there."""
        return (
            self.trust_domain != other.trust_domain
            or self.strangers > other.strangers
            or self.others > other.others
            or any(self.may(one) > other.may(one) for one in self.named | other.named)
        )


EVERYBODY = Reach(trust_domain="*", strangers=True, others=True, named=frozenset())
"""More than any policy allows."""


class Judged(msgspec.Struct, frozen=True):
    """What connections that are open were judged by."""

    mark: str
    """Another one since somebody was denied who was allowed."""
    reach: Reach


def judged(reach: Reach, before: Judged | None) -> Judged:
    """What they are judged by from now on; None: there are none."""
    if before is None:
        return Judged(_mark("", reach), reach)
    if before.reach.exceeds(reach):
        return Judged(_mark(before.mark, reach), reach)
    return Judged(before.mark, reach)


def _mark(before: str, reach: Reach) -> str:
    content = pack([before, reach.trust_domain, reach.strangers, reach.others, sorted(reach.named)])
    return blake2b(content, digest_size=8).hexdigest()
