"""meshd as it ran eleven years ago: what it founds has ended by now. A program for tests."""

from __future__ import annotations

import sys
from unittest.mock import patch

from mesh.clock import SystemClock
from mesh.daemon.main import main

YEAR_SECONDS = 365 * 86400.0
_wall = SystemClock.wall


def past(clock: SystemClock) -> float:
    """Seconds since the Unix epoch, back then."""
    return _wall(clock) - 11 * YEAR_SECONDS


if __name__ == "__main__":
    with patch.object(SystemClock, "wall", past):
        sys.exit(main())
