"""Property tests of every decoder of gossip; and a short run of the fuzzer, where it is there."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import gossip
from tests.fuzz.mutation import changed
from tests.fuzz.seeds import SEEDS

TOP = Path(__file__).parent.parent.parent


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
    command = [sys.executable, "-m", "tests.fuzz", "gossip", "--seconds", "5"]
    done = subprocess.run(
        [*command, "--corpus", str(tmp_path / "corpus")],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert len(list((tmp_path / "corpus").iterdir())) > len(SEEDS)
