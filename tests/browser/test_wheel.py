"""What `pip install` brings."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.browser.driver import TOP

STATIC = TOP / "mesh" / "ui" / "static"


def test_a_wheel_has_the_ui_and_none_of_its_sources(tmp_path: Path) -> None:
    if not (STATIC / "index.html").exists():
        pytest.skip("the UI is not built here")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", str(tmp_path)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(TOP)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as wheel:
        names = set(wheel.namelist())
    pages = {str(one.relative_to(TOP)) for one in STATIC.rglob("*") if one.is_file()}
    assert pages <= names
    assert not {name for name in names if name.startswith("mesh/ui/web/")}
