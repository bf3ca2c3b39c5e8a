"""Plays meshd for tests of the demo: fixed answers over HTTP and DNS, where its flags say."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NODES = [("server1", 11), ("server2", 12), ("server3", 13), ("agent1", 21), ("agent2", 22)]
PAYMENTS = [31, 32, 33]
FIXED: dict[str, Callable[[str], object]] = {
    "/v1/status/leader": lambda network: f"{network}.12:8300",
    "/v1/agent/members": lambda network: [
        {
            "Name": name,
            "Addr": f"{network}.{last}",
            "Port": 8301,
            "Status": 1,
            "Tags": {"role": "consul" if name.startswith("s") else "node"},
        }
        for name, last in NODES
    ],
    "/v1/catalog/services": lambda _: {"mesh": [], "payments": ["v1"]},
    "/v1/health/service/payments": lambda network: [
        {
            "Node": {"Node": "agent1", "Address": f"{network}.21"},
            "Service": {
                "ID": f"payments-{last - 30}",
                "Service": "payments",
                "Address": f"{network}.{last}",
                "Port": 8080,
            },
            "Checks": [{"Status": "passing"}],
        }
        for last in PAYMENTS
    ],
}


def srv_answer(question: bytes, network: str) -> bytes:
    """All payments, with compressed names, as a real server packs them."""
    body = question[12 : question.index(b"\0", 12) + 5]
    head = question[:2] + struct.pack(">HHHHH", 0x8400, 1, len(PAYMENTS), 0, len(PAYMENTS))
    answers, extra = b"", b""
    for last in PAYMENTS:
        label = bytes([2, *f"p{last - 30}".encode()]) + b"\xc0\x0c"
        target = struct.pack(">HHH", 1, 1, 8080) + label
        answers += b"\xc0\x0c" + struct.pack(">HHIH", 33, 1, 0, len(target)) + target
        address = socket.inet_aton(f"{network}.{last}")
        extra += label + struct.pack(">HHIH", 1, 1, 0, 4) + address
    return head + body + answers + extra


def serve_dns(address: str, network: str) -> None:
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((address, 8600))
    while True:
        question, client = channel.recvfrom(4096)
        channel.sendto(srv_answer(question, network), client)


def main(words: list[str]) -> None:
    address = words[words.index("-client") + 1].split()[0]
    network = address.rpartition(".")[0]

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"payments-1 at your service")

        def log_message(self, *_: object) -> None:
            pass

    if address.endswith(".21"):
        # As the sidecar of web does.
        sidecar = ThreadingHTTPServer((address, 9191), Shop)
        threading.Thread(target=sidecar.serve_forever, daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            find = FIXED[self.path.partition("?")[0]]
            body = json.dumps(find(network)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    threading.Thread(target=serve_dns, args=(address, network), daemon=True).start()
    with ThreadingHTTPServer((address, 8500), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
