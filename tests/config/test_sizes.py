"""Sizes as people write them."""

import pytest

from mesh.config.sizes import parse_size
from mesh.errors import Invalid


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048577", 1048577),
        ("512MiB", 512 << 20),
        ("512m", 512 << 20),
        (" 1.5 GiB ", 3 << 29),
        ("2GB", 2 * 10**9),
        ("64 kb", 64000),
        ("7b", 7),
        ("1T", 1 << 40),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_people_write(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "-1", "1 %", "1e9", "1.MiB", "5 apples", "9000000 tib"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="size"):
        parse_size(text)
