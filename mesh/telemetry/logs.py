"""Log lines: how they look, where they go, and who listens to them live."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

TRACE = 5
LEVELS = {
    "TRACE": TRACE,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}
LINES_KEPT = 512
_NAMES = {number: name for name, number in LEVELS.items()} | {logging.CRITICAL: "ERROR"}


def _part(record: logging.LogRecord) -> str:
    return record.name.removeprefix("mesh.")


def _stamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class TextFormatter(logging.Formatter):
    """`2026-11-21T04:21:09.120+00:00 [INFO]  raft.node: became leader`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, then the traceback if there is one."""
        level = f"[{_NAMES.get(record.levelno, record.levelname)}]"
        line = f"{_stamp(record)} {level:<7} {_part(record)}: {record.getMessage()}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the keys that log collectors expect."""

    def format(self, record: logging.LogRecord) -> str:
        """Encode the record, with its traceback if there is one."""
        fields = {
            "@timestamp": _stamp(record),
            "@level": _NAMES.get(record.levelno, record.levelname).lower(),
            "@module": _part(record),
            "@message": record.getMessage(),
        }
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class LiveLines(logging.Handler):
    """Hands formatted lines to whoever listens (`meshctl monitor`), and keeps the latest."""

    def __init__(self) -> None:
        super().__init__()
        self.latest: deque[tuple[float, int, str, str]] = deque(maxlen=LINES_KEPT)
        self._listeners: list[Callable[[int, str, str], None]] = []
        self._text, self._json = TextFormatter(), JsonFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line and pass it on as text and as JSON."""
        line = (record.levelno, self._text.format(record), self._json.format(record))
        self.latest.append((record.created, *line))
        for listener in list(self._listeners):
            listener(*line)

    def listen(
        self, listener: Callable[[int, str, str], None], since: float = math.inf
    ) -> Callable[[], None]:
        """Call the listener with (level, text, json) of every line; returns what ends that.

        First come the kept ones that are not older than `since` (Unix seconds).
        """
        for written, level, text, json_text in list(self.latest):
            if written >= since:
                listener(level, text, json_text)
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)


def set_up(level: str = "INFO", *, as_json: bool = False, stream: TextIO = sys.stderr) -> LiveLines:
    """Send the logs of mesh to the stream; returns the handler that serves live readers."""
    logging.addLevelName(TRACE, "TRACE")
    root = logging.getLogger("mesh")
    root.setLevel(LEVELS[level.upper()])
    root.propagate = False
    writer = logging.StreamHandler(stream)
    writer.setFormatter(JsonFormatter() if as_json else TextFormatter())
    live = LiveLines()
    root.handlers = [writer, live]
    return live
