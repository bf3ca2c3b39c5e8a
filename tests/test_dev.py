"""./dev: what it says of commands that it cannot run."""

import subprocess
import sys
from pathlib import Path

import pytest

DEV = Path(__file__).parent.parent / "dev"
RUN = "import runpy, sys; runpy.run_path(sys.argv[1])['run_any'](sys.argv[2:])"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["sh", "-c", "exit 3"], 3, ""),
        (["python", "-c", "import mesh"], 0, ""),
        ([], 2, "Usage: ./dev run COMMAND"),
        (["no-such-program"], 127, "There is no program no-such-program"),
    ],
)
def test_run(words: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-c", RUN, str(DEV), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
