"""Flags: Consul's and mesh's spellings of the options, with one dash or two."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from mesh.config.load import ConfigError, Fragment, Problem, build, read_paths, read_text
from mesh.config.schema import Config
from mesh.errors import Invalid


class Flag(msgspec.Struct, frozen=True):
    """A flag: its names, the key it sets, and the form of its value."""

    names: tuple[str, ...]
    key: str
    form: str
    text: str


_PATHS = "paths"
_HCL = "hcl"
FLAGS: tuple[Flag, ...] = (
    Flag(("config-file", "config-dir"), _PATHS, "text", "file or directory; may be repeated"),
    Flag(("hcl",), _HCL, "text", "a fragment of configuration in HCL; may be repeated"),
    Flag(("dev",), "dev", "flag", "a server for development: alone, in memory, on loopback"),
    Flag(("server",), "server", "flag", "keep the replicated state"),
    Flag(("bootstrap",), "bootstrap", "flag", "start a cluster of this server alone"),
    Flag(("bootstrap-expect",), "bootstrap_expect", "number", "servers to wait for at first start"),
    Flag(("node", "node-name"), "node_name", "text", "name of this node; the host name"),
    Flag(("node-id",), "node_id", "text", "UUID of this node; made at first start"),
    Flag(("node-meta",), "node_meta", "pair", "key:value shown with the node; may be repeated"),
    Flag(("datacenter", "dc"), "datacenter", "text", "name of the datacenter; dc1"),
    Flag(("data-dir",), "data_dir", "text", "directory for the node's state"),
    Flag(("bind", "bind-addr"), "bind_addr", "text", "address for gossip and the server port"),
    Flag(("advertise", "advertise-addr"), "advertise_addr", "text", "address others reach us at"),
    Flag(("client", "client-addr"), "client_addr", "text", "addresses of HTTP and DNS"),
    Flag(("retry-join", "join"), "retry_join", "list", "member to join; may be repeated"),
    Flag(("retry-interval",), "retry_interval", "text", "longest pause between tries; 30s"),
    Flag(("retry-max",), "retry_max", "number", "tries before giving up; 0 is for ever"),
    Flag(("http-port",), "ports.http", "number", "8500"),
    Flag(("https-port",), "ports.https", "number", "-1"),
    Flag(("dns-port",), "ports.dns", "number", "8600"),
    Flag(("grpc-port",), "ports.grpc", "number", "-1"),
    Flag(("grpc-tls-port",), "ports.grpc_tls", "number", "-1"),
    Flag(("server-port",), "ports.server", "number", "8300"),
    Flag(("serf-lan-port",), "ports.serf_lan", "number", "8301"),
    Flag(("serf-wan-port",), "ports.serf_wan", "number", "8302"),
    Flag(("domain",), "domain", "text", "DNS domain; mesh."),
    Flag(("alt-domain",), "alt_domain", "text", "second DNS domain, such as consul."),
    Flag(("recursor",), "recursors", "list", "DNS server for other names; may be repeated"),
    Flag(("log-level",), "log_level", "text", "TRACE, DEBUG, INFO, WARN or ERROR; INFO"),
    Flag(("log-json",), "log_json", "flag", "log one JSON object a line"),
    Flag(("log-file",), "log_file", "text", "also log into this file"),
    Flag(("pid-file",), "pid_file", "text", "write the process id into this file"),
    Flag(("enable-script-checks",), "enable_script_checks", "flag", "allow checks to run programs"),
    Flag(
        ("enable-local-script-checks",),
        "enable_local_script_checks",
        "flag",
        "allow checks defined in files to run programs",
    ),
    Flag(("check_output_max_size",), "check_output_max_size", "number", "bytes kept; 4096"),
    Flag(("default-query-time",), "default_query_time", "text", "wait of blocking queries; 300s"),
    Flag(("max-query-time",), "max_query_time", "text", "longest wait of them; 600s"),
    Flag(
        ("allow-write-http-from",),
        "http_config.allow_write_http_from",
        "list",
        "network that may write; may be repeated",
    ),
    Flag(("ui",), "ui_config.enabled", "flag", "serve the web UI"),
    Flag(("ui-dir",), "ui_config.dir", "text", "directory of the web UI"),
    Flag(("ui-content-path",), "ui_config.content_path", "text", "path of the web UI"),
    Flag(("encrypt",), "encrypt", "text", "gossip key"),
    Flag(("disable-keyring-file",), "disable_keyring_file", "flag", ""),
    Flag(("disable-host-node-id",), "disable_host_node_id", "flag", ""),
    Flag(("rejoin",), "rejoin_after_leave", "flag", ""),
    Flag(("protocol",), "protocol", "number", ""),
    Flag(("raft-protocol",), "raft_protocol", "number", ""),
    Flag(("syslog",), "enable_syslog", "flag", ""),
    Flag(("auto-reload-config",), "auto_reload_config", "flag", ""),
    Flag(("join-wan", "retry-join-wan"), "retry_join_wan", "list", ""),
    Flag(("retry-interval-wan",), "retry_interval_wan", "text", ""),
    Flag(("retry-max-wan",), "retry_max_wan", "number", ""),
    Flag(("advertise-wan",), "advertise_addr_wan", "text", ""),
    Flag(("serf-lan-bind",), "serf_lan", "text", ""),
    Flag(("serf-wan-bind",), "serf_wan", "text", ""),
    Flag(("serf-lan-allowed-cidrs",), "serf_lan_allowed_cidrs", "list", ""),
    Flag(("serf-wan-allowed-cidrs",), "serf_wan_allowed_cidrs", "list", ""),
    Flag(("primary-gateway",), "primary_gateways", "list", ""),
    Flag(("log-rotate-duration",), "log_rotate_duration", "text", ""),
    Flag(("log-rotate-bytes",), "log_rotate_bytes", "number", ""),
    Flag(("log-rotate-max-files",), "log_rotate_max_files", "number", ""),
    Flag(("config-format",), "", "text", "accepted; the file's ending decides"),
)
_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}


def parse(arguments: Sequence[str], *, server: bool) -> Config:
    """The configuration that arguments and the files they name make. Raises ConfigError.

    `server` is what the command line began with: `meshd server` or `meshd agent`.
    """
    problems: list[Problem] = []
    paths: list[str] = []
    fragments = [Fragment("meshd server", {"server": True})] if server else []
    flags: list[Fragment] = []
    for flag, name, value in _pairs(arguments, problems):
        if flag.key == _PATHS:
            paths.append(value)
            continue
        try:
            values = _values(flag, value)
        except Invalid as error:
            problems.append(Problem(f"flag -{name}", "", error.message))
            continue
        flags.append(Fragment(f"flag -{name}", values))
    read, wrong = read_paths(paths)
    return build([*fragments, *read, *flags], [*problems, *wrong])


def _pairs(arguments: Sequence[str], problems: list[Problem]) -> Iterator[tuple[Flag, str, str]]:
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        flag = _BY_NAME.get(name)
        if not argument.startswith("-") or flag is None:
            close = difflib.get_close_matches(name, _BY_NAME, 1, 0.6)
            hint = f"; did you mean -{close[0]}?" if close else "; see -help"
            problems.append(Problem("", argument, f"unknown flag{hint}"))
            if not equals and waiting and not waiting[0].startswith("-"):
                waiting.pop(0)
            continue
        if not equals and flag.form == "flag":
            value = "true"
        elif not equals:
            if not waiting:
                problems.append(Problem(f"flag {argument}", "", "needs a value"))
                return
            value = waiting.pop(0)
        yield flag, name, value


def _values(flag: Flag, text: str) -> dict[str, Any]:
    value: Any = text
    if flag.key == _HCL:
        return read_text(text, ".hcl")
    if not flag.key:
        return {}
    if flag.form == "flag":
        if text.lower() not in {"true", "false", "1", "0", "t", "f"}:
            raise Invalid(f'expected true or false, got "{text}"')
        value = text.lower() in {"true", "1", "t"}
    elif flag.form == "number":
        if not text.lstrip("-").isdigit():
            raise Invalid(f'expected a whole number, got "{text}"')
        value = int(text)
    elif flag.form == "pair":
        name, colon, rest = text.partition(":")
        if not colon:
            raise Invalid(f'expected key:value, got "{text}"')
        value = {name: rest}
    elif flag.form == "list":
        value = [text]
    section, dot, key = flag.key.partition(".")
    return {section: {key: value}} if dot else {flag.key: value}


def help_text(program: str) -> str:
    """What -help prints."""
    lines = [
        f"Usage: {program} [flags]",
        "",
        "Flags take one dash or two, and their value after a space or =.",
        "",
    ]
    for flag in FLAGS:
        if flag.text:
            names = ", ".join(f"-{name}" for name in flag.names)
            lines.append(f"  {names:<34} {flag.text}")
    lines += [
        "",
        "Examples:",
        f"  {program} -dev",
        f"  {program} -data-dir /var/lib/mesh -bind 10.0.0.5 -retry-join 10.0.0.2",
        f"  {program} -config-dir /etc/mesh.d",
    ]
    return "\n".join(lines)


__all__ = ["FLAGS", "ConfigError", "Flag", "help_text", "parse"]
