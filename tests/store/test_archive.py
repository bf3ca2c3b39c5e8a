"""Archives: what is written is read again, by others too; every damage is one clear error."""

import io
import tarfile
import zlib
from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.store.archive import PORTION_BYTES, Archive, Meta, compressed, read_meta

STATE = b"mesh state\n" + bytes(range(256)) * 700
META = Meta(id="2-7-1", index=7, level=4, size=len(STATE), digest="ab")


def archive(state: bytes = STATE, meta: Meta = META) -> bytes:
    return b"".join(compressed(meta, [state], sha256(state).hexdigest()))


def read(data: bytes, portion: int = 1000) -> tuple[Meta, bytes]:
    made = Archive(data[at : at + portion] for at in range(0, len(data), portion))
    meta = read_meta(made)
    return meta, b"".join(made.state())


@pytest.mark.parametrize("portion", [1, 511, 10**7])
def test_what_is_written_is_read_again(portion: int) -> None:
    assert read(archive(), portion) == (META, STATE)


def test_others_read_it_too() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive())) as tar:
        assert tar.getnames() == ["meta.json", "state.bin", "SHA256SUMS"]
        file = tar.extractfile("state.bin")
        assert file is not None
        assert file.read() == STATE
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        assert f"{sha256(STATE).hexdigest()}  state.bin" in sums.read().decode()


def test_archives_that_others_wrote_are_read() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        parts = {"meta.json": b'{"Index": 7}', "state.bin": b"x" * 1000}
        sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in parts.items())
        for name, data in (parts | {"SHA256SUMS": sums.encode()}).items():
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    made = Archive([packed.getvalue()])
    assert made.about == b'{"Index": 7}'
    assert b"".join(made.state()) == b"x" * 1000
    with pytest.raises(Invalid, match="not of mesh; one of Consul is read with meshctl import"):
        read_meta(made)


def test_a_bomb_comes_in_small_portions() -> None:
    made = Archive([archive(bytes(50_000_000), Meta(size=50_000_000))])
    assert max(map(len, made.state())) <= PORTION_BYTES


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_every_damage_is_one_clear_error(data: st.DataObject) -> None:
    whole = archive()
    how = data.draw(st.sampled_from(["cut", "flip", "more", "noise"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if how == "cut":
        bad = whole[:at]
    elif how == "flip":
        bad = (
            whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
        )
    elif how == "more":
        bad = whole + data.draw(st.binary(min_size=1, max_size=20))
    else:
        bad = data.draw(st.binary(max_size=2000))
    found: object = None
    problem = ""
    try:
        found = read(bad)
    except Invalid as error:
        problem = error.message
    # A flipped bit in what gzip says of itself means nothing.
    assert found == (META, STATE) or problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "is empty"),
        (b"hello, world", "is damaged, or no snapshot at all"),
        (archive()[:-1], "is cut short"),
        (archive()[:1000], "is cut short"),
        (archive() + b"x", "goes on after its end"),
        (zlib.compress(b"x" * 2000, wbits=31), "it is no tar"),
        (archive(meta=Meta(version=2, size=len(STATE))), "is of version 2"),
        (b"".join(compressed(META, [STATE], "00")), "the sum of state.bin does not match"),
    ],
)
def test_errors_say_what_is_wrong(bad: bytes, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        read(bad)


def test_the_writer_goes_by_portions() -> None:
    def state() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 10_000

    meta = Meta(size=1_000_000)
    sizes = [len(part) for part in compressed(meta, state(), sha256(b"x" * 10**6).hexdigest())]
    assert max(sizes) < 100_000
