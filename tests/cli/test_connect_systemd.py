"""Units that systemd itself accepts, and waiting for sidecars."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.processes import TOP


def meshctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mesh.cli.main", "connect", *words],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=os.environ | {"MESH_HTTP_ADDR": "127.0.0.1:1"},
    )


def unit(*words: str) -> dict[str, list[str]]:
    done = meshctl("systemd", *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
@pytest.mark.parametrize(
    "words",
    [["payments"], ["payments", "--builtin", "--low-ports", "--user", "root"], ['a "b" 7%']],
)
def test_systemd_accepts_the_unit(tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "mesh-sidecar.service"
    file.write_text(meshctl("systemd", *words).stdout)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if file.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_goes_on_while_the_agent_is_away() -> None:
    found = unit("payments")
    assert "Requires" not in found
    assert found["After"] == found["Wants"] == ["meshd.service network-online.target"]
    assert found["Restart"] == ["always"]
    assert found["StartLimitIntervalSec"] == ["0"]


def test_the_unit_says_which_sidecar_and_which_agent() -> None:
    found = unit("payments", "--agent-unit", "consul.service")
    assert found["ExecStart"][0].endswith("connect envoy --for-good --sidecar-for payments")
    assert found["ExecStartPost"][0].endswith("connect wait payments")
    assert found["Environment"] == ["MESH_HTTP_ADDR=127.0.0.1:1"]
    assert found["EnvironmentFile"] == ["-/etc/mesh/sidecar-payments.env"]
    assert found["After"] == ["consul.service network-online.target"]
    assert found["DynamicUser"] == ["yes"]
    builtin = unit("payments", "--builtin", "--user", "mesh", "--low-ports")
    assert " connect proxy --drain-time 10 --sidecar-for payments" in builtin["ExecStart"][0]
    assert builtin["User"] == ["mesh"]
    assert builtin["AmbientCapabilities"] == ["CAP_NET_BIND_SERVICE"]
    assert "DynamicUser" not in builtin


def test_names_cannot_leave_their_place() -> None:
    found = unit('a b$HOME%h"c')
    assert found["ExecStart"][0].endswith('--sidecar-for "a b$$HOME%%h\\"c"')
    assert meshctl("systemd", "a\nExecStart=/bin/sh").returncode == 2
    assert meshctl("systemd", "../x").returncode == 2


def test_waiting_ends_with_what_is_missing() -> None:
    done = meshctl("wait", "payments", "--timeout", "0")
    assert done.returncode == 1
    assert "the sidecar is not ready: " in done.stderr
    assert "127.0.0.1:1" in done.stderr
