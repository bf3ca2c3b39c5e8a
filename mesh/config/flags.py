"""Flags of `meshd agent` and `meshd server`, in mesh's spelling and in Consul's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mesh.config.load import Sources, load
from mesh.config.problems import Problem, shown, suggestion
from mesh.config.schema import Config
from mesh.config.shape import OPTIONS
from mesh.config.wording import MEANINGS


class Flag(msgspec.Struct, frozen=True):
    """A flag: its names without dashes, mesh's first, and the option it sets."""

    names: tuple[str, ...]
    key: str
    """Dotted key of the option; for the few that are none, the field of Sources."""
    value: str
    """What the help shows for the value; empty for a switch."""
    meaning: str = ""
    """Help; empty for the option's own."""


_TABLE = """
The node
  node-name node         node_name                  NAME
  node-id                node_id                    UUID
  node-meta              node_meta                  KEY:VALUE
  datacenter dc          datacenter                 NAME
  data-dir               data_dir                   PATH
  server                 server
  bootstrap-expect       bootstrap_expect           NUMBER
  bootstrap              bootstrap
  disable-host-node-id   disable_host_node_id
  pid-file               pid_file                   PATH
Addresses
  bind-addr bind         bind_addr                  IP
  advertise-addr advertise  advertise_addr          IP
  advertise-addr-wan advertise-wan  advertise_addr_wan  IP
  client-addr client     client_addr                IPS
  serf-lan serf-lan-bind serf_lan                   IP
  serf-wan serf-wan-bind serf_wan                   IP
  serf-lan-allowed-cidrs serf_lan_allowed_cidrs     CIDR
  serf-wan-allowed-cidrs serf_wan_allowed_cidrs     CIDR
Ports
  http-port              ports.http                 PORT
  https-port             ports.https                PORT
  dns-port               ports.dns                  PORT
  grpc-port              ports.grpc                 PORT
  grpc-tls-port          ports.grpc_tls             PORT
  serf-lan-port          ports.serf_lan             PORT
  serf-wan-port          ports.serf_wan             PORT
  server-port            ports.server               PORT
Joining
  retry-join join        retry_join                 ADDRESS
  retry-interval         retry_interval             DURATION
  retry-max              retry_max                  NUMBER
  retry-join-wan join-wan  retry_join_wan           ADDRESS
  retry-interval-wan     retry_interval_wan         DURATION
  retry-max-wan          retry_max_wan              NUMBER
  rejoin-after-leave rejoin  rejoin_after_leave
  primary-gateways primary-gateway  primary_gateways  ADDRESS
Checks and queries
  enable-script-checks   enable_script_checks
  enable-local-script-checks  enable_local_script_checks
  check-output-max-size  check_output_max_size      BYTES
  default-query-time     default_query_time         DURATION
  max-query-time         max_query_time             DURATION
DNS and HTTP
  domain                 domain                     DOMAIN
  alt-domain             alt_domain                 DOMAIN
  recursors recursor     recursors                  IP
  allow-write-http-from  http_config.allow_write_http_from  CIDR
  ui                     ui_config.enabled
  ui-dir                 ui_config.dir              PATH
  ui-content-path        ui_config.content_path     PATH
Logging
  log-level              log_level                  LEVEL
  log-json               log_json
  log-file               log_file                   PATH
  log-rotate-bytes       log_rotate_bytes           BYTES
  log-rotate-duration    log_rotate_duration        DURATION
  log-rotate-max-files   log_rotate_max_files       NUMBER
  syslog                 enable_syslog
Security and protocols
  plaintext-rpc          tls.internal_rpc.plaintext
  encrypt                encrypt                    KEY
  disable-keyring-file   disable_keyring_file
  protocol               protocol                   NUMBER
  raft-protocol          raft_protocol              NUMBER
"""

_FILES = {
    "Configuration": (
        Flag(("config-file",), "paths", "PATH", "Read this file, or the files in this directory."),
        Flag(("config-dir",), "paths", "PATH", "Read the .hcl, .json, .yaml and .yml files in it."),
        Flag(("config-format",), "format", "FORMAT", "hcl, json or yaml, whatever the names say."),
        Flag(("hcl",), "fragments", "TEXT", "Options as HCL; comes after all else."),
        Flag(("dev",), "dev", "", "A server alone, in memory, on the loopback interface."),
        Flag(("auto-reload-config",), "auto_reload_config", "", MEANINGS["auto_reload_config"]),
    )
}


def _groups() -> dict[str, tuple[Flag, ...]]:
    groups: dict[str, tuple[Flag, ...]] = dict(_FILES)
    title = ""
    for line in _TABLE.strip().splitlines():
        if not line.startswith(" "):
            title = line
            continue
        words = line.split()
        value = words.pop() if words[-1].isupper() else ""
        *names, key = words
        flag = Flag(tuple(names), key, value, MEANINGS[key])
        groups[title] = (*groups.get(title, ()), flag)
    return groups


GROUPS = _groups()
"""Every flag, by the title of its group."""

_BY_NAME = {name: flag for group in GROUPS.values() for flag in group for name in flag.names}
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}
_HELP = {"h", "help"}


