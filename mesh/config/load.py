"""Sources into one checked configuration: defaults, -dev, files in order, flags, fragments."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mesh.config import check
from mesh.config.addresses import resolve
from mesh.config.parse import FORMATS, SUFFIXES, parse_text
from mesh.config.problems import ConfigError, Problem
from mesh.config.schema import Config
from mesh.config.shape import OPTIONS, Layer, build
from mesh.errors import Invalid

DEV = "flag -dev"
DEV_OVERLAY: dict[str, Any] = {
    "server": True,
    "bind_addr": "127.0.0.1",
    "log_level": "DEBUG",
    "enable_debug": True,
    "disable_keyring_file": True,
    "ports.grpc": 8502,
    "connect.envoy_drain_time": "1s",
    "performance.raft_multiplier": 1,
    "gossip_lan.gossip_interval": "100ms",
    "gossip_lan.probe_interval": "100ms",
    "gossip_lan.probe_timeout": "100ms",
    "gossip_lan.suspicion_mult": 3,
    "gossip_wan.gossip_interval": "100ms",
    "gossip_wan.probe_interval": "100ms",
    "gossip_wan.probe_timeout": "100ms",
    "gossip_wan.suspicion_mult": 3,
}
"""What -dev sets before any file."""

_LEVELS = {"ERR": "ERROR", "WARNING": "WARN"}
_TEMPLATED = tuple(
    key
    for key, hint in OPTIONS.items()
    if hint is str
    and (
        key.startswith(("advertise_addr", "addresses."))
        or key in {"bind_addr", "client_addr", "serf_lan", "serf_wan"}
    )
)


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where a configuration comes from."""

    paths: Sequence[str] = ()
    """Files and directories, in the order given."""
    format: str = ""
    """hcl, json or yaml for every file; empty for what each file's name ends in."""
    defaults: Sequence[tuple[str, Any, str]] = ()
    """Dotted key, value and source of what comes before the files."""
    settings: Sequence[tuple[str, Any, str]] = ()
    """Dotted key, value and source of each flag; they come after the files."""
    fragments: Sequence[str] = ()
    """Pieces of HCL; they come last."""
    dev: bool = False
    """Begin with what -dev sets."""
    server: bool = False
    """The command is `meshd server`."""


def load(sources: Sources, problems: Sequence[Problem] = ()) -> Config:
    """Read, merge and check. Raises ConfigError with every problem, those given included."""
    layer = Layer()
    layer.problems += problems
    if sources.dev:
        for key, value in DEV_OVERLAY.items():
            layer.set(key, value, DEV)
    for key, value, source in sources.defaults:
        layer.set(key, value, source)
    files = _files(sources, layer)
    for path in files:
        _read_file(path, sources.format, layer)
    if sources.server:
        layer.set("server", True, "command")
    for key, value, source in sources.settings:
        layer.set(key, value, source)
    for fragment in sources.fragments:
        _add_text(fragment, "hcl", "flag -hcl", layer)
    return _finish(layer, sources.dev, files)


def validate(paths: Sequence[str], kind: str = "") -> Config:
    """Check files and directories by themselves. Raises ConfigError.

    data_dir may be missing, for the flags of the real start may give it.
    """
    unless_given = [("data_dir", "unused", "flag -data-dir")]
    return load(Sources(paths=paths, format=kind, defaults=unless_given))


def _files(sources: Sources, layer: Layer) -> list[str]:
    found: list[str] = []
    for name in sources.paths:
        path = Path(name)
        if not path.is_dir():
            found.append(name)
            continue
        try:
            inside = sorted(item for item in path.iterdir() if item.is_file())
        except OSError as error:
            layer.problems.append(Problem(name, "", f"cannot be read: {error.strerror}"))
            continue
        found += [str(item) for item in inside if sources.format or item.suffix in SUFFIXES]
    return found


def _read_file(path: str, kind: str, layer: Layer) -> None:
    if not Path(path).exists():
        layer.problems.append(Problem(path, "", "does not exist"))
        return
    kind = kind or SUFFIXES.get(Path(path).suffix, "")
    if kind not in FORMATS:
        message = "expected a name that ends in .hcl, .json, .yaml or .yml, or -config-format"
        layer.problems.append(Problem(path, "", message))
        return
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        layer.problems.append(Problem(path, "", f"cannot be read: {error.strerror}"))
    except ValueError:
        layer.problems.append(Problem(path, "", "expected UTF-8 text"))
    else:
        _add_text(text, kind, path, layer)


def _add_text(text: str, kind: str, source: str, layer: Layer) -> None:
    try:
        values, warnings = parse_text(text, kind, source)
    except ConfigError as error:
        layer.problems += error.problems
    else:
        layer.warnings += warnings
        layer.add(values, source)


def _finish(layer: Layer, dev: bool, files: Sequence[str]) -> Config:
    """Fill in, resolve, build and check what was read."""
    wrong = {problem.key.partition("[")[0] for problem in layer.problems}
    unreadable = any(
        problem.key.startswith("line ") or not (problem.key or problem.source.startswith("flag "))
        for problem in layer.problems
    )
    not_yet = tuple(key for key in layer.not_yet() if layer.sources[key] != DEV)
    layer.values.setdefault("node_name", socket.gethostname())
    _resolve(layer)
    _normalise(layer.values)
    config = build(layer.values, dev=dev, not_yet=not_yet, files=tuple(files))
    for key, message in check.problems(config):
        if key not in wrong and not (unreadable and key not in layer.sources):
            source = layer.sources.get(_set_key(key, layer), "configuration")
            layer.problems.append(Problem(source, key, message))
    if layer.problems:
        raise ConfigError(layer.problems)
    hints = [f"{_place(layer, key)}{key}: {message}" for key, message in check.warnings(config)]
    return msgspec.structs.replace(config, warnings=tuple(layer.warnings + hints))


def _set_key(key: str, layer: Layer) -> str:
    """The option that a complaint is about: node_meta for node_meta.zone."""
    while key not in layer.sources and "." in key:
        key = key.rpartition(".")[0]
    return key.partition("[")[0]


def _place(layer: Layer, key: str) -> str:
    source = layer.sources.get(key)
    return f"{source}: " if source else ""


def _resolve(layer: Layer) -> None:
    for key in _TEMPLATED:
        try:
            if key in layer.values:
                layer.values[key] = resolve(layer.values[key])
        except Invalid as error:
            layer.problems.append(Problem(layer.sources[key], key, error.message))
            del layer.values[key]


def _normalise(values: dict[str, Any]) -> None:
    for key in ("datacenter", "domain", "alt_domain", "primary_datacenter"):
        if key in values:
            values[key] = values[key].lower()
    for key in ("domain", "alt_domain"):
        if values.get(key):
            values[key] = f"{values[key].removesuffix('.')}."
    if "log_level" in values:
        level = values["log_level"].upper()
        values["log_level"] = _LEVELS.get(level, level)
