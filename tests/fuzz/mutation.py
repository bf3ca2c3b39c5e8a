"""Changes that know msgpack: one value of some map becomes another that may be out of limits."""

from __future__ import annotations

import random

import msgpack

LENGTHS = (0, 1, 3, 4, 5, 6, 7, 15, 16, 17, 31, 32, 127, 128, 129, 255, 512, 513, 1400)
NUMBERS = (0, 1, 63, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31, 2**32 - 1, 2**32, 2**63)


def changed(data: bytes, seed: int) -> bytes:
    """The data with one value of a map in it changed, or a key; as it was when it has no map."""
    dice = random.Random(seed)
    places = [place for place, byte in enumerate(data) if 0x81 <= byte <= 0x8F]
    dice.shuffle(places)
    for place in places[:8]:
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
        unpacker.feed(data[place:])
        try:
            fields = unpacker.unpack()
            key = dice.choice([*fields])
            fields[key] = value(dice, fields[key])
            packed = msgpack.packb(fields, use_bin_type=False)
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
            continue
        return bytes(data[:place] + packed + data[place + unpacker.tell() :])
    return data


def value(dice: random.Random, old: object) -> object:
    """Anything; rather something like the old value."""
    choice = dice.randrange(12)
    if choice < 4 and isinstance(old, int):
        return dice.choice(NUMBERS) - dice.randrange(2)
    if choice < 6 and isinstance(old, bytes):
        return (old or b"x") * (dice.choice(LENGTHS) // max(1, len(old)) + 1)
    if choice < 8:
        return bytes(dice.randrange(256) for _ in range(dice.choice(LENGTHS)))
    others: tuple[object, ...] = (
        *(None, True, -1, 1.5, float("nan"), dice.choice(NUMBERS)),
        *([old] * dice.randrange(1, 70), {"x": old}, {b"": b""}, [[[]]]),
    )
    return dice.choice(others)
