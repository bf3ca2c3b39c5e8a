"""A clock that can be set ahead of the real one."""

from mesh.clock import SystemClock


class Ahead(SystemClock):
    """Real time, and as much as the test adds."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead
