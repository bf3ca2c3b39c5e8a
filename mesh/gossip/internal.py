"""Serf's own queries, which members ask each other and no program sees."""

from __future__ import annotations

from mesh.errors import MeshError
from mesh.gossip import conflict, rotation
from mesh.gossip.intents import Intents
from mesh.gossip.queries import Asked, Queries
from mesh.gossip.rotation import Keys
from mesh.gossip.swim import Remark, Swim

PING_QUERY = "_serf_ping"
"""Wants acknowledgements only."""


class Internal:
    """Answers them. `keys` is the keyring of an encrypted pool."""

    def __init__(self, swim: Swim, queries: Queries, intents: Intents) -> None:
        self._swim, self._queries, self._intents = swim, queries, intents
        self.keys: Keys | None = None

    def hear(self, now: float, asked: Asked) -> None:
        """Answer one; what cannot be answered is counted."""
        try:
            self._hear(now, asked)
        except MeshError as error:
            self._queries.counters["responder_failures"] += 1
            text = f"query {asked.name} from {asked.source}: {error.message}"
            self._swim.effects.append(Remark(text, warning=True))

    def _hear(self, now: float, asked: Asked) -> None:
        if asked.name in rotation.NAMES:
            result = rotation.carry_out(self.keys, asked.name, asked.payload)
            self._tell(asked, result)
            rotation.send_what_fits(result, lambda body: self._queries.answer(now, asked, body))
        elif asked.name == conflict.CONFLICT_QUERY:
            found = conflict.answer(self._swim.name, asked.payload, self._intents.member)
            if found is not None:
                self._queries.answer(now, asked, found)
        elif asked.name != PING_QUERY:
            self._queries.counters["unknown_internal_queries"] += 1

    def _tell(self, asked: Asked, result: rotation.KeyResult) -> None:
        # Who may ask is whoever has a key: the log says what was changed, and by whom.
        if asked.name != rotation.LIST:
            outcome = "done" if result.ok else result.message
            text = f"{asked.name.removeprefix('_serf_')} from {asked.source}: {outcome}"
            self._swim.effects.append(Remark(text, warning=not result.ok))
