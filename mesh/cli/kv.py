"""meshctl kv: read, write, delete and list keys."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from pathlib import Path
from typing import TypeVar

from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.client import kv as calls
from mesh.client.call import Call
from mesh.client.kv import Lock
from mesh.client.shapes import Pair
from mesh.errors import Conflict, NotFound

T = TypeVar("T")


def get(invocation: Invocation) -> int:
    """Show one pair, the pairs under a prefix, or only their keys."""
    parsed = invocation.parsed
    key = _key(invocation)
    if parsed.switch("keys"):
        return keys(invocation)
    options = read_options(parsed)
    if parsed.switch("recurse"):
        pairs = invocation.client.kv.under(key, options).value
        if parsed.switch("detailed"):
            _show_detailed(invocation, pairs)
        else:
            lines = [f"{pair.key}:{_text(invocation, pair)}" for pair in pairs]
            invocation.out.lines(pairs, lines)
        return OK
    if not key:
        raise Usage("kv get needs KEY, unless --recurse or --keys asks for all")
    pair = invocation.client.kv.get(key, options).value
    if pair is None:
        raise NotFound(f'there is no key "{key}"')
    _show_pair(invocation, pair)
    return OK


def _show_pair(invocation: Invocation, pair: Pair) -> None:
    parsed, out = invocation.parsed, invocation.out
    if out.as_json:
        out.json(pair)
    elif parsed.switch("detailed"):
        _show_detailed(invocation, [pair])
    elif parsed.switch("base64"):
        out.lines(pair, [b64encode(pair.value).decode()])
    else:
        out.raw(pair.value if parsed.switch("raw") else pair.value + b"\n")


def _show_detailed(invocation: Invocation, pairs: list[Pair]) -> None:
    rows: list[tuple[str, str]] = []
    for pair in pairs:
        rows += [("", "")] if rows else []
        rows += [
            ("CreateIndex", str(pair.create_index)),
            ("Flags", str(pair.flags)),
            ("Key", pair.key),
            ("LockIndex", str(pair.lock_index)),
            ("ModifyIndex", str(pair.modify_index)),
            ("Session", pair.session or "-"),
            ("Value", _text(invocation, pair)),
        ]
    invocation.out.fields(pairs, rows)


def _text(invocation: Invocation, pair: Pair) -> str:
    if invocation.parsed.switch("base64"):
        return b64encode(pair.value).decode()
    return pair.value.decode("utf-8", "backslashreplace")


def keys(invocation: Invocation) -> int:
    """Show the keys under a prefix."""
    parsed = invocation.parsed
    separator = parsed.text("separator") if parsed.given["separator"] else "/"
    found = invocation.client.kv.keys(_key(invocation), separator, read_options(parsed)).value
    invocation.out.lines(found, found)
    return OK


def put(invocation: Invocation) -> int:
    """Write a pair; it fails when its condition does not hold."""
    parsed = invocation.parsed
    key = _key(invocation)
    value = _value(invocation)
    index = parsed.number("modify-index")
    cas = (index or 0) if parsed.switch("cas") or index is not None else None
    call = calls.put(
        key,
        value,
        flags=parsed.number("flags") or 0,
        cas=cas,
        lock=_lock(invocation),
        datacenter=parsed.text("datacenter"),
    )
    if invocation.client.run(_once(invocation, call)):
        invocation.out.done(f"Wrote {key}.", Key=key, Written=True)
        return OK
    raise _refused(key, "write", cas)


def _once(invocation: Invocation, call: Call[T]) -> Call[T]:
    parsed = invocation.parsed
    key, since = parsed.text("idempotency-key"), parsed.number("since")
    if since is not None and not key:
        raise Usage("--since needs --idempotency-key: it says since when that key may be in use")
    return call.once(key, since) if key else call


def _refused(key: str, verb: str, cas: int | None) -> Conflict:
    if cas is None:
        reason = "the lock is not this session's to take or give back"
    elif cas == 0:
        reason = "the key exists already"
    else:
        reason = f"its modify index is not {cas}: somebody changed it, or it does not exist"
    return Conflict(f"did not {verb} {key}: {reason}")


def _lock(invocation: Invocation) -> Lock | None:
    parsed = invocation.parsed
    acquire, release = parsed.switch("acquire"), parsed.switch("release")
    session = parsed.text("session")
    if not acquire and not release:
        return None
    if acquire and release:
        raise Usage("--acquire and --release exclude each other")
    if not session:
        raise Usage("--acquire and --release need --session")
    return Lock(session, release=release)


def _value(invocation: Invocation) -> bytes:
    arguments = invocation.parsed.arguments
    text = arguments[1] if len(arguments) > 1 else ""
    value = _read_value(invocation, text)
    if not invocation.parsed.switch("base64"):
        return value
    try:
        return b64decode(value, validate=True)
    except binascii.Error as error:
        raise Usage(f"--base64: the value is not base64: {error}") from error


def _read_value(invocation: Invocation, text: str) -> bytes:
    if text == "-":
        return invocation.stdin.read()
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise Usage(f"cannot read the file {text[1:]}: {reason.lower()}") from error


def delete(invocation: Invocation) -> int:
    """Delete a key or a prefix. What does not exist is fine, unless there is a condition."""
    parsed = invocation.parsed
    key = _key(invocation)
    datacenter = parsed.text("datacenter")
    index = parsed.number("modify-index")
    cas = index if parsed.switch("cas") or index is not None else None
    if parsed.switch("cas") and not index:
        raise Usage("--cas needs --modify-index, and not 0: a key that does not exist is deleted")
    if parsed.switch("recurse"):
        if cas is not None:
            raise Usage("--cas and --recurse exclude each other")
        every = calls.delete_under(key, datacenter=datacenter)
        invocation.client.run(_once(invocation, every))
        what = f"every key under {key}" if key else "every key"
        invocation.out.done(f"Deleted {what}.", Prefix=key, Deleted=True)
        return OK
    if not key:
        raise Usage("kv delete needs KEY; --recurse with an empty one deletes every key")
    call = calls.delete(key, cas=cas, datacenter=datacenter)
    if invocation.client.run(_once(invocation, call)):
        invocation.out.done(f"Deleted {key}.", Key=key, Deleted=True)
        return OK
    raise _refused(key, "delete", cas)


def _key(invocation: Invocation) -> str:
    """The key; a path's first slash is dropped, since no key can start with one."""
    arguments = invocation.parsed.arguments
    return arguments[0].removeprefix("/") if arguments else ""


