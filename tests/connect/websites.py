"""Websites of the standard library for tests of the mesh, and who asks them."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.connect.workloads import Workloads

ADDRESS = "127.0.0.1"
Broken = (OSError, http.client.HTTPException)


class Pages(BaseHTTPRequestHandler):
    """What a website says; connections stay open."""

    protocol_version = "HTTP/1.1"

    def get(self) -> bytes:
        raise NotImplementedError

    def post(self, body: bytes) -> bytes:
        raise NotImplementedError

    def do_GET(self) -> None:
        self._say(self.get())

    def do_POST(self) -> None:
        self._say(self.post(self.rfile.read(int(self.headers["Content-Length"]))))

    def _say(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def website(handler: type[Pages], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server of the standard library, over TLS if there is a context; its port."""
    server = Quiet((ADDRESS, 0), handler)
    if context is not None:
        # The handshake is the business of the connection's thread, which a silent client holds up.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(ADDRESS, port, timeout=20)


def secure(port: int, context: ssl.SSLContext) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection(ADDRESS, port, context=context, timeout=20)


def page(held: http.client.HTTPConnection) -> str:
    """What one request on a connection gets, which is closed then."""
    try:
        held.request("GET", "/")
        return held.getresponse().read().decode()
    finally:
        held.close()


def asked(held: http.client.HTTPConnection) -> str:
    """What a request on an open connection gets; nothing, and it is closed, when it is broken."""
    try:
        held.request("GET", "/")
        return held.getresponse().read().decode()
    except Broken:
        held.close()
        return ""


def reached(held: http.client.HTTPConnection) -> bool:
    """Whether a request on a new connection is answered."""
    try:
        return bool(asked(held))
    finally:
        held.close()


def serial(port: int, context: ssl.SSLContext) -> str:
    """The serial number of the certificate that is shown there."""
    with (
        socket.create_connection((ADDRESS, port), timeout=60) as plain,
        context.wrap_socket(plain) as tls,
    ):
        return str((tls.getpeercert() or {})["serialNumber"])


def openssl(mesh: Workloads, port: int, service: str) -> subprocess.CompletedProcess[str]:
    """What `openssl s_client` gets there with the agent's leaf of this service."""
    leaf = mesh.leaf_file(service)
    command = f"openssl s_client -connect {ADDRESS}:{port} -quiet -verify_return_error"
    command += f" -cert {leaf} -cert_chain {leaf} -CAfile {mesh.authority.root_file}"
    return subprocess.run(
        command.split(),
        input="GET / HTTP/1.0\r\n\r\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
