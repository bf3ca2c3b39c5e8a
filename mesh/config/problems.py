"""What is wrong with a configuration: source, key and what was expected, all of it at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mesh.errors import Invalid


class Problem(msgspec.Struct, frozen=True):
    """One thing to repair."""

    source: str
    """The file's path, `flag -bind`, or `configuration` when no source in particular is wrong."""
    key: str
    """The dotted key, or `line 3, column 5` of a file that cannot be read; empty for neither."""
    message: str
    """What was expected and found."""

    def __str__(self) -> str:
        """One line: `agent.hcl: ports.htpp: unknown key; did you mean ports.http?`."""
        text = ": ".join(part for part in (self.source, self.key, self.message) if part)
        return " ".join(text.splitlines())


class ConfigError(Invalid):
    """The configuration cannot be used. `problems` lists everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Report these problems, duplicates once; there must be at least one."""
        self.problems: Sequence[Problem] = tuple(dict.fromkeys(problems))
        assert self.problems
        super().__init__("\n".join(map(str, self.problems)))


def suggestion(name: str, valid: Iterable[str], prefix: str = "") -> str:
    """`; did you mean ports.http?` for the valid name most like this one, or nothing."""
    known = {candidate.lower(): candidate for candidate in valid}
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {prefix}{known[near[0]]}?" if near else ""


def shown(value: Any) -> str:
    """A value as a person would write it, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
