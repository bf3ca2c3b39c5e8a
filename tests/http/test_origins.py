from __future__ import annotations

import pytest

from mesh.http.origins import foreign

HOST = "127.0.0.1:8500"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": HOST},
        {"host": HOST, "origin": "http://127.0.0.1:8500"},
        {"host": "Mesh.Example", "origin": "http://mesh.example"},
        {"host": "mesh.example:443", "origin": "https://mesh.example"},
        {"host": "mesh.example", "origin": "https://mesh.example:8443"},
        {"host": "[::1]:8500", "origin": "http://[::1]:8500"},
        {"host": "backend:8500", "origin": "https://a", "x-forwarded-host": "a, b"},
        {"host": "backend:8500", "origin": "https://a", "sec-fetch-site": "same-origin"},
        {"host": HOST, "origin": "chrome-extension://abcdef"},
    ],
)
def test_programs_and_own_pages_are_not_foreign(headers: dict[str, str]) -> None:
    assert foreign(headers, {}) == ""


@pytest.mark.parametrize(
    "headers",
    [
        {"host": HOST, "origin": "https://evil.example"},
        {"host": HOST, "origin": "http://127.0.0.1:3000"},
        {"host": HOST, "origin": "null"},
        {"host": HOST, "origin": "http://127.0.0.1:x"},
        {"host": "", "origin": "http://"},
        {"host": "evil.example:1:2", "origin": "http://evil.example"},
        {"host": HOST, "origin": "http://a", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_others_are_foreign(headers: dict[str, str]) -> None:
    assert foreign(headers, {}) == headers["origin"]


def test_who_may_read_the_answers_may_ask_for_changes() -> None:
    headers = {"host": HOST, "origin": "https://tools.example"}
    assert foreign(headers, {"Access-Control-Allow-Origin": "https://tools.example"}) == ""
    assert foreign(headers, {"access-control-allow-origin": "*"}) == ""
    assert foreign(headers, {"Access-Control-Allow-Origin": "https://other.example"})
