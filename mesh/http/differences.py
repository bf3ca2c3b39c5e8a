"""What differs between two values, as people read it. Pure; large values are left alone."""

from __future__ import annotations

import difflib
import json
from typing import Literal, NamedTuple

LINES_MAX = 2000
"""Comparing takes up to the product of both sides' lines."""
BYTES_MAX = 256 * 1024

Form = Literal["none", "text", "json", "binary", "large"]


class Difference(NamedTuple):
    """How two values were compared, and the difference in the unified form; empty when equal."""

    form: Form
    text: str = ""


def compare(before: bytes | None, after: bytes | None, names: tuple[str, str]) -> Difference:
    """Compare texts line by line, JSON in a form of its own; None is no value at all."""
    if before == after:
        return Difference("none")
    old, new = before or b"", after or b""
    if len(old) > BYTES_MAX or len(new) > BYTES_MAX:
        return Difference("large")
    texts = _text(old), _text(new)
    if texts[0] is None or texts[1] is None:
        return Difference("binary")
    old_json, new_json = _pretty(texts[0]), _pretty(texts[1])
    if old_json and new_json and old_json != new_json:
        return _unified("json", old_json, new_json, names)
    return _unified("text", texts[0], texts[1], names)


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    plain = text.replace("\n", "").replace("\r", "").replace("\t", "")
    return text if plain.isprintable() else None


def _pretty(text: str) -> str:
    """JSON objects and lists, one field a line; empty for anything else."""
    if not text.lstrip().startswith(("{", "[")):
        return ""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _unified(form: Form, old: str, new: str, names: tuple[str, str]) -> Difference:
    # Else a last line with and one without its newline would look the same.
    ends = old.endswith("\n"), new.endswith("\n")
    lines = old.splitlines(), new.splitlines()
    if max(map(len, lines)) > LINES_MAX:
        return Difference("large")
    if form == "text" and ends[0] != ends[1]:
        for at, ended in enumerate(ends):
            if not ended and lines[at]:
                lines[at][-1] += "  (no newline at the end)"
    return Difference(form, "\n".join(difflib.unified_diff(*lines, *names, lineterm="")))
