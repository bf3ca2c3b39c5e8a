"""Kept bodies: found for the same object only, and never too many."""

from __future__ import annotations

from mesh.http import kept
from mesh.http.kept import Bodies


def test_a_body_is_found_for_the_same_object_only() -> None:
    bodies, value = Bodies(), [1]
    body = bodies.keep(value, "key", b"[1]")
    assert bodies.find(value, "key") is body
    assert bodies.find([1], "key") is None
    assert bodies.find(value, "other") is None


def test_a_newer_value_takes_the_place() -> None:
    bodies, old, new = Bodies(), [1], [2]
    bodies.keep(old, "key", b"[1]")
    bodies.keep(new, "key", b"[22]")
    assert bodies.find(old, "key") is None
    assert (len(bodies), bodies.bytes) == (1, 4)


def test_the_least_recently_used_go_first() -> None:
    bodies, value = Bodies(), [1]
    for number in range(kept.BODIES_MAX):
        bodies.keep(value, number, b"x")
    bodies.find(value, 0)
    bodies.keep(value, "new", b"x")
    assert len(bodies) == bodies.bytes == kept.BODIES_MAX
    assert bodies.find(value, 0) is not None
    assert bodies.find(value, 1) is None


def test_bytes_are_bounded() -> None:
    bodies, value = Bodies(), [1]
    bodies.keep(value, "huge", b"x" * (kept.BODY_MAX_BYTES + 1))
    assert len(bodies) == 0
    for number in range(40):
        bodies.keep(value, number, b"x" * kept.BODY_MAX_BYTES)
    assert bodies.bytes <= kept.BODIES_MAX_BYTES
