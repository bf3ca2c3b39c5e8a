"""Flags in both spellings, and their help."""

import pytest

from mesh.config.flags import GROUPS, help_text, parse, wants_help
from mesh.config.problems import ConfigError

CONSUL = """
advertise advertise-wan allow-write-http-from alt-domain auto-reload-config bind bootstrap
bootstrap-expect check_output_max_size client config-dir config-file config-format data-dir
datacenter default-query-time dev disable-host-node-id disable-keyring-file dns-port domain
enable-local-script-checks enable-script-checks encrypt grpc-port grpc-tls-port hcl http-port
https-port join join-wan log-file log-json log-level log-rotate-bytes log-rotate-duration
log-rotate-max-files max-query-time node node-id node-meta pid-file primary-gateway protocol
raft-protocol recursor rejoin retry-interval retry-interval-wan retry-join retry-join-wan
retry-max retry-max-wan serf-lan-allowed-cidrs serf-lan-bind serf-lan-port
serf-wan-allowed-cidrs serf-wan-bind serf-wan-port server server-port syslog ui ui-content-path
ui-dir
"""


def test_every_flag_of_consul_is_known() -> None:
    known = {name for flags in GROUPS.values() for flag in flags for name in flag.names}
    assert {name.replace("_", "-") for name in CONSUL.split()} <= known


@pytest.mark.parametrize(
    "words",
    [
        ["-node", "a"],
        ["--node", "a"],
        ["-node=a"],
        ["--node-name=a"],
        ["--node_name", "a"],
        ["-node=b", "-node=a"],
        ["-hcl", 'node_name = "a"', "-node=b"],
    ],
)
def test_spellings(words: list[str]) -> None:
    assert parse(["-dev", *words], server=False).node_name == "a"


@pytest.mark.parametrize(("word", "on"), [("-ui", True), ("-ui=false", False), ("--ui=T", True)])
def test_switches(word: str, on: bool) -> None:
    assert parse(["-data-dir=/x", word], server=False).ui_config.enabled is on


def test_a_switch_takes_no_next_word() -> None:
    with pytest.raises(ConfigError, match="command line: false: expected a flag"):
        parse(["-data-dir=/x", "-ui", "false"], server=False)


def test_server_is_a_command_a_flag_or_an_option() -> None:
    for words, server in (([], True), (["-server"], False), (["-hcl=server=true"], False)):
        assert parse(["-data-dir=/x", *words], server=server).server
    assert not parse(["-data-dir=/x"], server=False).server


def test_help_names_every_flag() -> None:
    text = help_text("meshd agent", False)
    for flags in GROUPS.values():
        for flag in flags:
            assert all(f"--{name}" in text for name in flag.names)
    assert max(map(len, text.splitlines())) <= 100
    assert "--dev" not in help_text("meshd server", True)


def test_wants_help() -> None:
    assert wants_help(["-dev", "--help"])
    assert wants_help(["-h"])
    assert not wants_help(["-dev", "help"])
