from __future__ import annotations

import shlex

import pytest

from mesh.ui.findings import DETAIL_MAX, arguments, counted, line, listed, word


def test_a_detail_is_one_line_and_not_too_long() -> None:
    assert line("\n  first \nsecond") == "first"
    assert line("") == ""
    assert len(line("x" * 1000)) == DETAIL_MAX


def test_names_and_numbers_for_people() -> None:
    assert listed(["b", "a", "b"]) == "a, b"
    assert listed("abcde") == "a, b, c and 2 more"
    assert [counted(1, "check"), counted(2, "check")] == ["1 check", "2 checks"]


@pytest.mark.parametrize(
    "text", ["web-1", "", "a b", "it's", "$(reboot)", "ä", "`x`", "a\nb", "=ls"]
)
def test_words_are_one_word_for_a_shell(text: str) -> None:
    assert shlex.split(word(text)) == [text]


def test_what_is_not_to_be_seen_is_spelled_out() -> None:
    assert word("a\x1b[201~\n'\\") == "$'a\\x1b[201~\\n\\'\\\\'"
    assert word("a\u202eb\U000e0001") == "$'a\\u202eb\\U000e0001'"


def test_arguments_stay_arguments() -> None:
    assert arguments("web", "a b") == "web 'a b'"
    assert arguments("web", "-x") == "-- web -x"
