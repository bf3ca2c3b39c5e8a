"""meshctl intention: look at intentions, check calls, delete and promote."""

from __future__ import annotations

import re

from mesh.cli.command import FAILED, OK, WRONG_USE, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.call import ReadOptions
from mesh.client.intention import Asked, Intention
from mesh.errors import MeshError, NotFound

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def listed(invocation: Invocation) -> int:
    """Show all in a table, by precedence."""
    options = read_options(invocation.parsed)
    found = invocation.client.intention.listed(options, dry_runs=True).value
    rows = [
        (one.source_name, word_of(one), one.destination_name, str(one.precedence), one.id or "-")
        for one in found
    ]
    invocation.out.table(found, ("Source", "Action", "Destination", "Precedence", "ID"), rows)
    return OK


def get(invocation: Invocation) -> int:
    """Show one, by its ends or its id."""
    parsed = invocation.parsed
    one = find(invocation, parsed.arguments, read_options(parsed), dry_run=parsed.switch("dry-run"))
    rows = [
        ("Source", one.source_name),
        ("Destination", one.destination_name),
        ("Action", word_of(one)),
        *((f"Permission {place}", line(each)) for place, each in enumerate(one.permissions)),
        ("ID", one.id),
        ("Description", one.description),
        ("Owner", one.owner),
        ("Meta", ", ".join(f"{key}={value}" for key, value in sorted(one.meta.items()))),
        ("Precedence", str(one.precedence)),
        ("Created At", one.created_at if one.id else ""),
        ("ModifyIndex", str(one.modify_index)),
    ]
    invocation.out.fields(one, [row for row in rows if row[1]])
    return OK


def match(invocation: Invocation) -> int:
    """Show those about a service in the order in which they are asked."""
    parsed = invocation.parsed
    if parsed.switch("source") and parsed.switch("destination"):
        raise Usage("give only one of --source and --destination")
    found = invocation.client.intention.match(
        parsed.arguments[0],
        "source" if parsed.switch("source") else "destination",
        read_options(parsed),
        dry_runs=True,
    ).value
    lines = [f"{one.source_name} => {one.destination_name} ({word_of(one)})" for one in found]
    invocation.out.lines(found, lines)
    return OK


def check(invocation: Invocation) -> int:
    """Say whether a call is allowed, and which rule decides."""
    parsed = invocation.parsed
    source, destination = parsed.arguments
    asked = Asked(
        method=parsed.text("method"),
        path=parsed.text("path"),
        headers=[_header(text) for text in parsed.many("header")],
    )
    try:
        found = invocation.client.intention.check(
            source,
            destination,
            asked,
            dry_run=parsed.switch("dry-run"),
            datacenter=parsed.text("datacenter"),
        )
    except MeshError as error:
        # As Consul: 1 is an answer, so what failed must not look like it.
        invocation.out.error(error)
        return WRONG_USE
    word = "Allowed" if found.allowed else "Denied"
    old = "no server answers: as this agent last knew it" if found.stale else ""
    invocation.out.fields(
        found,
        [row for row in ((word, found.reason), ("Rule", found.rule), ("Stale", old)) if row[1]],
    )
    return OK if found.allowed else FAILED


def delete(invocation: Invocation) -> int:
    """Delete one, by its ends or its id."""
    parsed = invocation.parsed
    client, datacenter = invocation.client.intention, parsed.text("datacenter")
    dry_run, owner, force = (
        parsed.switch("dry-run"),
        parsed.text("owner"),
        parsed.switch("force"),
    )
    one = find(invocation, parsed.arguments, ReadOptions(datacenter=datacenter), dry_run=dry_run)
    if one.id and len(parsed.arguments) == 1:
        client.delete_by_id(one.id, owner=owner, force=force, datacenter=datacenter)
    else:
        client.delete(
            one.source_name,
            one.destination_name,
            dry_run=dry_run,
            owner=owner,
            force=force,
            datacenter=datacenter,
        )
    ends = f"{one.source_name} => {one.destination_name}"
    invocation.out.done(
        f"Deleted {ends} ({word_of(one)}).",
        Source=one.source_name,
        Destination=one.destination_name,
        Deleted=True,
    )
    return OK


