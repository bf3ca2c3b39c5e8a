"""meshctl kv export and import: pairs to a file in Consul's format, and back."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from pathlib import Path

import msgspec

from mesh import codec
from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.errors import Invalid


class _Entry(msgspec.Struct, forbid_unknown_fields=False):
    """A pair as Consul's `kv export` writes it."""

    key: str
    value: str = ""
    flags: int = 0


def export(invocation: Invocation) -> int:
    """Print every pair under a prefix as JSON."""
    prefix = invocation.parsed.arguments[0] if invocation.parsed.arguments else ""
    pairs = invocation.client.kv.under(prefix, read_options(invocation.parsed)).value
    entries = [_Entry(one.key, b64encode(one.value).decode(), one.flags) for one in pairs]
    invocation.out.json(entries)
    return OK


def load(invocation: Invocation) -> int:
    """Write every pair of a file; the first that cannot be written ends it."""
    parsed, out = invocation.parsed, invocation.out
    prefix, datacenter = parsed.text("prefix"), parsed.text("datacenter")
    pairs = _pairs(_data(invocation))
    written: list[str] = []
    with Progress(out, "Importing") as progress:
        for key, value, flags in pairs:
            invocation.client.kv.put(prefix + key, value, flags=flags, datacenter=datacenter)
            written.append(prefix + key)
            progress.say(f"Importing: {len(written)} of {len(pairs)} keys")
    out.lines({"Imported": written}, [f"Imported: {key}" for key in written])
    return OK


def _data(invocation: Invocation) -> bytes:
    given = invocation.parsed.arguments[0] if invocation.parsed.arguments else "-"
    if given == "-":
        return invocation.stdin.read()
    if not given.startswith("@"):
        return given.encode("utf-8", "surrogateescape")
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Usage(f"cannot read the file {given[1:]}: {reason}") from error


def _pairs(data: bytes) -> list[tuple[str, bytes, int]]:
    """What a file says, read as a whole before anything is written. Raises Invalid."""
    try:
        entries = codec.from_json(data, list[_Entry])
    except Invalid as error:
        raise Invalid(
            f"this is no list of pairs as kv export writes it: {error.message}"
        ) from error
    found = []
    for entry in entries:
        try:
            found.append((entry.key, b64decode(entry.value, validate=True), entry.flags))
        except binascii.Error as error:
            raise Invalid(f"{entry.key}: the value is not base64: {error}") from error
        if not entry.key:
            raise Invalid("key: must not be empty")
    return found


COMMANDS = {
    "kv export": Command(
        export,
        about="Print every pair whose key starts with PREFIX as JSON, values as base64: what\n"
        "kv import reads, and Consul too.",
        examples=(
            Example("kv export app/ > app.json", "Everything under app/"),
            Example("kv export", "Everything"),
        ),
        arguments=(Argument("PREFIX", required=False),),
        flags=READ_FLAGS,
    ),
    "kv import": Command(
        load,
        about="Write every pair of what kv export wrote, here or in Consul. DATA is @FILE, the\n"
        "JSON itself, or - for standard input. The whole of it is checked first; then the pairs\n"
        "are written one by one.",
        examples=(
            Example("kv import @app.json", "From a file"),
            Example("kv import -prefix copy/ -", "From a pipe, under another prefix"),
        ),
        arguments=(Argument("DATA", required=False),),
        flags=(Flag("prefix", "put before every key", value="PREFIX"), DATACENTER),
        exits=("1: a pair could not be written; those before it were",),
    ),
}
