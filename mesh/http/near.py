"""?near: what a node would like to see first, by the round trips that coordinates foretell."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TypeVar

from mesh.errors import MeshError
from mesh.http import params
from mesh.http.request import Request
from mesh.registry import coordinates
from mesh.registry.port import ReadOptions

log = logging.getLogger(__name__)
T = TypeVar("T")

AGENT = "_agent"
SECONDS_MAX = 1.0
"""How long distances are waited for: the order is no reason to keep an answer back."""


async def first(
    request: Request, options: ReadOptions, rows: list[T], node_of: Callable[[T], str]
) -> list[T]:
    """The rows, nearest to `?near` first, those of unknown distance last; else in their order.

    It has no effect when coordinates are off, on a node that has none, in another datacenter, or
    while no server tells distances.
    """
    source = request.param("near")
    if not source or len(rows) < 2 or request.options.disable_coordinates:
        return rows
    if params.datacenter(request) not in {"", request.options.datacenter}:
        return rows
    source = request.options.node_name if source == AGENT else source
    names = sorted({node_of(row).lower() for row in rows})
    # Of the server asked, whoever leads: a leader too old to know the question would hang up.
    now = ReadOptions("stale", token=options.token, seconds_max=SECONDS_MAX)
    try:
        far = await coordinates.distances(request.parts.registry, source, names, now)
    except MeshError as error:
        log.debug("?near=%s: %s", source, error)
        return rows
    return sorted(rows, key=lambda row: far.get(node_of(row).lower(), math.inf))
