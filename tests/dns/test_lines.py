"""What the log says of a question."""

from __future__ import annotations

import pytest

from mesh.dns import message
from mesh.dns.lines import line
from mesh.dns.message import Reply
from mesh.errors import Invalid
from tests.dns.script import Form, put, question


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (question("web.service.mesh", "SRV"), "web.service.mesh. SRV"),
        (put("Web.service.mesh", "TYPE65", Form()), "Web.service.mesh. TYPE65"),
        (b"\0" * 12, "no question"),
        (b"\0\7\1\0\0\1" + bytes(6) + b"\3a\n\xff\4mesh\0\0\1\0\1", r"a\n\udcff.mesh. A"),
    ],
)
def test_a_question_and_its_answer_are_one_line(data: bytes, said: str) -> None:
    try:
        answer = message.pack(message.parse(data), Reply(rcode=message.NXDOMAIN))
        code = "NXDOMAIN"
    except Invalid:
        answer, code = message.refusal(data) or b"", "RCODE1"
    told = line(data, answer, "10.0.0.9", "udp")
    assert told == f"{said} for 10.0.0.9 (udp): {code}, 0 answers, {len(answer)} bytes"
