"""Options that keep discovery calm, and what is wrong with their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from mesh.config.sections import Seconds

if TYPE_CHECKING:
    from mesh.config.schema import Config


class MassFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Freezes removals from discovery when much of the pool seems to vanish at once."""

    enabled: bool = True
    """Freeze at all."""
    share: float = 0.4
    """More than this part of the members must have vanished; 0.4 lets one zone of three go."""
    min_members: int = 2
    """At least so many of them must have failed."""
    window: Seconds = 60.0
    """Within this time. The freeze ends when that has not held for as long."""
    hold_max: Seconds = 300.0
    """No freeze is longer; what is still missing then is removed."""


class FlapDamping(msgspec.Struct, frozen=True, kw_only=True):
    """Leaves out of discovery who falls again and again. A fall adds 1 to a penalty."""

    enabled: bool = True
    """Damp members that fail and come back."""
    checks: bool = False
    """Damp also checks that turn critical and recover, unless no other instance is healthy."""
    half_life: Seconds = 300.0
    """The penalty halves in this time."""
    suppress: float = 3.0
    """Above this penalty it is left out ..."""
    reuse: float = 1.0
    """... until the penalty has come down to this."""
    hold_max: Seconds = 900.0
    """It is let in after this time without a fall, at the latest."""


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong, by dotted key."""
    mass, flaps = config.mass_failure, config.flap_damping
    if not 0 < mass.share < 1:
        yield "mass_failure.share", f"expected a part between 0 and 1 such as 0.4, got {mass.share}"
    if not 2 <= mass.min_members <= 2**31:
        yield "mass_failure.min_members", f"expected 2 or more, got {mass.min_members}"
    for key, seconds in (
        ("mass_failure.window", mass.window),
        ("mass_failure.hold_max", mass.hold_max),
        ("flap_damping.half_life", flaps.half_life),
        ("flap_damping.hold_max", flaps.hold_max),
    ):
        if seconds <= 0:
            yield key, "expected a duration above 0"
    if mass.hold_max < mass.window:
        yield "mass_failure.hold_max", "cannot be shorter than mass_failure.window"
    yield from _thresholds(flaps)


def _thresholds(flaps: FlapDamping) -> Iterator[tuple[str, str]]:
    if not 1 <= flaps.suppress <= 1000:
        yield "flap_damping.suppress", f"expected 1 to 1000 falls, got {flaps.suppress:g}"
    if not 0 < flaps.reuse < flaps.suppress:
        yield "flap_damping.reuse", "expected more than 0 and less than flap_damping.suppress"
    elif flaps.half_life > 0:
        # A penalty that must be down in time can never be higher than this.
        highest = flaps.reuse * 2 ** min(flaps.hold_max / flaps.half_life, 60.0)
        if highest <= flaps.suppress:
            yield (
                "flap_damping.hold_max",
                f"too short: the penalty could never exceed {highest:.3g}, and "
                f"flap_damping.suppress is {flaps.suppress:g}; make it several half-lives",
            )
