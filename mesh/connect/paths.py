"""Paths of requests as Envoy brings them into one form before rules judge them.

What Envoy does with `normalize_path` and its neighbours, in its order: escaped slashes by the
action that is set; then, unless that is off, parameters are taken off dot segments (`/..;a/`, since
Envoy 1.40), backslashes become slashes, escapes of unreserved characters (letters, digits, `-`,
`_`, `.`, `~`) are undone, dot segments are resolved, and what may not stand bare is escaped; then
slashes are merged if that is on. The query is left alone. A path with a fragment, with a character
that is not one of ASCII's visible ones, or with an escaped NUL is refused.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from mesh.connect.xds.blueprint import Normalization
from mesh.registry.settings import MeshSettings

Verdict = Literal["continue", "reject", "redirect"]
_REFUSED = re.compile(r"[^!-\"$-~]")
_PARAMETERS = re.compile(r"(?:^|(?<=/))(\.\.?);[^/]*")
_HEX = frozenset("0123456789abcdefABCDEF")
_PASS = frozenset("!$&'()*+,-./:;=@[]_~0123456789") | frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
_UNRESERVED = _PASS - frozenset("!$&'()*+,/:;=@[]")


class Normal(msgspec.Struct, frozen=True):
    """A path in its one form, query and all, and what becomes of the request."""

    path: str
    verdict: Verdict = "continue"


DEFAULT = Normalization()


def normal_path(path: str, normalization: Normalization = DEFAULT) -> Normal:
    """The path as rules see it."""
    if _REFUSED.search(path):
        return Normal(path, "reject")
    verdict: Verdict = "continue"
    front, mark, query = path.partition("?")
    if normalization.escaped_slashes not in {"", "KEEP_UNCHANGED"}:
        unescaped = _without_escaped_slashes(front)
        if unescaped != front:
            if normalization.escaped_slashes == "REJECT_REQUEST":
                return Normal(path, "reject")
            front = unescaped
            if normalization.escaped_slashes == "UNESCAPE_AND_REDIRECT":
                verdict = "redirect"
    if normalization.paths:
        if ".;" in front:
            front = _PARAMETERS.sub(r"\1", front)
        canonical = _canonical(front)
        if canonical is None:
            return Normal(path, "reject")
        front = canonical
    if normalization.merge_slashes and "//" in front:
        start = "/" if front.startswith("/") else ""
        end = "/" if front.endswith("/") else ""
        front = start + "/".join(part for part in front.split("/") if part) + end
    return Normal(front + mark + query, verdict)


def normalization_of(mesh: MeshSettings) -> Normalization:
    """How the mesh entry has requests read."""
    return Normalization(
        paths=mesh.normalize_paths,
        merge_slashes=mesh.merge_slashes,
        escaped_slashes=mesh.escaped_slashes,
        underscores=mesh.underscores,
    )


def bare(path: str) -> str:
    """The path without query and fragment, as rules about paths see it."""
    for place, char in enumerate(path):
        if char in "?#":
            return path[:place]
    return path


def _without_escaped_slashes(path: str) -> str:
    for escaped, char in (("%2F", "/"), ("%2f", "/"), ("%5C", "\\"), ("%5c", "\\")):
        path = path.replace(escaped, char)
    return path


def _canonical(path: str) -> str | None:
    """The path with its dots resolved; None when it has an escaped NUL."""
    if not path:
        return "/"
    made = [] if path[0] in "/\\" else ["/"]
    place = 0
    while place < len(path):
        char = path[place]
        dot = _dot(path, place)
        if dot:
            place = _after_dot(path, place, dot, made)
        elif char == "\\":
            made.append("/")
            place += 1
        elif char == "%":
            code = path[place + 1 : place + 3]
            if len(code) == 2 and set(code) <= _HEX:
                if code == "00":
                    return None
                plain = chr(int(code, 16))
                # A piece for each character, so that the last slash is found by its pieces.
                made.append(plain if plain in _UNRESERVED else f"%{code}")
                place += 3
            else:
                made.append("%")
                place += 1
        else:
            made.append(char if char in _PASS else f"%{ord(char):02X}")
            place += 1
    return "".join(made)


def _dot(path: str, place: int) -> int:
    """How long the dot here is: 1, or 3 when it is escaped; 0 when there is none."""
    if path[place] == ".":
        return 1
    return 3 if path[place : place + 3].lower() == "%2e" else 0


def _after_dot(path: str, place: int, dot: int, made: list[str]) -> int:
    """Deal with a dot: where to go on."""
    after = place + dot
    if not made or made[-1] != "/":
        made.append(".")
        return after
    if after >= len(path) or path[after] in "/\\":
        return after + 1
    second = _dot(path, after)
    end = after + second
    if second and (end >= len(path) or path[end] in "/\\"):
        made.pop()
        while made and made[-1] != "/":
            made.pop()
        if not made:
            made.append("/")
        return end + 1
    made.append(".")
    return after
