"""Variants: answers to one question that differ in the order of their records."""

from __future__ import annotations

VARIANTS = 8
# Each time so many answers were kept bytes, one variant makes room for a new one, so that a client
# of a large service meets all of it and not only what the first shuffles put on top.
USES_OF_VARIANT = 128


class Variants:
    """A few shuffled answers, without their ids, and how often they were given."""

    __slots__ = ("most", "uses", "variants")

    def __init__(self) -> None:
        self.variants: list[bytes] = []
        self.most = VARIANTS
        self.uses = 0

    def take(self) -> bytes:
        """A variant; empty when another one is to be made."""
        variants, self.uses = self.variants, self.uses + 1
        if len(variants) < self.most:
            # The first few have an order of their own; a flood waits for none of them.
            if self.uses & (self.uses - 1) == 0:
                return b""
        elif self.most > 1 and self.uses % USES_OF_VARIANT == 0:
            return b""
        return variants[self.uses % len(variants)]

    def add(self, variant: bytes) -> int:
        """Another one, in place of the oldest if there are many; by how much it is larger."""
        self.variants.append(variant)
        oldest = self.variants.pop(0) if len(self.variants) > self.most else b""
        return len(variant) - len(oldest)
