"""meshctl snapshot: save all data to a file, put it back, and look into such a file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mesh import codec
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.files import Unreadable, portions_of, private
from mesh.cli.flags import DATACENTER, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.errors import Invalid
from mesh.registry.authority import SECRET_TABLES
from mesh.registry.kv import PAIRS
from mesh.registry.requests import TABLES
from mesh.store.archive import Archive, Meta, read_meta
from mesh.store.export import Reading

APPENDABLE = ("version", "dc", "node", "status")


def save(invocation: Invocation) -> int:
    """Save a snapshot, whole or not at all."""
    parsed, out = invocation.parsed, invocation.out
    path, stale = Path(parsed.arguments[0]), parsed.switch("stale")
    appended = _appended(parsed.text("append-filename"))
    portions = invocation.client.snapshot.save(stale=stale, datacenter=parsed.text("datacenter"))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "xb", opener=private) as file, Progress(out, "Saving") as progress:
            size = 0
            for portion in progress.counted(portions):
                file.write(portion)
                size += len(portion)
            progress.say("Verifying")
            file.flush()
            os.fsync(file.fileno())
            meta = _verified(part)
        path = _named(path, meta, appended)
        part.rename(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise Unreadable(f"cannot save to {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    out.done(
        f"Saved and verified snapshot to index {meta.index}: {path} ({_bytes(size)})",
        Path=str(path),
        Size=size,
        Meta=meta,
    )
    return OK


def _appended(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in APPENDABLE:
            known = ", ".join(APPENDABLE)
            raise Usage(f'--append-filename: expected some of {known}, got "{word}"')
    return words


def _named(path: Path, meta: Meta, words: list[str]) -> Path:
    values = dict(
        zip(APPENDABLE, (meta.mesh, meta.datacenter, meta.server, meta.status), strict=True)
    )
    added = "".join(f"-{values[word]}" for word in words)
    return path.with_name(f"{path.stem}{added}{path.suffix}")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def restore(invocation: Invocation) -> int:
    """Put a snapshot in place of all data."""
    parsed, out = invocation.parsed, invocation.out
    path = Path(parsed.arguments[0])
    with portions_of(path) as file, Progress(out, "Verifying", path.stat().st_size) as progress:
        meta = _verified(path)
        progress.say("Restoring")
        portions = _through(progress, file)
        invocation.client.snapshot.restore(portions, datacenter=parsed.text("datacenter"))
    out.done(f"Restored snapshot {meta.id} of index {meta.index}", Restored=True, Meta=meta)
    return OK


def _through(progress: Progress, portions: Iterator[bytes]) -> Iterator[bytes]:
    yield from progress.counted(portions)
    progress.say("Waiting for the servers")


def inspect(invocation: Invocation) -> int:
    """Show what a snapshot holds."""
    parsed, out = invocation.parsed, invocation.out
    path = Path(parsed.arguments[0])
    depth = parsed.number("kvdepth")
    counted = _Counted(parsed.text("kvfilter"), 2 if depth is None else depth)
    meta, reading = _read(path, counted.keep)
    stats = sorted(
        ((name, tally.rows, tally.bytes) for name, tally in reading.tally.items() if tally.rows),
        key=lambda one: (-one[2], one[0]),
    )
    details = counted.rows() if parsed.switch("kvdetails") else []
    total = sum(one[2] for one in stats)
    value: dict[str, Any] = {
        "Meta": meta,
        "Stats": [{"Name": name, "Count": rows, "Sum": size} for name, rows, size in stats],
        "TotalSize": total,
    }
    if parsed.switch("kvdetails"):
        value["StatsKV"] = [
            {"Name": name, "Count": rows, "Sum": size} for name, rows, size in details
        ]
        value["TotalSizeKV"] = sum(one[2] for one in details)
    if out.as_json:
        out.json(value)
        return OK
    pairs = (
        ("ID", meta.id),
        ("Size", str(meta.size)),
        ("Index", str(meta.index)),
        ("Term", str(meta.term)),
        ("Version", str(meta.version)),
        ("Level", str(meta.level)),
        ("Time", meta.time),
        ("Datacenter", meta.datacenter),
        ("Server", f"{meta.server} ({meta.status})"),
        ("Mesh", meta.mesh),
        ("Digest", meta.digest),
    )
    out.fields(value, pairs)
    out.lines(value, [""])
    rows = [[name, str(count), _bytes(size)] for name, count, size in stats]
    out.table(value, ["Type", "Count", "Size"], [*rows, ["Total", "", _bytes(total)]])
    if parsed.switch("kvdetails"):
        out.lines(value, [""])
        rows = [[name, str(count), _bytes(size)] for name, count, size in details]
        whole = _bytes(value["TotalSizeKV"])
        out.table(value, ["Key Name", "Count", "Size"], [*rows, ["Total", "", whole]])
    return OK


class _Counted:
    """Keys and their sizes by the first parts of their names."""

    def __init__(self, prefix: str, depth: int) -> None:
        self._prefix, self._depth = prefix, depth
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()

    def keep(self, table: Any, rows: list[Any]) -> None:
        """Count these rows."""
        if table is not PAIRS:
            return
        for row in rows:
            if row.key.startswith(self._prefix):
                name = "/".join(row.key.split("/")[: self._depth]) if self._depth else row.key
                self._counts[name] += 1
                self._sizes[name] += len(row.key.encode()) + len(row.value)

    def rows(self) -> list[tuple[str, int, int]]:
        """Name, count and size, the largest first."""
        found = [(name, count, self._sizes[name]) for name, count in self._counts.items()]
        return sorted(found, key=lambda one: (-one[2], one[0]))


def decode(invocation: Invocation) -> int:
    """Print every record as a line of JSON, private keys of the mesh's authority left out."""
    out = invocation.out

    def keep(table: Any, rows: list[Any]) -> None:
        if table.name in SECRET_TABLES:
            return
        out.raw(b"".join(codec.to_json({"Type": table.name, "Data": row}) + b"\n" for row in rows))

    _read(Path(invocation.parsed.arguments[0]), keep)
    return OK


