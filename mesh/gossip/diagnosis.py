"""Diagnosis: what a test of the network showed, and what is wrong, one sentence a fault.

A fault that one member has with all others is told once, about that member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

import msgspec

from mesh.gossip.doctor import LARGE_BYTES, REASONS, Heard, Row, Sheet

SKEW_SECONDS = 1.0
"""Clocks further apart than this, beyond what the measurement leaves open, are a fault."""
LOSS_MAX = 0.1
"""A larger part of the datagrams lost is a fault."""
CHANCE_MAX = 0.01
"""What may be mere chance at least this often is taken for chance."""
FINDINGS_MAX = 100


class Path(msgspec.Struct, frozen=True):
    """One direction between two members. `heard` is -1 where the target does not tell."""

    source: str
    target: str
    address: str
    sent: int
    heard: int
    answered: int
    rtt: float | None
    large_sent: int
    large_heard: int
    tcp: float | None
    tcp_error: str

    @property
    def delivered(self) -> int:
        """Small datagrams that are known to have arrived."""
        return self.answered if self.heard < 0 else max(self.heard, self.answered)


class Finding(msgspec.Struct, frozen=True):
    """One sentence. A remark is no fault."""

    kind: str
    text: str
    fault: bool = True
    source: str = ""
    """The members it is about; empty for all others."""
    target: str = ""


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """All that was gathered, from the member that asked for it."""

    asker: str
    total: int
    """Members of the pool that could have taken part."""
    addresses: dict[str, str]
    """`ip:port` of each that does, as the asker knows it."""
    rows: dict[str, list[Row]]
    sheets: dict[str, Sheet]
    silent: dict[str, str]
    """Why there is nothing from a member."""
    clocks: dict[str, tuple[float, float]]
    """How far ahead of the asker's clock theirs are, and how uncertain that is; seconds."""

    def paths(self) -> list[Path]:
        """Every direction that somebody tried, by source and target."""
        found = []
        for source in sorted(self.rows):
            for row in sorted(self.rows[source], key=lambda row: row.target):
                heard = self._heard(source, row.target)
                found.append(
                    Path(
                        source=source,
                        target=row.target,
                        address=row.address,
                        sent=row.sent,
                        heard=heard.small if heard else -1,
                        answered=row.answered,
                        rtt=row.rtt,
                        large_sent=row.large_sent,
                        large_heard=max(heard.large, row.large_answered)
                        if heard
                        else row.large_answered,
                        tcp=row.tcp,
                        tcp_error=row.tcp_error,
                    )
                )
        return found

    def _heard(self, source: str, target: str) -> Heard | None:
        sheet = self.sheets.get(target)
        if sheet is None:
            return None
        return next((one for one in sheet.heard if one.source == source), Heard(source, 0, 0))


def findings(done: Examination) -> list[Finding]:
    """What is wrong, in sentences, the gravest first; then remarks."""
    paths = done.paths()
    dead = _dead(done, paths)
    alive = [path for path in paths if not {path.source, path.target} & dead]
    found = [
        *(_is_dead(done, name) for name in sorted(dead)),
        *_unknown(alive),
        *_udp(done, alive),
        *_tcp(alive),
        *_large(alive),
        *_loss(alive),
        *_rewritten(done),
        *_keys(done),
        *_clocks(done),
        *_slow(done),
    ]
    if len(found) > FINDINGS_MAX:
        rest = f"and {len(found) - FINDINGS_MAX} faults more; mend these first"
        found = [*found[:FINDINGS_MAX], Finding("more", rest)]
    return [*found, *_remarks(done, dead)]


def _dead(done: Examination, paths: Sequence[Path]) -> set[str]:
    """Members that nobody reached in any way and that told nothing."""
    reached = {path.target for path in paths if path.delivered or path.tcp is not None}
    told = {*done.rows, *done.sheets, done.asker}
    return set(done.addresses) - reached - told


def _is_dead(done: Examination, name: str) -> Finding:
    return Finding(
        "unreachable",
        f"{name} ({done.addresses[name]}) answers nobody, neither over UDP nor over TCP: it is "
        "down or cut off, or it has another encryption key or label; look at its log.",
        target=name,
    )


class _Fault(NamedTuple):
    source: str
    target: str
    address: str
    detail: str


