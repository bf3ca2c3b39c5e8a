"""Vivaldi: network coordinates, from which the round trip between any two members is estimated.

Every node lives in a space of eight dimensions, with a height for the link that all its traffic
passes. A measured round trip pulls it nearer to the other node or pushes it away (Dabek et al.,
"Vivaldi: A Decentralized Network Coordinate System", 2004), steadied as Ledlie and others propose
("Network Coordinates in the Wild", 2007): a median of the last samples, an adjustment for what the
space cannot express, and a slight gravity. All values are seconds.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

import msgpack
import msgspec

from mesh.clock import Dice
from mesh.errors import Invalid
from mesh.gossip.messages import unpack_map

DIMENSIONS = 8
ERROR_MAX = 1.5
ERROR_WEIGHT, FORCE_WEIGHT = 0.25, 0.25
HEIGHT_MIN = 1e-5
ADJUSTMENTS = 20
SAMPLES = 3
GRAVITY_SECONDS = 150.0
NEAR_SECONDS = 1e-6
RTT_MAX_SECONDS = 10.0
VERSION = 1
OTHERS_MAX = 2**17
"""Members whose coordinates are remembered."""


class Coordinate(msgspec.Struct, frozen=True):
    """A place in the space; `error` says how far off it may be, from 0 (sure) to 1.5."""

    vec: Sequence[float] = (0.0,) * DIMENSIONS
    error: float = ERROR_MAX
    adjustment: float = 0.0
    height: float = HEIGHT_MIN


def estimate(one: Coordinate, other: Coordinate) -> float:
    """The round trip between two places, in seconds."""
    plain = _plain_distance(one, other)
    adjusted = plain + one.adjustment + other.adjustment
    return adjusted if adjusted > 0.0 else plain


def _plain_distance(one: Coordinate, other: Coordinate) -> float:
    return math.dist(one.vec, other.vec) + one.height + other.height


class Vivaldi:
    """This node's coordinate, and those of the members it has measured."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self.here = Coordinate()
        self.others: dict[str, Coordinate] = {}
        self.resets = 0
        """How often this node went back to the origin, as its place made no sense."""
        self._samples: dict[str, deque[float]] = {}
        self._adjustments: deque[float] = deque([0.0] * ADJUSTMENTS, ADJUSTMENTS)

    def observe(self, node: str, seconds: float, other: Coordinate) -> None:
        """A direct answer of a member took so long. Raises Invalid for values out of range."""
        if not _is_valid(other):
            raise Invalid(
                "coordinate: expected eight dimensions of finite numbers, error and height >= 0"
            )
        if not 0.0 <= seconds <= RTT_MAX_SECONDS:
            raise Invalid(f"round trip of {seconds} s: expected 0 to {RTT_MAX_SECONDS:.0f}")
        if node not in self.others and len(self.others) >= OTHERS_MAX:
            self.forget(next(iter(self.others)))
        self.others[node] = other
        rtt = self._median(node, seconds)
        here = self._pulled(other, rtt)
        here = self._adjusted(here, other, rtt)
        here = self._drawn_home(here)
        if not _is_valid(here):
            self.resets += 1
            here = Coordinate()
            self._adjustments.extend([0.0] * ADJUSTMENTS)
        self.here = here

    def measured(self, node: str) -> float | None:
        """Median of the last round trips to a member, in seconds; None before the first."""
        samples = self._samples.get(node)
        return sorted(samples)[len(samples) // 2] if samples else None

    def forget(self, node: str) -> None:
        """The member is gone."""
        self.others.pop(node, None)
        self._samples.pop(node, None)

    def _median(self, node: str, seconds: float) -> float:
        samples = self._samples.setdefault(node, deque(maxlen=SAMPLES))
        samples.append(seconds)
        return sorted(samples)[len(samples) // 2]

    def _pulled(self, other: Coordinate, rtt: float) -> Coordinate:
        here, rtt = self.here, max(rtt, NEAR_SECONDS)
        distance = estimate(here, other)
        wrongness = abs(distance - rtt) / rtt
        total = max(here.error + other.error, NEAR_SECONDS)
        weight = here.error / total
        error = ERROR_WEIGHT * weight * wrongness + here.error * (1 - ERROR_WEIGHT * weight)
        force = FORCE_WEIGHT * weight * (rtt - distance)
        moved = self._moved(here, force, other)
        return msgspec.structs.replace(moved, error=min(error, ERROR_MAX))

    def _moved(self, here: Coordinate, force: float, other: Coordinate) -> Coordinate:
        unit, length = self._direction(other.vec, here.vec)
        vec = tuple(place + force * part for place, part in zip(here.vec, unit, strict=True))
        height = here.height
        if length > NEAR_SECONDS:
            height = max(height + (height + other.height) * force / length, HEIGHT_MIN)
        return msgspec.structs.replace(here, vec=vec, height=height)

    def _direction(self, start: Iterable[float], end: Iterable[float]) -> tuple[list[float], float]:
        """The unit vector from one place to another and their distance; any when they are one."""
        parts = [b - a for a, b in zip(start, end, strict=True)]
        length = math.hypot(*parts)
        if length > NEAR_SECONDS:
            return [part / length for part in parts], length
        parts = [self._dice.uniform(-0.5, 0.5) for _ in parts]
        drawn = math.hypot(*parts)
        if drawn > NEAR_SECONDS:
            return [part / drawn for part in parts], 0.0
        return [1.0, *[0.0] * (DIMENSIONS - 1)], 0.0

    def _adjusted(self, here: Coordinate, other: Coordinate, rtt: float) -> Coordinate:
        self._adjustments.append(rtt - _plain_distance(here, other))
        adjustment = sum(self._adjustments) / (2 * ADJUSTMENTS)
        return msgspec.structs.replace(here, adjustment=adjustment)

    def _drawn_home(self, here: Coordinate) -> Coordinate:
        # Without it the whole pool would drift away from the origin for ever.
        home = Coordinate()
        share = estimate(home, here) / GRAVITY_SECONDS
        return self._moved(here, -share * share, home)

    # The payload of acks

    def payload(self) -> bytes:
        """This node's coordinate, as Serf puts it into acks."""
        return encode(self.here)

    def heard(self, node: str, seconds: float, payload: bytes) -> None:
        """An ack came directly and in time. Raises Invalid; an empty payload is none."""
        if payload:
            self.observe(node, seconds, decode(payload))


def _is_valid(one: Coordinate) -> bool:
    numbers = (*one.vec, one.error, one.adjustment, one.height)
    sane = len(one.vec) == DIMENSIONS and all(map(math.isfinite, numbers))
    return sane and one.error >= 0.0 and one.height >= 0.0


def encode(coordinate: Coordinate) -> bytes:
    """The bytes of a coordinate in an ack, version first."""
    fields = {
        "Adjustment": coordinate.adjustment,
        "Error": coordinate.error,
        "Height": coordinate.height,
        "Vec": list(coordinate.vec),
    }
    packed: bytes = msgpack.packb(fields)
    return bytes((VERSION,)) + packed


def decode(payload: bytes) -> Coordinate:
    """Read a coordinate. Raises Invalid."""
    if payload[:1] != bytes((VERSION,)):
        raise Invalid(f"coordinate: only version {VERSION} is known")
    fields = unpack_map(memoryview(payload)[1:], DIMENSIONS * 2)
    vec = fields.get(b"Vec") or []
    numbers = [fields.get(key) or 0.0 for key in (b"Error", b"Adjustment", b"Height")]
    if not isinstance(vec, list) or not all(isinstance(one, float) for one in [*vec, *numbers]):
        raise Invalid("coordinate: expected numbers")
    coordinate = Coordinate(tuple(vec), *numbers)
    if not _is_valid(coordinate):
        raise Invalid(
            "coordinate: expected eight dimensions of finite numbers, error and height >= 0"
        )
    return coordinate
