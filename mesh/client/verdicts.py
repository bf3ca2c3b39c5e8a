"""Who may connect to a service, as its agent says: asked once, until intentions change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from mesh.client.connect import Verdict
from mesh.errors import MeshError

AWAY_SECONDS = 2.0
"""After an agent did not answer, nobody waits for it again within this time."""
_now = time.monotonic  # noqa: TID251  # The client stands alone: it has no Clock to ask.

Ask: TypeAlias = Callable[[str, str], Verdict]
"""Asks the agent about a SPIFFE ID and a serial number. Raises MeshError."""


class Verdicts:
    """What the agent said of each caller. For use by many threads.

    Callers have proved who they are by a certificate of the mesh, so there are never more of them
    than services. What was said holds while the agent is away; of whom nothing was said is refused.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._said: dict[str, tuple[str, Verdict]] = {}
        """Serial number and verdict by SPIFFE ID."""
        self._away: Verdict | None = None
        self._away_until = float("-inf")

    def of(self, caller: str, serial: str) -> Verdict:
        """Whether it may connect. Waits for the agent when nothing is known of this caller."""
        if (known := self._said.get(caller)) is not None:
            return known[1]
        with self._asking:  # One at a time: who waited meanwhile finds what was said.
            if (known := self._said.get(caller)) is not None:
                return known[1]
            if self._away is not None and _now() < self._away_until:
                return self._away
            try:
                verdict = self._ask(caller, serial)
            except MeshError as error:
                why = f"the agent has never said whether it may: {error.message}"
                self._away = Verdict(authorized=False, reason=why)
                self._away_until = _now() + AWAY_SECONDS
                return self._away
            self._said[caller] = serial, verdict
            return verdict

    def still(self, caller: str) -> Verdict | None:
        """What was said last; None when nothing was. Never waits."""
        known = self._said.get(caller)
        return known[1] if known is not None else None

    def changed(self) -> bool:
        """Ask again about every caller; False if the agent did not answer about all.

        What was said before holds until the agent says something else.
        """
        answered = True
        with self._asking:
            self._away_until = float("-inf")
            for caller, (serial, _) in list(self._said.items()):
                try:
                    self._said[caller] = serial, self._ask(caller, serial)
                except MeshError:
                    answered = False
        return answered
