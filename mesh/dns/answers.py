"""Answers: a lookup and the registry's values become records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, assert_never

import msgspec

from mesh.clock import Dice
from mesh.dns import records
from mesh.dns.message import (
    AAAA,
    ANY,
    BADVERS,
    CNAME,
    NOERROR,
    NOTIMP,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TXT,
    A,
    Name,
    Question,
    Record,
    Reply,
    Soa,
    Srv,
)
from mesh.dns.names import (
    AddressLookup,
    Lookup,
    Malformed,
    NodeLookup,
    NotOurs,
    PreparedLookup,
    ReverseLookup,
    ServiceLookup,
    Transfer,
    VirtualLookup,
    ZoneLookup,
)
from mesh.dns.notes import SILENT, Notes
from mesh.dns.options import Options
from mesh.errors import Denied, Invalid, MeshError, NoPath, NotFound
from mesh.registry.catalog import LABEL, AddressOwner, Node, NodeNamed, NodeServices, Owner
from mesh.registry.execution import Found
from mesh.registry.health import Connected, Instance, Instances, worst
from mesh.registry.port import Query
from mesh.registry.prepared import ttl_seconds

SERVERS = "mesh"  # The service under which servers register.
NAME_SERVERS_MAX = 3

# What an error of the registry becomes. Others, such as NoLeader and Busy: SERVFAIL.
RCODES: dict[type[MeshError], int] = {
    NotFound: NXDOMAIN,
    NoPath: NXDOMAIN,
    Invalid: NXDOMAIN,
    Denied: REFUSED,
}


class Asked(msgspec.Struct, frozen=True):
    """What an answer depends on beside the lookup and the registry's value."""

    question: Question
    options: Options
    dice: Dice
    now: int
    """Unix seconds, for the serial of the SOA record."""
    most: int
    """Answers that can be sent at most; making more is a waste."""
    notes: Notes = SILENT
    """Is told what becomes of each instance."""


def query_for(lookup: Lookup, kind: int) -> Query[Any] | None:
    """What to read from the registry for a question of this type; None for nothing."""
    match lookup:
        case ServiceLookup():
            return Connected(lookup.service) if lookup.connected else Instances(lookup.service)
        case NodeLookup() if kind in {A, AAAA, ANY, TXT}:
            return NodeNamed(lookup.node)
        case ReverseLookup():
            return Owner(lookup.address)
        case ZoneLookup() if kind in {SOA, NS}:
            return Instances(SERVERS)
        case _:
            return None


def reply_to(lookup: Lookup, value: Any, asked: Asked) -> Reply:
    """Answer a lookup with the value of the query that `query_for` named."""
    edns = asked.question.edns
    if edns is not None and edns.version > 0:
        return Reply(rcode=BADVERS, authoritative=False)
    reply = _reply(lookup, value, asked)
    return _negative(lookup, asked, NXDOMAIN) if reply.rcode == NXDOMAIN else reply


def _reply(lookup: Lookup, value: Any, asked: Asked) -> Reply:
    match lookup:
        case ServiceLookup():
            reply = _service(lookup, value, asked)
        case PreparedLookup():
            reply = _prepared(lookup, value, asked)
        case NodeLookup():
            reply = _node(lookup, value, asked)
        case AddressLookup():
            reply = _address(lookup, asked)
        case ReverseLookup():
            reply = _reverse(lookup, value, asked)
        case ZoneLookup():
            reply = _zone(lookup, value, asked)
        case Transfer():
            reply = Reply(rcode=NOTIMP)
        case Malformed() | VirtualLookup():
            # What has no address yet is there all the same: it is the name of a service.
            reply = Reply(rcode=NXDOMAIN if isinstance(lookup, Malformed) else NOERROR)
        case NotOurs():
            reply = Reply(rcode=REFUSED, authoritative=False)
        case _:
            assert_never(lookup)
    return reply


def reply_to_error(lookup: Lookup, error: MeshError, asked: Asked) -> Reply:
    """Answer when the registry raised."""
    rcode = RCODES.get(type(error), SERVFAIL)
    return _negative(lookup, asked, rcode) if rcode == NXDOMAIN else Reply(rcode=rcode)


def _negative(lookup: Lookup, asked: Asked, rcode: int = NOERROR) -> Reply:
    """No such name, or no such record: with the SOA that lets resolvers keep it (RFC 2308)."""
    assert not isinstance(lookup, NotOurs), "there is no zone to speak for"
    return Reply(rcode=rcode, authority=[_soa(lookup.zone, asked)])


