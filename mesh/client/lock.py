"""Locks and semaphores for programs that block: `with Lock(client, "service/leader") as lock:`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from mesh.client import session
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
from mesh.client.sync import Client
from mesh.errors import MeshError

T = TypeVar("T")

DEFAULTS = HoldOptions()
JOIN_SECONDS = 10.0
_now = time.monotonic  # noqa: TID251  # The client stands alone: it has no Clock to ask.


class Holder(Holding):
    """Takes something, keeps it with a thread of its own, and tells when it is lost.

    `lost` is set once what was held is no longer sure to be ours: whoever works under it must
    stop, before the servers let somebody else have it. `on_lost` is called then too, with the
    reason, in that thread. Not for several threads at once.
    """

    def __init__(
        self, client: Client, recipe: Recipe, on_lost: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(recipe, _now, on_lost)
        self._client = client
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.lost = threading.Event()

    def __enter__(self) -> Self:
        """Wait until it is ours."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        self.release()

    def acquire(self, timeout_seconds: float | None = None) -> bool:
        """Wait until it is ours, at most so long; whether it is.

        Raises a MeshError when that cannot be: the key is something else, or for the length of a
        TTL nobody could be asked.
        """
        self._refuse_twice()
        until = math.inf if timeout_seconds is None else _now() + timeout_seconds
        self.lost.clear()
        try:
            while True:
                keeping = self._keep()
                steps = self._attempt(keeping, until)
                self._taken = _carry_out(steps, self._client, self._stop)
                if self._taken is not None or not keeping.lost:
                    break
        finally:
            if self._taken is None:
                self._end()
        if self._taken is None:
            return False
        keeping.holds = True
        if keeping.lost:
            self.lost.set()
        return True

    def release(self) -> bool:
        """Give it back; False if it was lost before."""
        keeping = self._keeping
        if keeping is None or self._taken is None:
            return False
        keeping.ending = True
        had = False
        try:
            if not keeping.lost:
                steps = self._recipe.release(keeping.session)
                had = bool(_carry_out(steps, self._client, self._stop))
        finally:
            self._taken = None
            self._end()
        return had

    def cleanup(self) -> bool:
        """Delete what the lock or semaphore is made of, unless somebody uses it; whether so."""
        return bool(_carry_out(self._recipe.cleanup(), self._client, threading.Event()))

    def _keep(self) -> Keeping:
        if self._keeping is None or self._keeping.lost:
            self._end()
            identity = self._client.run(open_session(self._recipe))
            self._keeping = Keeping(self._recipe, identity, _now)
            self._stop = threading.Event()
            self._thread = threading.Thread(
                target=self._watch_over,
                args=(self._keeping, self._stop),
                name=f"keeps {self._recipe.key}",
                daemon=True,
            )
            self._thread.start()
        return self._keeping

    def _watch_over(self, keeping: Keeping, stop: threading.Event) -> None:
        settings = self._client.settings
        seconds = min(settings.timeout_seconds, keeping.request_seconds)
        try:
            with Client(msgspec.structs.replace(settings, timeout_seconds=seconds)) as own:
                _carry_out(keeping.steps(), own, stop)
        finally:
            if self._ended(keeping):
                self.lost.set()
                if self._on_lost is not None:
                    self._on_lost(keeping.lost)

    def _end(self) -> None:
        """End the session, and with it whatever it still holds."""
        keeping, thread = self._keeping, self._thread
        self._keeping = self._thread = None
        if keeping is None:
            return
        keeping.ending = True
        self._stop.set()
        try:
            where = self._recipe.options.datacenter
            self._client.run(session.destroy(keeping.session, datacenter=where))
        except MeshError:
            if not keeping.lost:  # Else it ends by itself.
                raise
        finally:
            if thread is not None:
                thread.join(JOIN_SECONDS)


def _carry_out(steps: Steps[T], client: Client, stop: threading.Event) -> T | None:
    """Do what the steps say; None when told to stop."""
    try:
        step: Call[Any] | Pause = next(steps)
        while True:
            try:
                result = stop.wait(step.seconds) if isinstance(step, Pause) else client.run(step)
            except MeshError as error:
                step = steps.throw(error)
                continue
            if isinstance(step, Pause) and result:
                steps.close()
                return None
            step = steps.send(result)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # The generator's own T.


class Lock(Holder):
    """The lock on a key. Consul's own clients exclude it, and it them."""

    def __init__(
        self,
        client: Client,
        key: str,
        options: HoldOptions = DEFAULTS,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(client, LockRecipe(key, options), on_lost)


class Semaphore(Holder):
    """One of `limit` places under a prefix. Who asks for another limit is refused."""

    def __init__(
        self,
        client: Client,
        prefix: str,
        limit: int,
        options: HoldOptions = DEFAULTS,
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(client, SemaphoreRecipe(prefix, limit, options), on_lost)
