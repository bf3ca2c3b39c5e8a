"""Processes of our own are started with the modules of this one."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mesh.program import command


def test_modules_of_the_current_directory_are_not_run(tmp_path: Path) -> None:
    for name in ("msgspec", "asyncio", "mesh"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')")
    done = subprocess.run(
        [*command("mesh.front.worker"), "another/0", "1", "3", "4", "5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "the main process another/0: restart it" in done.stderr
