"""Scripts of register, ask and the like: text in, text out."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any
from uuid import UUID

import dnslib
import msgspec

from mesh import errors
from mesh.clock import SeededDice
from mesh.dns.options import Options
from mesh.dns.recursion import Recursion
from mesh.dns.resolver import Resolver
from mesh.gossip.vivaldi import DIMENSIONS
from mesh.registry import coordinates, orders, prepared
from mesh.registry.catalog import Check, Deregister, Node, Register, Service, TaggedAddress, Weights
from mesh.registry.coordinates import Coordinate, Placed
from mesh.registry.port import Command
from mesh.registry.prepared_rows import Failover, Prepared, ServiceQuery, Template
from tests.dns.memory import MemoryRegistry, StoppedClock

DEFAULTS = Options()


class World:
    """What other DNS servers know: records by name, and how each server answers."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.codes: dict[str, int] = {}
        self.asked: list[str] = []

    async def __call__(
        self, address: tuple[str, int], data: bytes, accepts: Callable[[bytes], bool], *, tcp: bool
    ) -> bytes:
        packed = self.answer(address[0], data, tcp=tcp)
        if packed is None:
            raise TimeoutError
        assert accepts(packed)
        return packed

    def answer(self, server: str, data: bytes, *, tcp: bool) -> bytes | None:
        """What the server with this address says; None for nothing."""
        asked = dnslib.DNSRecord.parse(data)
        name, kind = str(asked.q.qname).lower(), dnslib.QTYPE[asked.q.qtype]
        edns = " edns" if asked.ar else ""
        self.asked.append(f"{server} {'tcp' if tcp else 'udp'} {asked.q.qname} {kind}{edns}")
        code = self.codes.get(server, 0)
        if code < 0:
            return None
        reply = asked.reply(aa=0)
        reply.header.rcode = code
        for line in self.records.get(name, []) if not code else []:
            section, row = line.split(" ", 1)
            record = dnslib.RR.fromZone(row)[0]
            if section == "authority":
                reply.add_auth(record)
                reply.header.rcode = 3 * (name.startswith("none."))
            elif kind in {dnslib.QTYPE[record.rtype], "ANY"} or record.rtype == dnslib.QTYPE.CNAME:
                reply.add_answer(record)
            elif len(self.records[name]) > 1:
                reply.add_answer(record)  # What follows an alias, and what nobody asked for.
        return bytes(reply.pack())


class Form(msgspec.Struct, frozen=True):
    """How a question is put, beyond its name and type."""

    edns: int | None = None
    version: int = 0
    subnet: str = ""
    dnssec: bool = False
    desired: bool = True
    """Whether recursion is."""
    unchecked: bool = False
    klass: int = 1
    times: int = 1
    """How often it is in the message."""


def question(name: str, kind: str, edns: int | None = None, subnet: str = "") -> bytes:
    """A question as a client sends it."""
    return put(name, kind, Form(edns, subnet=subnet))


def put(name: str, kind: str, form: Form) -> bytes:
    """A question in this form."""
    number = int(kind[4:]) if kind.startswith("TYPE") else getattr(dnslib.QTYPE, kind)
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=77, rd=form.desired, cd=form.unchecked))
    for _ in range(form.times):
        record.add_question(dnslib.DNSQuestion(name, number, form.klass))
    if form.edns is not None:
        opts = [_subnet(form.subnet)] if form.subnet else []
        flags = "do" if form.dnssec else ""
        record.add_ar(dnslib.EDNS0(udp_len=form.edns, version=form.version, flags=flags, opts=opts))
    return bytes(record.pack())


