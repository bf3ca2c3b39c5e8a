"""Locks and semaphores for programs that await: `async with Lock(client, "service/leader"):`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from mesh.client import session
from mesh.client.aio import AsyncClient
from mesh.client.call import Call
from mesh.client.holding import Holding
from mesh.client.recipes import (
    HoldOptions,
    Keeping,
    LockRecipe,
    Pause,
    Recipe,
    SemaphoreRecipe,
    Steps,
    open_session,
)
from mesh.errors import MeshError

T = TypeVar("T")

DEFAULTS = HoldOptions()


class Holder(Holding):
    """Takes something, keeps it in a task of its own, and tells when it is lost.

    `lost` is set once what was held is no longer sure to be ours: whoever works under it must
    stop, before the servers let somebody else have it. `on_lost` is called then too, with the
    reason. Made and used in one running event loop.
    """

    def __init__(
        self, client: AsyncClient, recipe: Recipe, on_lost: Callable[[str], None] | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        super().__init__(recipe, self._loop.time, on_lost)
        self._client = client
        self._task: asyncio.Task[None] | None = None
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Wait until it is ours."""
        await self.acquire()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        await self.release()

    async def acquire(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it is ours, at most so long; whether it is.

        Raises a MeshError when that cannot be: the key is something else, or for the length of a
        TTL nobody could be asked.
        """
        self._refuse_twice()
        until = math.inf if timeout_seconds is None else self._now() + timeout_seconds
        self.lost.clear()
        try:
            while True:
                keeping = await self._keep()
                self._taken = await _carry_out(self._attempt(keeping, until), self._client)
                if self._taken is not None or not keeping.lost:
                    break
        finally:
            if self._taken is None:
                await self._end()
        if self._taken is None:
            return False
        keeping.holds = True
        if keeping.lost:
            self.lost.set()
        return True

    async def release(self) -> bool:
        """Give it back; False if it was lost before."""
        keeping = self._keeping
        if keeping is None or self._taken is None:
            return False
        keeping.ending = True
        had = False
        try:
            if not keeping.lost:
                had = bool(await _carry_out(self._recipe.release(keeping.session), self._client))
        finally:
            self._taken = None
            await self._end()
        return had

    async def cleanup(self) -> bool:
        """Delete what the lock or semaphore is made of, unless somebody uses it; whether so."""
        return bool(await _carry_out(self._recipe.cleanup(), self._client))

    async def _keep(self) -> Keeping:
        if self._keeping is None or self._keeping.lost:
            await self._end()
            identity = await self._client.run(open_session(self._recipe))
            self._keeping = Keeping(self._recipe, identity, self._now)
            self._task = self._loop.create_task(
                self._watch_over(self._keeping), name=f"keeps {self._recipe.key}"
            )
        return self._keeping

    async def _watch_over(self, keeping: Keeping) -> None:
        settings = self._client.settings
        seconds = min(settings.timeout_seconds, keeping.request_seconds)
        own = msgspec.structs.replace(settings, timeout_seconds=seconds)
        try:
            async with AsyncClient(own) as client:
                await _carry_out(keeping.steps(), client)
        finally:
            if self._ended(keeping):
                self.lost.set()
                if self._on_lost is not None:
                    self._on_lost(keeping.lost)

    async def _end(self) -> None:
        """End the session, and with it whatever it still holds."""
        keeping, task = self._keeping, self._task
        self._keeping = self._task = None
        if keeping is None:
            return
        keeping.ending = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        try:
            where = self._recipe.options.datacenter
            await self._client.run(session.destroy(keeping.session, datacenter=where))
        except MeshError:
            if not keeping.lost:  # Else it ends by itself.
                raise


async def _carry_out(steps: Steps[T], client: AsyncClient) -> T | None:
    """Do what the steps say."""
    try:
        step: Call[Any] | Pause = next(steps)
        while True:
            try:
                result = await (_wait(step) if isinstance(step, Pause) else client.run(step))
            except MeshError as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # The generator's own T.


async def _wait(pause: Pause) -> None:
    try:
        async with asyncio.timeout(pause.seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        pass


class Lock(Holder):
    """The lock on a key. Consul's own clients exclude it, and it them."""

    def __init__(
        self,
        client: AsyncClient,
        key: str,
        options: HoldOptions = DEFAULTS,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(client, LockRecipe(key, options), on_lost)


class Semaphore(Holder):
    """One of `limit` places under a prefix. Who asks for another limit is refused."""

    def __init__(
        self,
        client: AsyncClient,
        prefix: str,
        limit: int,
        options: HoldOptions = DEFAULTS,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(client, SemaphoreRecipe(prefix, limit, options), on_lost)
