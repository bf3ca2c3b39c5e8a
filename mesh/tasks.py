"""Background tasks: the one place that starts them, hears them fail and ends them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)


def spawn(
    work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None = None
) -> asyncio.Task[T]:
    """Run what is awaited or ended by whoever keeps the task, errors too: one for a request.

    It costs a third of what `Tasks.start` does, and less by a system call if the loop is given.
    """
    return asyncio.Task(work, loop=loop)


class Tasks:
    """The tasks of one part. Whoever owns the part calls `stop`, which ends them all.

    A task that fails is logged and counted in `failures`. One started with fatal=True also calls
    `on_fatal` with its error: the owner then stops the whole process rather than limp on.
    """

    def __init__(self, on_fatal: Callable[[BaseException], None] | None = None) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._on_fatal = on_fatal
        self.failures = 0

    def start(
        self, work: Coroutine[Any, Any, None], *, name: str, fatal: bool = False
    ) -> asyncio.Task[None]:
        """Run the coroutine in the background until it ends or `stop` is called."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._fatal_end if fatal else self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures += 1
            log.error("task %s failed", task.get_name(), exc_info=error)

    def _fatal_end(self, task: asyncio.Task[Any]) -> None:
        self._end(task)
        if not task.cancelled() and (error := task.exception()) and self._on_fatal:
            self._on_fatal(error)

    async def stop(self) -> None:
        """Cancel every task and wait until each has ended; tasks they start meanwhile too."""
        current = asyncio.current_task()
        while others := [task for task in self._running if task is not current]:
            for task in others:
                task.cancel()
            await asyncio.wait(others)


async def turn() -> None:
    """Let everything else that is ready run: for between two steps that take long."""
    await asyncio.sleep(0)
