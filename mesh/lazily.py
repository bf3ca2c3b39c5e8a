"""Modules that are loaded when something of them is first used: those that take long to load."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Lazy:
    """Stands for a module. Only for what is used inside of functions: see `TYPE_CHECKING`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """What the module has under this name; the first question loads it."""
        return getattr(import_module(self._name), attribute)
