"""Sending: one write, sent again until its outcome is certain, and never applied twice.

A copy of a request that comes late, when what was remembered of the others is gone, cannot be told
from a new one. So each copy says a log index that was applied before the first was made (`since`):
whatever was applied of the request stands above it. The machine refuses a copy whose `since` lies
below what it has forgotten (Outdated). Only who made the request knows whether that was its only
copy; then nothing was done, and it may start afresh. So it may when every copy said 0, as from who
has heard nothing of the cluster yet: from level 2 on something is always forgotten below the first
log index that counts, and no such copy is applied.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mesh.clock import Dice
from mesh.errors import MeshError, OutcomeUnknown, Outdated
from mesh.registry.port import WriteOptions
from mesh.rpc.patience import Patience


def first(options: WriteOptions, origin: str, dice: Dice, newest: int) -> WriteOptions:
    """The options of the first copy.

    `origin` is where it enters if it says nothing else; `newest` the highest log index known here
    to be applied.
    """
    return msgspec.structs.replace(
        options,
        request=options.request or dice.uuid(),
        origin=options.origin or origin,
        since=newest if options.since is None else options.since,
    )


class Sending:
    """One write on its way, again and again until its outcome is certain or patience is out.

    `asked` is how it was to be written, `options` how the next copy is: at first as `first` says.
    `newest` gives the highest log index known here to be applied.
    """

    def __init__(
        self,
        asked: WriteOptions,
        options: WriteOptions,
        patience: Patience,
        newest: Callable[[], int],
    ) -> None:
        self._newest = newest
        self._ours = asked.since is None and not asked.attempt
        self._patience = patience
        self._unknown = False
        self.options = options

    async def failed(self, error: MeshError) -> None:
        """Get ready to send once more; raises what the caller is to know when that is no use."""
        try:
            if isinstance(error, Outdated):
                if self._afresh(error):
                    return
            elif isinstance(error, OutcomeUnknown):
                self._unknown = True
                again = self.options.attempt + 1
                self.options = msgspec.structs.replace(self.options, attempt=again)
            await self._patience.rest(error)
        except OutcomeUnknown as final:
            # Whoever asks is to know the id, to ask what became of it or to send it again.
            since = self.options.since or 0
            raise OutcomeUnknown(final.message, self.options.request, since) from error

    def last(self, error: MeshError) -> MeshError:
        """What to report when this error ends it: nothing was done now, but before, perhaps."""
        if self._unknown and error.retry and not isinstance(error, OutcomeUnknown):
            message, since = "the write was sent, and its outcome is not known", self.options.since
            return OutcomeUnknown(message, self.options.request, since or 0)
        return error

    def _afresh(self, error: Outdated) -> bool:
        """Begin anew when no copy was applied; whether more is known than before."""
        if self._unknown and self.options.since:
            raise OutcomeUnknown(f"too old to tell: {error.message}")
        if not self._ours:
            # Only who made it knows of all copies.
            options = self.options
            raise Outdated(error.message, error.index, options.request, options.since or 0)
        self._unknown = False
        before, since = self.options.since, error.index or self._newest()
        self.options = msgspec.structs.replace(self.options, since=since, attempt=0)
        return since != before