def _soa(zone: Name, asked: Asked) -> Record:
    options = asked.options
    minimum = options.soa_min_ttl_seconds
    soa = Soa(
        server=("ns", *zone),
        mailbox=("hostmaster", *zone),
        serial=asked.now & 0xFFFFFFFF,
        refresh=options.soa_refresh_seconds,
        retry=options.soa_retry_seconds,
        expire=options.soa_expire_seconds,
        minimum=minimum,
    )
    return Record(zone, SOA, minimum, soa)


def _zone(lookup: ZoneLookup, value: list[Instance] | None, asked: Asked) -> Reply:
    if asked.question.kind not in {SOA, NS}:
        return _negative(lookup, asked)
    servers, glue = _name_servers(lookup.zone, value or [], asked)
    soa = _soa(lookup.zone, asked)
    if asked.question.kind == SOA:
        return Reply(answers=[soa], authority=servers, additional=glue)
    return Reply(answers=servers, authority=[] if servers else [soa], additional=glue)


def _name_servers(
    zone: Name, instances: list[Instance], asked: Asked
) -> tuple[list[Record], list[Record]]:
    ttl = asked.options.node_ttl_seconds
    nodes = {
        instance.node.name: instance.node
        for instance in instances
        if instance.status not in {"critical", "maintenance"}
        and LABEL.fullmatch(instance.node.name)
    }
    servers: list[Record] = []
    glue: list[Record] = []
    for node in asked.dice.sample(list(nodes.values()), len(nodes)):
        name = records.node_name(node, zone, asked.options.datacenter)
        if name is not None and len(servers) < NAME_SERVERS_MAX:
            servers.append(Record(zone, NS, ttl, name))
            glue += records.of_host(name, node.address, ttl)
    return servers, glue


def _address(lookup: AddressLookup, asked: Asked) -> Reply:
    question = asked.question
    record = records.of_address(question.name, lookup.address, asked.options.node_ttl_seconds)
    if question.kind in {record.kind, ANY}:
        return Reply(answers=[record])
    return Reply(additional=[record])


def _reverse(lookup: ReverseLookup, owner: AddressOwner, asked: Asked) -> Reply:
    datacenter = owner.datacenter or asked.options.datacenter
    if owner.node:
        target = records.name_or_none(f"{owner.node}.node.{datacenter}", lookup.zone)
    elif owner.service:
        target = records.name_or_none(f"{owner.service}.service.{datacenter}", lookup.zone)
    else:
        target = None
    if target is None:
        return Reply(rcode=NXDOMAIN)
    return Reply(answers=[Record(asked.question.name, PTR, 0, target)])


def _node(lookup: NodeLookup, found: NodeServices | None, asked: Asked) -> Reply:
    kind, name = asked.question.kind, asked.question.name
    if kind not in {A, AAAA, ANY, TXT}:
        return Reply()
    if found is None or lookup.node not in {found.node.name.lower(), found.node.id.lower()}:
        return Reply(rcode=NXDOMAIN)
    node, options = found.node, asked.options
    ttl = options.node_ttl_seconds
    answers: list[Record] = []
    if kind != TXT:
        place = records.node_address(node, kind, options)
        answers = records.of_host(name, place, ttl, kind)
    aliases = _aliases(answers)
    if kind in {TXT, ANY}:
        return Reply(answers=answers + records.of_meta(name, node, ttl), unresolved=aliases)
    extra = records.of_meta(name, node, ttl) if options.enable_additional_node_meta_txt else []
    return Reply(answers=answers, additional=extra, unresolved=aliases)


def _aliases(answers: list[Record]) -> tuple[Name, ...]:
    """Where the first answer leads; it is the only one that may be an alias."""
    if not answers or answers[0].kind != CNAME:
        return ()
    host = answers[0].data
    assert isinstance(host, tuple)
    return (host,)


def _service(lookup: ServiceLookup, instances: list[Instance], asked: Asked) -> Reply:
    chosen = _usable(instances, lookup.tag, asked)
    if not chosen:
        return Reply(rcode=NXDOMAIN)
    ttl = records.service_ttl(lookup.service, asked.options.service_ttls)
    return _instances(lookup, _in_random_order(chosen, asked.dice), ttl, asked)


def _prepared(lookup: PreparedLookup, found: Found, asked: Asked) -> Reply:
    """In the order that the execution has made."""
    if not found.instances:
        return Reply(rcode=NXDOMAIN)
    ttl = ttl_seconds(found.query)
    if ttl is None:
        ttl = records.service_ttl(found.query.service.service.lower(), asked.options.service_ttls)
    reply = _instances(lookup, found.instances, ttl, asked)
    return msgspec.structs.replace(reply, personal=True)


