"""Scripts played by real nodes: written over HTTP, asked over UDP and TCP."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from mesh.dns.options import Options
from mesh.registry import coordinates, prepared
from mesh.registry.catalog import Deregister, Node, Register, Service
from mesh.registry.port import Command
from mesh.registry.prepared_rows import Prepared
from tests.cluster.federation import federation
from tests.cluster.processes import Meshd, eventually, free_ports
from tests.dns.script import Script, World

BATCH = 60  # Operations of a transaction.
SECONDS = 10.0
FRONT = {"alt_domain": "Corp.Example.", "translate_wan_addrs": True}
"""What the agent of the world is told once and for all: a reload does not change it."""
ASKED_OF_FRONT = {
    "domain": "mesh",
    "alt_domain": FRONT["alt_domain"],
    "translate_wan_addresses": "true",
}
_SECONDS = {"node_ttl", "max_stale", "recursor_timeout", "cache_max_age"}
_KNOBS = set(Options.__struct_fields__)
_NO_QUESTION = bytes.fromhex("fffe 0000 0001 0000 0000 0000")


class OnlyInMemoryError(Exception):
    """Real nodes cannot be brought to this."""


class Recursors:
    """DNS servers on loopback that stand for those of a script, each a UDP and a TCP socket."""

    def __init__(self, address: str, world: World) -> None:
        self.world = world
        self.places: dict[str, str] = {}
        self._address = address
        self._open: list[tuple[socket.socket, threading.Thread]] = []
        self._stopping = False

    def place(self, shown: str) -> str:
        """Where to ask the server that the script knows under this address."""
        if shown not in self.places:
            (port,) = free_ports(self._address, 1)
            self.places[shown] = f"{self._address}:{port}"
            for kind, serve in ((socket.SOCK_DGRAM, self._udp), (socket.SOCK_STREAM, self._tcp)):
                own = socket.socket(socket.AF_INET, kind)
                own.bind((self._address, port))
                if kind == socket.SOCK_STREAM:
                    own.listen()
                thread = threading.Thread(target=serve, args=(own, shown), daemon=True)
                thread.start()
                self._open.append((own, thread))
        return self.places[shown]

    def _udp(self, own: socket.socket, shown: str) -> None:
        while True:
            data, peer = own.recvfrom(65535)
            if self._stopping:
                return
            if (answer := self.world.answer(shown, data, tcp=False)) is not None:
                own.sendto(answer, peer)

    def _tcp(self, own: socket.socket, shown: str) -> None:
        while True:
            connection, _ = own.accept()
            with connection:
                if self._stopping:
                    return
                data = _framed(connection)
                if (answer := self.world.answer(shown, data, tcp=True)) is not None:
                    connection.sendall(len(answer).to_bytes(2) + answer)

    def stop(self) -> None:
        """Listen no more."""
        self._stopping = True
        for own, thread in self._open:
            with own, socket.socket(socket.AF_INET, own.type) as last:
                last.connect(own.getsockname())
                if own.type == socket.SOCK_DGRAM:
                    last.send(b"")
                thread.join()


class Nodes:
    """The processes that all scripts are played by, one after the other."""

    def __init__(self, here: Meshd, there: Meshd, front: Meshd) -> None:
        self.here, self.there, self.front = here, there, front
        self.idle_megabytes = [_resident(node) for node in (here, there, front)]
        """What the main process of each takes of memory before anything was asked of it."""
        self.recursors = Recursors(here.address, World())

    def clean(self) -> None:
        """Have them forget what the last script wrote."""
        for node in (self.here, self.there):
            known = {"s1", "a1"}
            names = [one["Node"] for one in node.get("/v1/catalog/nodes")]
            _transact(
                node,
                [
                    {"Node": {"Verb": "delete", "Node": {"Node": name}}}
                    for name in names
                    if name not in known
                ],
            )
            for query in node.get("/v1/query"):
                node.ask("DELETE", f"/v1/query/{query['ID']}")

    def reload(self, node: Meshd, config: dict[str, Any]) -> None:
        """Have one answer by these options from now on."""
        node.config.pop("dns_config", None)
        node.config.pop("recursors", None)
        node.config |= config
        node.write_config()
        node.put("/v1/agent/reload")


@contextmanager
def nodes(folder: Path) -> Iterator[Nodes]:
    """A server with an agent, and one of another datacenter; the servers with a worker each."""
    quick = {"raft_multiplier": 1}
    alone = FRONT | {"performance": quick | {"workers": 0}}
    helped = quick | {"workers": 1}
    sizes = [(1, 1), (1, 0)]
    with federation(folder, sizes, agents=alone, performance=helped) as (dc1, dc2):
        made = Nodes(dc1.servers[0], dc2.servers[0], dc1.agents[0])
        try:
            yield made
        finally:
            made.recursors.stop()


class LiveScript(Script):
    """The world of one case file, played by real nodes.

    The server is asked, or the agent: if told so, and for options that only it has. `skipped`
    counts the questions that they cannot be asked.
    """

    def __init__(self, played_by: Nodes, *, agent: bool = False) -> None:
        self.nodes, self._agent = played_by, agent
        self.skipped = 0
        self._skipping = ""
        self._sure = True
        self._together: list[dict[str, Any]] | None = None
        self._ids: dict[str, str] = {}
        self.questions: dict[tuple[str, str], None] = {}
        super().__init__()

    def prepare(self) -> None:
        """Begin anew."""
        self.nodes.clean()
        self.nodes.recursors.world = self.world
        self.configure({})

    def play(self, entered: str) -> str | None:
        """What one case comes to; None for what real nodes cannot be brought to."""
        verbs = [line.split()[0] for line in entered.splitlines()]
        if self._skipping in verbs:
            self._skipping = ""
        try:
            if not self._skipping:
                return self._shown(self.run(entered))
        except OnlyInMemoryError as error:
            self._skipping = str(error)
        self.skipped += sum(verb in {"ask", "send"} for verb in verbs)
        return None

    def apply(self, command: Command[Any], datacenter: str = "dc1") -> None:
        """Write it over HTTP."""
        node = self.nodes.here if datacenter == "dc1" else self.nodes.there
        match command:
            case Register() if self._together is not None:
                self._together += _operations(command)
            case Register():
                node.put("/v1/catalog/register", _registration(command))
            case Deregister():
                body = {"Node": command.node, "ServiceID": command.service_id}
                node.put("/v1/catalog/deregister", body)
            case prepared.Create():
                made = node.ask("POST", "/v1/query", _prepared(command.query))
                self._ids[command.query.id] = made["ID"]
            case coordinates.Update():
                for placed in command.updates:
                    coordinate = _coordinate(placed.coordinate)
                    node.put("/v1/coordinate/update", {"Node": placed.node, "Coord": coordinate})
            case _:
                raise AssertionError(command)

    def do_many(self, flags: list[str], fields: dict[str, str]) -> str:
        """Many at once, for they may be thousands."""
        self._together = []
        super().do_many(flags, fields)
        together, self._together = self._together, None
        _transact(self.nodes.here, together)
        return ""

    def do_place(self, flags: list[str], fields: dict[str, str]) -> str:
        """The leader writes them down together, every few seconds."""
        super().do_place(flags, fields)
        node = self.nodes.here
        eventually(
            lambda: fields.keys() <= {one["Node"] for one in node.get("/v1/coordinate/nodes")}
        )
        return ""

    def do_wait(self, flags: list[str], fields: dict[str, str]) -> str:
        """Nobody moves their clocks."""
        raise OnlyInMemoryError("never")

    def do_fail(self, flags: list[str], fields: dict[str, str]) -> str:
        """Until it fails no more."""
        if flags:
            raise OnlyInMemoryError("fail")
        return ""

    def configure(self, given: dict[str, Any]) -> None:
        """Reload one of them."""
        fixed = {key: given.pop(key) for key in ASKED_OF_FRONT if key in given}
        if any(fixed[key] != ASKED_OF_FRONT[key] for key in fixed):
            raise OnlyInMemoryError("options")
        self.asked = self.nodes.front if fixed or self._agent else self.nodes.here
        config: dict[str, Any] = {"dns_config": {"soa": {}}}
        for key, value in given.items():
            name = key.removesuffix("_seconds")
            if key == "recursors":
                places = [self.nodes.recursors.place(host) for host, _ in value]
                config["recursors"] = places
            elif key.startswith("soa_"):
                section = config["dns_config"]["soa"]
                section[name.removeprefix("soa_")] = int(value)
            elif key == "service_ttls":
                ttls = {service: f"{ttl}s" for service, ttl in value.items()}
                config["dns_config"]["service_ttl"] = ttls
            elif key in {"datacenter", "node_name", "disable_coordinates"}:
                raise OnlyInMemoryError("options")
            else:
                assert key in _KNOBS, key
                config["dns_config"][name] = _worth(f"{value}s" if name in _SECONDS else value)
        self.nodes.reload(self.asked, config)

    def do_ask(self, flags: list[str], fields: dict[str, str]) -> str:
        """Ask; an agent follows the servers, so it is asked again for a while if need be."""
        if "from" in fields:
            raise OnlyInMemoryError("ask")
        for fixed, real in self._ids.items():
            flags[0] = flags[0].replace(fixed, real)
        self.questions[flags[0], flags[1]] = None
        return super().do_ask(flags, fields)

    def exchange(self, data: bytes, *, tcp: bool, peer: str) -> bytes | None:
        """Ask the node over UDP or TCP."""
        place = (self.asked.address, self.asked.dns)
        return over_tcp(place, data) if tcp else over_udp(place, data, sure=self._sure)

    def do_send(self, flags: list[str], fields: dict[str, str]) -> str:
        """Send bytes that may get no answer."""
        self._sure = False
        try:
            return super().do_send(flags, fields)
        finally:
            self._sure = True

    def _shown(self, told: str) -> str:
        """With the names, addresses and times that a world in memory has."""
        for fixed, real in self._ids.items():
            told = told.replace(real, fixed)
        told = told.replace(f" A {self.nodes.here.address}", " A 127.0.0.1")
        return re.sub(r"(SOA \S+ \S+) \d{10} ", r"\1 1000000 ", told)


def loose(text: str) -> str:
    """A case's outcome without what passing time changes: serials, and TTLs of others."""
    text = re.sub(r"(SOA \S+ \S+) 1000\d{3} ", r"\1 1000000 ", text)
    return re.sub(r"((?:example\.org|arpa)\.) [1-9]\d* ", r"\1 TTL ", text)


