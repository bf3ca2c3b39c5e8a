"""The certificates that a node knows to be revoked, on disk, for when it starts alone.

A server has them in its tables, too. But these are of the last snapshot when it starts, and of now
only once there is a leader.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mesh.clock import Clock
from mesh.codec import from_json, to_json
from mesh.datadir import replace_durably
from mesh.errors import Invalid, MeshError
from mesh.registry.port import Registry
from mesh.registry.revocations import ROWS_MAX, All, Revocation
from mesh.revocation import Listed, Named, Revocations
from mesh.tls import Credentials

log = logging.getLogger(__name__)

NAME = "revoked.json"
ASK_SECONDS = 60.0
"""Until an agent asks again which certificates are revoked, when its servers do not know that."""
LEADERLESS_SECONDS = 5.0
"""The same when the server asked hears no leader, who may know more."""
_BYTES_MAX = ROWS_MAX * 16384
"""Texts may be of characters of which one takes six bytes."""


class _Entry(msgspec.Struct, frozen=True):
    """A certificate that is revoked, as the file has it."""

    serial: str
    issuer: str = ""
    reason: str = ""
    index: int = 0
    """The log index of the tables that said so; 0: others told."""


class Distrusted:
    """What a node refuses on the server port, in the folder it was given."""

    def __init__(self, folder: str, credentials: Credentials) -> None:
        self._path, self._credentials = Path(folder, NAME), credentials
        self._kept: list[_Entry] = []
        self._refused: list[_Entry] = []
        self._changed = asyncio.Event()

    def recall(self) -> None:
        """Refuse what was refused when the node last ran. A file that is damaged is put aside."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_BYTES_MAX + 1)
            self._kept = _read(data)
        except FileNotFoundError:
            return
        except OSError as error:
            self._unknown(f"cannot be read: {error.strerror}")
            return
        except Invalid as error:
            self._unknown(f"is damaged ({error.message})")
            self._put_aside()
            return
        self._refused = self._kept
        self._credentials.distrust(_revocations(self._refused))

    def _unknown(self, why: str) -> None:
        log.error(
            "%s %s: until it hears which certificates are revoked, this node believes all of its "
            "authority",
            *(self._path, why),
        )

    def _put_aside(self) -> None:
        try:
            self._path.replace(self._path.with_suffix(".corrupt"))
        except OSError as error:
            log.warning("%s stays where it is: %s", self._path, error.strerror)

    async def learn(self, registry: Registry, clock: Clock) -> None:
        """Refuse what servers say is revoked, and remember it; never ends."""
        while True:
            pause = ASK_SECONDS
            try:
                async for answer in registry.watch(All()):
                    self.refuse(answer.value, partly=not answer.known_leader)
                    await self._keep()
                    if not answer.known_leader:  # With one it may come to the same, unheard.
                        pause = LEADERLESS_SECONDS
                        break
            except MeshError as error:
                log.debug("which certificates are revoked is not known: %s", error)
            await clock.sleep(pause)

    def refuse(
        self, rows: Sequence[Revocation], index: int | None = None, *, partly: bool = False
    ) -> None:
        """Refuse these; and what tables of a later log index said, if they are of this one.

        What is said `partly` takes nothing back: it may be older than what is known here.
        """
        said = [_Entry(row.serial, row.issuer, row.reason, index or 0) for row in rows]
        told = {(one.serial, one.issuer) for one in said}
        said += (
            one
            for one in self._refused
            if (partly or (index is not None and one.index > index))
            and (one.serial, one.issuer) not in told
        )
        self._refused = said
        self._credentials.distrust(_revocations(said))
        self._changed.set()

    async def keep_up(self) -> None:
        """Remember what is refused whenever that changes; never ends."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._keep()

    async def _keep(self) -> None:
        said = self._refused
        if said == self._kept:
            return
        try:
            await asyncio.to_thread(replace_durably, self._path, to_json(said, indent=2) + b"\n")
        except OSError as error:
            log.warning(
                "%s: %s; a node that starts anew believes what was revoked until it hears "
                "otherwise",
                *(self._path, error.strerror),
            )
        else:
            self._kept = said


def _read(data: bytes) -> list[_Entry]:
    if len(data) > _BYTES_MAX:
        raise Invalid(f"it has more than {_BYTES_MAX} bytes")
    return from_json(data, list[_Entry])


def _revocations(entries: Sequence[_Entry]) -> Revocations:
    return Revocations(Listed(Named(one.serial, one.issuer), one.reason) for one in entries)
