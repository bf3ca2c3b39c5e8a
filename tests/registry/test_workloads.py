"""What the workloads of a node acknowledged: it comes back as it was, and the largest fits."""

from __future__ import annotations

import pytest

from mesh.codec import pack
from mesh.errors import Invalid
from mesh.registry.authority import Tell
from mesh.registry.envelope import ENTRY_MAX_BYTES
from mesh.registry.workloads import (
    ID_BYTES_MAX,
    NAMED_MAX,
    ROOTS_MAX,
    WORKLOADS_MAX,
    Ack,
    Said,
    said,
)


def test_it_comes_back_ordered() -> None:
    acks = [
        Ack(id="proxy:b", roots=["r1", "r2"], leaf="r2"),
        Ack(id="leaf:a", roots=["r1"], leaf=""),
        Ack(id="proxy:a", roots=[], leaf="r0"),
    ]
    told = said(acks)
    told.check()
    assert told.acks == sorted(acks, key=lambda ack: ack.id)
    assert said([]) == Said()


def test_as_much_as_there_may_be_fits_into_an_entry() -> None:
    roots = [f"{n:059}" for n in range(NAMED_MAX)]
    acks = [
        Ack(
            id=f"proxy:{n}".ljust(ID_BYTES_MAX, "x"),
            roots=[roots[(n + k) % NAMED_MAX] for k in range(ROOTS_MAX)],
            leaf=roots[n % NAMED_MAX],
        )
        for n in range(WORKLOADS_MAX)
    ]
    command = Tell("n" * 1024, said(acks))
    command.validate()
    assert len(pack(command)) < 0.95 * ENTRY_MAX_BYTES


@pytest.mark.parametrize(
    "told",
    [
        Said([], [[]], [("x" * 101, 0, -1)]),
        Said([], [[]], [("é" * 51, 0, -1)]),
        Said(["r" * 101], [], []),
        Said(["r"], [[1]], []),
        Said(["r"], [[-1]], []),
        Said(["r"], [[0] * 17], []),
        Said(["r"], [[0]], [("a", 1, 0)]),
        Said(["r"], [[0]], [("a", -1, 0)]),
        Said(["r"], [[0]], [("a", 0, 1)]),
        Said(["r"], [[0]], [("a", 0, -2)]),
        Said(["r"] * 257, [], []),
        Said([], [[]] * 257, []),
        Said([], [[]], [(f"{n}", 0, -1) for n in range(8193)]),
    ],
)
def test_what_does_not_fit_together_is_refused(told: Said) -> None:
    with pytest.raises(Invalid, match=r"report|know"):
        Tell("n1", told).validate()
