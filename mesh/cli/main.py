"""meshctl: the list of its commands, and how one of them is found, run and ended."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO, NamedTuple, TextIO

from mesh.cli import help as texts
from mesh.cli.command import FAILED, OK, WRONG_USE, Command, did_you_mean, is_flag, parse
from mesh.cli.flags import HTTP_FLAGS, Usage
from mesh.cli.output import Output
from mesh.errors import MeshError

INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE

# In the order the help shows. A module is loaded only when one of its commands runs; in its own
# COMMANDS it has the command under the same name.
COMMANDS: dict[str, tuple[str, str]] = {
    "members": ("mesh.cli.members", "List the members of the cluster"),
    "join": ("mesh.cli.node", "Make the agent join a cluster"),
    "leave": ("mesh.cli.node", "Make the agent leave the cluster and stop"),
    "force-leave": ("mesh.cli.node", "Count a failed member as left"),
    "doctor network": ("mesh.cli.doctor", "Test the network between members"),
    "maint": ("mesh.cli.maintenance", "Take a node or a service out of service, or back"),
    "guard status": ("mesh.cli.guard", "Show what is frozen or damped in discovery"),
    "guard release": ("mesh.cli.guard", "End a freeze of removals from discovery"),
    "catalog datacenters": ("mesh.cli.catalog", "List the datacenters"),
    "catalog nodes": ("mesh.cli.catalog", "List the nodes"),
    "catalog services": ("mesh.cli.catalog", "List the services"),
    "services register": ("mesh.cli.services", "Register services with the agent"),
    "services deregister": ("mesh.cli.services", "Remove services from the agent"),
    "proxy list": ("mesh.cli.proxies", "List the agent's proxies"),
    "proxy status": ("mesh.cli.proxies", "Show a proxy and what it refused"),
    "connect envoy": ("mesh.cli.proxies", "Run an Envoy as a proxy, or print its bootstrap"),
    "connect grpc-bootstrap": ("mesh.cli.proxies", "Print what a gRPC program is started with"),
    "kv get": ("mesh.cli.kv", "Read a key, or all under a prefix"),
    "kv put": ("mesh.cli.kv", "Write a key"),
    "kv delete": ("mesh.cli.kv", "Delete a key, or all under a prefix"),
    "kv export": ("mesh.cli.kv_files", "Print pairs as JSON"),
    "kv import": ("mesh.cli.kv_files", "Write the pairs of a file"),
    "kv list": ("mesh.cli.kv", "List the keys under a prefix"),
    "session create": ("mesh.cli.session", "Begin a session"),
    "session list": ("mesh.cli.session", "List the sessions"),
    "session info": ("mesh.cli.session", "Show a session"),
    "session renew": ("mesh.cli.session", "Begin the TTL of a session anew"),
    "session destroy": ("mesh.cli.session", "End a session"),
    "lock": ("mesh.cli.lock", "Run a command while holding a lock"),
    "history": ("mesh.cli.history", "Show who changed what, and when"),
    "diff": ("mesh.cli.history", "Show what differs between two log indexes"),
    "revert": ("mesh.cli.history", "Make a key again what it was"),
    "snapshot save": ("mesh.cli.snapshot", "Save all data to a file"),
    "snapshot restore": ("mesh.cli.snapshot", "Put the data of a file in place of all data"),
    "snapshot inspect": ("mesh.cli.snapshot", "Show what a saved file holds"),
    "snapshot decode": ("mesh.cli.snapshot", "Print a saved file's records as JSON"),
    "import consul-snapshot": ("mesh.cli.importing", "Import a snapshot of Consul"),
    "txn": ("mesh.cli.txn", "Do several reads and writes, all or none"),
    "config write": ("mesh.cli.config_entries", "Write a config entry"),
    "config read": ("mesh.cli.config_entries", "Show a config entry"),
    "config list": ("mesh.cli.config_entries", "List the config entries of a kind"),
    "config delete": ("mesh.cli.config_entries", "Delete a config entry"),
    "intention allow": ("mesh.cli.intention_rules", "Allow one service to call another"),
    "intention deny": ("mesh.cli.intention_rules", "Forbid one service to call another"),
    "intention create": ("mesh.cli.intention_rules", "Create an intention"),
    "intention list": ("mesh.cli.intention", "List the intentions"),
    "intention get": ("mesh.cli.intention", "Show an intention"),
    "intention match": ("mesh.cli.intention", "Show the intentions about a service"),
    "intention check": ("mesh.cli.intention", "Say whether a call is allowed, and why"),
    "intention delete": ("mesh.cli.intention", "Delete an intention"),
    "intention promote": ("mesh.cli.intention", "Enforce what was tried as a dry run"),
    "intention report": ("mesh.cli.intention_report", "Show what dry runs would change"),
    "intention test": ("mesh.cli.intention_test", "Compare intentions with what is expected"),
    "query create": ("mesh.cli.query", "Define a prepared query"),
    "query list": ("mesh.cli.query", "List the prepared queries"),
    "query get": ("mesh.cli.query", "Show a prepared query"),
    "query update": ("mesh.cli.query", "Change a prepared query"),
    "query delete": ("mesh.cli.query", "Delete a prepared query"),
    "query execute": ("mesh.cli.query", "Show which instances a prepared query finds"),
    "query explain": ("mesh.cli.query", "Show what a prepared query is for a name"),
    "dns explain": ("mesh.cli.dns", "Show how the agent's DNS answers a question"),
    "event": ("mesh.cli.event", "Tell something to all agents"),
    "watch": ("mesh.cli.watch", "Be told when something changes"),
    "exec": ("mesh.cli.execution", "Run a command on many nodes"),
    "rtt": ("mesh.cli.distance", "Estimate the round trip between two nodes"),
    "reachability": ("mesh.cli.distance", "Show which members cannot be reached"),
    "keyring": ("mesh.cli.keyring", "Look at and change the keys of gossip"),
    "operator request": ("mesh.cli.outcomes", "Ask what became of a write, or cancel it"),
    "operator upgrade status": ("mesh.cli.upgrade", "Show the cluster's feature level"),
    "operator upgrade finalize": ("mesh.cli.upgrade", "Raise the cluster's feature level"),
    "operator snapshots": ("mesh.cli.snapshot", "List the snapshots that servers took"),
    "operator raft list-peers": ("mesh.cli.raft", "List the servers that keep the log"),
    "operator raft add": ("mesh.cli.raft", "Give a server a vote"),
    "operator raft remove-peer": ("mesh.cli.raft", "Take a server's vote"),
    "operator raft transfer-leader": ("mesh.cli.raft", "Hand leadership to another server"),
    "operator raft status": ("mesh.cli.raft", "Show the figures of each server's log"),
    "operator raft recover": ("mesh.cli.recover", "Go on after most servers were lost for good"),
    "operator usage instances": ("mesh.cli.usage", "Count services and their instances"),
    "operator autopilot get-config": ("mesh.cli.autopilot", "Show autopilot's settings"),
    "operator autopilot set-config": ("mesh.cli.autopilot", "Change autopilot's settings"),
    "operator autopilot health": ("mesh.cli.autopilot", "Show how the servers fare"),
    "operator autopilot state": ("mesh.cli.autopilot", "Show who votes, and why others do not"),
    "connect systemd": ("mesh.cli.connect_systemd", "Print a systemd unit for a sidecar"),
    "connect wait": ("mesh.cli.connect_systemd", "Wait until a sidecar accepts connections"),
    "connect proxy": ("mesh.cli.connect_proxy", "Be a sidecar without Envoy"),
    "connect ca roots": ("mesh.cli.connect_ca", "List the roots of the mesh's authority"),
    "connect ca get-config": ("mesh.cli.connect_ca", "Show how the authority is set up"),
    "connect ca set-config": ("mesh.cli.connect_ca", "Set the authority up differently"),
    "connect ca reissue": ("mesh.cli.connect_ca", "Renew the certificate of a service here"),
    "connect ca rotate status": ("mesh.cli.connect_ca", "Show how far a rotation has come"),
    "connect ca rotate prepare": ("mesh.cli.connect_ca", "Make the next root"),
    "connect ca rotate activate": ("mesh.cli.connect_ca", "Sign under the prepared root"),
    "connect ca rotate retire": ("mesh.cli.connect_ca", "Believe past roots no longer"),
    "connect ca recover": ("mesh.cli.connect_ca", "Begin anew when the root has expired"),
    "keygen": ("mesh.cli.keygen", "Make a key for the encryption of gossip"),
    "tls ca create": ("mesh.cli.tls", "Make a certificate authority for the nodes"),
    "tls cert create": ("mesh.cli.tls", "Sign a certificate for a server, an agent or a person"),
    "tls revoke": ("mesh.cli.revocation", "Have servers refuse a node's certificate"),
    "tls revoked": ("mesh.cli.revocation", "List the certificates that are revoked"),
    "tls unrevoke": ("mesh.cli.revocation", "Have servers believe a certificate again"),
    "validate": ("mesh.cli.validate", "Check configuration files"),
    "debug": ("mesh.cli.debug", "Make a bundle of files for whoever helps you"),
    "info": ("mesh.cli.node", "Show the agent's statistics"),
    "monitor": ("mesh.cli.node", "Show the agent's log, live"),
    "reload": ("mesh.cli.node", "Make the agent read its configuration again"),
    "version": ("mesh.cli.version", "Show the version of meshctl"),
    "completion": ("mesh.cli.completion", "Print a completion script for a shell"),
}
SUMMARIES = {name: summary for name, (_, summary) in COMMANDS.items()}
DEPTH = max(len(name.split()) for name in COMMANDS)
GROUPS = {
    " ".join(name.split()[:depth]) for name in COMMANDS for depth in range(1, len(name.split()))
}


class Process(NamedTuple):
    """What surrounds a run: the environment and the three streams."""

    environment: Mapping[str, str]
    stdin: BinaryIO
    stdout: TextIO
    stderr: TextIO


def find(name: str) -> Command:
    """Load the command of this name."""
    module, _ = COMMANDS[name]
    commands: dict[str, Command] = importlib.import_module(module).COMMANDS
    return commands[name]


def run(words: Sequence[str], process: Process) -> int:
    """Run one command line; returns its exit code. Says on stderr what went wrong."""
    out = Output(process.stdout, process.stderr, process.environment)
    out.as_json = _asks_for_json(words)  # Known this early, wrong usage is shown as JSON too.
    try:
        return _run(list(words), process, out)
    except Usage as error:
        out.error(error)
        return WRONG_USE
    except MeshError as error:
        out.error(error)
        return FAILED


def _run(words: list[str], process: Process, out: Output) -> int:
    before = _leading_flags(words)
    if not words or words == ["help"]:
        asked = bool(words) or "--help" in before
        (process.stdout if asked else process.stderr).write(texts.overview(SUMMARIES))
        return OK if asked else WRONG_USE
    wants_help = words[0] == "help"
    name, rest = _split_name(words[1:] if wants_help else words)
    if name in GROUPS:
        return _group(name, rest, process, wants_help=wants_help)
    command = find(name)
    parsed = parse(name, command, ["--help"] if wants_help else [*before, *rest])
    out.as_json = parsed.text("format") == "json"
    if parsed.switch("help"):
        process.stdout.write(texts.explain(name, command))
        return OK
    invocation = importlib.import_module("mesh.cli.invocation").Invocation(
        parsed, out, process.environment, process.stdin
    )
    try:
        return command.run(invocation)
    finally:
        invocation.close()


def _leading_flags(words: list[str]) -> list[str]:
    """Take the flags that stand before the command: which agent to ask, or help or version."""
    taken = []
    values = {flag.name for flag in HTTP_FLAGS}
    while words and is_flag(words[0]):
        bare, has_value, _ = words[0].lstrip("-").partition("=")
        if bare in {"v", "version"}:
            words[:] = ["version"]
        elif bare in {"h", "help"}:
            words.pop(0)
            taken.append("--help")
        elif bare in values:
            count = 1 if has_value else 2
            taken += words[:count]
            del words[:count]
        else:
            hint = did_you_mean(bare, values, "--")
            raise Usage(f'meshctl has no flag "{words[0]}" before the command.{hint}')
    return taken


def _split_name(words: Sequence[str]) -> tuple[str, list[str]]:
    """The longest command or group that the words begin with, and what follows it."""
    for depth in range(min(DEPTH, len(words)), 0, -1):
        name = " ".join(words[:depth])
        if name in COMMANDS or name in GROUPS:
            return name, list(words[depth:])
    known = {name.split()[0] for name in COMMANDS}
    hint = did_you_mean(" ".join(words[:2]), COMMANDS) or did_you_mean(words[0], known)
    raise Usage(f'there is no command "{words[0]}".{hint} "meshctl help" shows all.')


def _group(name: str, rest: Sequence[str], process: Process, *, wants_help: bool) -> int:
    if rest and not is_flag(rest[0]):
        depth = len(name.split())
        members = {full.split()[depth] for full in COMMANDS if full.startswith(f"{name} ")}
        hint = did_you_mean(rest[0], sorted(members), f"{name} ")
        raise Usage(f'there is no command "{name} {rest[0]}".{hint} "meshctl {name}" shows all.')
    asked = wants_help or bool(rest)
    (process.stdout if asked else process.stderr).write(texts.overview(SUMMARIES, name))
    return OK if asked else WRONG_USE


def _asks_for_json(words: Sequence[str]) -> bool:
    joined = " ".join(words).replace("=", " ").replace("--", "-")
    return "-format json" in joined


def main() -> int:
    """Run this process' own command line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    process = Process(os.environ, sys.stdin.buffer, sys.stdout, sys.stderr)
    try:
        code = run(sys.argv[1:], process)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return code


if __name__ == "__main__":
    sys.exit(main())
