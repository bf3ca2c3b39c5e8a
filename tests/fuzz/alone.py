"""The fuzzer as a program of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent.parent
# The system counts the memory of whoever started a process as the process's, once, so that one
# begun by a process of many tests would be over its limit before it did anything. A shell between
# them is small.
SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


def fuzz(*arguments: str, seconds: float) -> None:
    """Run `python -m tests.fuzz`, at most so long. Raises AssertionError if it finds something."""
    done = subprocess.run(
        [*SHELL, sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
