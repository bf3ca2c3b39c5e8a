"""The demo's services: a tiny HTTP server that says its name, its health, and whom it asked."""

from __future__ import annotations

import sys
import threading
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import NamedTuple

from mesh.cli.command import OK, WRONG_USE, Command, parse
from mesh.cli.flags import Argument, Flag, Usage
from mesh.client import Client
from mesh.errors import Denied, MeshError, Unreachable

CALL_SECONDS = 2.0


class Shop(NamedTuple):
    """One instance: its name, and the service it asks, if any."""

    name: str
    calls: str
    via: str
    """Where its sidecar takes calls for that service, `ip:port`; empty: it asks the registry."""
    healthy: threading.Event
    turns: count[int]

    def reply(self, method: str, path: str) -> tuple[int, str]:
        """Status and text: `/health`, `/` and, by POST, `/fail` and `/recover`."""
        if method == "POST" and path in {"/fail", "/recover"}:
            (self.healthy.clear if path == "/fail" else self.healthy.set)()
        elif method == "GET" and path == "/":
            return self._greet()
        elif method != "GET" or path != "/health":
            return 404, "try / or /health, or POST /fail or /recover"
        if self.healthy.is_set():
            return 200, f"{self.name} is fine"
        return 503, f"{self.name} is out of order"

    def _greet(self) -> tuple[int, str]:
        if not self.calls:
            return 200, f"{self.name} at your service"
        try:
            return 200, f"{self.name} asked {self.calls}: {self._ask()}"
        except (MeshError, OSError, HTTPException) as error:
            return 503, f"{self.name} could not ask {self.calls}: {error}"

    def _ask(self) -> str:
        if self.via:
            address, _, port = self.via.rpartition(":")
            return _get(address, int(port))
        return self._ask_registry()

    def _ask_registry(self) -> str:
        """Ask the next healthy instance, which the registry knows."""
        with Client() as client:
            instances = client.health.service(self.calls, passing=True).value
        if not instances:
            return "no instance is healthy"
        chosen = instances[next(self.turns) % len(instances)]
        return _get(chosen.address, chosen.service.port)


def _get(address: str, port: int) -> str:
    """What a shop there says. Raises Denied when its sidecar does not let us through."""
    connection = HTTPConnection(address, port, timeout=CALL_SECONDS)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        said = response.read(1000).decode("utf-8", "replace").strip()
    finally:
        connection.close()
    if response.status == 403:
        raise Denied(said or "denied")
    if response.status >= 500:
        raise Unreachable(said)
    return said


def handler_of(shop: Shop) -> type[BaseHTTPRequestHandler]:
    """The HTTP server's class of requests for this shop."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer()

        def _answer(self) -> None:
            status, text = shop.reply(self.command, self.path)
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a health check comes every second."""

    return Handler


COMMAND = Command(
    lambda _: OK,
    about="Run one of the demo's services.",
    examples=(),
    arguments=(Argument("NAME"),),
    flags=(
        Flag("address", "the IP address to listen on"),
        Flag("port", "the port to listen on", "number"),
        Flag("calls", "the service to ask for every answer"),
        Flag("via", "where a sidecar takes calls for it: ip:port"),
    ),
    asks_agent=False,
)


def main(words: list[str]) -> int:
    """Serve until the process is ended. The first word is the instance's name."""
    try:
        parsed = parse("shop", COMMAND, words)
    except Usage as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    shop = Shop(
        parsed.arguments[0], parsed.text("calls"), parsed.text("via"), threading.Event(), count()
    )
    shop.healthy.set()
    address = (parsed.text("address") or "127.0.0.1", parsed.number("port") or 0)
    with ThreadingHTTPServer(address, handler_of(shop)) as server:
        sys.stdout.write(f"{shop.name} listens on {address[0]}:{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
