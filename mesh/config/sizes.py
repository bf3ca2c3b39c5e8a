"""Sizes such as 512MiB, as bytes."""

from __future__ import annotations

import re

from mesh.errors import Invalid

_UNITS = {
    "": 1, "b": 1,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip
_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([a-z]*)")
_MOST = 2**63 - 1


def parse_size(text: str) -> int:
    """Bytes meant by "512MiB", "1.5 GiB", "2GB", "64k" (1024 each) or "1048576".

    Raises Invalid when the text is none of these, or means more than 8 EiB.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if not found or found[2] not in _UNITS:
        raise Invalid(f'expected a size such as "512MiB" or "2GB", got "{text[:200]}"')
    number = float(found[1]) if "." in found[1] else int(found[1])
    size = int(number * _UNITS[found[2]])
    if size > _MOST:
        raise Invalid(f'size "{text}" is more than 8 EiB')
    return size
