"""meshctl txn: several reads and writes, all or none of them."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from mesh.cli import documents
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import READ_FLAGS, Argument, Usage
from mesh.cli.invocation import Invocation
from mesh.client.txn import Op, Outcome, Result


def apply(invocation: Invocation) -> int:
    """Send the ops and show what they came to."""
    path = invocation.parsed.arguments[0]
    ops = _ops(documents.read(invocation, path))
    outcome = invocation.client.txn.apply(ops, read_options(invocation.parsed))
    if outcome.done:
        _show_results(invocation, ops, outcome)
        return OK
    rows = [(str(one.op), _named(ops, one.op), one.what) for one in outcome.errors]
    invocation.out.table(outcome, ("Op", "Does", "Why it failed"), rows)
    some = f"{len(rows)} of {len(ops)} ops failed" if len(rows) > 1 else "an op failed"
    invocation.out.note(f"meshctl: nothing was done: {some}")
    return FAILED


def _ops(document: Any) -> list[Op]:
    if not isinstance(document, list):
        raise Usage("expected a list of operations, such as - KV: {Verb: get, Key: app/color}")
    found = []
    for number, item in enumerate(document):
        if not isinstance(item, dict):
            raise Usage(f"op {number}: expected KV, Node, Service, Check or Session with fields")
        op: Op = documents.api_names(item)
        for kind, fields in op.items():
            if kind.lower() == "kv" and isinstance(fields, dict):
                op[kind] = _with_value(number, fields)
        found.append(op)
    return found


def _with_value(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    """`Text` is the value as it is; the API's own `Value` is in base64."""
    names = {name.lower(): name for name in fields}
    if "text" not in names:
        return fields
    if "value" in names:
        raise Usage(f"op {number}: give either Text or Value, which is in base64")
    text = fields[names["text"]]
    if not isinstance(text, str):
        raise Usage(f"op {number}: Text: expected a text, in quotes if need be, got {text!r}")
    rest = {name: value for name, value in fields.items() if name != names["text"]}
    return rest | {"Value": b64encode(text.encode()).decode()}


def _show_results(invocation: Invocation, ops: list[Op], outcome: Outcome) -> None:
    rows = [_row(result) for result in outcome.results]
    if rows:
        columns = ("Kind", "Name", "ModifyIndex", "Value")
        invocation.out.table(outcome, columns, rows)
    else:
        done = "1 operation" if len(ops) == 1 else f"{len(ops)} operations"
        invocation.out.done(f"Done: {done}.", Results=[], Errors=[])


def _row(result: Result) -> tuple[str, str, str, str]:
    if (pair := result.kv) is not None:
        text = pair.value.decode("utf-8", "backslashreplace")
        return ("key", pair.key, str(pair.modify_index), text)
    if (node := result.node) is not None:
        return ("node", node.name, str(node.modify_index), node.address)
    if (service := result.service) is not None:
        return ("service", service.id, str(service.modify_index), service.name)
    check = result.check
    if check is None:
        return ("-", "-", "-", "-")
    return ("check", check.check_id, str(check.modify_index), check.status)


def _named(ops: list[Op], number: int) -> str:
    """What an op does, in short."""
    if number >= len(ops):
        return ""
    for kind, fields in ops[number].items():
        if not isinstance(fields, dict):
            break
        lower = {name.lower(): value for name, value in fields.items()}
        inner = lower.get(kind.lower())
        name = str(lower.get("key", ""))
        if isinstance(inner, dict):
            named = {key.lower(): value for key, value in inner.items()}
            keys = ("checkid", "id", "node", "service", "name")
            name = next((str(named[key]) for key in keys if named.get(key)), "")
        return f"{kind} {lower.get('verb', '')} {name}".rstrip()
    return ""


COMMANDS = {
    "txn": Command(
        apply,
        about="Do several reads and writes in order, all of them or none. FILE, or - for standard\n"
        "input, has a list of operations in YAML or JSON, as /v1/txn takes them: KV, Node,\n"
        "Service, Check or Session, each with its Verb. Text instead of Value gives a key's value\n"
        "as it is, not in base64. If some fail, all of those are shown and nothing is done.",
        examples=(
            Example("txn move.yaml", "Do what the file says"),
            Example("txn --stale reads.json", "If all of them read, any server may answer"),
            Example("txn -", "Read the operations from standard input"),
        ),
        arguments=(Argument("FILE"),),
        flags=READ_FLAGS,
        exits=("1: an operation failed and nothing was done, or it failed as a whole",),
    ),
}
