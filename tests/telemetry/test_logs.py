"""The log that is kept for whoever asks late."""

from __future__ import annotations

import logging

from mesh.telemetry.logs import LiveLines


def record(created: float, text: str) -> logging.LogRecord:
    made = logging.LogRecord("mesh.x", logging.INFO, "", 0, text, None, None)
    made.created = created
    return made


def test_who_listens_may_hear_the_latest_lines_first() -> None:
    live, heard, fresh = LiveLines(), list[str](), list[str]()
    for second in (10.0, 20.0, 30.0):
        live.emit(record(second, f"at {second:.0f}"))
    end = live.listen(lambda _, text, __: heard.append(text.rpartition(": ")[2]), 20.0)
    live.listen(lambda _, text, __: fresh.append(text.rpartition(": ")[2]))
    live.emit(record(40.0, "at 40"))
    end()
    live.emit(record(50.0, "at 50"))
    assert heard == ["at 20", "at 30", "at 40"]
    assert fresh == ["at 40", "at 50"]
