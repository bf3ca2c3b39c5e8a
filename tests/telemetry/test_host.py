"""What is told of this machine, also when some of it cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.telemetry import host


def test_all_of_it(tmp_path: Path) -> None:
    found = host.collect(str(tmp_path), 1_700_000_000.5)
    assert found["Errors"] is None
    assert found["CollectionTime"] == 1_700_000_000_500_000_000
    assert found["Host"]["bootTime"] < 1_700_000_000
    assert found["Disk"]["path"] == str(tmp_path)
    assert 0 <= found["Disk"]["usedPercent"] <= 100


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PROC", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\n")
    found = host.collect(str(tmp_path / "none"), 1.0)
    assert [found[part] for part in ("Memory", "CPU", "Host", "Disk")] == [None] * 4
    assert [error.partition(":")[0] for error in found["Errors"]] == [
        "Memory",
        "CPU",
        "Host",
        "Disk",
    ]
