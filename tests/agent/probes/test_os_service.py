"""OS service checks with a systemctl of our own on the PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.agent.checks import Result
from mesh.agent.probes import os_service
from tests.agent.probes.conftest import check

SCRIPT = """#!/bin/sh
test "$1" = is-active && test "$2" = -- || exit 9
case "$3" in
  nginx) echo active ;;
  broken) echo failed; exit 3 ;;
  *) echo inactive; exit 4 ;;
esac
"""


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("nginx", "passing", "active"),
        ("broken", "critical", "failed"),
        ("none", "critical", "inactive"),
    ],
)
async def test_what_systemd_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: str, said: str
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(SCRIPT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    result = await os_service.run(check(OSService=name))
    assert result == Result(status, f"OS service {name}: {said}")


async def test_a_machine_without_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = await os_service.run(check(OSService="nginx"))
    assert result.status == "critical"
    assert "no systemctl" in result.output
