"""Flags and arguments of a command line, and their values once read."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mesh.errors import MeshError


class Usage(MeshError):
    """The command line makes no sense; the message says why and what does."""

    code = "usage"


class Flag(NamedTuple):
    """`--name VALUE`, or `--name` alone when the kind is switch; one dash is as good."""

    name: str
    about: str
    kind: Literal["text", "switch", "number", "list"] = "text"
    value: str = "VALUE"
    """What the help calls the value."""
    choices: tuple[str, ...] = ()

    @property
    def spelling(self) -> str:
        """As the help shows it."""
        return f"--{self.name}" if self.kind == "switch" else f"--{self.name} {self.value}"


class Argument(NamedTuple):
    """A word that is not a flag."""

    name: str
    required: bool = True
    many: bool = False
    choices: tuple[str, ...] = ()
    filled: bool = False
    """It may not be empty."""

    @property
    def spelling(self) -> str:
        """As the help shows it."""
        name = f"{self.name} ..." if self.many else self.name
        return name if self.required else f"[{name}]"


FORMAT = Flag(
    "format", "table (or pretty), or json", value="FORMAT", choices=("table", "pretty", "json")
)
HELP = Flag("help", "show this help", "switch")
HTTP_FLAGS = (
    Flag("http-addr", "the agent: host:port, http(s)://... or unix://... [MESH_HTTP_ADDR]"),
    Flag("token", "the ACL token to use [MESH_HTTP_TOKEN]"),
    Flag("token-file", "read the ACL token from a file [MESH_HTTP_TOKEN_FILE]", value="FILE"),
    Flag("ca-file", "trust the authorities in this file [MESH_CACERT]", value="FILE"),
    Flag("ca-path", "trust the authorities in this folder [MESH_CAPATH]", value="FOLDER"),
    Flag("client-cert", "the certificate to show [MESH_CLIENT_CERT]", value="FILE"),
    Flag("client-key", "its private key [MESH_CLIENT_KEY]", value="FILE"),
    Flag(
        "tls-server-name",
        "the name the agent's certificate must have [MESH_TLS_SERVER_NAME]",
        value="NAME",
    ),
)
DATACENTER = Flag("datacenter", "ask this datacenter instead of the agent's", value="NAME")
STALE = Flag("stale", "let any server answer, even without a leader", "switch")
READ_FLAGS = (DATACENTER, STALE)


class Parsed(NamedTuple):
    """The words of a command line, sorted. Asking for a flag the command lacks is a mistake."""

    arguments: list[str]
    given: dict[str, list[str]]

    def text(self, name: str) -> str:
        """The value of a flag; the last one counts; empty when it was not given."""
        values = self.given[name]
        return values[-1] if values else ""

    def many(self, name: str) -> list[str]:
        """Every value of a list flag."""
        return self.given[name]

    def switch(self, name: str) -> bool:
        """True when the switch is on."""
        return self.text(name) == "true"

    def number(self, name: str) -> int | None:
        """The value of a number flag, or None."""
        text = self.text(name)
        return int(text) if text else None

    def pairs(self, name: str, separator: str = "=") -> dict[str, str]:
        """The `key=value`s of a list flag. Raises Usage when one is not."""
        found = {}
        for text in self.many(name):
            key, middle, value = text.partition(separator)
            if not key or not middle:
                raise Usage(f'--{name}: expected key{separator}value, got "{text}"')
            found[key] = value
        return found
