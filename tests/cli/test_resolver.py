import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli import resolver
from mesh.errors import Invalid, Unreachable
from tests.cli.fake_meshd import srv_answer


def question() -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="no DNS answer from"):
            resolver.ask(server.getsockname(), "payments.service.mesh", timeout_seconds=0.01)
        return server.recv(4096)


def test_an_answer_names_address_and_port_of_each_instance() -> None:
    answer = resolver.read(srv_answer(question(), "127.0.9"))
    assert answer.code == "NOERROR"
    assert answer.instances == ["127.0.9.31:8080", "127.0.9.32:8080", "127.0.9.33:8080"]


def test_a_name_that_does_not_exist() -> None:
    data = bytearray(question())
    data[2:4] = b"\x84\x03"
    data[10:12] = b"\0\0"
    assert resolver.read(bytes(data)) == resolver.Answer("NXDOMAIN", [])


def test_a_name_that_points_to_itself_is_refused() -> None:
    data = bytearray(srv_answer(question(), "127.0.9"))
    data[12:14] = b"\xc0\x0c"
    with pytest.raises(Invalid, match="without end"):
        resolver.read(bytes(data))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_noise_is_refused_and_nothing_worse(noise: bytes, cut: int) -> None:
    good = b"\0\1\x84\0\0\1\0\1\0\0\0\0\1a\0\0!\0\1\xc0\x0c\0!\0\1\0\0\0\0\0\7\0\1\0\1\0P\0"
    for data in (noise, good[:cut], good[:cut] + noise):
        try:
            resolver.read(data)
        except Invalid:
            continue
