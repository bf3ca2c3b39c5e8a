"""meshctl services: register and deregister with the agent."""

from __future__ import annotations

from typing import Any

from mesh.cli.command import OK, Command, Example
from mesh.cli.definitions import read_services
from mesh.cli.flags import Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation

DEFINING_FLAGS = ("id", "address", "port", "tag", "meta", "kind", "socket", "tagged-address")


def register(invocation: Invocation) -> int:
    """Register what files define, or one service from flags."""
    parsed = invocation.parsed
    if parsed.arguments:
        if given := [name for name in ("name", *DEFINING_FLAGS) if parsed.given[name]]:
            raise Usage(f"--{given[0]} and files exclude each other")
        wanted = [found for path in parsed.arguments for found in read_services(path)]
    else:
        wanted = [_from_flags(parsed)]
    names = []
    for service in wanted:
        replace = parsed.switch("replace-existing-checks")
        invocation.client.agent.register(service, replace_checks=replace)
        names.append(str(service.get("ID") or service.get("Name") or ""))
    invocation.out.done(f"Registered {', '.join(names)}.", Registered=names)
    return OK


def _from_flags(parsed: Parsed) -> dict[str, Any]:
    if not parsed.text("name"):
        raise Usage("services register needs --name, or files that define services")
    fields: dict[str, Any] = {
        "Name": parsed.text("name"),
        "ID": parsed.text("id"),
        "Kind": parsed.text("kind"),
        "Address": parsed.text("address"),
        "Port": parsed.number("port"),
        "SocketPath": parsed.text("socket"),
        "Tags": parsed.many("tag"),
        "Meta": parsed.pairs("meta"),
        "TaggedAddresses": {
            name: _host_and_port(address)
            for name, address in parsed.pairs("tagged-address").items()
        },
    }
    return {name: value for name, value in fields.items() if value}


def _host_and_port(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()):
        raise Usage(f'--tagged-address: expected name=address:port, got "{address}"')
    return {"Address": host.strip("[]"), "Port": int(port)}


def deregister(invocation: Invocation) -> int:
    """Remove what files define, or one instance by its id."""
    parsed = invocation.parsed
    if bool(parsed.arguments) == bool(parsed.text("id")):
        raise Usage("services deregister needs either --id or files that define services")
    ids = [parsed.text("id")]
    if parsed.arguments:
        found = [service for path in parsed.arguments for service in read_services(path)]
        ids = [str(service.get("ID") or service.get("Name") or "") for service in found]
    for service_id in ids:
        invocation.client.agent.deregister(service_id)
    invocation.out.done(f"Removed {', '.join(ids)}.", Removed=ids)
    return OK


COMMANDS = {
    "services register": Command(
        register,
        about="Register services with the agent, from HCL, JSON or YAML files as the agent's own\n"
        "configuration has them, or one from flags. What has the same id is replaced.",
        examples=(
            Example("services register web.yaml", "From a file"),
            Example("services register --name web --port 80 --tag v1", "From flags"),
        ),
        arguments=(Argument("FILE", required=False, many=True),),
        flags=(
            Flag("name", "the service's name", value="NAME"),
            Flag("id", "the instance's id; the name unless told", value="ID"),
            Flag("address", "where it is reached; the node's address unless told"),
            Flag("port", "its port", "number", value="PORT"),
            Flag("tag", "a tag", "list", value="TAG"),
            Flag("meta", "a pair of metadata", "list", value="KEY=VALUE"),
            Flag("kind", "connect-proxy, or a kind of gateway", value="KIND"),
            Flag("socket", "the unix socket it listens on", value="PATH"),
            Flag("tagged-address", "where others reach it", "list", value="NAME=ADDRESS:PORT"),
            Flag("replace-existing-checks", "remove its checks not mentioned", "switch"),
        ),
    ),
    "services deregister": Command(
        deregister,
        about="Remove services and their checks from the agent that has them.",
        examples=(
            Example("services deregister --id web-1", "One instance"),
            Example("services deregister web.yaml", "What a file defines"),
        ),
        arguments=(Argument("FILE", required=False, many=True),),
        flags=(Flag("id", "the instance's id", value="ID"),),
        exits=("1: the agent has no such service, or it failed",),
    ),
}
