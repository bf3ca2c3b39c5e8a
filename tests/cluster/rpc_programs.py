"""gRPC programs for tests: run as `server ADDRESS NAME [xds]`, or `client TARGET [xds]`.

A server says its port. A client reads lines: `unary` or `stream`, perhaps with a count, and answers
each with a line of JSON: how often it was answered what, or failed how.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.experimental

UNARY, STREAM, HEALTH = "/shop.Till/Pay", "/shop.Till/Follow", "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
SECONDS = 20.0


class Till(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers every call with the server's name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def service(self, details: Any) -> Any:
        """The handler of a method."""
        if details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(lambda *_: self._name)
        if details.method == STREAM:
            return grpc.stream_stream_rpc_method_handler(self._follow)
        if details.method == HEALTH:
            return grpc.unary_unary_rpc_method_handler(lambda *_: SERVING)
        return None

    def _follow(self, sent: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for one in sent:
            yield self._name + b" " + one


def serve(address: str, name: str, *, xds: bool) -> None:
    """Serve until somebody ends the process."""
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Till(name)], xds=xds)
    if xds:
        plain = grpc.insecure_server_credentials()
        server.add_secure_port(address, grpc.xds_server_credentials(plain))
        port = int(address.rpartition(":")[2])
    else:
        port = server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(5.0).wait()


class Caller:
    """Makes calls, and says what came of each."""

    def __init__(self, target: str, *, xds: bool) -> None:
        if xds:
            insecure = grpc.experimental.insecure_channel_credentials()
            channel = grpc.secure_channel(target, grpc.xds_channel_credentials(insecure))
        else:
            channel = grpc.insecure_channel(target)
        self._unary, self._stream = channel.unary_unary(UNARY), channel.stream_stream(STREAM)

    def once(self, word: str) -> str:
        """The answer, or the code and text of the failure."""
        try:
            if word != "stream":
                return str(self._unary(b"", timeout=SECONDS).decode())
            parts = self._stream(iter([b"1", b"2", b"3"]), timeout=SECONDS)
            return " ".join(one.decode() for one in parts)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"

    def obey(self, line: str) -> Counter[str]:
        """Do what a line says."""
        word, _, count = line.strip().partition(" ")
        with ThreadPoolExecutor(4) as several:
            return Counter(several.map(self.once, [word] * int(count or 1)))


def call(target: str, *, xds: bool) -> None:
    """Do what is asked on stdin."""
    caller = Caller(target, xds=xds)
    for line in sys.stdin:
        print(json.dumps(caller.obey(line)), flush=True)


if __name__ == "__main__":
    what, place, *rest = sys.argv[1:]
    if what == "server":
        serve(place, rest[0], xds="xds" in rest)
    else:
        call(place, xds="xds" in rest)