def _grouped(
    kind: str, faults: Iterable[_Fault], paths: Sequence[Path], sentence: str, remedy: str
) -> Iterator[Finding]:
    """One sentence for a member that has the fault with all others, else one a pair.

    `sentence` has {a}, {b}, {at} and {detail}.
    """
    left = list(faults)
    for side in ("target", "source"):
        for name in sorted({getattr(fault, side) for fault in left}):
            mine = [fault for fault in left if getattr(fault, side) == name]
            tried = sum(getattr(path, side) == name for path in paths)
            if len(mine) < 2 or len(mine) < tried:
                continue
            left = [fault for fault in left if fault not in mine]
            everybody = f"each of {len(mine)} others"
            to_it = side == "target"
            text = sentence.format(
                a=everybody if to_it else name,
                b=name if to_it else everybody,
                at=f" at {mine[0].address}" if to_it else "",
                detail=mine[0].detail,
            )
            yield Finding(
                kind,
                f"{text}: {remedy}.",
                source="" if to_it else name,
                target=name if to_it else "",
            )
    for fault in left:
        text = sentence.format(
            a=fault.source, b=fault.target, at=f" at {fault.address}", detail=fault.detail
        )
        yield Finding(kind, f"{text}: {remedy}.", source=fault.source, target=fault.target)


def _unknown(paths: Sequence[Path]) -> Iterator[Finding]:
    faults = (_Fault(one.source, one.target, "", "") for one in paths if not one.address)
    yield from _grouped(
        "unknown",
        faults,
        paths,
        "{a} does not have {b} in its list of members",
        "their views differ; if that lasts, they are parted, or one of them must join again",
    )


def _udp(done: Examination, paths: Sequence[Path]) -> Iterator[Finding]:
    blocked = {
        (one.source, one.target): one
        for one in paths
        if one.sent and not one.delivered and one.address
    }
    both, one_way, either = [], [], []
    for (source, target), path in blocked.items():
        fault = _Fault(source, target, path.address, "")
        if path.heard < 0:
            either.append(fault)
        elif (target, source) not in blocked:
            one_way.append(fault)
        elif source < target:
            both.append(fault._replace(detail=_ends(done, source, target)))
    yield from _both_ways(both, paths)
    yield from _grouped(
        "udp-one-way",
        one_way,
        paths,
        "UDP from {a} to {b}{at} is blocked, while it passes the other way",
        "allow UDP to that port in the firewalls of both and between them; meanwhile members "
        "there are suspected again and again",
    )
    yield from _grouped(
        "udp",
        either,
        paths,
        "UDP between {a} and {b}{at} is blocked, one way or both (the latter does not tell)",
        "allow UDP on the gossip port both ways",
    )


def _ends(done: Examination, source: str, target: str) -> str:
    return f"{source} ({done.addresses.get(source, '')}) and {target} ({done.addresses[target]})"


def _both_ways(faults: Sequence[_Fault], paths: Sequence[Path]) -> Iterator[Finding]:
    """Here the two ends are alike."""
    left = list(faults)
    remedy = "allow UDP on the gossip port both ways; TCP alone is not enough"
    for name in sorted({end for fault in faults for end in fault[:2]}):
        mine = [fault for fault in left if name in fault[:2]]
        tried = len({path.target for path in paths if path.source == name})
        if len(mine) < 2 or len(mine) < tried:
            continue
        left = [fault for fault in left if fault not in mine]
        address = next((one.address for one in paths if one.target == name), "")
        text = f"UDP between {name} ({address}) and each of {len(mine)} others is blocked both ways"
        yield Finding("udp-both-ways", f"{text}: {remedy}.", target=name)
    for fault in left:
        text = f"UDP between {fault.detail} is blocked both ways: {remedy}."
        yield Finding("udp-both-ways", text, source=fault.source, target=fault.target)


def _tcp(paths: Sequence[Path]) -> Iterator[Finding]:
    yield from _grouped(
        "tcp",
        (
            _Fault(one.source, one.target, one.address, one.tcp_error)
            for one in paths
            if one.tcp is None and one.address
        ),
        paths,
        "TCP from {a} to {b}{at} does not work ({detail})",
        "allow TCP to that port; without it they cannot exchange all they know",
    )


def _large(paths: Sequence[Path]) -> Iterator[Finding]:
    yield from _grouped(
        "mtu",
        (_Fault(one.source, one.target, one.address, "") for one in paths if _loses_large(one)),
        paths,
        f"UDP datagrams of {LARGE_BYTES} bytes from {{a}} to {{b}}{{at}} are lost, while small "
        "ones pass",
        "some link on the way has a smaller MTU and drops them silently; raise it to 1500, or let "
        "ICMP (fragmentation needed) and fragments pass",
    )