ONCE_FLAGS = (
    Flag("idempotency-key", "a name for this write: repeated under it, it is applied once"),
    Flag("since", "when repeating: a log index known before it was first made", "number"),
)
SEPARATOR = Flag("separator", "cut keys after the first of these; / unless told", value="TEXT")

COMMANDS = {
    "kv get": Command(
        get,
        about="Read the value of a key, or with --recurse every pair whose key starts with KEY.\n"
        "The value is printed as it is, and a newline; --raw leaves the newline out.",
        examples=(
            Example("kv get app/color", "Print the value"),
            Example("kv get --detailed app/color", "With its flags and indexes"),
            Example("kv get --recurse app/", "Every pair under app/, as key:value"),
            Example("kv get --keys app/", "Only the names, one level deep"),
            Example("kv get --raw app/photo > photo.png", "The exact bytes"),
        ),
        arguments=(Argument("KEY", required=False),),
        flags=(
            Flag("detailed", "show flags, indexes and session too", "switch"),
            Flag("recurse", "every pair whose key starts with KEY", "switch"),
            Flag("keys", "only the keys that start with KEY", "switch"),
            SEPARATOR,
            Flag("base64", "show values in base64", "switch"),
            Flag("raw", "the exact bytes, without a newline after them", "switch"),
            *READ_FLAGS,
        ),
        exits=("1: there is no such key, or it failed",),
    ),
    "kv put": Command(
        put,
        about="Write a key. VALUE is the text itself, @FILE for what a file has, or - for what\n"
        "stands on standard input; without it the value is empty.",
        examples=(
            Example("kv put app/color blue", "Write a text"),
            Example("kv put app/config @config.json", "Write a file"),
            Example("kv put --cas app/color blue", "Only if the key does not exist"),
            Example("kv put --cas --modify-index 12 app/color red", "Only if nobody changed it"),
        ),
        arguments=(Argument("KEY"), Argument("VALUE", required=False)),
        flags=(
            Flag("cas", "only if the modify index is --modify-index, 0 unless told", "switch"),
            Flag("modify-index", "the modify index expected; 0: no such key", "number"),
            Flag("flags", "a number for programs to use as they like", "number"),
            Flag("base64", "VALUE is in base64", "switch"),
            Flag("acquire", "take the lock on the key for --session", "switch"),
            Flag("release", "give the lock of --session back", "switch"),
            Flag("session", "the session that locks", value="ID"),
            *ONCE_FLAGS,
            DATACENTER,
        ),
        exits=("1: the condition did not hold, or it failed",),
    ),
    "kv delete": Command(
        delete,
        about="Delete a key, or with --recurse every key that starts with KEY. A key that does\n"
        "not exist counts as deleted.",
        examples=(
            Example("kv delete app/color", "Delete one key"),
            Example("kv delete --recurse app/", "Delete everything under app/"),
            Example("kv delete --cas --modify-index 12 app/color", "Only if nobody changed it"),
        ),
        arguments=(Argument("KEY", required=False),),
        flags=(
            Flag("recurse", "every key that starts with KEY", "switch"),
            Flag("cas", "only if the modify index is --modify-index", "switch"),
            Flag("modify-index", "the modify index expected", "number"),
            *ONCE_FLAGS,
            DATACENTER,
        ),
        exits=("1: the condition did not hold, or it failed",),
    ),
    "kv list": Command(
        keys,
        about="List the keys that start with PREFIX, one level deep: what has more levels is\n"
        "shown up to its next slash.",
        examples=(
            Example("kv list", "The top level"),
            Example("kv list app/", "What is under app/"),
            Example("kv list --separator= app/", "All levels"),
        ),
        arguments=(Argument("PREFIX", required=False),),
        flags=(SEPARATOR, *READ_FLAGS),
    ),
}