def parse(arguments: Sequence[str], *, server: bool) -> Config:
    """The configuration that a command line means, its files read.

    With `server` the command is `meshd server`, else `meshd agent`. Raises ConfigError with every
    problem of flags and files.
    """
    problems: list[Problem] = []
    settings: list[tuple[str, Any, str]] = []
    plain: dict[str, list[Any]] = {"paths": [], "format": [], "fragments": [], "dev": []}
    for flag, text, source in _walk(arguments, problems):
        value, complaint = _value(flag, text)
        if complaint:
            problems.append(Problem(source, flag.key if flag.key in OPTIONS else "", complaint))
        elif flag.key in plain:
            plain[flag.key].append(value)
        else:
            settings.append((flag.key, value, source))
    kind = plain["format"][-1] if plain["format"] else ""
    if kind not in {"", "hcl", "json", "yaml"}:
        expected = f"expected hcl, json or yaml, got {shown(kind)}"
        problems.append(Problem("flag -config-format", "", expected))
        kind = ""
    sources = Sources(
        paths=plain["paths"],
        format=kind,
        settings=settings,
        fragments=plain["fragments"],
        dev=bool(plain["dev"] and plain["dev"][-1]),
        server=server,
    )
    return load(sources, problems)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether -h, -help or --help is among the arguments."""
    return any(word.startswith("-") and word.lstrip("-") in _HELP for word in arguments)


def help_text(program: str, server: bool = False) -> str:
    """What --help prints: usage, examples and every flag by group."""
    lines = [f"Usage: {program} [flags]", "", *_examples(program, server)]
    for title, flags in GROUPS.items():
        lines += ["", f"{title}:"]
        for flag in flags:
            if server and flag.key in {"server", "dev"}:
                continue
            names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in flag.names)
            head = f"  {names} {flag.value}".rstrip()
            text = textwrap.wrap(_many(flag), 96 - 36)
            if len(head) > 34:
                lines.append(head)
                head = ""
            lines += [f"{head:<36}{text[0]}", *(f"{'':<36}{line}" for line in text[1:])]
    lines += [
        "",
        "One dash or two, `-flag=value` or `-flag value`. Flags win over files. Every option of a",
        "file is in docs/config.md; check files with `meshd validate PATH...`.",
    ]
    return "\n".join(lines) + "\n"


def _many(flag: Flag) -> str:
    hint = OPTIONS.get(flag.key)
    repeats = flag.key in {"paths", "fragments"} or str(hint).startswith(("tuple", "dict"))
    return f"{flag.meaning} May be repeated." if repeats else flag.meaning


def _examples(program: str, server: bool) -> list[str]:
    role = "" if server else "--dev"
    first = (
        f"  {program} --data-dir=/var/lib/mesh --bootstrap-expect=3 --retry-join=10.0.0.2"
        if server
        else f"  {program} {role}"
    )
    return [
        "Examples:",
        first,
        f"  {program} --config-dir=/etc/mesh.d --bind-addr=10.0.0.5",
        f"  {program} -data-dir /var/lib/mesh -node web-1 -retry-join 10.0.0.2",
    ]


def _walk(arguments: Sequence[str], problems: list[Problem]) -> Iterator[tuple[Flag, str, str]]:
    """Each flag with the text of its value and what to call it in problems."""
    left = list(arguments)
    while left:
        word = left.pop(0)
        dashes = len(word) - len(word.lstrip("-"))
        if dashes not in {1, 2} or len(word) == dashes:
            message = "expected a flag; values follow their flag"
            problems.append(Problem("command line", shown(word).strip('"'), message))
            continue
        name, equals, text = word[dashes:].partition("=")
        source = f"flag {'-' * dashes}{name}"
        flag = _BY_NAME.get(name.replace("_", "-"))
        if flag is None:
            near = suggestion(name, {known.replace("-", "_") for known in _BY_NAME})
            near = near.replace("_", "-").replace("mean ", f"mean {'-' * dashes}")
            problems.append(Problem(source, "", f"unknown flag{near}"))
            if not equals and left and not left[0].startswith("-"):
                left.pop(0)  # Likely its value.
            continue
        if not equals and flag.value:
            if not left:
                key = flag.key if flag.key in OPTIONS else ""
                problems.append(Problem(source, key, f"expected a value: {flag.value}"))
                continue
            text = left.pop(0)
        yield flag, text if equals or flag.value else "true", source


def _value(flag: Flag, text: str) -> tuple[Any, str]:
    """The value as the option takes it, and what is wrong if anything is."""
    hint = OPTIONS.get(flag.key)
    if not flag.value:
        word = text.lower()
        known = word in _TRUE or word in _FALSE
        return word in _TRUE, "" if known else f"expected true or false, got {shown(text)}"
    if hint is int:
        try:
            return int(text), ""
        except ValueError:
            return None, f"expected a whole number, got {shown(text)}"
    if flag.key == "node_meta":
        name, colon, value = text.partition(":")
        return {name: value}, "" if colon else f"expected KEY:VALUE, got {shown(text)}"
    return [text] if str(hint).startswith("tuple") else text, ""
