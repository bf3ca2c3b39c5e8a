"""meshctl exec: what it does when nobody leads for a moment."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.cli import execution
from mesh.cli.output import Output
from mesh.cli.progress import Progress
from mesh.errors import Denied, NoLeader

PREFIX = "_rexec/s"


class Store:
    """The KV with a job that one node has ended; each read fails as told at first."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.pairs = {f"{PREFIX}/n1/ack": b"", f"{PREFIX}/n1/out/00000": b"said\n"}
        self.pairs[f"{PREFIX}/n1/exit"] = b"0"

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    def keys(self, _prefix: str, options: Any) -> Any:
        assert options is not None
        self._fail()
        return SimpleNamespace(index=7, value=[f"{PREFIX}/job", *self.pairs])

    def get(self, key: str) -> Any:
        self._fail()
        return SimpleNamespace(value=SimpleNamespace(value=self.pairs[key]))


def show(store: Store) -> tuple[execution.Show, io.StringIO]:
    stdout = io.StringIO()
    out = Output(stdout, io.StringIO(), {})
    invocation: Any = SimpleNamespace(
        client=SimpleNamespace(kv=store, session=None),
        out=out,
        parsed=SimpleNamespace(switch=lambda _: False),
    )
    return execution.Show(invocation, "s", Progress(out, "x", waits=True)), stdout


def test_an_election_ends_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    store = Store(NoLeader("No cluster leader"))
    shown, stdout = show(store)
    shown.follow(0.05, 1.0)
    assert slept
    assert (stdout.getvalue(), shown.end()) == ("n1: said\n", 0)
    # What could not be read is read the next time.
    store = Store()
    shown, stdout = show(store)
    store.get = _failing_once(store.get)  # type: ignore[method-assign]
    shown.follow(0.05, 1.0)
    assert stdout.getvalue() == "n1: said\n"


def _failing_once(get: Any) -> Any:
    asked: list[str] = []

    def ask(key: str) -> Any:
        asked.append(key)
        if len(asked) == 1:
            raise NoLeader("No cluster leader")
        return get(key)

    return ask


def test_what_stays_wrong_ends_it() -> None:
    shown, _ = show(Store(Denied("no")))
    with pytest.raises(Denied):
        shown.follow(0.05, 1.0)