def _loses_large(path: Path) -> bool:
    """Whether large datagrams are lost for their size, and not as many small ones are."""
    if not path.large_sent or path.large_heard or not path.delivered:
        return False
    return (1 - path.delivered / path.sent) ** path.large_sent < CHANCE_MAX


def _loss(paths: Sequence[Path]) -> Iterator[Finding]:
    for one in paths:
        lost = 1 - one.delivered / one.sent if one.sent else 0.0
        if one.delivered and lost > LOSS_MAX:
            yield Finding(
                "loss",
                f"{lost:.0%} of {one.sent} UDP datagrams from {one.source} to {one.target} at "
                f"{one.address} were lost: look for a rate limit, a full queue or a bad link "
                "on the way.",
                source=one.source,
                target=one.target,
            )


def _rewritten(done: Examination) -> Iterator[Finding]:
    paths, faults = [], []
    for target, sheet in sorted(done.sheets.items()):
        for heard in sheet.heard:
            said = done.sheets.get(heard.source)
            if said is None:
                continue
            paths.append(_plain_path(heard.source, target))
            others = [address for address in heard.seen if address != said.address]
            if others:
                detail = f"{', '.join(others)}, while {heard.source} advertises {said.address}"
                faults.append(_Fault(heard.source, target, said.address, detail))
    yield from _grouped(
        "nat",
        faults,
        paths,
        "UDP from {a} reaches {b} from {detail}",
        "a NAT on the way rewrites addresses; take it out, or set advertise_addr to the address "
        "that others see and forward the gossip port, UDP and TCP",
    )


def _plain_path(source: str, target: str) -> Path:
    return Path(source, target, "", 0, 0, 0, None, 0, 0, None, "")


def _keys(done: Examination) -> Iterator[Finding]:
    for name, sheet in sorted(done.sheets.items()):
        for counter, count in sorted(sheet.rejected.items()):
            if count > 0 and counter in REASONS:
                yield Finding(
                    "refused",
                    f"{name} ({sheet.address}) refused {count} gossip packets during the test that "
                    f"were {REASONS[counter]}: give all members the same key (option encrypt) "
                    "and the same label.",
                    target=name,
                )


def _clocks(done: Examination) -> Iterator[Finding]:
    offsets = {**done.clocks, done.asker: (0.0, 0.0)}
    if len(offsets) < 2:
        return
    middle = median(offset for offset, _ in offsets.values())
    for name, (offset, uncertain) in sorted(offsets.items()):
        ahead = offset - middle
        if abs(ahead) - uncertain > SKEW_SECONDS:
            which = "ahead of" if ahead > 0 else "behind"
            text = f"The clock of {name} is {abs(ahead):.1f} s {which} the others'"
            if len(offsets) == 2:
                # Which of two is right cannot be told.
                other = next(one for one in offsets if one != name)
                text = f"The clocks of {name} and {other} are {abs(2 * ahead):.1f} s apart"
            yield Finding("clock", f"{text}: set the time there by NTP.", target=name)
            if len(offsets) == 2:
                return


def _slow(done: Examination) -> Iterator[Finding]:
    for name, sheet in sorted(done.sheets.items()):
        if sheet.score > 0:
            yield Finding(
                "slow",
                f"{name} ({sheet.address}) has a local health score of {sheet.score} (0 is well): "
                "it hears answers late or not at all; look at its CPU, its memory and its link.",
                target=name,
            )


def _remarks(done: Examination, dead: Collection[str]) -> Iterator[Finding]:
    for name, why in sorted(done.silent.items()):
        if name not in dead:
            yield Finding(
                "silent",
                f"{name} ({done.addresses[name]}) tells nothing ({why}): what it sends is not "
                "tested, and what it receives only where it answers pings.",
                fault=False,
                target=name,
            )
    if done.total > len(done.addresses):
        yield Finding(
            "sample",
            f"{len(done.addresses)} of {done.total} members took part; name members to choose "
            "which.",
            fault=False,
        )


def cell(path: Path) -> str:
    """One direction in a few characters, for a matrix."""
    if not path.address:
        return "unknown"
    if not path.delivered:
        return "no UDP" if path.tcp is not None else "nothing"
    if path.tcp is None:
        return "no TCP"
    if _loses_large(path):
        return "MTU"
    lost = 1 - path.delivered / path.sent
    rtt = f"{path.rtt * 1000:.1f} ms" if path.rtt is not None else "one way"
    return f"{rtt} -{lost:.0%}" if lost > 0 else rtt
