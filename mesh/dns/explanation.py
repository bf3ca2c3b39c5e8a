"""Explanations: a question answered as any other, with notes taken, and these put into words."""

from __future__ import annotations

import ipaddress
from typing import Any, assert_never

from mesh.agent.explained import Asking, Candidate, Explanation
from mesh.dns import limits, message, records
from mesh.dns.message import Edns, Name, Record, Reply, Soa, Srv, Subnet
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
from mesh.dns.notes import Trace, key_of
from mesh.dns.options import Options
from mesh.dns.resolver import KEPT_MAX, Resolver, Work
from mesh.errors import Invalid
from mesh.registry.execution import Found
from mesh.registry.health import Instance
from mesh.registry.port import Answer

KINDS = {
    "A": message.A,
    "AAAA": message.AAAA,
    "ANY": message.ANY,
    "CNAME": message.CNAME,
    "NS": message.NS,
    "PTR": message.PTR,
    "SOA": message.SOA,
    "SRV": message.SRV,
    "TXT": message.TXT,
}
CODES = {
    message.NOERROR: "NOERROR",
    message.SERVFAIL: "SERVFAIL",
    message.NXDOMAIN: "NXDOMAIN",
    message.NOTIMP: "NOTIMP",
    message.REFUSED: "REFUSED",
}
_NAMES = {number: name for name, number in KINDS.items()}
CANDIDATES_MAX = 1000
OUTPUT_MAX = 200


async def explain(resolver: Resolver, asking: Asking) -> Explanation:
    """Answer as DNS would, and say how. Raises Invalid for a question that cannot be asked."""
    data = _message(asking)
    question = message.parse(data, resolver.offered)
    trace = Trace()
    kept = resolver.kept(data, tcp=asking.tcp)
    work = await resolver.work(question, tcp=asking.tcp, peer=asking.peer, notes=trace)
    options, lookup, reply, sent = resolver.options, work.lookup, work.reply, work.sent
    ttl, rule = _ttl(work, options)
    bounds = limits.bounds(question, options, tcp=asking.tcp)
    answers = [_shown(record) for record in sent.answers]
    return Explanation(
        name=_dotted(question.name),
        kind=asking.kind.upper(),
        over=_transport(asking),
        meaning=_meaning(lookup, options),
        read=_read(work),
        rules=_rules(work, options, bounds),
        candidates=_candidates(work, trace, len(sent.answers), bounds[0]),
        code=CODES.get(sent.rcode, str(sent.rcode)),
        error=f"{work.error.code}: {work.error.message}" if work.error is not None else "",
        flags=_flags(sent, recursive=bool(resolver.offered)),
        answers=answers,
        additional=[_shown(record) for record in sent.additional],
        authority=[_shown(record) for record in sent.authority],
        ttl=ttl,
        ttl_rule=rule,
        made=len(reply.answers),
        size=len(work.packed),
        size_max=bounds[1],
        kept=_kept(work, kept),
    )


def _message(asking: Asking) -> bytes:
    kind = KINDS.get(asking.kind.upper())
    if kind is None:
        raise Invalid(f'type: expected one of {", ".join(KINDS)}, got "{asking.kind}"')
    try:
        name = message.name_from(asking.name)
    except Invalid as error:
        raise Invalid(f"name: {error.message}") from error
    if not name or not message.fits(name):
        raise Invalid(f'name: "{asking.name[:300]}" is no domain name that can be asked for')
    edns = None
    if asking.edns_bytes:
        edns = Edns(min(asking.edns_bytes, 0xFFFF), subnet=_subnet(asking.subnet))
    elif asking.subnet:
        raise Invalid("subnet: is told by EDNS, which is switched off")
    return message.ask(name, kind, edns)