def over_tcp(place: tuple[str, int], data: bytes) -> bytes | None:
    """What comes back over TCP; None when the connection is closed instead."""
    with socket.create_connection(place, SECONDS) as client:
        client.sendall(len(data).to_bytes(2) + data)
        try:
            return _framed(client)
        except ConnectionError:
            return None


def _framed(client: socket.socket) -> bytes:
    found, wanted = b"", 2
    while len(found) < wanted:
        more = client.recv(wanted - len(found))
        if not more:
            raise ConnectionResetError
        found += more
        if wanted == 2 == len(found):
            wanted = 2 + int.from_bytes(found)
    return found[2:]


def over_udp(place: tuple[str, int], data: bytes, *, sure: bool = True) -> bytes | None:
    """What comes back over UDP.

    When an answer is not sure, None as soon as bytes that were sent behind it are answered: those
    make no question, and take the same way through the server as all that it must think about.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.connect(place)
        client.send(data)
        if not sure:
            client.send(_NO_QUESTION)
        answer = client.recv(65535)
        return None if answer[:2] == _NO_QUESTION[:2] else answer


def _resident(node: Meshd) -> float:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _transact(node: Meshd, operations: list[dict[str, Any]]) -> None:
    for at in range(0, len(operations), BATCH):
        node.put("/v1/txn", operations[at : at + BATCH])


def _worth(value: object) -> object:
    """A number or a truth value out of its text."""
    text = str(value)
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)


def _operations(command: Register) -> list[dict[str, Any]]:
    """A registration as operations of a transaction."""
    body = _registration(command)
    row = {key: body[key] for key in ("Node", "Address", "Datacenter", "TaggedAddresses")}
    row["Meta"] = body["NodeMeta"]
    service = {"Verb": "set", "Node": body["Node"], "Service": body["Service"]}
    return [{"Node": {"Verb": "set", "Node": row}}, {"Service": service}]


def _registration(command: Register) -> dict[str, Any]:
    node: Node = command.node
    body: dict[str, Any] = {
        "Node": node.name,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "NodeMeta": node.meta,
        "TaggedAddresses": node.tagged_addresses,
        "SkipNodeUpdate": command.skip_node_update,
        "Checks": [
            {"CheckID": one.id, "Name": one.id, "Status": one.status, "ServiceID": one.service_id}
            for one in command.checks
        ],
    }
    if command.service is not None:
        body["Service"] = _service(command.service)
    return body


def _service(service: Service) -> dict[str, Any]:
    return {
        "ID": service.id,
        "Service": service.name,
        "Port": service.port,
        "Tags": service.tags,
        "Address": service.address,
        "Kind": service.kind,
        **({"Proxy": service.proxy} if service.proxy else {}),
        **({"Connect": service.connect} if service.connect else {}),
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
        "TaggedAddresses": {
            key: {"Address": one.address, "Port": one.port}
            for key, one in service.tagged_addresses.items()
        },
    }


def _coordinate(coordinate: coordinates.Coordinate) -> dict[str, Any]:
    return {
        "Vec": coordinate.vec,
        "Error": coordinate.error,
        "Adjustment": coordinate.adjustment,
        "Height": coordinate.height,
    }


def _prepared(row: Prepared) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Name": row.name,
        "Service": {
            "Service": row.service.service,
            "Failover": {"Datacenters": row.service.failover.datacenters},
            "OnlyPassing": row.service.only_passing,
            "Near": row.service.near,
            "Tags": row.service.tags,
        },
        "DNS": {"TTL": row.ttl},
    }
    if row.template is not None:
        body["Template"] = {"Type": row.template.kind, "Regexp": row.template.regexp}
    return body


class Dug(msgspec.Struct, frozen=True):
    """What dig made of an answer. Records are lines without what is written only for people."""

    status: str
    flags: frozenset[str]
    answers: frozenset[str]
    others: frozenset[str]
    said: str
    """All that it printed."""


def dig(node: Meshd, options: list[str], questions: list[tuple[str, str]]) -> list[Dug]:
    """Have dig ask them one after the other."""
    fixed = ["+norecurse", "+nocookie", "+tries=1", "+time=5", "+noquestion", "+nostats", "+nocmd"]
    words = [word for name, kind in questions for word in ("-q", name, "-t", kind)]
    command = ["dig", f"@{node.address}", "-p", str(node.dns), *fixed, *options, *words]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    parts = [part for part in re.split(r"(?=;; Got answer:)", told) if "->>HEADER<<-" in part]
    return [_dug(part) for part in parts]


def _dug(told: str) -> Dug:
    status = re.search(r"status: (\w+)", told)
    flags = re.search(r"^;; flags: ([a-z ]*);", told, re.MULTILINE)
    assert status, told
    assert flags, told
    sections: dict[str, set[str]] = {"ANSWER": set(), "AUTHORITY": set(), "ADDITIONAL": set()}
    into: set[str] = set()
    for line in told.splitlines():
        if named := re.fullmatch(r";; (\w+) SECTION:", line):
            into = sections[named[1]]
        elif line and not line.startswith(";"):
            name, ttl, _, kind, rest = line.split(None, 4)
            into.add(loose(f"{name} {ttl} {kind} {rest}"))
    others = {f"authority {line}" for line in sections["AUTHORITY"]}
    others |= {f"additional {line}" for line in sections["ADDITIONAL"]}
    return Dug(
        status[1],
        frozenset(flags[1].split()),
        frozenset(sections["ANSWER"]),
        frozenset(others),
        told,
    )
