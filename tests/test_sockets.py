"""Sockets at paths."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from mesh.sockets import bind_path


def reached(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect(str(path))
        except OSError:
            return False
    return True


def test_it_listens_with_the_permissions_that_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with bind_path(str(path), 0o640):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert reached(path)
        assert [one.name for one in tmp_path.iterdir()] == ["socket"]


def test_what_a_former_life_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bind_path(str(path), 0o600).close()
    assert path.is_socket()
    assert not reached(path)
    with bind_path(str(path), 0o600):
        assert reached(path)


def test_nobody_is_pushed_aside(tmp_path: Path) -> None:
    path, file = tmp_path / "socket", tmp_path / "file"
    with bind_path(str(path), 0o600):
        with pytest.raises(OSError, match="in use"):
            bind_path(str(path), 0o600)
        assert reached(path)
    file.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        bind_path(str(file), 0o600)
    assert file.read_text() == "precious"
    with pytest.raises(OSError, match="long"):
        bind_path(str(tmp_path / ("x" * 200)), 0o600)
