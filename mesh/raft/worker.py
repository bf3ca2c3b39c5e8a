"""A worker: one thread that does one piece of work after another for an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

Done: TypeAlias = Callable[[BaseException | None], object]


class Worker:
    """Does what it is given in that order. Belongs to the loop that gives it work first.

    An executor with one thread does the same and takes three times as long over each piece, half
    of it in the loop; each sync of the log is one.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._given: SimpleQueue[tuple[Callable[[], object], Done] | None] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, work: Callable[[], object], done: Done) -> None:
        """Do it in the thread, then call `done` in the loop with the error it raised, if any."""
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._given.put((work, done))

    def stop(self) -> None:
        """Return once all it was given is done. Not for the loop's own thread: this waits."""
        if self._thread is not None:
            self._given.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (given := self._given.get()) is not None:
            work, done = given
            error: BaseException | None = None
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - who gave the work decides on it.
                error = failure
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody wants to know.
                self._loop.call_soon_threadsafe(done, error)
            del given, work, done, error
