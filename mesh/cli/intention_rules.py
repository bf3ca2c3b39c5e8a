"""meshctl intention allow, deny and create: write intentions."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mesh.cli import documents
from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import Argument, Flag, Parsed, Usage
from mesh.cli.intention import BY, DESTINATION, SOURCE, line, word_of, writing
from mesh.cli.invocation import Invocation
from mesh.client.call import ReadOptions
from mesh.client.intention import Intention
from mesh.errors import Conflict

ATTEMPTS = 5
KIND = "service-intentions"
_NAMES = (
    "SourceName",
    "DestinationName",
    "Action",
    "Permissions",
    "Description",
    "DryRun",
    "Owner",
    "Meta",
)
IN_FILES = {name.lower(): name for name in _NAMES}
"""What a file may say of an intention, as it is compared and as it is shown."""
OF_ANSWERS = frozenset(
    {"id", "hash", "precedence", "sourcetype", "sourcens", "sourcepartition", "destinationns"}
    | {"destinationpartition", "createdat", "updatedat", "createindex", "modifyindex"}
)
"""What else answers of the API have, in which case a file may be one of them."""


def allow(invocation: Invocation) -> int:
    """Allow a call, or some requests."""
    return _rule(invocation, "allow")


def deny(invocation: Invocation) -> int:
    """Deny a call, or some requests."""
    return _rule(invocation, "deny")


def _rule(invocation: Invocation, action: Literal["allow", "deny"]) -> int:
    """Write it on top of what is there, again if somebody else wrote meanwhile."""
    parsed = invocation.parsed
    source, destination = parsed.arguments
    owner, force, datacenter = writing(parsed)
    client, options = invocation.client, ReadOptions(datacenter=datacenter)
    dry_run, http = parsed.switch("dry-run"), _http(parsed)
    for _ in range(ATTEMPTS):
        entry = client.config.read(KIND, destination, options).value or {}
        old = client.intention.get(source, destination, options, dry_run=dry_run).value
        new = Intention(
            source_name=source,
            destination_name=destination,
            action="" if http else action,
            permissions=_permissions(invocation, {"Action": action, "HTTP": http}) if http else [],
            description=parsed.text("description") or (old.description if old else ""),
            dry_run=dry_run,
            owner=owner or (old.owner if old else ""),
        )
        if old is not None and _says(old) == _says(new):
            _tell(invocation, old, old)
            return OK
        # As an owner only when told so: what is somebody's is not changed by the way.
        sent = new if force else msgspec.structs.replace(new, owner=owner)
        if client.intention.put(
            sent, cas=int(entry.get("ModifyIndex", 0)), force=force, datacenter=datacenter
        ):
            _tell(invocation, old, new)
            return OK
    raise Conflict(f"others keep changing the intentions of {destination}: try again")


def _permissions(invocation: Invocation, first: dict[str, Any]) -> list[dict[str, Any]]:
    """This permission before those that decide now, which go on for all other requests."""
    parsed = invocation.parsed
    source, destination = parsed.arguments
    options = ReadOptions(datacenter=parsed.text("datacenter"))
    found = invocation.client.intention.match(destination, "destination", options, dry_runs=True)
    dry_run = parsed.switch("dry-run")
    for one in found.value:
        if one.source_name in {source, "*"} and (dry_run or not one.dry_run):
            rest = one.permissions or [_all(one.action)]
            return [first, *(each for each in rest if each.get("HTTP") != first["HTTP"])]
    return [first]


def _all(action: str) -> dict[str, Any]:
    return {"Action": action, "HTTP": {"PathPrefix": "/"}}


def _http(parsed: Parsed) -> dict[str, Any]:
    """Which requests the flags mean; empty for all."""
    flags = {"PathExact": "path-exact", "PathPrefix": "path", "PathRegex": "path-regex"}
    given = {name: parsed.text(flag) for name, flag in flags.items() if parsed.many(flag)}
    for name, path in given.items():
        # As it comes from a variable that is not set: it must not mean all requests.
        if not path:
            raise Usage(f"--{flags[name]} is empty; leave it out to mean all requests")
    if len(given) > 1:
        raise Usage("give only one of --path, --path-exact and --path-regex")
    http: dict[str, Any] = dict(given)
    if headers := [_header(text) for text in parsed.many("header")]:
        http["Header"] = headers
    if methods := [method.upper() for text in parsed.many("method") for method in text.split(",")]:
        http["Methods"] = methods
    return http


def _header(text: str) -> dict[str, Any]:
    name, colon, value = text.partition(":")
    if not name.strip():
        raise Usage(f'--header "{text}": expected NAME: VALUE, or NAME for one that is there')
    if not colon:
        return {"Name": name.strip(), "Present": True}
    return {"Name": name.strip(), "Exact": value.strip()}


def _says(one: Intention) -> tuple[object, ...]:
    return (one.action, one.permissions, one.description, one.dry_run, one.owner)


def _tell(invocation: Invocation, old: Intention | None, new: Intention) -> None:
    """What changed."""
    ends = f"{new.source_name} => {new.destination_name}"
    was = f"was {word_of(old)}" if old is not None else "there was none"
    if old is new:
        message = f"{ends} ({word_of(new)}): it says so already."
    else:
        message = f"{ends} ({word_of(new)}); {was}."
    lines = [f"  {line(one)}" for one in new.permissions]
    invocation.out.done(
        "\n".join([message, *lines]),
        Source=new.source_name,
        Destination=new.destination_name,
        Action=new.action,
        Permissions=new.permissions,
        DryRun=new.dry_run,
        Changed=old is not new,
    )


def create(invocation: Invocation) -> int:
    """Create one, as Consul's command does, or those of files."""
    parsed = invocation.parsed
    if parsed.switch("allow") and parsed.switch("deny"):
        raise Usage("give only one of --allow and --deny")
    if parsed.switch("file"):
        for flag in ("allow", "deny", "meta"):
            if parsed.many(flag):
                raise Usage(f"--{flag} cannot be given with --file: the files say it")
        wanted = [_of_file(invocation, path) for path in parsed.arguments]
    elif len(parsed.arguments) == 2:
        wanted = [
            Intention(
                source_name=parsed.arguments[0],
                destination_name=parsed.arguments[1],
                action="deny" if parsed.switch("deny") else "allow",
                meta=parsed.pairs("meta"),
            )
        ]
    else:
        raise Usage("intention create needs SOURCE and DESTINATION, or --file and files")
    for one in wanted:
        _create(invocation, one)
    return OK


