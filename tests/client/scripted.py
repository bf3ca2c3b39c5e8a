"""An HTTP server on loopback that answers what a test has written down."""

from __future__ import annotations

import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from typing import NamedTuple, Self


class Said(NamedTuple):
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = {}
    hang_up: bool = False
    stall: bool = False
    """Promise more than comes, and keep the connection open until the test ends."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    script: Scripted


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    script: Scripted


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        assert isinstance(self.server, _Server | _UnixServer)
        script = self.server.script
        script.said.append(Said(self.command, self.path, headers, self.rfile.read(size)))
        reply = script.reply_to(self.command, self.path)
        if reply.hang_up:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) + reply.stall))
        self.end_headers()
        self.wfile.write(reply.body)
        if reply.stall:
            script.ended.wait()

    do_GET = do_PUT = do_DELETE = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass


class Scripted:
    """Answers `on(...)`; remembers in `said` what it was asked. Replies in turn, the last stays."""

    def __init__(self, socket_path: str = "") -> None:
        self.said: list[Said] = []
        self.ended = threading.Event()
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self._server: _Server | _UnixServer
        if socket_path:
            self._server = _UnixServer(socket_path, _Handler)
            self.address = f"unix://{socket_path}"
        else:
            self._server = _Server(("127.0.0.1", 0), _Handler)
            self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._server.script = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def on(
        self,
        method: str,
        target: str,
        body: bytes | str = b"",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        hang_up: bool = False,
        stall: bool = False,
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        reply = Reply(data, status, headers or {}, hang_up, stall)
        self._replies.setdefault((method, target), []).append(reply)

    def reply_to(self, method: str, target: str) -> Reply:
        replies = self._replies.get((method, target))
        if not replies:
            return Reply(f"the test has no answer to {method} {target}".encode(), 404)
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