def schedules(invocation: Invocation) -> int:
    """Show what servers do about snapshots by themselves."""
    out = invocation.out
    found = invocation.client.snapshot.schedules(datacenter=invocation.parsed.text("datacenter"))
    rows = [
        (one.server, each.name, each.time, _bytes(each.size), str(each.index), each.verified)
        for one in found
        for each in one.kept
    ]
    out.table(found, ("Server", "Snapshot", "Time", "Size", "Index", "Verified"), rows)
    if not out.as_json and all(not one.interval_seconds and not one.error for one in found):
        out.note("No server takes snapshots by itself; see snapshots.interval.")
    for one in found:
        if one.error or one.problem:
            out.note(f"{one.server}: {one.error or one.problem}")
    return FAILED if any(one.problem for one in found) else OK


def _verified(path: Path) -> Meta:
    """What a file says of itself, once all of it is known to be as it was written."""
    with portions_of(path) as portions:
        try:
            archive = Archive(portions)
            meta = read_meta(archive)
            for _ in archive.state():
                pass
        except Invalid as error:
            raise Invalid(f"{path} {error.message}") from error
    return meta


def _read(path: Path, keep: Any) -> tuple[Meta, Reading]:
    """Every row of a file."""
    reading = Reading(TABLES, keep)
    with portions_of(path) as portions:
        try:
            archive = Archive(portions)
            meta = read_meta(archive)
            for portion in archive.state():
                reading.feed(portion)
            reading.finish()
        except Invalid as error:
            raise Invalid(f"{path} {error.message}") from error
    return meta, reading


def _bytes(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KB", "MB", "GB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count}B" if unit == "B" else f"{size:.1f}{unit}"


FILE = Argument("FILE")
COMMANDS = {
    "snapshot save": Command(
        save,
        about="Save all data to FILE: services, keys, sessions and all else that servers keep.\n"
        "What was written is verified, and FILE is there whole or not at all.",
        examples=(
            Example("snapshot save backup.snap", "As the leader has it"),
            Example("snapshot save --stale backup.snap", "From any server, without a leader too"),
            Example("snapshot save --append-filename dc,node backup.snap", "backup-dc1-s1.snap"),
        ),
        arguments=(FILE,),
        flags=(
            Flag("stale", "let any server take it, even without a leader", "switch"),
            Flag("append-filename", "add some of version,dc,node,status to the file's name"),
            DATACENTER,
        ),
    ),
    "snapshot restore": Command(
        restore,
        about="Put the data of FILE in place of all data that the servers hold, while they run.\n"
        "What was written since FILE was saved is lost. If it fails nothing has changed.",
        examples=(Example("snapshot restore backup.snap", "Go back to what was saved"),),
        arguments=(FILE,),
        flags=(DATACENTER,),
    ),
    "snapshot inspect": Command(
        inspect,
        about="Show what FILE holds, after verifying it. Asks no agent.",
        examples=(
            Example("snapshot inspect backup.snap", "Counts and sizes"),
            Example("snapshot inspect -kvdetails -kvdepth 1 backup.snap", "Keys by first part"),
        ),
        arguments=(FILE,),
        flags=(
            Flag("kvdetails", "show keys by the first parts of their names", "switch"),
            Flag("kvdepth", "how many parts; 2 if not given, 0 for all", "number"),
            Flag("kvfilter", "only keys that start with this", value="PREFIX"),
        ),
        asks_agent=False,
    ),
    "operator snapshots": Command(
        schedules,
        about="List the snapshots that the leader took by itself, on whichever server it was, and\n"
        "when each was restored into a scratch store and compared.",
        examples=(Example("operator snapshots", "All servers"),),
        flags=(DATACENTER,),
        exits=("1: the last snapshot failed",),
    ),
    "snapshot decode": Command(
        decode,
        about="Print every record of FILE as a line of JSON. Asks no agent.",
        examples=(Example("snapshot decode backup.snap", "All records"),),
        arguments=(FILE,),
        asks_agent=False,
    ),
}
