"""meshctl import: what another registry holds, written into mesh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.consul_records import Found, Record, records
from mesh.cli.files import portions_of
from mesh.cli.flags import DATACENTER, Argument, Flag
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.client.importing import merge
from mesh.codec import pack
from mesh.errors import Busy, Invalid, MeshError, NoLeader, OutcomeUnknown, Unreachable
from mesh.registry.autopilot import Settings
from mesh.registry.catalog import Register
from mesh.registry.coordinates import Place
from mesh.registry.entries import Entry
from mesh.registry.imports import Merge
from mesh.registry.kv import Pair
from mesh.registry.prepared_rows import Prepared
from mesh.registry.sessions import Session
from mesh.store.archive import Archive

BATCH_BYTES = 200 << 10
BATCH_RECORDS = 200
PROBLEMS_SHOWN = 20
FIELDS: dict[type[Any], str] = {
    Register: "registrations",
    Session: "sessions",
    Pair: "pairs",
    Prepared: "queries",
    Entry: "entries",
    Place: "places",
    Settings: "settings",
}
PASSING = (NoLeader, Busy, Unreachable, OutcomeUnknown)
"""Nothing is wrong with the records: the import breaks off, and can be made again."""


class Line(msgspec.Struct, rename="pascal"):
    """What became of the records of one type."""

    type: str
    found: int = 0
    imported: int = 0
    skipped: int = 0
    failed: int = 0
    why: list[str] = []
    """Why some were skipped."""


class Report(msgspec.Struct, rename="pascal"):
    """What became of a file."""

    dry_run: bool
    changed: int = 0
    """Rows that were not so before."""
    types: dict[str, Line] = {}
    problems: list[str] = []

    def line(self, kind: str) -> Line:
        """The line of a type."""
        return self.types.setdefault(kind, Line(kind))


class _Sender:
    """Gathers records and sends them some at a time, in their order."""

    def __init__(self, invocation: Invocation, report: Report) -> None:
        self._invocation, self._report = invocation, report
        self._waiting: list[tuple[str, Record]] = []
        self._bytes = 0

    def add(self, kind: str, record: Record) -> None:
        """Take a record; sends what waits when that is enough."""
        size = len(pack(record))
        if self._waiting and self._bytes + size > BATCH_BYTES:
            self.flush()
        self._waiting.append((kind, record))
        self._bytes += size
        if len(self._waiting) >= BATCH_RECORDS:
            self.flush()

    def flush(self) -> None:
        """Send what waits; when it is refused each on its own, to find which one is at fault."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if not waiting:
            return
        try:
            self._send(waiting)
        except PASSING:
            raise
        except MeshError as error:
            if len(waiting) > 1:
                for one in waiting:
                    self._waiting = [one]
                    self.flush()
                return
            kind, record = waiting[0]
            self._report.line(kind).failed += 1
            self._report.problems.append(f"{kind} {_name(record)}: {error.message}")

    def _send(self, waiting: list[tuple[str, Record]]) -> None:
        if not self._report.dry_run:
            fields: dict[str, list[Any]] = {}
            for _, record in waiting:
                fields.setdefault(FIELDS[type(record)], []).append(record)
            datacenter = self._invocation.parsed.text("datacenter")
            client = self._invocation.client
            made = merge(pack(Merge(**fields)), datacenter=datacenter)
            self._report.changed += client.run(made).changed
        for kind, _ in waiting:
            self._report.line(kind).imported += 1


def _name(record: Record) -> str:
    if isinstance(record, Register):
        inside = (
            record.service.id if record.service else record.checks[0].id if record.checks else ""
        )
        return f"{record.node.name}/{inside}" if inside else record.node.name
    if isinstance(record, Pair):
        return record.key
    if isinstance(record, Session | Prepared):
        return record.id
    if isinstance(record, Entry):
        return f"{record.kind}/{record.name}"
    return record.node if isinstance(record, Place) else "settings"


def run(invocation: Invocation) -> int:
    """Import a snapshot of Consul."""
    parsed, out = invocation.parsed, invocation.out
    path = Path(parsed.arguments[0])
    report = Report(parsed.switch("dry-run"))
    _check(path)
    sender = _Sender(invocation, report)
    try:
        with Progress(out, "Importing", path.stat().st_size) as progress:
            for found in _read(path, parsed.text("prefix"), progress):
                _take(found, report, sender)
            sender.flush()
    except PASSING as error:
        text = f"{error.message}\nThe import broke off. Run it again: what is there stays."
        raise type(error)(text) from error
    _show(invocation, report)
    return FAILED if report.problems else OK


def _take(found: Found, report: Report, sender: _Sender) -> None:
    line = report.line(found.kind)
    line.found += 1
    if found.problem:
        line.failed += 1
        report.problems.append(f"{found.kind}: {found.problem}")
    if found.skipped:
        line.skipped += 1
        if found.skipped not in line.why:
            line.why.append(found.skipped)
    for record in found.records:
        sender.add(found.kind, record)


def _check(path: Path) -> None:
    """Read all of the file once, so that a bad one is refused before anything is written."""
    for _ in _read(path, "", None):
        pass


def _read(path: Path, prefix: str, progress: Progress | None) -> Iterator[Found]:
    with portions_of(path) as portions:
        counted = portions if progress is None else progress.counted(portions)
        try:
            yield from records(Archive(counted).state(), prefix)
        except Invalid as error:
            raise Invalid(f"{path} {error.message}") from error


def _show(invocation: Invocation, report: Report) -> None:
    out = invocation.out
    rows = [
        (
            line.type,
            *(str(count) for count in (line.found, line.imported, line.skipped, line.failed)),
            "; ".join(line.why),
        )
        for line in report.types.values()
    ]
    out.table(report, ("Type", "Found", "Imported", "Skipped", "Failed", "Why"), rows)
    if out.as_json:
        return
    for problem in report.problems[:PROBLEMS_SHOWN]:
        out.note(problem)
    if (more := len(report.problems) - PROBLEMS_SHOWN) > 0:
        out.note(f"and {more} more; --format json shows all")
    if report.dry_run:
        out.note("Nothing was written: this was a dry run.")
    else:
        out.note(f"{report.changed} rows were written; the others were so already.")


COMMANDS = {
    "import consul-snapshot": Command(
        run,
        about="Write what a snapshot of Consul holds into mesh: nodes, services, checks, keys,\n"
        "sessions with their ids and locks, prepared queries, config entries, coordinates and\n"
        "autopilot's settings. What is in mesh already and not in FILE stays. FILE comes from\n"
        "consul snapshot save. It may be run again; docs/import.md says what is kept.",
        examples=(
            Example("import consul-snapshot --dry-run consul.snap", "Only show what is in it"),
            Example("import consul-snapshot consul.snap", "All of it"),
            Example("import consul-snapshot --prefix old/ consul.snap", "Keys under old/"),
        ),
        arguments=(Argument("FILE"),),
        flags=(
            Flag("dry-run", "read and check everything, write nothing", "switch"),
            Flag("prefix", "put every key under this", value="PREFIX"),
            DATACENTER,
        ),
        exits=("1: some records could not be imported, or it failed",),
    ),
}
