"""meshctl keygen: a key for the encryption of gossip."""

from __future__ import annotations

from mesh.cli.command import OK, Command, Example
from mesh.cli.invocation import Invocation
from mesh.clock import secret_bytes
from mesh.gossip.keytext import KEY_SIZES, write_key


def keygen(invocation: Invocation) -> int:
    """Print a new key."""
    key = write_key(secret_bytes(max(KEY_SIZES)))
    invocation.out.done(key, Key=key)
    return OK


COMMANDS = {
    "keygen": Command(
        keygen,
        about="Make a key for the encryption of gossip: 32 random bytes, as base64. Give every\n"
        "node of the cluster the same one, as option encrypt.",
        examples=(
            Example("keygen", "Print a new key"),
            Example("keygen --format json", "For a script"),
        ),
        asks_agent=False,
    ),
}
