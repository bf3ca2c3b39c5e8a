"""What a power failure leaves of a folder that a `disk.Disk` watched."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import msgspec

_NAMES = "names.jsonl"


class Kept(msgspec.Struct):
    """A folder: its names, each with the number of a file or a folder in it."""

    names: dict[str, int | Kept] = {}


class Tree:
    """Names as they come about from the log of a disk."""

    def __init__(self, top: str) -> None:
        self._top, self.root = top, Kept()

    def folder(self, path: str) -> Kept | None:
        """The folder at a path; None when a folder above it is not there."""
        at: int | Kept | None = self.root
        for part in Path(path).relative_to(self._top).parts:
            at = at.names.get(part) if isinstance(at, Kept) else None
        return at if isinstance(at, Kept) else None

    def apply(self, verb: str, path: str, *about: str | int) -> None:
        """One operation on a name. In a folder that is not there it does nothing."""
        place = Path(path)
        folder = None if path == self._top else self.folder(str(place.parent))
        if folder is None:
            return
        names = folder.names
        if verb == "mkdir":
            names.setdefault(place.name, Kept())
        elif verb == "create":
            names[place.name] = int(about[0])
        elif verb in {"unlink", "rmdir"}:
            names.pop(place.name, None)
        elif verb == "rename":
            names[Path(str(about[0])).name] = names.pop(place.name)
        else:
            raise ValueError(f"unknown operation {verb}")


def lose(folder: Path, shadow: Path, dice: random.Random, *, torn: bool = True) -> int:
    """Put in place of the folder what a power failure would have left of it.

    Synced bytes under synced names stay. Of what was not synced everything is lost or, if `torn`,
    in each folder some first operations on names are kept and in each file some first bytes.
    Returns how many bytes were lost.
    """
    operations = [tuple(json.loads(line)) for line in _lines(shadow / _NAMES)]
    durable = [True] * len(operations)
    pending: dict[str, list[int]] = {}
    for number, (verb, path, *_) in enumerate(operations):
        if verb == "sync":
            pending.pop(path, None)
        else:
            pending.setdefault(str(Path(path).parent), []).append(number)
    for numbers in pending.values():
        kept = dice.randint(0, len(numbers)) if torn else 0
        for number in numbers[kept:]:
            durable[number] = False
    now, left = Tree(str(folder.resolve())), Tree(str(folder.resolve()))
    for each, stays in zip(operations, durable, strict=True):
        if each[0] != "sync":
            now.apply(*each)
            if stays:
                left.apply(*each)
    lost = _rebuild(folder, shadow, (now.root, left.root), dice if torn else None)
    shutil.rmtree(shadow)  # What is there now is durable.
    return lost


def _lines(path: Path) -> list[bytes]:
    # The last one may be cut short: its operation had not returned to the program.
    return [line for line in path.read_bytes().split(b"\n")[:-1] if line]


def _rebuild(
    folder: Path, shadow: Path, trees: tuple[Kept, Kept], dice: random.Random | None
) -> int:
    now, left = trees
    aside = folder.with_name(f"{folder.name}.lost")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    written = {number: aside / path for number, path in _paths(now)}
    lost = 0

    def make(place: Path, kept: Kept) -> None:
        nonlocal lost
        place.mkdir(mode=0o700)
        for name, what in kept.names.items():
            if isinstance(what, Kept):
                make(place / name, what)
                continue
            synced = (shadow / str(what)).read_bytes()
            source = written.get(what)
            full = source.read_bytes() if source is not None and source.exists() else synced
            data = _torn(synced, full, dice) if dice is not None else synced
            lost += max(0, len(full) - len(data))
            (place / name).write_bytes(data)
            (place / name).chmod(0o600)

    make(folder, left)
    return lost


def _paths(kept: Kept, above: Path = Path()) -> list[tuple[int, Path]]:
    found: list[tuple[int, Path]] = []
    for name, what in kept.names.items():
        if isinstance(what, Kept):
            found += _paths(what, above / name)
        else:
            found.append((what, above / name))
    return found


def _torn(synced: bytes, full: bytes, dice: random.Random) -> bytes:
    """Synced bytes and some first part of those after them; the end of it may be noise or zeros."""
    if not full.startswith(synced):
        return dice.choice([synced, full])
    extra = bytearray(full[len(synced) :][: dice.randint(0, len(full) - len(synced))])
    if extra and dice.random() < 0.5:
        damaged = dice.randint(1, min(512, len(extra)))
        extra[-damaged:] = dice.choice([bytes(damaged), dice.randbytes(damaged)])
    return synced + extra