def _subnet(text: str) -> Any:
    network = ip_network(text)
    start = network.network_address.packed[: (network.prefixlen + 7) // 8]
    family = 1 if network.version == 4 else 2
    return dnslib.EDNSOption(8, struct.pack("!HBB", family, network.prefixlen, 0) + start)


def shown(section: str, record: Any) -> str:
    """A record as text."""
    if record.rtype == dnslib.QTYPE.OPT:
        options = "".join(f" option {one.code} {one.data.hex()}" for one in record.rdata)
        return f"{section}OPT size={record.rclass}{options}"
    kind = dnslib.QTYPE[record.rtype]
    return f"{section}{record.rname} {record.ttl} {kind} {record.rdata}"


class Script:
    """The world one case file plays in: a server named s1, and another in dc2."""

    def __init__(self) -> None:
        self.queries = 0
        self.world = World()
        self.prepare()

    def prepare(self) -> None:
        """Begin a new world."""
        self.registry = MemoryRegistry()
        self.registry.elsewhere["dc2"] = MemoryRegistry()
        self.registry.outcomes[orders.Datacenters] = ["dc1", "dc2"]
        for datacenter in ("dc1", "dc2"):
            node = Node(name="s1", address="127.0.0.1", datacenter=datacenter)
            server = Service(node="", id="mesh", name="mesh", port=8300)
            self.apply(Register(node, server), datacenter)
        self.options = DEFAULTS
        self.clock = StoppedClock()
        self.recursion = Recursion(self.options, self.clock, SeededDice(1), self.world)
        self.resolver = Resolver(
            self.registry, self.options, self.clock, SeededDice(1), self.recursion
        )

    def apply(self, command: Command[Any], datacenter: str = "dc1") -> None:
        """Write to a datacenter."""
        here = datacenter == "dc1"
        registry = self.registry if here else self.registry.elsewhere[datacenter]
        registry.apply(command)

    def configure(self, given: dict[str, Any]) -> None:
        """Take these options, named as in `Options`, and else the defaults."""
        self.options = msgspec.convert(given, Options, strict=False)
        self.resolver.reload(self.options)
        self.recursion.reload(self.options)

    def exchange(self, data: bytes, *, tcp: bool, peer: str) -> bytes | None:
        """What a message is answered with; None for nothing."""
        return asyncio.run(self.resolver.resolve(data, tcp=tcp, peer=peer))

    def run(self, text: str) -> str:
        """What the lines of one case come to."""
        out = []
        for line in text.splitlines():
            verb, *words = line.split()
            if verb.startswith("#"):
                continue
            flags = [word for word in words if "=" not in word]
            fields = dict(word.split("=", 1) for word in words if "=" in word)
            out.append(getattr(self, f"do_{verb}")(flags, fields))
        return "\n".join(text for text in out if text) or "ok"

    def do_register(self, flags: list[str], fields: dict[str, str]) -> str:
        meta = dict(pair.split(":", 1) for pair in fields.get("meta", "").split(",") if pair)
        meta = {key.replace("~", "="): value.replace("~", " ") for key, value in meta.items()}
        datacenter = fields.get("dc", "dc1")
        node = Node(
            name=fields["node"],
            id=fields.get("id", ""),
            address=fields.get("address", "10.9.9.9"),
            datacenter=datacenter,
            meta=meta,
            tagged_addresses={
                key.removeprefix("node."): value
                for key, value in fields.items()
                if key.startswith("node.")
            },
        )
        checks = []
        for key in ("check", "node-check"):
            if key in fields:
                owner = fields.get("id", fields["service"]) if key == "check" else ""
                checks.append(Check(node="", id=key, status=fields[key], service_id=owner))
        if "maintenance" in flags:
            checks.append(Check(node="", id="_node_maintenance", status="critical"))
        command = Register(
            msgspec.structs.replace(node, id=""),
            _service(fields) if "service" in fields else None,
            checks,
            skip_node_update="address" not in fields,
        )
        self.apply(command, datacenter)
        return ""

    def do_many(self, flags: list[str], fields: dict[str, str]) -> str:
        """Instances of a service, each on its own node: i0001, i0002 ..."""
        for number in range(1, int(fields["count"]) + 1):
            own = fields | {
                "node": f"i{number:04}",
                "address": f"10.1.{number // 256}.{number % 256}",
            }
            if "service-address" in fields:
                own["service-address"] = f"10.2.{number // 256}.{number % 256}"
            self.do_register(flags, own)
        return ""

    def do_place(self, flags: list[str], fields: dict[str, str]) -> str:
        """Say how many milliseconds each node is from a certain point."""
        for node, far in fields.items():
            vec = (int(far) / 1000, *(0.0,) * (DIMENSIONS - 1))
            placed = Placed(node, Coordinate(vec, 0.1, 0.0, 1e-5))
            self.apply(coordinates.Update((placed,)))
        return ""

    def do_query(self, flags: list[str], fields: dict[str, str]) -> str:
        """Prepare a query."""
        self.queries += 1
        template = Template("name_prefix_match", fields.get("regexp", ""))
        row = Prepared(
            id=str(UUID(int=self.queries)),
            name=fields.get("name", ""),
            template=template if "template" in flags else None,
            service=ServiceQuery(
                fields["service"],
                Failover(datacenters=[dc for dc in fields.get("failover", "").split(",") if dc]),
                only_passing="only-passing" in flags,
                near=fields.get("near", ""),
                tags=[tag for tag in fields.get("tags", "").split(",") if tag],
            ),
            ttl=fields.get("ttl", ""),
        )
        self.apply(prepared.Create(row), fields.get("dc", "dc1"))
        return ""

    def do_deregister(self, flags: list[str], fields: dict[str, str]) -> str:
        self.apply(Deregister(fields["node"], fields.get("service", "")))
        return ""

    def do_options(self, flags: list[str], fields: dict[str, str]) -> str:
        """Replace all options; `service_ttls=web:5,*:1`."""
        given: dict[str, Any] = dict(fields)
        if "service_ttls" in fields:
            pairs = (pair.split(":") for pair in fields["service_ttls"].split(","))
            given["service_ttls"] = {name: int(ttl) for name, ttl in pairs}
        if "recursors" in fields:
            given["recursors"] = [(host, 53) for host in fields["recursors"].split(",")]
        self.configure(given)
        return ""

    def do_outside(self, flags: list[str], fields: dict[str, str]) -> str:
        """Have the world know a record under a name; `outside NAME SECTION RECORD ...`."""
        name, section, *row = flags
        self.world.records.setdefault(name, []).append(f"{section} {' '.join(row)}")
        return ""

    def do_recursor(self, flags: list[str], fields: dict[str, str]) -> str:
        """Have a recursor answer with a code from now on; -1 for no answer."""
        for address, code in fields.items():
            self.world.codes[address] = int(code)
        return ""

    def do_asked(self, flags: list[str], fields: dict[str, str]) -> str:
        """What recursors were asked since this was said last."""
        asked, self.world.asked = self.world.asked, []
        return "\n".join(asked) or "nothing"

    def do_wait(self, flags: list[str], fields: dict[str, str]) -> str:
        """Let seconds pass."""
        self.clock.now += float(flags[0])
        return ""

    def do_fail(self, flags: list[str], fields: dict[str, str]) -> str:
        """Have the registry raise this error, or none."""
        self.registry.error = errors.from_code(flags[0], "told to") if flags else None
        return ""

    def do_ask(self, flags: list[str], fields: dict[str, str]) -> str:
        """Ask for a name and a type."""
        name, kind, *rest = flags
        form = Form(
            edns=int(fields["edns"]) if "edns" in fields else None,
            version=int(fields.get("version", 0)),
            subnet=fields.get("subnet", ""),
            dnssec="dnssec" in rest,
            desired="rd" not in fields,
            unchecked="unchecked" in rest,
            klass=int(fields.get("class", 1)),
            times=int(fields.get("times", 1)),
        )
        data = put(name, kind, form)
        response = self.exchange(data, tcp="tcp" in rest, peer=fields.get("from", ""))
        assert response is not None
        assert response[:2] == data[:2]
        assert response[2] & 0x80
        asked = str(dnslib.DNSRecord.parse(response).q.qname)
        assert asked == name.removesuffix(".") + "."
        return _told(response, rest)

    def do_send(self, flags: list[str], fields: dict[str, str]) -> str:
        """Send bytes: in hexadecimal, or `.word` for a label with its length."""
        rest = [word for word in flags if word in {"tcp", "count", "flags", "head"}]
        data = b""
        for word in flags:
            if word.startswith("."):
                data += bytes((len(word) - 1,)) + word[1:].encode()
            elif word not in rest:
                data += bytes.fromhex(word) * int(fields.get("times", 1) if word == "00" else 1)
        response = self.exchange(data, tcp="tcp" in rest, peer="")
        return "nothing" if response is None else _told(response, rest)


def _told(response: bytes, how: list[str]) -> str:
    """An answer as text."""
    if "head" in how:  # The name in it cannot be shown.
        return f"{dnslib.RCODE[response[3] & 15]} bytes={len(response)}"
    record = dnslib.DNSRecord.parse(response)
    header = record.header
    rcode = header.rcode
    present = {flag: getattr(header, flag) for flag in ("aa", "tc", "ra")}
    if "flags" in how:
        present |= {flag: getattr(header, flag) for flag in ("rd", "ad", "cd")}
    for extra in record.ar:
        if extra.rtype == dnslib.QTYPE.OPT:
            rcode += (extra.ttl >> 24) << 4
            present["do"] = "flags" in how and extra.ttl & 0x8000
    names = {16: "BADVERS"}
    head = [names.get(rcode) or dnslib.RCODE[rcode], *(flag for flag in present if present[flag])]
    if "count" in how:
        head.append(f"answers={len(record.rr)} authority={len(record.auth)}")
        head.append(f"additional={len(record.ar)} bytes={len(response)}")
        return " ".join(head)
    lines = [shown("", answer) for answer in record.rr]
    if "in-order" not in how:
        lines.sort()
    lines += sorted(shown("authority ", answer) for answer in record.auth)
    lines += sorted(shown("additional ", answer) for answer in record.ar)
    return "\n".join([" ".join(head), *lines])


def _service(fields: dict[str, str]) -> Service:
    passing, _, warning = fields.get("weights", "1/1").partition("/")
    return Service(
        node="",
        id=fields.get("id", fields["service"]),
        name=fields["service"],
        port=int(fields.get("port", 80)),
        tags=[tag for tag in fields.get("tags", "").split(",") if tag],
        address=fields.get("service-address", ""),
        weights=Weights(int(passing), int(warning)),
        kind="connect-proxy" if "sidecar-of" in fields else "",
        proxy={"DestinationServiceName": fields["sidecar-of"]} if "sidecar-of" in fields else {},
        connect={"Native": True} if "native" in fields else {},
        tagged_addresses={
            key.removeprefix("tagged."): TaggedAddress(value, int(fields.get("wan-port", 0)))
            for key, value in fields.items()
            if key.startswith("tagged.")
        },
    )
