"""Nodes without the time it takes to load their modules: forked from a process that has them.

Each test process has two such servers, which take turns: as processes that have nothing in common,
the servers of a cluster do not all hash strings alike.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent.parent
MESHD = "mesh.daemon"
LOADED = ("mesh.daemon.main", "mesh.daemon.node")
REQUEST_BYTES = 1 << 17
SERVERS = 2


class Forked:
    """A node's process, with as much of `subprocess.Popen` as tests need."""

    def __init__(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        module: str = MESHD,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.args = [module, *arguments]
        self._server = next(_turns())
        asked = {"argv": self.args, "environment": {**os.environ, **(environment or {})}}
        with log.open("ab") as file:
            self.pid: int = self._server.ask(asked, file.fileno())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, in the end; raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                select.select([handle], [], [], timeout)
            finally:
                os.close(handle)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class _Server:
    """The process that has the modules, as the test process sees it. It ends with us."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__], cwd=TOP, stdin=theirs.fileno()
            )
        atexit.register(self.close)

    def ask(self, request: dict[str, Any], *descriptors: int) -> Any:
        """What it answers; the descriptors go with the request."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(REQUEST_BYTES)
        assert answer, "the server of nodes ended"
        return json.loads(answer)

    def close(self) -> None:
        """Have it end, and the nodes that still run."""
        self._socket.close()
        self._process.wait()


@cache
def _turns() -> Iterator[_Server]:
    return cycle([_Server() for _ in range(SERVERS)])


def serve() -> None:
    """Fork nodes as asked on standard input. Returns in these, with `sys.argv` as they have it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks.
    for module in LOADED:
        import_module(module)
    gc.collect()
    gc.freeze()
    running: set[int] = set()
    with socket.socket(fileno=os.dup(0)) as asked:
        while True:
            data, descriptors, _, _ = socket.recv_fds(asked, REQUEST_BYTES, 1)
            if not data:
                break
            request = json.loads(data)
            if "ended" in request:
                answer = _ended(request["ended"], running)
            elif pid := os.fork():
                running.add(pid)
                os.close(*descriptors)
                answer = pid
            else:
                _become_node(request, *descriptors)
                return
            asked.send(json.dumps(answer).encode())
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _ended(pid: int, running: set[int]) -> int | None:
    """Its exit code. Until that is asked its number is not given to another process."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    running.remove(pid)
    return os.waitstatus_to_exitcode(status)


def _become_node(request: dict[str, Any], log: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]


if __name__ == "__main__":
    serve()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
