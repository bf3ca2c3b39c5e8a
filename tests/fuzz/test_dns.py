"""Property tests of what DNS hears; `./dev fuzz dns` goes on for longer, guided by coverage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import dns


@pytest.mark.parametrize("name", dns.TARGETS)
@given(data=st.binary(max_size=600))
@settings(deadline=None)
def test_any_bytes_do_no_harm(name: str, data: bytes) -> None:
    dns.TARGETS[name](data)


@given(st.sampled_from(dns.SEEDS), st.data())
@settings(deadline=None, max_examples=500)
def test_changed_bytes_do_no_harm(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(1, len(seed) - 1))] = data.draw(st.integers(0, 255))
    dns.one_input(bytes(changed)[: data.draw(st.integers(len(seed) - 4, len(seed)))])


@pytest.mark.parametrize("seed", dns.SEEDS, ids=range(len(dns.SEEDS)))
def test_good_bytes_are_taken(seed: bytes) -> None:
    dns.one_input(seed)
