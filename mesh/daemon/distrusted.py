"""The certificates that an agent knows to be revoked, on disk, for when it starts alone."""

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
_BYTES_MAX = ROWS_MAX * 4096


class _Entry(msgspec.Struct, frozen=True):
    """A certificate that is revoked, as the file has it."""

    serial: str
    issuer: str = ""
    reason: str = ""


class Distrusted:
    """What an agent refuses on the server port, in the folder it was given."""

    def __init__(self, folder: str, credentials: Credentials) -> None:
        self._path, self._credentials = Path(folder, NAME), credentials
        self._kept: list[_Entry] = []

    def recall(self) -> None:
        """Refuse what was refused when the agent last ran. A file that is damaged is put aside."""
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
        self._credentials.distrust(_revocations(self._kept))

    def _unknown(self, why: str) -> None:
        log.error(
            "%s %s: until a server says which certificates are revoked, this agent believes "
            "all of its authority",
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
            try:
                async for answer in registry.watch(All()):
                    await self._hear(answer.value)
            except MeshError as error:
                log.debug("which certificates are revoked is not known: %s", error)
            await clock.sleep(ASK_SECONDS)

    async def _hear(self, rows: Sequence[Revocation]) -> None:
        said = [_Entry(row.serial, row.issuer, row.reason) for row in rows]
        self._credentials.distrust(_revocations(said))
        if said == self._kept:
            return
        try:
            await asyncio.to_thread(replace_durably, self._path, to_json(said, indent=2) + b"\n")
        except OSError as error:
            log.warning(
                "%s: %s; an agent that starts anew believes what was revoked until a server says "
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
