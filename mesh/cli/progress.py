"""How far long work has come: a line on a terminal, and nothing at all elsewhere."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from mesh.cli.output import Output


class Progress:
    """Use it with `with`. `total` is in bytes; None when nobody knows."""

    def __init__(self, out: Output, about: str, total: int | None = None) -> None:
        self._bar: Any = None
        self._task: Any = None
        if out.stderr.isatty() and out.on_terminal and not out.as_json:
            self._bar = _bar(out)
            self._task = self._bar.add_task(about, total=total)

    def __enter__(self) -> Progress:
        """Begin to draw."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def say(self, about: str) -> None:
        """What is done now; how long that takes nobody knows."""
        if self._bar is not None:
            self._bar.update(self._task, description=about, total=None)

    def counted(self, portions: Iterable[bytes]) -> Iterator[bytes]:
        """The same portions."""
        for portion in portions:
            yield portion
            if self._bar is not None:
                self._bar.advance(self._task, len(portion))


def _bar(out: Output) -> Any:
    # Loaded only now: rich costs 40 ms, and most calls are made by scripts.
    shown, console = (importlib.import_module(f"rich.{name}") for name in ("progress", "console"))
    return shown.Progress(
        shown.SpinnerColumn(),
        shown.TextColumn("{task.description}"),
        shown.BarColumn(),
        shown.DownloadColumn(),
        shown.TransferSpeedColumn(),
        console=console.Console(file=out.stderr),
        transient=True,
    )
