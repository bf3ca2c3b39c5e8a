"""Sockets that several processes may have at one address."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress


def bind(kind: tuple[int, int], host: str, port: int, copies: int = 0) -> list[socket.socket]:
    """A socket of this family and type bound there, and so many more that share what comes.

    With port 0 on any port that is free. None of them blocks. Raises OSError when the address
    cannot be had, also when somebody else is there who would share it.
    """
    first = _open(kind, host, port, shared=False)
    if not copies:
        return [first]
    port = first.getsockname()[1]
    first.close()
    made: list[socket.socket] = []
    try:
        while len(made) <= copies:
            made.append(_open(kind, host, port, shared=True))
    except BaseException:
        for one in made:
            one.close()
        raise
    return made


def _open(kind: tuple[int, int], host: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(*kind)
    try:
        made.setblocking(False)
        if kind[0] == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind[1] == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except BaseException:
        made.close()
        raise
    return made


def bind_path(path: str, mode: int) -> socket.socket:
    """A listening stream socket at a path, with these permissions; it does not block.

    It takes the place of one that nobody serves any more. Raises OSError, also when somebody does,
    or something else lies there.
    """
    _refuse_others(path)
    first = f"{path}.{os.getpid()}"  # Nobody finds it under its name before it is complete.
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            os.unlink(first)
        made.bind(first)
        os.chmod(first, mode)
        made.listen(128)
        made.setblocking(False)
        os.rename(first, path)
    except BaseException:
        made.close()
        with suppress(OSError):
            os.unlink(first)
        raise
    return made


def _refuse_others(path: str) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "something that is no socket lies there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            return
        except BlockingIOError:  # Its queue is full.
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
