"""gRPC checks: the standard health service, grpc.health.v1.Health, says SERVING.

Its two messages are small enough to be written and read by hand: one field each.
"""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from mesh.agent.checks import Result
from mesh.agent.definitions import CheckDefinition
from mesh.agent.probes.http2 import Response, open_connection
from mesh.agent.probes.target import Contexts, reason, seconds

PATH = "/grpc.health.v1.Health/Check"
SERVING = 1
STATES = {0: "UNKNOWN", SERVING: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
CODES = [
    *("OK", "Cancelled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound"),
    *("AlreadyExists", "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted"),
    *("OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"),
]
_FRAME_BYTES = 5


async def run(check: CheckDefinition, contexts: Contexts) -> Result:
    """Ask about the server as a whole, or about the service after the slash."""
    address, _, service = check.grpc.partition("/")
    try:
        async with asyncio.timeout(seconds(check)):
            over_tls = check.grpc_use_tls
            connection = await open_connection(address, check, contexts, over_tls=over_tls)
            try:
                scheme = "https" if over_tls else "http"
                authority = check.tls_server_name or address
                response = await connection.call(PATH, authority, scheme, _request(service))
            finally:
                connection.close()
        state = _state(response)
    except (OSError, ValueError) as error:
        return Result("critical", f"gRPC check {check.grpc}: {reason(error)}")
    if state == SERVING:
        return Result("passing", f"gRPC check {check.grpc}: success")
    name = STATES.get(state, str(state))
    return Result("critical", f"gRPC {check.grpc} serving status: {name}")


def _request(service: str) -> bytes:
    """HealthCheckRequest with the name of a service, framed."""
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _state(response: Response) -> int:
    """The status in a HealthCheckResponse. Raises ValueError when there is none."""
    status = response.headers.get(":status", "")
    code = response.headers.get("grpc-status", "")
    if status != "200" or not code.isdecimal():
        raise ValueError(f"no gRPC answer: HTTP status {status or 'missing'}")
    if code != "0":
        name = CODES[int(code)] if int(code) < len(CODES) else code
        raise ValueError(f"{name}: {unquote(response.headers.get('grpc-message', ''))}")
    message = response.body[_FRAME_BYTES:]
    if not message:
        return 0  # A field that is 0 is left out.
    if len(message) < 2 or message[0] != 0x08:
        raise ValueError("the answer is no HealthCheckResponse")
    return message[1]
