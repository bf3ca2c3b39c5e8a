"""Writes docs/config.md from the schema: python -m mesh.config.reference > docs/config.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from mesh.config import definitions
from mesh.config.flags import GROUPS
from mesh.config.marks import IN_USE, NOT_YET, OLD_NAMES, RELOADABLE, under
from mesh.config.schema import Config
from mesh.config.sections import Seconds
from mesh.config.shape import OPTIONS, is_section, value_at
from mesh.config.wording import MEANINGS, leaves
from mesh.durations import format_duration

_HEAD = """\
# Configuration

<!-- Written by: python -m mesh.config.reference > docs/config.md -->

A node takes its options from, in order: the defaults, what `-dev` sets, files and directories in
the order given (`-config-file`, `-config-dir`; a directory gives its `.hcl`, `.json`, `.yaml` and
`.yml` files by name and not those in directories inside), flags, and `-hcl` fragments. A later
scalar replaces an earlier one, lists append, maps merge. Names are Consul's. Durations are texts
such as `"30s"` or `"1h30m"`. An unknown key or a wrong value keeps the node from starting, and
everything that is wrong is reported at once; `meshd validate PATH...` reports the same.

```hcl
datacenter = "dc1"
data_dir   = "/var/lib/mesh"
retry_join = ["10.0.0.1", "10.0.0.2"]

ports {
  dns = 53
}

service {
  name = "web"
  port = 80

  check {
    http     = "http://localhost/health"
    interval = "10s"
  }
}
```

Addresses may be `{{ GetPrivateIP }}`, `{{ GetPublicIP }}` or `{{ GetInterfaceIP "eth0" }}`.

**R**: `SIGHUP` or `meshctl reload` applies a change; other changes need a restart.
*later*: read and checked, so that files written for Consul work, but mesh does not act on it yet.
A node that sets such an option to something else than its default warns at start.
"""

_SERVICES = """
## Services and checks

`services`, `service`, `checks` and `check` hold one definition or a list of them; each may come
many times. A service has its own `check` and `checks`. Keys in the CamelCase of HTTP bodies are
accepted too. Durations are texts.
"""


def write() -> str:
    """The text of docs/config.md."""
    lines = [_HEAD, "## Options", ""]
    lines += _table(key for key in leaves() if "." not in key)
    for key in OPTIONS:
        if is_section(key):
            lines += ["", f"### {key}", "", MEANINGS[key], ""]
            lines += _table(inner for inner in leaves() if inner.rpartition(".")[0] == key)
    lines += [_SERVICES, f"A service: {_keys(definitions.SERVICE)}.", ""]
    lines += [f"A check: {_keys(definitions.CHECK)}.", "", "## Flags", ""]
    lines += ["A flag takes one dash or two, and its value after `=` or as the next word.", ""]
    lines += ["| Flag | Option |", "|---|---|"]
    for flags in GROUPS.values():
        for flag in flags:
            names = ", ".join(f"`--{name}`" for name in flag.names)
            target = f"`{flag.key}`" if flag.key in OPTIONS else flag.meaning
            lines.append(f"| {names} | {target} |")
    lines += ["", "## Old names", "", "Read as the new ones, with a warning.", ""]
    lines += ["| Old | New |", "|---|---|"]
    lines += [f"| `{old}` | `{new}` |" for old, new in OLD_NAMES.items() if old not in IN_USE]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


def _table(keys: Iterator[str]) -> list[str]:
    rows = [_row(key) for key in keys]
    return ["| Option | Default | | Meaning |", "|---|---|---|---|", *rows] if rows else []


def _row(key: str) -> str:
    marks = [("**R**", RELOADABLE), ("*later*", NOT_YET)]
    mark = " ".join(sign for sign, keys in marks if under(key, keys))
    return f"| `{key}` | {_default(key)} | {mark} | {MEANINGS[key]} |"


def _default(key: str) -> str:
    value: Any = value_at(Config(), key)
    if value is None or value in ("", (), [], {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if str(OPTIONS[key]) == str(Seconds):
        return _short(value)
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(seconds: float) -> str:
    """A duration without the zeros at its end: 72h for 72h0m0s."""
    text = format_duration(seconds)
    for zero in ("m0s", "h0m"):
        text = f"{text[:-2]}" if text.endswith(zero) else text
    return text


def _keys(spec: dict[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in spec)


if __name__ == "__main__":
    sys.stdout.write(write())
