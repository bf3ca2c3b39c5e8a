"""What the workloads of this node acknowledged, told to the servers when it changes.

Rotations wait for it. A workload is told before its first leaf is asked for, so that no leaf lives
of which the servers do not know.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable

from mesh.clock import Clock, Dice
from mesh.errors import Invalid, MeshError
from mesh.registry.authority import ReportOf, Tell
from mesh.registry.port import Registry
from mesh.registry.workloads import ID_BYTES_MAX, WORKLOADS_MAX, Ack, said

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.2
"""Changes that come together are told together."""
RETURN_SECONDS = 120.0
"""After a restart, within which sidecars that went on running are back: until then they count."""
RETRY_SECONDS = (1.0, 30.0)


class Acks:
    """Keeps one row of the servers' tables in line with what is so here."""

    def __init__(self, registry: Registry, node: str, world: tuple[Clock, Dice]) -> None:
        self._registry, self._node = registry, node
        self._clock, self._dice = world
        self._acks: dict[str, Ack] = {}
        self._told: dict[str, Ack] | None = None
        self._before: dict[str, Ack] = {}
        """What was said before a restart of those that were not heard since."""
        self._changed = asyncio.Event()
        self._telling = asyncio.Lock()

    def proxy(self, proxy_id: str, roots: Iterable[str], leaf: str) -> None:
        """A sidecar acknowledged these roots, and a leaf under that one ("": none yet)."""
        self._put(_id("proxy", proxy_id), roots, leaf)

    def proxy_gone(self, proxy_id: str) -> None:
        """The sidecar is no more."""
        self._drop(_id("proxy", proxy_id))

    def leaf(self, service: str, roots: Iterable[str], leaf: str) -> None:
        """This node holds a leaf of the service under that root ("": none yet)."""
        self._put(_id("leaf", service), roots, leaf)

    def leaf_gone(self, service: str) -> None:
        """It holds none any more."""
        self._drop(_id("leaf", service))

    def _put(self, key: str, roots: Iterable[str], leaf: str) -> None:
        ack = Ack(id=key, roots=sorted(roots), leaf=leaf)
        if self._acks.get(key) != ack:
            self._acks[key] = ack
            self._changed.set()

    def _drop(self, key: str) -> None:
        before, present = self._before.pop(key, None), self._acks.pop(key, None)
        if before is not None or present is not None:
            self._changed.set()

    def is_told(self, service: str) -> bool:
        """Whether the servers know that this node has, or is to have, a leaf of the service."""
        return self._told is not None and _id("leaf", service) in self._told

    async def tell(self) -> None:
        """Tell it now, if there is something new. Raises a MeshError."""
        async with self._telling:
            if self._told is None:
                self._told = await self._former()
                self._before = dict(self._told)
            acks = self._before | self._acks
            if acks == self._told:
                return
            # As many as one node may have, leaves first: else the servers would take none.
            told = sorted(acks.values(), key=lambda ack: ack.id)
            if len(told) > WORKLOADS_MAX:
                left = len(told) - WORKLOADS_MAX
                log.warning("rotations of the mesh's root do not wait for %d workloads here", left)
            await self._registry.write(Tell(self._node, said(told[:WORKLOADS_MAX])))
            self._told = acks

    async def settle(self) -> None:
        """Forget those that were there before a restart and did not come back since."""
        await self._clock.sleep(RETURN_SECONDS)
        while True:
            try:
                await self.tell()
                break
            except MeshError as error:
                log.debug("telling what was acknowledged: %s", error)
                await self._clock.sleep(RETRY_SECONDS[1])
        self._before = {}
        self._changed.set()

    async def _former(self) -> dict[str, Ack]:
        report = (await self._registry.read(ReportOf(self._node))).value
        return {ack.id: ack for ack in report.acks} if report is not None else {}

    async def run(self) -> None:
        """Tell what changes, soon; never ends."""
        low, high = RETRY_SECONDS
        pause = low
        while True:
            await self._changed.wait()
            await self._clock.sleep(SETTLE_SECONDS)
            self._changed.clear()
            try:
                await self.tell()
                pause = low
            except MeshError as error:
                level = logging.WARNING if isinstance(error, Invalid) else logging.DEBUG
                log.log(level, "telling what was acknowledged: %s", error)
                self._changed.set()
                await self._clock.sleep(self._dice.uniform(pause / 2, pause))
                pause = min(2 * pause, high)


def _id(kind: str, name: str) -> str:
    """Long names are cut, with what still tells them apart."""
    text = f"{kind}:{name}"
    data = text.encode()
    if len(data) <= ID_BYTES_MAX:
        return text
    digest = hashlib.sha256(data).hexdigest()[:16]
    return f"{data[: ID_BYTES_MAX - len(digest) - 1].decode(errors='ignore')}~{digest}"
