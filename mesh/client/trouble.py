"""What goes wrong between a client and an agent, in words."""

from __future__ import annotations

import ssl
from shlex import quote
from socket import gaierror
from typing import TypeVar

from mesh.client.call import Call
from mesh.client.settings import Endpoint
from mesh.errors import MeshError, OutcomeUnknown, Unreachable

T = TypeVar("T")

ADVICE = "Is meshd running? Set MESH_HTTP_ADDR or --http-addr to ask another one."


# The first kind that fits gives the words.
WORDS: dict[type[Exception], str] = {
    ssl.SSLCertVerificationError: "its certificate is not trusted ({error.verify_message})",
    ssl.SSLError: "TLS failed ({error.reason}); does it speak TLS at all?",
    ConnectionRefusedError: "connection refused",
    TimeoutError: "no answer in time",
    gaierror: 'the name "{endpoint.host}" cannot be resolved',
    FileNotFoundError: "there is no such socket",
    ConnectionError: "the connection was closed",
}


def unreachable(endpoint: Endpoint, error: Exception) -> Unreachable:
    """Nothing was sent: there is nobody to connect to."""
    return Unreachable(
        f"cannot reach the mesh agent at {endpoint}: {reason(endpoint, error)}. {ADVICE}"
    )


def interrupted(endpoint: Endpoint, call: Call[T], error: Exception, since: int) -> MeshError:
    """The request was sent and no whole answer came: a write may have happened.

    `since` is the newest log index that was known before it was sent, 0 for none.
    """
    words = reason(endpoint, error)
    if call.method == "GET":
        return Unreachable(f"the mesh agent at {endpoint} did not answer: {words}.")
    known = since if call.since is None else call.since
    flags = f"--since {known} " if known else ""
    if call.datacenter:
        flags += f"--datacenter {quote(call.datacenter)} "
    asked = f"meshctl operator request {flags}{quote(call.key)}"
    return OutcomeUnknown(
        f"the mesh agent at {endpoint} did not answer: {words}. "
        "The write may or may not have happened; repeated with the Idempotency-Key "
        f"{call.key} it happens once. What became of it: {asked}",
        call.key,
        known,
    )


def reason(endpoint: Endpoint, error: Exception) -> str:
    """Why, in a few words without a full stop."""
    for kind, words in WORDS.items():
        if isinstance(error, kind):
            return words.format(endpoint=endpoint, error=error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "what came back is not HTTP"
