"""Rejoining: meeting the pool again through members that an earlier life of this node knew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mesh.errors import MeshError

log = logging.getLogger(__name__)

TRIES_MAX = 60
"""Members that are tried, as each may take until the timeout of a stream,"""
FIRST_SECONDS = 2.0
"""but at first no longer than this: those that hang must not keep this node from the others."""


async def rejoin(
    join: Callable[[str], Awaitable[int]], addresses: Sequence[str], enough: int, seconds: float
) -> int:
    """Join through these one by one until enough have answered; how many did.

    None is waited for longer than so many seconds, and on the first round for a moment only.
    """
    left, joined = list(addresses), 0
    for patience in (min(FIRST_SECONDS, seconds), seconds):
        for address in list(left):
            if joined >= enough:
                return joined
            try:
                async with asyncio.timeout(patience):
                    joined += await join(address)
                left.remove(address)
            except (MeshError, TimeoutError) as error:
                log.debug("joining again: %s: %s", address, str(error) or "no answer in time")
    return joined