def _instances(
    lookup: ServiceLookup | PreparedLookup, chosen: Iterable[Instance], ttl: int, asked: Asked
) -> Reply:
    kind = asked.question.kind
    if kind == SRV:
        return _srv(lookup, chosen, ttl, asked)
    answers = _addresses(chosen, ttl, asked) if kind in {A, AAAA, ANY} else []
    if not answers:
        return _negative(lookup, asked)
    return Reply(answers=answers, unresolved=_aliases(answers))


def _usable(instances: list[Instance], tag: str, asked: Asked) -> list[Instance]:
    unusable = {"critical", "maintenance", "warning" if asked.options.only_passing else ""}
    chosen = []
    for instance in instances:
        if (status := worst(instance.checks)) in unusable:
            asked.notes.left_out(instance, f"its health is {status}")
        elif tag and all(tag != own.lower() for own in instance.service.tags):
            asked.notes.left_out(instance, f'it has no tag "{tag}"')
        else:
            chosen.append(instance)
    return chosen


def _addresses(chosen: Iterable[Instance], ttl: int, asked: Asked) -> list[Record]:
    """A and AAAA records, each once; when there is none, the first host name as a CNAME."""
    kind, name, options = asked.question.kind, asked.question.name, asked.options
    most = min(asked.most, options.a_record_limit or asked.most)
    found: dict[str, Record] = {}
    alias: tuple[Record, Instance] | None = None
    wanted = -1 if options.translate_wan_addresses else records.BYTES.get(kind, -1)
    packed, answered = records.packed, asked.notes.answered
    for instance in chosen:
        # Of nearly all this is the address that suits, whatever others they have.
        place = instance.service.address or instance.node.address
        if len(address := packed(place)) == wanted and place not in found:
            found[place] = Record(name, kind, ttl, address)
            answered(instance)
            if len(found) >= most:
                break
            continue
        place = records.instance_address(instance, kind, options)
        if place in found:
            asked.notes.left_out(instance, "another one has the same address")
            continue
        made = records.of_host(name, place, ttl, kind)
        if made and made[0].kind != CNAME:
            found[place] = made[0]
            asked.notes.answered(instance)
        elif made:
            asked.notes.left_out(
                instance, "it has a host name; an alias can be answered only alone"
            )
            alias = alias or ((made[0], instance) if made[0].data != name else None)
        else:
            asked.notes.left_out(instance, "it has no address of this type")
        if len(found) >= most:
            break
    if alias is None or found:
        return list(found.values())
    asked.notes.answered(alias[1])
    return [alias[0]]


def _in_random_order(instances: list[Instance], dice: Dice) -> Iterator[Instance]:
    """Draw one after the other: seldom are all of them needed. Reorders the list."""
    count, below = len(instances), dice.below
    for at in range(count):
        drawn = at + below(count - at)
        one = instances[drawn]
        instances[at], instances[drawn] = one, instances[at]
        yield one


def _srv(
    lookup: ServiceLookup | PreparedLookup, chosen: Iterable[Instance], ttl: int, asked: Asked
) -> Reply:
    options = asked.options
    answers: list[Record] = []
    additional: list[Record] = []
    seen: set[tuple[str, str, int]] = set()
    targets: set[Name] = set()
    unresolved: list[Name] = []
    for instance in chosen:
        place = records.instance_address(instance, SRV, options)
        port = records.instance_port(instance, options)
        if (instance.node.name, place, port) in seen:
            asked.notes.left_out(instance, "another one has the same address and port")
            continue
        seen.add((instance.node.name, place, port))
        target = records.target(instance, place, lookup.zone, options)
        if target is None:
            asked.notes.left_out(instance, "its address can be written as no name")
            continue
        asked.notes.answered(instance)
        answers.append(
            Record(asked.question.name, SRV, ttl, Srv(1, _weight(instance), port, target))
        )
        if target not in targets:
            targets.add(target)
            if not records.packed(place) and (host := records.name_or_none(place)):
                unresolved.append(host)
            additional += _about_target(target, place, instance.node, ttl, options)
        if len(answers) >= asked.most:
            break
    if not answers:
        return _negative(lookup, asked)
    return Reply(answers=answers, additional=additional, unresolved=tuple(unresolved))


def _about_target(target: Name, place: str, node: Node, ttl: int, options: Options) -> list[Record]:
    found = records.of_host(target, place, ttl)
    if target[1:2] == ("addr",):
        return found
    if found and found[0].kind == CNAME and found[0].data == target:
        return []  # The target is a host name of somebody else's domain.
    if options.enable_additional_node_meta_txt:
        found += records.of_meta(target, node, ttl)
    return found


def _weight(instance: Instance) -> int:
    weights = instance.service.weights
    weight = weights.warning if instance.status == "warning" else weights.passing
    return min(max(weight, 0), 0xFFFF)
