"""Sockets that several processes may have at one address."""

from __future__ import annotations

import socket


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
