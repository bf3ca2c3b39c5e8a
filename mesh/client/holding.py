"""Holding: what a program knows of a lock or a place that it holds."""

from __future__ import annotations

from collections.abc import Callable

from mesh.client.recipes import Keeping, Recipe, Steps, Taken, Waiting, patient
from mesh.errors import Conflict


class Holding:
    """The state of a holder. `now` gives seconds of a clock that never goes back."""

    def __init__(
        self, recipe: Recipe, now: Callable[[], float], on_lost: Callable[[str], None] | None
    ) -> None:
        self._recipe, self._now, self._on_lost = recipe, now, on_lost
        self._keeping: Keeping | None = None
        self._taken: Taken | None = None

    @property
    def held(self) -> bool:
        """Whether it is surely ours at this moment."""
        keeping = self._keeping
        if self._taken is None or keeping is None or keeping.lost:
            return False
        return self._now() < keeping.good_until

    @property
    def why_lost(self) -> str:
        """Why it was lost; empty when it was not."""
        return self._keeping.lost if self._keeping is not None else ""

    @property
    def session(self) -> str:
        """The id of the session that holds; empty when there is none."""
        return self._keeping.session if self._keeping is not None else ""

    @property
    def taken(self) -> Taken:
        """What was taken, with its fencing token. Raises Conflict when nothing is."""
        if self._taken is None:
            raise Conflict(f"{self._recipe.key} is not held")
        return self._taken

    def _refuse_twice(self) -> None:
        if self._taken is not None:
            raise Conflict(f"{self._recipe.key} is held already")

    def _attempt(self, keeping: Keeping, until: float) -> Steps[Taken | None]:
        waiting = Waiting(keeping.session, until, self._now, lambda: not keeping.lost)
        return patient(self._recipe.acquire(waiting), waiting, self._recipe.options.retry_seconds)

    def _ended(self, keeping: Keeping) -> bool:
        """The keeper has ended; whether the holder must be told that it lost what it held."""
        if not keeping.ending and not keeping.lost:
            keeping.lost = "whoever kept it failed"
        return bool(keeping.lost) and keeping.holds
