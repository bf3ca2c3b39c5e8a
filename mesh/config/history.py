"""Options of history: how much of what was changed is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from mesh.config.sections import Bytes, Seconds
from mesh.registry.history import BYTES_LIMIT, BYTES_MAX, SECONDS_MAX

if TYPE_CHECKING:
    from mesh.config.schema import Config


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed, to be looked at and taken back; the leader's values hold for all."""

    max_bytes: Bytes = BYTES_MAX
    """Forget the oldest changes beyond this, in memory and in snapshots; at most 1GiB."""
    max_age: Seconds = SECONDS_MAX
    """Forget changes older than this."""


def problems(config: Config) -> Iterator[tuple[str, str]]:
    """What is wrong, by dotted key."""
    knobs = config.history
    if not 0 <= knobs.max_bytes <= BYTES_LIMIT:
        yield "history.max_bytes", f"expected 0 to {BYTES_LIMIT}, got {knobs.max_bytes}"
    if knobs.max_age < 0:
        yield "history.max_age", "expected 0 or more"
