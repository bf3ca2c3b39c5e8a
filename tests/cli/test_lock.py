"""meshctl lock: signals at awkward moments."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest

from mesh.cli import lock, main


class TakenAsTheSignalComes:
    """A lock that is ours at the very moment at which a signal ends the waiting."""

    why_lost = ""
    held = False

    def acquire(self, _seconds: float | None) -> bool:
        self.held = True
        raise lock._Stopped

    def release(self) -> bool:
        self.held = False
        return True


def test_a_lock_taken_as_a_signal_comes_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    holder, stderr = TakenAsTheSignalComes(), io.StringIO()
    monkeypatch.setattr(lock, "_holder", lambda *_: holder)
    process = main.Process({}, io.BytesIO(), io.StringIO(), stderr)
    assert main.run(["lock", "a", "true"], process) == 1
    assert not holder.held
    assert "stopped while waiting" in stderr.getvalue()


class NoLongerSure:
    """A lock that was taken, and then nobody ran for longer than its session lives."""

    why_lost = ""
    held = False
    lost = threading.Event()

    def acquire(self, _seconds: float | None) -> bool:
        return True

    def release(self) -> bool:
        return True


def test_nothing_begins_under_a_lock_that_is_not_surely_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(lock, "_holder", lambda *_: NoLongerSure())
    process = main.Process({}, io.BytesIO(), io.StringIO(), stderr)
    assert main.run(["lock", "a", "touch", str(tmp_path / "ran")], process) == 1
    assert not (tmp_path / "ran").exists()
    assert "the lock on a was lost before the command" in stderr.getvalue()