def _subnet(text: str) -> Subnet | None:
    if not text:
        return None
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f'subnet: expected an address or a network, got "{text[:64]}"') from None
    bits = network.prefixlen
    start = network.network_address.packed[: (bits + 7) // 8]
    return Subnet(1 if network.version == 4 else 2, bits, start)


def _transport(asking: Asking) -> str:
    if asking.tcp:
        return "TCP"
    return f"UDP, EDNS {asking.edns_bytes} bytes" if asking.edns_bytes else "UDP without EDNS"


def _meaning(lookup: Lookup, options: Options) -> str:
    match lookup:
        case ServiceLookup():
            tagged = f' tagged "{lookup.tag}"' if lookup.tag else ""
            what = "what the mesh reaches" if lookup.connected else "instances"
            text = f'{what} of the service "{lookup.service}"{tagged}{_where(lookup, options)}'
        case PreparedLookup():
            text = f'the prepared query "{lookup.name}"{_where(lookup, options)}'
        case NodeLookup() | VirtualLookup():
            text = _one(lookup, options)
        case AddressLookup():
            text = f"the address {ipaddress.ip_address(lookup.address)}, which the name spells"
        case ReverseLookup():
            text = f"who has the address {lookup.address}"
        case ZoneLookup():
            text = f"the domain {_dotted(lookup.zone)} itself"
        case Transfer():
            text = "a transfer of the whole domain, which is not done"
        case Malformed():
            text = (
                f"nothing: no name under {_dotted(lookup.zone)} has this form. Names are such as "
                f"web.service.{_dotted(lookup.zone)} or n1.node.{_dotted(lookup.zone)}"
            )
        case NotOurs():
            text = _not_ours(options)
        case _:
            assert_never(lookup)
    return text


def _one(lookup: NodeLookup | VirtualLookup, options: Options) -> str:
    if isinstance(lookup, VirtualLookup):
        return f'the address of the service "{lookup.service}" in the mesh: none has one yet'
    return f'the node "{lookup.node}"{_where(lookup, options)}'


def _not_ours(options: Options) -> str:
    ours = " or ".join(one for one in (options.domain, options.alt_domain) if one)
    if options.recursors:
        return f"a name outside {ours}, which the recursors are asked for"
    return f"nothing: this agent answers for {ours} only"


def _where(lookup: ServiceLookup | PreparedLookup | NodeLookup, options: Options) -> str:
    return f" in {lookup.datacenter or options.datacenter}"


def _read(work: Work) -> str:
    answer = work.answer
    if work.error is not None:
        return "nothing could be read"
    if work.reply.foreign:
        return "a recursor, now or not longer ago than its TTLs allow"
    if answer is None:
        return "nothing: the name says all"
    return _heard(answer)


def _heard(answer: Answer[Any]) -> str:
    heard = f"the leader was heard {answer.last_contact:.1f} s before"
    if not answer.known_leader:
        heard = "there is no leader"
    if answer.age is not None:
        return f"what this agent holds, as servers said {answer.age:.1f} s ago; {heard}"
    return f"a server, at index {answer.index}; {heard}"


def _rules(work: Work, options: Options, bounds: tuple[int, int]) -> list[str]:
    lookup, value = work.lookup, work.answer.value if work.answer is not None else None
    if work.reply.foreign:
        return ["whole, or empty and TC set so that clients ask again over TCP"]
    rules = [f"at most {bounds[0]} answers and {bounds[1]} bytes"]
    if isinstance(lookup, ServiceLookup):
        warning = "is left out too (only_passing)" if options.only_passing else "stays"
        rules.append(f"critical and maintenance are left out; warning {warning}")
        rules.append("in random order")
    if isinstance(lookup, PreparedLookup):
        rules.append("health, tags and order as the prepared query says")
    if isinstance(value, Found):
        tried = f" after {value.failovers} others were asked" if value.failovers else ""
        rules.append(f"instances of {value.query.service.service} in {value.datacenter}{tried}")
    if isinstance(lookup, ServiceLookup | PreparedLookup) and options.a_record_limit:
        rules.append(f"at most {options.a_record_limit} addresses (a_record_limit)")
    if not options.enable_truncate:
        rules.append("no TC flag when answers are left out (enable_truncate is off)")
    return rules


def _ttl(work: Work, options: Options) -> tuple[int | None, str]:
    """Of the first answer, and the option that decided it."""
    if not work.sent.answers:
        return None, ""
    ttl, lookup, rule = work.sent.answers[0].ttl, work.lookup, "dns_config.node_ttl"
    if isinstance(lookup, PreparedLookup) and work.answer is not None:
        found: Found = work.answer.value
        rule = "the prepared query, else dns_config.service_ttl"
        if found.query.ttl:
            return ttl, "the prepared query"
    elif isinstance(lookup, ServiceLookup):
        pattern = records.ttl_rule(lookup.service, options.service_ttls)
        rule = f'dns_config.service_ttl "{pattern}"' if pattern else "no dns_config.service_ttl"
    elif isinstance(lookup, ReverseLookup):
        rule = "always"
    elif work.reply.foreign:
        return ttl, "the recursor"
    elif work.sent.answers[0].kind == message.SOA:
        rule = "dns_config.soa.min_ttl"
    return ttl, rule


def _candidates(work: Work, trace: Trace, sent: int, most: int) -> list[Candidate]:
    value = work.answer.value if work.answer is not None else None
    if isinstance(work.lookup, ServiceLookup):
        instances: list[Instance] = value or []
    elif isinstance(value, Found):
        instances = value.instances
    else:
        return []
    found = [_candidate(one, "") for one in trace.order[:sent]]
    why = f"no room: {sent} of {len(trace.order)} answers were sent, at most {most} may be"
    found += [_candidate(one, why) for one in trace.order[sent:]]
    noted = {key_of(one) for one in trace.order} | set(trace.others)
    room = "no room: enough others were drawn before it"
    found += [_candidate(one, room) for one in instances if key_of(one) not in noted]
    found += [_candidate(one, why) for one, why in trace.others.values()]
    return found[:CANDIDATES_MAX]


def _candidate(instance: Instance, why: str) -> Candidate:
    service, node = instance.service, instance.node
    return Candidate(
        node=node.name,
        service_id=service.id,
        address=service.address or node.address,
        port=service.port,
        tags=service.tags,
        status=instance.status,
        fate="left out" if why else "answered",
        why=why,
        complaints=[
            f"{check.id} is {check.status}: {check.output[:OUTPUT_MAX].strip() or check.notes}"
            for check in instance.checks
            if check.status != "passing"
        ],
    )


def _flags(reply: Reply, *, recursive: bool) -> list[str]:
    flags = [("aa", reply.authoritative), ("tc", reply.truncated), ("ra", recursive)]
    return [name for name, is_set in flags if is_set]


def _kept(work: Work, kept: tuple[int, int]) -> str:
    variants, uses = kept
    if variants:
        return f"{variants} answers to this question are kept and were given {uses} times again"
    if work.followed:
        return "answers that lead to other names, or come from recursors, are not kept as bytes"
    if work.reading is None or work.reading.options.datacenter:
        return "answers to such questions are never kept"
    if work.reply.authority or work.reply.rcode:
        return "negative answers are never kept"
    return f"none yet; answers are kept until what they say changes, for {KEPT_MAX} questions"


def _dotted(name: Name) -> str:
    return ".".join(name) + "."


def _shown(record: Record) -> str:
    """As a zone file has it."""
    head = f"{_dotted(record.name)} {record.ttl} IN {_NAMES.get(record.kind, record.kind)}"
    data = record.data
    if isinstance(data, Srv):
        return f"{head} {data.priority} {data.weight} {data.port} {_dotted(data.target)}"
    if isinstance(data, Soa):
        times = f"{data.serial} {data.refresh} {data.retry} {data.expire} {data.minimum}"
        return f"{head} {_dotted(data.server)} {_dotted(data.mailbox)} {times}"
    if isinstance(data, tuple):
        return f"{head} {_dotted(data)}"
    if record.kind == message.TXT:
        return f"{head} {' '.join(_texts(data))}"
    if record.kind in {message.A, message.AAAA}:
        return f"{head} {ipaddress.ip_address(data)}"
    return f"{head} \\# {len(data)} {data.hex()}"  # RFC 3597 section 5.


def _texts(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        end = at + 1 + data[at]
        text = data[at + 1 : end].decode("utf-8", "replace")
        found.append('"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"')
        at = end
    return found