def _create(invocation: Invocation, one: Intention) -> None:
    owner, force, datacenter = writing(invocation.parsed)
    client, options = invocation.client, ReadOptions(datacenter=datacenter)
    replaces = invocation.parsed.switch("replace")
    found = client.intention.get(
        one.source_name, one.destination_name, options, dry_run=one.dry_run
    )
    old, ends = found.value, f"{one.source_name} => {one.destination_name}"
    if old is not None and not replaces:
        raise Conflict(f"there is an intention {ends} ({word_of(old)}) already; see --replace")
    kept = old.owner if force and old is not None else ""
    owned = msgspec.structs.replace(one, owner=owner or one.owner or kept)
    if one.meta and old is None:
        client.intention.create(owned, datacenter=datacenter)
    else:
        plain = msgspec.structs.replace(owned, meta={})
        client.intention.put(plain, force=force, datacenter=datacenter)
    done = "Created" if old is None else "Replaced"
    invocation.out.done(
        f"{done}: {ends} ({word_of(one)})",
        Source=one.source_name,
        Destination=one.destination_name,
        Created=old is None,
    )


def _of_file(invocation: Invocation, path: str) -> Intention:
    document = documents.read(invocation, path)
    if not isinstance(document, dict):
        raise Usage(f"{path}: expected an object with SourceName, DestinationName and Action")
    given: dict[str, Any] = {}
    for key, value in document.items():
        name = str(key).replace("_", "").lower()
        if name not in IN_FILES and name not in OF_ANSWERS:
            raise Usage(f'{path}: unknown key "{key}"; there are {", ".join(IN_FILES.values())}')
        given[name] = value
    return Intention(
        source_name=str(given.get("sourcename", "")),
        destination_name=str(given.get("destinationname", "")),
        action=str(given.get("action", "")),
        permissions=given.get("permissions") or [],
        description=str(given.get("description", "")),
        dry_run=_switch(path, given.get("dryrun", False)),
        owner=str(given.get("owner", "")),
        meta=given.get("meta") or {},
    )


def _switch(path: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise Usage(f'{path}: DryRun: expected true or false, got "{given}"')
    return given


RULE = (
    Flag("path", "only requests whose paths begin so", value="PREFIX"),
    Flag("path-exact", "only requests for this path", value="PATH"),
    Flag("path-regex", "only requests for paths that this matches as a whole", value="REGEX"),
    Flag("method", "only requests with one of these methods", "list", value="METHOD"),
    Flag("header", "only requests with this header", "list", value="NAME[:VALUE]"),
    Flag("description", "why", value="TEXT"),
    Flag("dry-run", "evaluate and report it, but do not enforce it", "switch"),
    *BY,
)
_ABOUT = """It returns when the
change is committed. With --path, --method or --header it is about such requests only, and is asked
before the permissions there are; all other requests are judged as before."""

COMMANDS = {
    "intention allow": Command(
        allow,
        about=f"Allow one service (* for all) to call another. {_ABOUT}",
        examples=(
            Example("intention allow web payments", "web may call payments"),
            Example("intention allow web payments --path /v1/ --method GET", "... to read"),
        ),
        arguments=(SOURCE, DESTINATION),
        flags=RULE,
    ),
    "intention deny": Command(
        deny,
        about=f"Forbid one service (* for all) to call another. {_ABOUT}",
        examples=(
            Example("intention deny web payments", "web may not call payments any more"),
            Example("intention deny web payments --path /admin", "... only not this"),
            Example("intention deny --dry-run '*' payments", "See first who would be hit"),
        ),
        arguments=(SOURCE, DESTINATION),
        flags=RULE,
    ),
    "intention create": Command(
        create,
        about="Create an intention, as Consul's command does: it fails when there is one, unless\n"
        "--replace is given. Without --deny it allows.",
        examples=(
            Example("intention create web db", "Allow it"),
            Example("intention create --deny web db", "Forbid it"),
            Example("intention create --file one.yaml two.json", "Those of files"),
        ),
        arguments=(Argument("WORD", many=True),),
        flags=(
            Flag("allow", "allow, as without this", "switch"),
            Flag("deny", "deny", "switch"),
            Flag("meta", "a pair of metadata; the intention gets an id", "list", value="KEY=VALUE"),
            Flag("replace", "in place of what there is", "switch"),
            Flag("file", "the words are files with an intention each", "switch"),
            *BY,
        ),
    ),
}
