"""What the network doctor makes of a test: faults in, sentences out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import Invalid
from mesh.gossip.diagnosis import FINDINGS_MAX, Examination, cell, findings
from mesh.gossip.doctor import (
    MEMBERS_MAX,
    Heard,
    Probe,
    Relay,
    Row,
    Rows,
    Sheet,
    Tell,
    clock_of,
    pick,
    read_question,
    read_reply,
    write,
)

NAMES = "abcd"


def at(name: str) -> str:
    return f"10.0.0.{ord(name) - 96}:8301"


class Network:
    """Members that test each other, with faults; each word is one, such as `udp a b`.

    Directions: `udp`, `tcp`, `large`, `half` (of the datagrams), `nat` and `unknown` go from the
    first to the second; `*` is everybody else. About one: `dead a`, `mute a`, `clock a 9`,
    `slow a`, `refused a`.
    """

    def __init__(self, faults: str, names: str = NAMES) -> None:
        self.names = names
        self.faults: set[tuple[str, ...]] = set()
        for words in faults.split(","):
            kind, *rest = words.split()
            match rest:
                case ["*", one]:
                    self.faults |= {(kind, other, one) for other in names if other != one}
                case [one, "*"]:
                    self.faults |= {(kind, one, other) for other in names if other != one}
                case _:
                    self.faults.add((kind, *rest))

    def is_so(self, *fault: str) -> bool:
        return fault in self.faults

    def passes(self, kind: str, source: str, target: str) -> bool:
        dead = self.is_so("dead", source) or self.is_so("dead", target)
        return not dead and not self.is_so(kind, source, target)

    def udp(self, source: str, target: str) -> int:
        if not self.passes("udp", source, target):
            return 0
        return 10 if self.is_so("half", source, target) else 20

    def row(self, source: str, target: str) -> Row:
        if self.is_so("unknown", source, target):
            return Row(target, "")
        there = self.udp(source, target)
        answered = min(there, self.udp(target, source))
        large = 3 if there and not self.is_so("large", source, target) else 0
        tcp = self.passes("tcp", source, target)
        return Row(
            target,
            at(target),
            20,
            answered,
            0.0004 if answered else None,
            3,
            large if answered else 0,
            0.001 if tcp else None,
            "" if tcp else "Connection refused",
        )

    def heard(self, source: str, target: str) -> Heard:
        seen = ["192.0.2.1:40000"] if self.is_so("nat", source, target) else [at(source)]
        small = self.udp(source, target)
        large = 3 if small and not self.is_so("large", source, target) else 0
        return Heard(source, small, large, seen if small else [])

    def examination(self) -> Examination:
        telling = [
            one for one in self.names if not (self.is_so("dead", one) or self.is_so("mute", one))
        ]
        clocks = {words[1]: float(words[2]) for words in self.faults if words[0] == "clock"}
        return Examination(
            asker="a",
            total=len(self.names),
            addresses={one: at(one) for one in self.names},
            rows={
                one: [self.row(one, other) for other in self.names if other != one]
                for one in telling
            },
            sheets={
                one: Sheet(
                    at(one),
                    0.0,
                    3 if self.is_so("slow", one) else 0,
                    [
                        self.heard(other, one)
                        for other in self.names
                        if other != one and self.udp(other, one)
                    ],
                    {"packets_unauthenticated": 7} if self.is_so("refused", one) else {},
                )
                for one in telling
            },
            silent={one: "is it mesh?" for one in self.names if one not in telling},
            clocks={one: (clocks.get(one, 0.001), 0.002) for one in telling if one != "a"},
        )


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ("none", []),
        (
            "udp a b",
            [
                "UDP from a to b at 10.0.0.2:8301 is blocked, while it passes the other way: allow "
                "UDP to that port in the firewalls of both and between them; meanwhile members "
                "there are suspected again and again."
            ],
        ),
        (
            "udp * b",
            [
                "UDP from each of 3 others to b at 10.0.0.2:8301 is blocked, while it passes the "
                "other way: allow UDP to that port in the firewalls of both and between them; "
                "meanwhile members there are suspected again and again."
            ],
        ),
        (
            "udp a b, udp b a",
            [
                "UDP between a (10.0.0.1:8301) and b (10.0.0.2:8301) is blocked both ways: allow "
                "UDP on the gossip port both ways; TCP alone is not enough."
            ],
        ),
        (
            "udp * c, udp c *",
            [
                "UDP between c (10.0.0.3:8301) and each of 3 others is blocked both ways: allow "
                "UDP on the gossip port both ways; TCP alone is not enough."
            ],
        ),
        (
            "udp b d, mute d",
            [
                "UDP between b and d at 10.0.0.4:8301 is blocked, one way or both (the latter does "
                "not tell): allow UDP on the gossip port both ways.",
                "d (10.0.0.4:8301) tells nothing (is it mesh?): what it sends is not tested, and "
                "what it receives only where it answers pings.",
            ],
        ),
        (
            "tcp a b",
            [
                "TCP from a to b at 10.0.0.2:8301 does not work (Connection refused): allow TCP to "
                "that port; without it they cannot exchange all they know."
            ],
        ),
        (
            "large b *",
            [
                "UDP datagrams of 1400 bytes from b to each of 3 others are lost, while small ones "
                "pass: some link on the way has a smaller MTU and drops them silently; raise it to "
                "1500, or let ICMP (fragmentation needed) and fragments pass."
            ],
        ),
        (
            "half c a",
            [
                "50% of 20 UDP datagrams from c to a at 10.0.0.1:8301 were lost: look for a rate "
                "limit, a full queue or a bad link on the way."
            ],
        ),
        (
            "nat b a",
            [
                "UDP from b reaches a from 192.0.2.1:40000, while b advertises 10.0.0.2:8301: a "
                "NAT on the way rewrites addresses; take it out, or set advertise_addr to the "
                "address that others see and forward the gossip port, UDP and TCP."
            ],
        ),
        (
            "nat b *",
            [
                "UDP from b reaches each of 3 others from 192.0.2.1:40000, while b advertises "
                "10.0.0.2:8301: a NAT on the way rewrites addresses; take it out, or set "
                "advertise_addr to the address that others see and forward the gossip port, UDP "
                "and TCP."
            ],
        ),
        (
            "clock d 5.5",
            ["The clock of d is 5.5 s ahead of the others': set the time there by NTP."],
        ),
        (
            "clock b -3, clock c -3, clock d -3",
            ["The clock of a is 3.0 s ahead of the others': set the time there by NTP."],
        ),
        ("clock d 1", []),
        (
            "dead d",
            [
                "d (10.0.0.4:8301) answers nobody, neither over UDP nor over TCP: it is down or "
                "cut off, or it has another encryption key or label; look at its log."
            ],
        ),
        (
            "slow b",
            [
                "b (10.0.0.2:8301) has a local health score of 3 (0 is well): it hears answers "
                "late or not at all; look at its CPU, its memory and its link."
            ],
        ),
        (
            "refused b",
            [
                "b (10.0.0.2:8301) refused 7 gossip packets during the test that were encrypted "
                "with a key that it does not have, or not encrypted: give all members the same "
                "key (option encrypt) and the same label."
            ],
        ),
        (
            "unknown a d",
            [
                "a does not have d in its list of members: their views differ; if that lasts, they "
                "are parted, or one of them must join again."
            ],
        ),
    ],
)
def test_one_sentence_a_fault(faults: str, expected: list[str]) -> None:
    assert [one.text for one in findings(Network(faults).examination())] == expected


def test_faults_do_not_hide_each_other() -> None:
    network = Network("udp a b, tcp c d, large d a, nat b c, clock c 60, dead e", "abcde")
    found = [(one.kind, one.source, one.target) for one in findings(network.examination())]
    assert found == [
        ("unreachable", "", "e"),
        ("udp-one-way", "a", "b"),
        ("tcp", "c", "d"),
        ("mtu", "d", "a"),
        ("nat", "b", "c"),
        ("clock", "", "c"),
    ]


def test_large_ones_may_be_lost_by_chance() -> None:
    network = Network("half c a, large c a")
    found = [one.kind for one in findings(network.examination())]
    assert found == ["loss"], "one of eight triples is lost at random"


def test_of_two_clocks_neither_is_right() -> None:
    network = Network("clock b -8", "ab")
    assert [one.text for one in findings(network.examination())] == [
        "The clocks of a and b are 8.0 s apart: set the time there by NTP."
    ]


def test_a_sample_is_a_remark() -> None:
    found = findings(_sampled())
    assert [(one.kind, one.fault) for one in found] == [("sample", False)]
    assert found[0].text == "4 of 90 members took part; name members to choose which."


def _sampled() -> Examination:
    return msgspec.structs.replace(Network("none").examination(), total=90)


def test_the_cells_of_a_matrix() -> None:
    network = Network("udp a b, tcp a c, large a d, half b a, dead e, unknown c d", "abcde")
    cells = {(path.source, path.target): cell(path) for path in network.examination().paths()}
    assert cells["a", "b"] == "no UDP"
    assert cells["a", "c"] == "no TCP"
    assert cells["a", "d"] == "MTU"
    assert cells["b", "a"] == "one way -50%"
    assert cells["a", "e"] == "nothing"
    assert cells["c", "d"] == "unknown"
    assert cells["d", "c"] == "0.4 ms"


def test_very_many_faults_are_cut() -> None:
    names = "".join(chr(97 + number) for number in range(20))
    pairs = [f"udp {a} {b}" for a in names for b in names if a < b and (a, b) != ("a", "b")]
    # Not from or to everybody, so that each is told on its own.
    pairs = [pair for pair in pairs if (ord(pair[4]) + ord(pair[6])) % 3]
    found = findings(Network(",".join(pairs), names).examination())
    assert len(found) == FINDINGS_MAX + 1
    assert found[-1].text.endswith("faults more; mend these first")


def test_clocks_are_compared_in_the_middle() -> None:
    sheet = Sheet("", 105.0, 0, [])
    assert clock_of(sheet, 99.0, 101.0) == (5.0, 1.0)


def test_who_takes_part() -> None:
    members = {f"n{number}": number % 10 > 0 for number in range(200)}
    chosen, others = pick(members, "n1", [])
    assert chosen[0] == "n1"
    assert len(chosen) == 1 + MEMBERS_MAX // 4, "some of those that failed"
    assert not {*chosen} & {*others}
    assert len(chosen) + len(others) == 200
    assert pick(members, "n1", ["n5", "n3"]) == (["n1", "n3", "n5"], [])
    with pytest.raises(Invalid, match="x: no such member"):
        pick(members, "n1", ["x"])
    with pytest.raises(Invalid, match="the limit is 32"):
        pick(members, "n1", list(members)[:40])


QUESTIONS = [Probe(1, ["a", "b"]), Tell(2), Relay("c", Tell(3)), Relay("c", Probe(4, []))]
REPLIES = [Rows([Row("a", "x:1", 20, 19, 0.1, 3, 3, None, "no")]), Sheet("x:1", 1.5, 0, [])]


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_come_back(question: Probe) -> None:
    assert read_question(write(question)) == question


@pytest.mark.parametrize("reply", REPLIES)
def test_replies_come_back(reply: Rows) -> None:
    assert read_reply(write(reply)) == reply


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    for payload in (data, b"\xf0" + data):
        for read in (read_question, read_reply):
            try:
                read(payload)
            except Invalid:
                continue
