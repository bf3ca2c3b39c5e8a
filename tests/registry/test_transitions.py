"""What nodes say of their health over gossip: small, whole, and nothing else is believed."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mesh.codec import pack
from mesh.errors import Invalid
from mesh.registry.transitions import (
    PAYLOAD_MAX,
    SEQUENCE_MAX,
    STATUSES,
    Transition,
    read,
    write,
)

IDS = some.text(max_size=40)
ONES = some.builds(
    Transition, IDS, IDS, some.sampled_from(STATUSES), some.integers(1, SEQUENCE_MAX - 1)
)


@given(some.text(min_size=1, max_size=60), some.lists(ONES, min_size=1, max_size=30))
def test_events_tell_what_fits_and_are_read_as_written(node: str, ones: list[Transition]) -> None:
    rest, told = list(ones), list[Transition]()
    while rest:
        data, count = write(node, rest)
        assert count > 0
        assert len(data) <= PAYLOAD_MAX
        name, found = read(data)
        assert name == node
        assert found == rest[:count]
        told += found
        rest = rest[count:]
    assert told == ones


def test_an_id_that_fits_no_event_gives_none() -> None:
    assert write("n", [Transition("x" * 500, "c", "passing", 1)]) == (b"", 0)


def test_a_dozen_usual_changes_share_an_event() -> None:
    ones = [
        Transition(f"web-{n}", f"service:web-{n}", "critical", 1_790_000_000_000 + n)
        for n in range(20)
    ]
    assert write("node-17.example", ones)[1] >= 12


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([2, "n", 1, []], "version 2; this program knows 1"),
        ([1, "", 1, []], "names no node"),
        ([1, "n", 1, [["s", "c", 4, 0]]], "status 4"),
        ([1, "n", 1, [["s", "c", -1, 0]]], "status -1"),
        ([1, "n", 1, [["s", "c", 0, -1]]], "out of range"),
        ([1, "n", SEQUENCE_MAX, [["s", "c", 0, 0]]], "out of range"),
        ([1, "n", 0, [["s", "c", 0, 0]]], "out of range"),
        ([1, "n", 1, [["s", "c"]]], "cannot decode"),
        ({"node": "n"}, "cannot decode"),
    ],
)
def test_nonsense_is_refused(body: object, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        read(pack(body))


def test_fields_that_come_later_do_not_hurt() -> None:
    assert read(pack([1, "n", 4, [["s", "c", 2, 1, "new"]], "new"])) == (
        "n",
        [Transition("s", "c", "critical", 5)],
    )


@given(some.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Invalid):
        read(data)
