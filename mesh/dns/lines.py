"""Lines of the log about questions and their answers."""

from __future__ import annotations

import struct

from mesh.dns import message
from mesh.dns.explanation import CODES, KINDS
from mesh.errors import Invalid

_KINDS = {number: name for name, number in KINDS.items()}
_COUNTS = struct.Struct("!6H")


def line(data: bytes, response: bytes, client: str, over: str) -> str:
    """A question, who asked it over `udp` or `tcp`, and the code and size of its answer."""
    try:
        question = message.parse(data)
        # Whatever bytes are in a name, it stays on its line.
        name = f"{ascii('.'.join(question.name))[1:-1]}."
        asked = f"{name} {_KINDS.get(question.kind, f'TYPE{question.kind}')}"
    except Invalid:
        asked = "no question"
    _, flags, _, answers, _, _ = _COUNTS.unpack_from(response)
    code = CODES.get(flags & 15, f"RCODE{flags & 15}")
    return f"{asked} for {client} ({over}): {code}, {answers} answers, {len(response)} bytes"
