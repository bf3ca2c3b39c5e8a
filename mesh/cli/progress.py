"""How far long work has come: a line on a terminal, and nothing at all elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mesh.cli.output import Output


class Progress:
    """Use it with `with`. `total` is in bytes; None when nobody knows.

    Of work that moves no bytes, `waits`, only the time that it takes is shown.
    """

    def __init__(
        self, out: Output, about: str, total: int | None = None, *, waits: bool = False
    ) -> None:
        self._out, self._about, self._waits = out, about, waits
        self._shown = out.stderr.isatty() and out.on_terminal and not out.as_json
        self._total = total
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._shown:
            self._bar = _bar(self._out, waits=self._waits)
            self._task = self._bar.add_task(self._about, total=self._total)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to others meanwhile."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def say(self, about: str) -> None:
        """What is done now; how long that takes nobody knows."""
        self._about, self._total = about, None
        if self._bar is not None:
            self._bar.update(self._task, description=about, total=None)

    def counted(self, portions: Iterable[bytes]) -> Iterator[bytes]:
        """The same portions."""
        for portion in portions:
            yield portion
            if self._bar is not None:
                self._bar.advance(self._task, len(portion))


def _bar(out: Output, *, waits: bool) -> Any:
    # Loaded only now: rich costs 40 ms, and most calls are made by scripts.
    shown, console = (importlib.import_module(f"rich.{name}") for name in ("progress", "console"))
    bytes_moved = [shown.BarColumn(), shown.DownloadColumn(), shown.TransferSpeedColumn()]
    return shown.Progress(
        shown.SpinnerColumn(),
        shown.TextColumn("{task.description}", markup=False),
        *([shown.TimeElapsedColumn()] if waits else bytes_moved),
        console=console.Console(file=out.stderr),
        transient=True,
    )
