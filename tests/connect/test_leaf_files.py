"""The files in which programs find a service's certificate."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from mesh.connect.credentials import Bundle, Leaf
from mesh.connect.leaf_files import LeafFiles, kept
from mesh.errors import Internal

LEAF = Leaf(
    service="web",
    uri="spiffe://td/ns/default/dc/dc1/svc/web",
    serial="01",
    certificate="CERTIFICATE",
    key="KEY",
    valid_after=0.0,
    valid_before=1.0,
)
BUNDLE = Bundle("td", {"b": "SECOND\n", "a": "FIRST"}, "a")


def found(files: LeafFiles) -> dict[str, str]:
    return {file.name: file.read_text() for file in files.current.iterdir()}


def test_files_say_what_was_written_last(tmp_path: Path) -> None:
    files = LeafFiles(tmp_path, "web")
    assert not files.there()
    for number in range(4):
        files.write(replace(LEAF, key=f"KEY {number}"), BUNDLE)
        assert found(files) == {
            "certificate.pem": "CERTIFICATE",
            "key.pem": f"KEY {number}",
            "roots.pem": "FIRST\nSECOND\n",
        }
    assert files.there()


def test_who_reads_while_they_change_finds_those_it_began_with(tmp_path: Path) -> None:
    files = LeafFiles(tmp_path, "web")
    files.write(LEAF, BUNDLE)
    opened = files.current.resolve()
    files.write(replace(LEAF, key="ANOTHER"), BUNDLE)
    assert (opened / "key.pem").read_text() == "KEY"
    files.write(replace(LEAF, key="THIRD"), BUNDLE)
    assert not opened.exists()


def test_only_their_owner_reads_them(tmp_path: Path) -> None:
    files = LeafFiles(tmp_path, "web")
    files.write(LEAF, BUNDLE)
    modes = {file.stat().st_mode & 0o777 for file in files.current.iterdir()}
    folders = {files.folder.stat().st_mode & 0o777, files.current.stat().st_mode & 0o777}
    assert (modes, folders) == ({0o600}, {0o700})


@pytest.mark.parametrize("name", ["..", ".", "a/b", "web"])
def test_every_service_has_a_folder_of_its_own_and_takes_it_along(
    tmp_path: Path, name: str
) -> None:
    files = LeafFiles(tmp_path / "grpc", name)
    files.write(LEAF, BUNDLE)
    assert files.folder.resolve().parent == (tmp_path / "grpc").resolve()
    assert kept(tmp_path / "grpc") == {name}
    files.remove()
    assert kept(tmp_path / "grpc") == set()


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "grpc").write_text("")
    with pytest.raises(Internal, match="certificates cannot be kept"):
        LeafFiles(tmp_path / "grpc", "web").write(LEAF, BUNDLE)
