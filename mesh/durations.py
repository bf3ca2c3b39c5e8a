"""Durations as Go writes them (`1h30m`, `150ms`), in seconds."""

from __future__ import annotations

import re

from mesh.errors import Invalid

_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds in a Go duration (time.ParseDuration). Raises Invalid, showing a right one."""
    body = text.strip()
    sign = -1.0 if body.startswith("-") else 1.0
    body = body.removeprefix("-") if sign < 0 else body.removeprefix("+")
    if body == "0":
        return 0.0
    if len(body) > 64 or not _WHOLE.fullmatch(body):
        raise Invalid(f'expected a duration such as 30s or 1h30m, got "{text}"')
    parts = _PART.findall(body)
    return sign * sum(float(number) * _UNITS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    """The duration as Go writes it: `10s`, `1m30s`, `150ms`; `0s` for none."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if 0 < seconds < 1:
        for unit, size in (("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
            if seconds >= size:
                return f"{round(seconds / size, 6):g}{unit}"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{round(rest, 9):.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours:.0f}h{minutes:.0f}m{text}"
    return f"{minutes:.0f}m{text}" if minutes else text
