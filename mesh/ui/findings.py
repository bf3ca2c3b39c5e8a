"""Findings: something that somebody should know now, since when, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Severity = Literal["critical", "warning", "info"]
ORDER: tuple[Severity, ...] = ("critical", "warning", "info")
SHOWN_MAX = 500
"""Findings in one answer; what is beyond is counted."""
DETAIL_MAX = 300
"""Characters of a detail, which may come from the output of a check."""


class Step(msgspec.Struct, frozen=True):
    """What to do next: in words, as a command, and where in the UI."""

    text: str
    command: str = ""
    path: list[str] = []
    """The parts of the address of a page."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to know."""

    kind: str
    """What is the matter: failing, gone, maintenance, expiring ..."""
    severity: Severity
    of: str
    """What kind of thing it is about: service, node, server, sidecar ..."""
    name: str
    detail: str
    since: float = 0.0
    """Unix seconds; 0 when nobody knows."""
    before: bool = False
    """It was so before already: `since` is when it was first seen here."""
    next: list[Step] = []


def line(text: str) -> str:
    """The first line that says something, not too long."""
    first = next((one.strip() for one in text.splitlines() if one.strip()), "")
    return first if len(first) <= DETAIL_MAX else f"{first[: DETAIL_MAX - 1]}…"


def listed(names: Iterable[str], shown: int = 3) -> str:
    """Some names for people: `a, b, c and 4 more`."""
    every = sorted(set(names))
    more = len(every) - shown
    return ", ".join(every[:shown]) + (f" and {more} more" if more > 0 else "")


def counted(number: int, one: str, many: str = "") -> str:
    """`1 check`, `3 checks`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def word(text: str) -> str:
    """A word as a shell takes it. What is not to be seen, or turns what is, is spelled out."""
    if not text.replace("\n", "").isprintable():
        return "$'" + "".join(map(_spelled, text)) + "'"
    plain = bool(text) and all(
        one.isascii() and (one.isalnum() or one in "-_.:/@%+=,") for one in text
    )
    # zsh reads a word that begins with `=` as the path of a command.
    return text if plain and text[0] != "=" else "'" + text.replace("'", "'\\''") + "'"


def _spelled(sign: str) -> str:
    if sign.isprintable():
        return f"\\{sign}" if sign in "\\'" else sign
    if sign == "\n":
        return "\\n"
    code = ord(sign)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def arguments(*texts: str) -> str:
    """What stands last in a command: words that stay arguments even if they look like flags."""
    said = " ".join(map(word, texts))
    return f"-- {said}" if any(one.startswith("-") for one in texts) else said


def ordered(found: Iterable[Finding]) -> list[Finding]:
    """The worst first; of one severity by what they are about."""
    return sorted(found, key=lambda one: (ORDER.index(one.severity), one.of, one.name, one.kind))
