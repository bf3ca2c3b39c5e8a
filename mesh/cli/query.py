"""meshctl query: prepared queries, and what they find."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from mesh.cli import documents
from mesh.cli.command import OK, Command, Example
from mesh.cli.connection import read_options
from mesh.cli.flags import DATACENTER, READ_FLAGS, Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.call import ReadOptions
from mesh.client.query import Definition, Dns, Failover, ServiceQuery, Template
from mesh.client.shapes import Instance
from mesh.errors import NotFound

T = TypeVar("T", Definition, ServiceQuery)
TEMPLATE = "name_prefix_match"


def create(invocation: Invocation) -> int:
    """Define one, from a file or from flags."""
    parsed = invocation.parsed
    document = _from_file(invocation, parsed.arguments[:1])
    if document is None and not parsed.text("service"):
        raise Usage("query create needs --service, or FILE or - with the whole definition")
    definition = document or _changed(Definition(), parsed)
    made = invocation.client.query.create(definition, datacenter=parsed.text("datacenter"))
    invocation.out.done(f"Created {made}.", ID=made)
    return OK


def update(invocation: Invocation) -> int:
    """Replace one with what a file says, or change what the flags give."""
    parsed = invocation.parsed
    datacenter = parsed.text("datacenter")
    found = _find(invocation, parsed.arguments[0], ReadOptions(datacenter=datacenter))
    definition = _from_file(invocation, parsed.arguments[1:]) or _changed(found, parsed)
    invocation.client.query.update(found.id, definition, datacenter=datacenter)
    invocation.out.done(f"Updated {found.id}.", ID=found.id)
    return OK


def delete(invocation: Invocation) -> int:
    """Delete one."""
    parsed = invocation.parsed
    datacenter = parsed.text("datacenter")
    found = _find(invocation, parsed.arguments[0], ReadOptions(datacenter=datacenter))
    invocation.client.query.delete(found.id, datacenter=datacenter)
    invocation.out.done(f"Deleted {found.id}.", ID=found.id, Deleted=True)
    return OK


def listed(invocation: Invocation) -> int:
    """Show all in a table."""
    found = invocation.client.query.listed(read_options(invocation.parsed)).value
    rows = [
        (
            one.id,
            one.name or "-",
            "template" if one.template.type else "query",
            one.service.service,
            one.dns.ttl or "-",
        )
        for one in found
    ]
    invocation.out.table(found, ("ID", "Name", "Kind", "Service", "TTL"), rows)
    return OK


def get(invocation: Invocation) -> int:
    """Show one, with all that is set."""
    parsed = invocation.parsed
    _show(invocation, _find(invocation, parsed.arguments[0], read_options(parsed)))
    return OK


def explain(invocation: Invocation) -> int:
    """Show what a name stands for, templates rendered."""
    parsed = invocation.parsed
    _show(invocation, invocation.client.query.explain(parsed.arguments[0], read_options(parsed)))
    return OK


def execute(invocation: Invocation) -> int:
    """Show what it finds, in order."""
    parsed = invocation.parsed
    found = invocation.client.query.execute(
        parsed.arguments[0], limit=parsed.number("limit") or 0, options=read_options(parsed)
    ).value
    rows = [_row(one) for one in found.nodes]
    invocation.out.table(found, ("Node", "Address", "Port", "Tags"), rows)
    if found.failovers:
        asked = f"{found.failovers} other datacenter{'s' if found.failovers > 1 else ''}"
        there = f"; these are of {found.datacenter}" if rows else ", and there is none either"
        invocation.out.note(f"No instance here: asked {asked}{there}.")
    return OK


def _row(one: Instance) -> tuple[str, str, str, str]:
    address = one.service.address or one.node.address
    return (one.node.name, address, str(one.service.port), ", ".join(one.service.tags) or "-")


def _find(invocation: Invocation, wanted: str, options: ReadOptions) -> Definition:
    """By id, or by name. Raises NotFound."""
    lower = wanted.lower()
    for one in invocation.client.query.listed(options).value:
        if lower in {one.id, one.name.lower()}:
            return one
    raise NotFound(f'there is no prepared query with the id or name "{wanted}"')


def _from_file(invocation: Invocation, paths: list[str]) -> dict[str, Any] | None:
    parsed = invocation.parsed
    given = [flag.name for flag in DEFINING if parsed.given[flag.name]]
    if not paths:
        return None
    if given:
        raise Usage(f"--{given[0]} and a file exclude each other")
    document = documents.read(invocation, paths[0])
    if not isinstance(document, dict) or not document:
        raise Usage(f"{paths[0]}: expected an object with Name and Service")
    found: dict[str, Any] = documents.api_names(document)
    return found


def _changed(old: Definition, parsed: Parsed) -> Definition:
    """The definition with what the flags give."""
    service: dict[str, Any] = {
        "service": parsed.text("service"),
        "near": parsed.text("near"),
        "tags": parsed.many("tag"),
        "node_meta": parsed.pairs("node-meta"),
        "service_meta": parsed.pairs("service-meta"),
        "ignore_check_ids": parsed.many("ignore-check"),
        "only_passing": parsed.switch("only-passing"),
        "connect": parsed.switch("connect"),
        "failover": _failover(old.service.failover, parsed),
    }
    definition: dict[str, Any] = {
        "name": parsed.text("name"),
        "session": parsed.text("session"),
        "token": parsed.text("query-token"),
        "dns": Dns(ttl=parsed.text("ttl")) if parsed.text("ttl") else None,
        "template": _template(old.template, parsed),
        "service": _replaced(old.service, service),
    }
    if parsed.text("only-passing") == "false":
        every = msgspec.structs.replace(definition["service"], only_passing=False)
        definition["service"] = every
    return _replaced(old, definition)


def _failover(old: Failover, parsed: Parsed) -> Failover | None:
    nearest, named = parsed.number("failover-nearest"), parsed.many("failover")
    if nearest is None and not named:
        return None
    return Failover(
        nearest_n=old.nearest_n if nearest is None else nearest,
        datacenters=named or old.datacenters,
    )


def _template(old: Template, parsed: Parsed) -> Template | None:
    wanted = any(parsed.given[name] for name in ("template", "regexp", "remove-empty-tags"))
    if not wanted:
        return None
    if parsed.given["template"] and not parsed.switch("template"):
        return Template()
    return Template(
        type=TEMPLATE,
        regexp=parsed.text("regexp") or old.regexp,
        remove_empty_tags=parsed.switch("remove-empty-tags") or old.remove_empty_tags,
    )


def _replaced(old: T, given: dict[str, Any]) -> T:
    """The struct with every value that was given."""
    return msgspec.structs.replace(old, **{name: one for name, one in given.items() if one})


def _show(invocation: Invocation, found: Definition) -> None:
    service, failover = found.service, found.service.failover
    rows = [
        ("ID", found.id),
        ("Name", found.name),
        ("Session", found.session),
        ("Token", found.token),
        ("Template", found.template.type),
        ("Template.Regexp", found.template.regexp),
        ("Template.RemoveEmptyTags", _on(found.template.remove_empty_tags)),
        ("Service", service.service),
        ("Tags", ", ".join(service.tags)),
        ("Connect", _on(service.connect)),
        ("OnlyPassing", _on(service.only_passing)),
        ("IgnoreCheckIDs", ", ".join(service.ignore_check_ids)),
        ("Near", service.near),
        ("NodeMeta", _pairs(service.node_meta)),
        ("ServiceMeta", _pairs(service.service_meta)),
        ("Failover.NearestN", str(failover.nearest_n or "")),
        ("Failover.Datacenters", ", ".join(failover.datacenters)),
        ("Failover.Targets", ", ".join(target.datacenter for target in failover.targets)),
        ("DNS.TTL", found.dns.ttl),
        ("ModifyIndex", str(found.modify_index or "")),
    ]
    invocation.out.fields(found, [row for row in rows if row[1]])


def _on(value: bool) -> str:
    return "true" if value else ""


def _pairs(meta: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(meta.items()))


DEFINING = (
    Flag("name", "its name; of a template the beginning of the names it is for", value="NAME"),
    Flag("service", "the service whose instances are meant", value="NAME"),
    Flag("tag", "a tag they must have, or, after !, must not have", "list", value="TAG"),
    Flag("node-meta", "a pair their node must have", "list", value="KEY=VALUE"),
    Flag("service-meta", "a pair they must have", "list", value="KEY=VALUE"),
    Flag("only-passing", "leave out those with a warning too", "switch"),
    Flag("connect", "its sidecars, and instances that need none", "switch"),
    Flag("ignore-check", "a check whose status does not matter", "list", value="ID"),
    Flag("near", "the nearest to this node first; _agent, or _ip for who asks", value="NODE"),
    Flag("failover", "a datacenter to ask when there is none here", "list", value="NAME"),
    Flag("failover-nearest", "so many of the nearest datacenters before those", "number"),
    Flag("ttl", "the TTL of DNS answers", value="DURATION"),
    Flag("session", "the session with which it ends", value="ID"),
    Flag("query-token", "execute it with this token's permissions", value="TOKEN"),
    Flag("template", "one of every name that begins with --name", "switch"),
    Flag("regexp", "for a template: what ${match(n)} takes parts by", value="REGEX"),
    Flag("remove-empty-tags", "for a template: leave out tags that come out empty", "switch"),
)
NAMED = Argument("QUERY")
FILE = Argument("FILE", required=False)

COMMANDS = {
    "query create": Command(
        create,
        about="Define a prepared query, from flags, or from FILE (- for standard input), in YAML\n"
        "or JSON as /v1/query takes it. It is found under its name in DNS: NAME.query.mesh.",
        examples=(
            Example("query create --name web --service web --tag v1", "Instances tagged v1"),
            Example("query create --name db --service db --failover dc2", "Else those of dc2"),
            Example("query create web.yaml", "From a file"),
        ),
        arguments=(FILE,),
        flags=(*DEFINING, DATACENTER),
    ),
    "query list": Command(
        listed,
        about="List all prepared queries.",
        examples=(Example("query list", "All of them"),),
        flags=READ_FLAGS,
    ),
    "query get": Command(
        get,
        about="Show a prepared query, by its id or name.",
        examples=(
            Example("query get web", "What is set of it"),
            Example("query get --format json web", "All of it, as a file for update has it"),
        ),
        arguments=(NAMED,),
        flags=READ_FLAGS,
    ),
    "query update": Command(
        update,
        about="Change what the flags give of a prepared query, or replace it with what FILE, or -\n"
        "for standard input, says. QUERY is its id or name.",
        examples=(
            Example("query update --ttl 30s web", "Only its TTL"),
            Example("query update web web.yaml", "All of it"),
        ),
        arguments=(NAMED, FILE),
        flags=(*DEFINING, DATACENTER),
    ),
    "query delete": Command(
        delete,
        about="Delete a prepared query, by its id or name.",
        examples=(Example("query delete web", "It is found no more"),),
        arguments=(NAMED,),
        flags=(DATACENTER,),
    ),
    "query execute": Command(
        execute,
        about="Show which instances a prepared query finds, in the order to try them: healthy\n"
        "ones, nearest first if it says so, and of another datacenter if there are none here.",
        examples=(
            Example("query execute web", "By its name, its id, or a name a template is for"),
            Example("query execute --near _agent --limit 1 web", "The one nearest to the agent"),
        ),
        arguments=(NAMED,),
        flags=(
            Flag("near", "the nearest to this node first; _agent, or _ip", value="NODE"),
            Flag("limit", "so many at most", "number"),
            *READ_FLAGS,
        ),
        exits=("1: there is no such prepared query, or it failed",),
    ),
    "query explain": Command(
        explain,
        about="Show what a prepared query is for a name, templates rendered, without executing it.",
        examples=(Example("query explain geo-db-main", "Which template it is, and for what"),),
        arguments=(NAMED,),
        flags=READ_FLAGS,
    ),
}
