"""cluster-compose.yml as local processes: each container's address becomes one on loopback."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from mesh import codec
from mesh.errors import Invalid

# What the demo understands; anything else in the file is refused rather than ignored.
ADDRESS = re.compile(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.(\d{1,3})\b")
PROGRAMS = {
    "meshd": [sys.executable, "-m", "mesh.daemon"],
    "meshctl": [sys.executable, "-m", "mesh.cli.main"],
    "python": [sys.executable],
}

CERTIFICATES = ["python", "-m", "mesh.cli.certificates"]


class Network(msgspec.Struct, forbid_unknown_fields=True):
    """A container's place in a network."""

    ipv4_address: str


class Container(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of `services`. Build, image, depends_on and volumes matter to Docker only."""

    command: str | list[str]
    networks: dict[str, Network] = {}
    environment: dict[str, str] = {}
    ports: list[str] = []
    build: str = ""
    image: str = ""
    depends_on: list[str] | dict[str, dict[str, str]] = []
    volumes: list[str] = []


class File(msgspec.Struct, forbid_unknown_fields=True):
    """The whole file."""

    services: dict[str, Container]
    networks: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    name: str = ""


class Process(NamedTuple):
    """One container as a local process."""

    name: str
    address: str
    command: list[str]
    environment: dict[str, str]

    @property
    def is_server(self) -> bool:
        """True for `meshd server`."""
        return self.is_node and self.command[len(PROGRAMS["meshd"])] == "server"

    @property
    def is_node(self) -> bool:
        """True for any `meshd`."""
        program = PROGRAMS["meshd"]
        return self.command[: len(program)] == program


class Cluster(NamedTuple):
    """What to run: `processes` in the order of the file."""

    processes: list[Process]
    published: bool
    """True when one node also answers on 127.0.0.1, as its container's ports ask for."""
    certified: list[str]
    """The nodes that a container makes certificates for; the demo makes them itself."""

    @property
    def nodes(self) -> list[Process]:
        """The processes that are meshd."""
        return [process for process in self.processes if process.is_node]


def read(path: Path) -> File:
    """Read the file. Raises Invalid, naming the field, for what the demo cannot do."""
    try:
        document: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"cannot read {path}: {error}") from error
    try:
        return codec.convert(document, File)
    except Invalid as error:
        raise Invalid(f"{path}: {error}") from error


def networks_of(file: File) -> set[str]:
    """The first three numbers of every address that a container has."""
    addresses = [
        one.ipv4_address for box in file.services.values() for one in box.networks.values()
    ]
    for address in addresses:
        if not ADDRESS.fullmatch(address):
            raise Invalid(f'ipv4_address: expected an IPv4 address, got "{address}"')
    return {address.rpartition(".")[0] for address in addresses}


def moved(text: str, networks: set[str], loopback: str) -> str:
    """The text with every address of the networks moved to the loopback one."""
    return ADDRESS.sub(
        lambda found: f"{loopback}.{found[2]}" if found[1] in networks else found[0], text
    )


def processes(file: File, loopback: str, *, publish: bool) -> Cluster:
    """The processes on loopback addresses `{loopback}.x`.

    A container that publishes ports on 127.0.0.1 listens there too, if publish says so.
    """
    networks = networks_of(file)
    found: list[Process] = []
    certified: list[str] = []
    published = False
    for name, container in file.services.items():
        if nodes := _certified(container):
            certified += nodes
            continue
        if len(container.networks) != 1:
            raise Invalid(f"services.{name}.networks: expected one network with an ipv4_address")
        address = next(iter(container.networks.values())).ipv4_address
        command = _command(name, container, networks, loopback)
        if publish and container.ports:
            command = _also_on_localhost(command)
            published = True
        found.append(
            Process(
                name,
                moved(address, networks, loopback),
                command,
                _environment(container.environment, networks, loopback),
            )
        )
    return Cluster(found, published, certified)


def _certified(container: Container) -> list[str]:
    written = container.command
    words = shlex.split(written) if isinstance(written, str) else written
    return words[3:] if words[:3] == CERTIFICATES else []


def _command(name: str, container: Container, networks: set[str], loopback: str) -> list[str]:
    written = container.command
    words = shlex.split(written) if isinstance(written, str) else written
    if not words or words[0] not in PROGRAMS:
        known = ", ".join(PROGRAMS)
        raise Invalid(f"services.{name}.command: expected it to start with one of {known}")
    return PROGRAMS[words[0]] + [moved(word, networks, loopback) for word in words[1:]]


def _also_on_localhost(command: list[str]) -> list[str]:
    at = command.index("-client") + 1
    return [*command[:at], f"{command[at]} 127.0.0.1", *command[at + 1 :]]


def _environment(
    environment: Mapping[str, str], networks: set[str], loopback: str
) -> dict[str, str]:
    return {name: moved(value, networks, loopback) for name, value in environment.items()}
