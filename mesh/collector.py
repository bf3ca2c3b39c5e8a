"""The cycle collector, tuned for a server that holds many objects and must not pause."""

from __future__ import annotations

import gc

THRESHOLDS = (10_000, 40, 50)
"""New objects until the youngest are looked at, and how often each generation is until the next.

The defaults (700, 10, 10) make a full run of every 70,000 objects that were made and not freed at
once, as each request does. A connection leaves some seven objects in a cycle: to free 10,000 of
them takes 10 ms. Rows are not the collector's business at all, see `mesh.store.table`."""


def settle() -> None:
    """Call it once the program and its state are loaded: what is there now is not looked at again.

    That is the modules and their functions, some 100,000 objects. What of them becomes garbage in a
    cycle later is not freed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
