"""meshctl config: config entries."""

from __future__ import annotations

from typing import Any

from mesh.cli import definitions, documents
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.errors import Invalid, NotFound

HIDDEN = {"Hash"}


def write(invocation: Invocation) -> int:
    """Write the entry of a file."""
    parsed, out = invocation.parsed, invocation.out
    entry = _entry(invocation, parsed.arguments[0])
    index = parsed.number("modify-index")
    if parsed.switch("cas") and index is None:
        raise Usage("--cas needs --modify-index: the ModifyIndex that the entry has, or 0 for none")
    done = invocation.client.config.write(
        entry,
        cas=index if parsed.switch("cas") else None,
        owner=parsed.text("owner"),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    name = _given(entry, "name") or _given(entry, "kind")
    what = f"{_given(entry, 'kind')}/{name}"
    if not done:
        raise Invalid(f"{what} was not written: its modify index is not {index}")
    out.done(f"Wrote {what}.", Kind=_given(entry, "kind"), Name=name, Written=True)
    return OK


def read(invocation: Invocation) -> int:
    """Show one."""
    kind, name = _which(invocation)
    found = invocation.client.config.read(kind, name, read_options(invocation.parsed)).value
    if found is None:
        raise NotFound(f"there is no entry {kind}/{name}")
    invocation.out.json({key: value for key, value in found.items() if key not in HIDDEN})
    return OK


def listed(invocation: Invocation) -> int:
    """Show the names of all of a kind."""
    parsed = invocation.parsed
    kind = parsed.text("kind") or (parsed.arguments or [""])[0]
    if not kind:
        raise Usage("config list needs a kind, such as service-defaults")
    found = invocation.client.config.listed(kind, read_options(parsed)).value
    invocation.out.lines(found, [str(one.get("Name")) for one in found])
    return OK


def delete(invocation: Invocation) -> int:
    """Delete one, named or that of a file."""
    parsed = invocation.parsed
    if path := parsed.text("filename"):
        entry = _entry(invocation, path)
        kind = _given(entry, "kind")
        name = _given(entry, "name") or kind
    else:
        kind, name = _which(invocation)
    index = parsed.number("modify-index")
    if parsed.switch("cas") and index is None:
        raise Usage("--cas needs --modify-index: the ModifyIndex that the entry has")
    done = invocation.client.config.delete(
        kind,
        name,
        cas=index if parsed.switch("cas") else None,
        owner=parsed.text("owner"),
        force=parsed.switch("force"),
        datacenter=parsed.text("datacenter"),
    )
    if not done:
        invocation.out.note(f"{kind}/{name} was not deleted: its modify index is not {index}.")
        return FAILED
    invocation.out.done(f"Deleted {kind}/{name}.", Kind=kind, Name=name, Deleted=True)
    return OK


def _which(invocation: Invocation) -> tuple[str, str]:
    """The kind and the name, as flags or as arguments."""
    parsed = invocation.parsed
    words = list(parsed.arguments)
    kind = parsed.text("kind") or (words.pop(0) if words else "")
    name = parsed.text("name") or (words.pop(0) if words else "")
    if not kind or not name or words:
        raise Usage("give a kind and a name, such as service-defaults web")
    return kind, name


def _entry(invocation: Invocation, path: str) -> dict[str, Any]:
    document: Any
    if path.endswith(".hcl"):
        document = definitions.read_document(path)
    else:
        document = documents.read(invocation, path)
    if not isinstance(document, dict) or not _given(document, "kind"):
        name = "standard input" if path == "-" else path
        hint = "; HCL is read from files that end in .hcl" if isinstance(document, str) else ""
        raise Usage(f"{name}: expected an object with Kind and Name{hint}")
    return document


def _given(document: dict[str, Any], name: str) -> str:
    return next((str(one) for key, one in document.items() if str(key).lower() == name), "")


WHICH = (Argument("KIND", required=False), Argument("NAME", required=False))
KIND = Flag("kind", "the kind, instead of the argument", value="KIND")
NAME = Flag("name", "the name, instead of the argument", value="NAME")
WRITING = (
    Flag("cas", "only if the entry has the --modify-index", "switch"),
    Flag("modify-index", "the ModifyIndex to expect; 0: there is no such entry", "number"),
    Flag("owner", "write as this owner of intentions", value="NAME"),
    Flag("force", "change intentions whoever their owner is", "switch"),
    DATACENTER,
)

COMMANDS = {
    "config write": Command(
        write,
        about="Write the config entry of FILE (- for standard input), in HCL (a name that ends in\n"
        ".hcl), JSON or YAML. It has a Kind and a Name, and what its kind has.",
        examples=(
            Example("config write web.hcl", "Write it, whatever is there"),
            Example("config write --cas --modify-index 0 web.yaml", "Only if there is none"),
        ),
        arguments=(Argument("FILE"),),
        flags=WRITING,
    ),
    "config read": Command(
        read,
        about="Show a config entry as JSON, as config write takes it.",
        examples=(
            Example("config read service-defaults web", "One"),
            Example("config read --kind mesh --name mesh", "As Consul has it"),
        ),
        arguments=WHICH,
        flags=(KIND, NAME, *READ_FLAGS),
    ),
    "config list": Command(
        listed,
        about="List the names of the config entries of a kind.",
        examples=(Example("config list service-intentions", "Those about intentions"),),
        arguments=(Argument("KIND", required=False),),
        flags=(KIND, *READ_FLAGS),
    ),
    "config delete": Command(
        delete,
        about="Delete a config entry. It is refused when another entry needs it.",
        examples=(
            Example("config delete service-defaults web", "One"),
            Example("config delete --filename web.hcl", "That of a file"),
        ),
        arguments=WHICH,
        flags=(KIND, NAME, Flag("filename", "the entry of this file", value="FILE"), *WRITING),
        exits=("1: it has another modify index, or it failed",),
    ),
}