def promote(invocation: Invocation) -> int:
    """Enforce a dry run."""
    parsed = invocation.parsed
    source, destination = parsed.arguments
    invocation.client.intention.promote(
        source,
        destination,
        owner=parsed.text("owner"),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    now = invocation.client.intention.get(
        source, destination, ReadOptions(datacenter=parsed.text("datacenter"))
    ).value
    word = word_of(now) if now is not None else "nothing"
    invocation.out.done(
        f"Enforced from now on: {source} => {destination} ({word}).",
        Source=source,
        Destination=destination,
        Promoted=True,
    )
    return OK


def find(
    invocation: Invocation, words: list[str], options: ReadOptions, *, dry_run: bool = False
) -> Intention:
    """By its id, or by source and destination. Raises NotFound."""
    client = invocation.client.intention
    if len(words) == 1:
        if not _UUID.fullmatch(words[0]):
            raise Usage("give SOURCE and DESTINATION, or the ID of an intention")
        found = client.get_by_id(words[0], options).value
    else:
        source, destination = words
        found = client.get(source, destination, options, dry_run=dry_run).value
    if found is None:
        raise NotFound(f"there is no intention {' => '.join(words)}")
    return found


def word_of(one: Intention) -> str:
    """What it says, in a word or two."""
    count = len(one.permissions)
    word = one.action or f"{count} permission{'s' if count > 1 else ''}"
    return f"{word}, dry run" if one.dry_run else word


def line(permission: dict[str, object]) -> str:
    """A permission in a line."""
    http = permission.get("HTTP")
    parts = [str(permission.get("Action"))]
    for key, value in http.items() if isinstance(http, dict) else ():
        if key == "Header":
            parts += [" ".join(f"{k}={v}" for k, v in one.items()) for one in value]
        else:
            parts.append(f"{key}={'|'.join(value) if isinstance(value, list) else value}")
    if permission.get("JWT"):
        parts.append("with a token")
    return " ".join(parts)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Usage(f'--header "{text}": expected NAME: VALUE')
    return name.strip(), value.strip()


def writing(parsed: Parsed) -> tuple[str, bool, str]:
    """Who writes, whether owners matter, and where."""
    return parsed.text("owner"), parsed.switch("force"), parsed.text("datacenter")


SOURCE, DESTINATION = Argument("SOURCE", filled=True), Argument("DESTINATION", filled=True)
SOURCE_OR_ID = Argument("SOURCE|ID", filled=True)
MAYBE_DESTINATION = Argument("DESTINATION", required=False, filled=True)
DRY_RUN = Flag("dry-run", "the one that is not enforced", "switch")
BY = (
    Flag("owner", "write as this owner", value="NAME"),
    Flag("force", "whoever the owner is", "switch"),
    DATACENTER,
)

COMMANDS = {
    "intention list": Command(
        listed,
        about="List all intentions, in the order of their precedence, dry runs too.",
        examples=(Example("intention list", "All of them"),),
        flags=READ_FLAGS,
    ),
    "intention get": Command(
        get,
        about="Show an intention, by its source and destination, or by its id.",
        examples=(Example("intention get web payments", "That between the two"),),
        arguments=(SOURCE_OR_ID, MAYBE_DESTINATION),
        flags=(DRY_RUN, *READ_FLAGS),
    ),
    "intention match": Command(
        match,
        about="Show the intentions about a service, in the order in which they are asked: the\n"
        "first one that is about a caller decides.",
        examples=(
            Example("intention match payments", "Who may call it"),
            Example("intention match --source web", "Whom it may call"),
        ),
        arguments=(Argument("SERVICE"),),
        flags=(
            Flag("source", "the service is the source", "switch"),
            Flag("destination", "the service is the destination, as without this", "switch"),
            *READ_FLAGS,
        ),
    ),
    "intention check": Command(
        check,
        about="Say whether a service may call another, and which rule decides. With --method,\n"
        "--path or --header about that request, else about the connection, which permissions\n"
        "deny.",
        examples=(
            Example("intention check web payments", "Whether it may connect"),
            Example(
                "intention check web payments --method GET --path /admin", "... and ask for this"
            ),
        ),
        arguments=(SOURCE, DESTINATION),
        flags=(
            Flag("method", "the method of the request", value="METHOD"),
            Flag("path", "its path, with its query", value="PATH"),
            Flag("header", "a header of it", "list", value="NAME:VALUE"),
            Flag("dry-run", "as if dry runs were enforced", "switch"),
            DATACENTER,
        ),
        exits=("1: it is denied", "2: it failed, or the words make no sense"),
    ),
    "intention delete": Command(
        delete,
        about="Delete an intention, by its source and destination, or by its id.",
        examples=(Example("intention delete web payments", "The default is back"),),
        arguments=(SOURCE_OR_ID, MAYBE_DESTINATION),
        flags=(DRY_RUN, *BY),
    ),
    "intention promote": Command(
        promote,
        about="Enforce from now on what was tried as a dry run, in place of what was enforced.",
        examples=(Example("intention promote web payments", "It is real now"),),
        arguments=(SOURCE, DESTINATION),
        flags=BY,
    ),
}
