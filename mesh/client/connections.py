"""HTTP connections that the standard library has not: to a socket file, and under another name."""

from __future__ import annotations

import socket
import ssl
from http.client import HTTPConnection


class UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(self.timeout)
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


class NamedConnection(HTTPConnection):
    """HTTP over TLS to a server whose certificate has another name than its address."""

    def __init__(
        self, host: str, port: int, name: str, context: ssl.SSLContext, timeout_seconds: float
    ) -> None:
        super().__init__(host, port, timeout=timeout_seconds)
        self._name, self._context = name, context

    def connect(self) -> None:
        """Connect, then shake hands with the expected name."""
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._name)
