"""Property tests of every decoder of gossip; and a short run of the fuzzer, where it is there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import gossip
from tests.fuzz.alone import fuzz
from tests.fuzz.mutation import changed
from tests.fuzz.seeds import SEEDS


@pytest.mark.parametrize("name", gossip.TARGETS)
@given(data=st.binary(max_size=1000))
def test_any_bytes_do_no_harm(name: str, data: bytes) -> None:
    gossip.TARGETS[name](data)


@given(st.sampled_from(SEEDS), st.data())
def test_changed_bytes_do_no_harm(seed: bytes, data: st.DataObject) -> None:
    changed = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(1, len(seed) - 1))] = data.draw(st.integers(0, 255))
    gossip.one_input(bytes(changed))


@given(st.sampled_from(SEEDS), st.lists(st.integers(0, 2**32), min_size=1, max_size=3))
@settings(max_examples=400)
def test_changed_values_do_no_harm(seed: bytes, numbers: list[int]) -> None:
    for number in numbers:
        seed = changed(seed, number)
    gossip.one_input(seed)


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_good_bytes_are_taken(seed: bytes) -> None:
    gossip.one_input(seed)


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed here")
def test_the_fuzzer_finds_nothing_in_a_few_seconds(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    fuzz("gossip", "--seconds", "5", "--corpus", str(corpus), seconds=110)
    assert len(list(corpus.iterdir())) > len(SEEDS)
