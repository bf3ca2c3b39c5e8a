"""meshctl history, diff and revert: who changed what, and how to take it back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client import history as calls
from mesh.client.history import Change, Difference, Which

KINDS = (
    "kv",
    "service",
    "node",
    "config",
    "query",
    "autopilot",
    "maintenance",
    "revocation",
    "history",
)
ALL = "all"
SHOWN_MAX = 40
COLUMNS = ("Index", "Time", "Change", "Key", "Author", "Origin", "Now")


def history(invocation: Invocation) -> int:
    """Show changes, the latest first; with --watch those to come, as they come."""
    parsed = invocation.parsed
    which = _which(invocation)
    options = read_options(parsed)
    if parsed.switch("watch"):
        for change in _following(invocation, which):
            _show_one(invocation, change)
        return OK
    found = invocation.client.history.changes(which, options).value
    if not found and not invocation.out.as_json:
        invocation.out.note("Nothing is known to have changed.")
        return OK
    invocation.out.table(found, COLUMNS, [_cells(change) for change in found])
    return OK


def _which(invocation: Invocation) -> Which:
    parsed = invocation.parsed
    key = parsed.arguments[0] if parsed.arguments else ""
    kind = parsed.text("kind") or "kv"
    if kind == ALL:
        if key:
            raise Usage("--kind all has no KEY: say of which kind it is")
        kind = ""
    prefix = key if parsed.switch("recurse") or (kind and not key) else None
    return Which(
        kind=kind,
        key="" if prefix is not None else key,
        prefix=prefix,
        author=parsed.text("author"),
        since=parsed.text("since"),
        limit=parsed.number("limit") or 0,
    )


def _following(invocation: Invocation, which: Which) -> Iterator[Change]:
    """The changes that are there, the oldest first, then those that come; until Ctrl-C."""
    shown = 0
    try:
        call = calls.changes(which, read_options(invocation.parsed))
        for answer in invocation.client.follow(call):
            new = [change for change in answer.value if change.id > shown]
            yield from reversed(new)
            shown = max([shown, *(change.id for change in new)])
    except KeyboardInterrupt:
        return


def _show_one(invocation: Invocation, change: Change) -> None:
    out = invocation.out
    if out.as_json:
        out.json(change)
    else:
        out.stdout.write("  ".join(_cells(change)).rstrip() + "\n")
    out.stdout.flush()


def _cells(change: Change) -> tuple[str, ...]:
    what = "created" if change.before is None else "deleted" if change.after is None else "changed"
    if change.reverts:
        what += f", as at {change.reverts}"
    return (
        str(change.index),
        change.time,
        what,
        change.key if change.kind == "kv" else f"{change.kind} {change.key}",
        change.author or "-",
        change.origin or "-",
        _now(change),
    )


def _now(change: Change) -> str:
    """What it is since, in a few words."""
    if change.after is None:
        return "-"
    if change.kind != "kv":
        changed = [name for name, one in change.after.items() if _differs(change.before, name, one)]
        return ", ".join(changed)
    value = change.new_value or b""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return f"({len(value)} bytes)"
    if not text.isprintable() or len(text) > SHOWN_MAX:
        return f"({len(value)} bytes)"
    return text


def _differs(before: dict[str, Any] | None, name: str, value: Any) -> bool:
    if name in {"CreateIndex", "ModifyIndex"}:
        return False
    if before is None:
        return bool(value) and not isinstance(value, dict)
    return bool(before.get(name) != value)


def diff(invocation: Invocation) -> int:
    """Show what differs."""
    parsed = invocation.parsed
    found = invocation.client.history.diff(
        parsed.arguments[0],
        kind=parsed.text("kind") or "kv",
        before=parsed.number("from") or 0,
        after=parsed.number("to") or 0,
        options=read_options(parsed),
    ).value
    invocation.out.lines(found, _difference(found))
    return OK


def _difference(found: Difference) -> list[str]:
    before, after = found.before, found.after
    places = f"between index {before.index} and {after.index}"
    if before.row is None and after.row is None:
        return [f"{found.key} was not there {places}."]
    head = []
    if before.row is None:
        head = [f"{found.key} was not there at index {before.index}."]
    elif after.row is None:
        head = [f"{found.key} was not there at index {after.index}."]
    elif found.kind == "kv" and (flags := _flags(before.row, after.row)):
        head = [flags]
    if found.format in {"binary", "large"}:
        sizes = [len(calls.value_of(side.row) or b"") for side in (before, after)]
        why = "is no text" if found.format == "binary" else "is too large to compare"
        return [*head, f"{found.key} {why}: {sizes[0]} bytes before, {sizes[1]} after."]
    if not found.diff:
        return head or [f"{found.key} is the same {places}."]
    return [*head, *found.diff.split("\n")]


def _flags(before: dict[str, Any], after: dict[str, Any]) -> str:
    old, new = before.get("Flags", 0), after.get("Flags", 0)
    return f"Flags: {old} before, {new} after." if old != new else ""


def revert(invocation: Invocation) -> int:
    """Make it what it was, unless somebody changes it meanwhile."""
    parsed = invocation.parsed
    key, kind = parsed.arguments[0], parsed.text("kind") or "kv"
    index = parsed.number("to")
    if not index:
        raise Usage(f'revert needs --to INDEX; "meshctl history {key}" shows what there was')
    force = parsed.switch("force")
    options = read_options(parsed)
    ask = invocation.client.history.diff
    found = ask(key, kind=kind, before=index, options=options).value
    present = found.after.modify_index
    if parsed.switch("dry-run"):
        back = ask(key, kind=kind, before=found.after.index, after=index, options=options).value
        invocation.out.lines(back, ["Nothing is done. It would change this:", *_difference(back)])
        return OK
    done = invocation.client.history.revert(
        key,
        index,
        kind=kind,
        cas=None if force else present,
        datacenter=parsed.text("datacenter"),
    )
    what = "is again what it was" if done.changed else "is what it was already"
    invocation.out.done(
        f"{key} {what} at index {index}.", Kind=kind, Key=key, Index=index, Changed=done.changed
    )
    return OK


KIND = Flag(
    "kind", "what KEY is; kv unless told: service, node, config, autopilot ...", value="KIND"
)

COMMANDS = {
    "history": Command(
        history,
        about="Show who changed what, when and from where, the latest change first. Without KEY\n"
        "every key. For a service KEY is NODE/ID, for a config entry KIND/NAME.",
        examples=(
            Example("history app/color", "Every change of one key that is known"),
            Example("history --recurse --since 2h app/", "Of all keys under app/, lately"),
            Example("history --kind service web-1/api", "Of a service on a node"),
            Example("history --kind all --watch", "Whatever changes, as it changes"),
        ),
        arguments=(Argument("KEY", required=False),),
        flags=(
            Flag("kind", "kv (unless told), service, node, config ..., or all", value="KIND"),
            Flag("recurse", "every key that starts with KEY", "switch"),
            Flag("since", "only later changes: a duration such as 2h, or a time", value="WHEN"),
            Flag("author", "only by the token with this accessor, or anonymous", value="ACCESSOR"),
            Flag("limit", "at most so many, 100 unless told", "number"),
            Flag("watch", "go on with those to come, until Ctrl-C", "switch"),
            *READ_FLAGS,
        ),
    ),
    "diff": Command(
        diff,
        about="Show what differs in a key between two log indexes, as history shows them: without\n"
        "them what the last change did. JSON is compared in a form of its own.",
        examples=(
            Example("diff app/config", "What the last change did"),
            Example("diff app/config --from 120", "What changed since"),
            Example("diff app/config --from 120 --to 140", "What changed between"),
        ),
        arguments=(Argument("KEY"),),
        flags=(
            KIND,
            Flag("from", "the earlier log index; before the last change unless told", "number"),
            Flag("to", "the later log index; now unless told", "number"),
            *READ_FLAGS,
        ),
    ),
    "revert": Command(
        revert,
        about="Make a key again what it was at a log index, as a new change: history shows both.\n"
        "It fails when somebody else changes it at the same time, and when what it was is not\n"
        "known any more. What an agent registered belongs to that agent: change it there.",
        examples=(
            Example("revert app/color --to 120 --dry-run", "Show what it would change"),
            Example("revert app/color --to 120", "Do it"),
        ),
        arguments=(Argument("KEY"),),
        flags=(
            KIND,
            Flag("to", "the log index at which it was as it should be", "number", value="INDEX"),
            Flag("dry-run", "show what it would change, and do nothing", "switch"),
            Flag("force", "even if somebody changes it at the same time", "switch"),
            DATACENTER,
        ),
        exits=("1: it was changed meanwhile, what it was is not known, or it failed",),
    ),
}
