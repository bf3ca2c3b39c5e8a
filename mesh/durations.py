"""Go's durations, such as 1h30m, as seconds and back."""

from __future__ import annotations

import math
import re

from mesh.errors import Invalid

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"[+-]?(?:{_PART.pattern})+")
_MOST_NANOSECONDS = 2**63 - 1


def parse_duration(text: str) -> float:
    """Seconds meant by a Go duration: "1h30m", "150ms", "1.5s", "-2s", "0".

    Raises Invalid when the text is not one, or means more than Go can hold (about 292 years).
    """
    unsigned = text[1:] if text[:1] in {"+", "-"} else text
    if unsigned == "0":
        return 0.0
    if not _WHOLE.fullmatch(text) or len(text) > 200:
        raise Invalid(f'expected a duration such as 30s, got "{text[:200]}"')
    total = sum(float(number) * _NANOSECONDS[unit] for number, unit in _PART.findall(unsigned))
    if total > _MOST_NANOSECONDS:
        raise Invalid(f'duration "{text}" is longer than 292 years')
    return (-total if text[0] == "-" else total) / 1e9


def format_duration(seconds: float) -> str:
    """Write seconds as Go does: "10s", "1m30s", "1h0m0s", "150ms", "0s"; rounded to nanoseconds."""
    if not math.isfinite(seconds):
        raise Invalid(f"{seconds} is not a duration")
    left = round(abs(seconds) * 1_000_000_000)
    if left == 0:
        return "0s"
    sign = "-" if seconds < 0 else ""
    if left < _NANOSECONDS["s"]:
        unit = "ms" if left >= 1_000_000 else "µs" if left >= 1_000 else "ns"
        return f"{sign}{_decimal(left, _NANOSECONDS[unit])}{unit}"
    hours, left = divmod(left, _NANOSECONDS["h"])
    minutes, left = divmod(left, _NANOSECONDS["m"])
    text = f"{_decimal(left, _NANOSECONDS['s'])}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else f"{sign}{text}"


def _decimal(nanoseconds: int, unit: int) -> str:
    whole, rest = divmod(nanoseconds, unit)
    digits = str(rest).zfill(len(str(unit)) - 1).rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
