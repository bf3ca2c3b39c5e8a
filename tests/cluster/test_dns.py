"""The scripts of tests/cases/dns, played by real nodes; and `dig` agrees with what they say."""

from __future__ import annotations

import re
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dnslib
import pytest

from tests.cluster.processes import Meshd, eventually
from tests.dns.live import LiveScript, Nodes, dig, loose, nodes
from tests.dns.script import Form, put, shown
from tests.dns.test_answers import CASES

pytestmark = pytest.mark.together

SKIPPED = {"aliases": 1, "negative": 9, "options": 4, "prepared": 5, "recursors-kept": 5}
"""Questions that real nodes cannot be asked: behind moved clocks, failures and the like."""
BY_DIG = [
    ("+notcp +noedns", Form(), False),
    ("+notcp +ignore +noedns", Form(), False),
    ("+notcp +dnssec +bufsize=1232", Form(1232, dnssec=True), False),
    ("+tcp +bufsize=4096", Form(4096), True),
]
AGENTS_TOO = (
    *("addresses", "forms", "health", "locality", "meta", "negatives"),
    *("nodes", "reverse", "services", "tags", "ttls", "zone"),
)
"""Scripts that do not count what others were asked, nor ask for what this agent does otherwise,
nor send what may get no answer."""
NOT_BY_DIG = {"AXFR", "IXFR", "SOA"}
"""What dig does in a way of its own."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with nodes(tmp_path_factory.mktemp("live")) as started:
        yield started


@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_real_nodes_play_the_script(world: Nodes, path: Path) -> None:
    script = LiveScript(world)
    for block in path.read_text().strip().split("\n\n"):
        play(script, *block.split("\n----\n"))
    assert script.skipped == SKIPPED.get(path.stem, 0)
    if shutil.which("dig"):
        for options, form, tcp in BY_DIG:
            assert any(agree(script, options.split(), form, tcp=tcp) for _ in range(10))


@pytest.mark.parametrize("name", AGENTS_TOO)
def test_an_agent_answers_as_a_server_does(world: Nodes, name: str) -> None:
    script = LiveScript(world, agent=True)
    for block in (CASES / f"{name}.txt").read_text().strip().split("\n\n"):
        play(script, *block.split("\n----\n"))
    assert script.skipped == 0


def play(script: LiveScript, entered: str, expected: str) -> None:
    """One case. What a server knows, it knows at once.

    What an agent follows may come a moment later, and another datacenter be slow for a while.
    """
    told = script.play(entered)
    if told is None:
        return
    if script.asked is script.nodes.here and not told.startswith("SERVFAIL"):
        assert loose(told) == loose(expected), entered
    lines = entered.splitlines()
    asks = "\n".join(line for line in lines if line.startswith(("ask ", "send ")))

    def same() -> bool:
        return loose(script.play(asks) or "") == loose(expected)

    if loose(told) != loose(expected):
        eventually(same)


def agree(script: LiveScript, options: list[str], form: Form, *, tcp: bool) -> bool:
    """What dig takes for the answers to all the questions of a script is what we read in them.

    False when another datacenter was slow.
    """
    questions = [(name, kind) for name, kind in script.questions if kind not in NOT_BY_DIG]
    told = dig(script.asked, options, questions)
    assert len(told) == len(questions)
    for (name, kind), dug in zip(questions, told, strict=True):
        read = dnslib.DNSRecord.parse(script.exchange(put(name, kind, form), tcp=tcp, peer=""))
        assert not re.search("(?i)warning|bad packet|extra bytes|malformed|mismatch", dug.said)
        status = dnslib.RCODE[read.header.rcode]
        if status != dug.status and "SERVFAIL" in {status, dug.status}:
            return False
        flags = {flag for flag in ("aa", "tc", "ra") if getattr(read.header, flag)}
        assert dug.status == status, dug.said
        assert dug.flags & {"aa", "tc", "ra"} == flags, dug.said
        assert len(dug.answers) == len(read.rr), dug.said
        # Those of many instances are others each time.
        if len(dug.answers) <= 2 and kind != "NS":
            mine = {loose(shown("", one)).replace('","', '" "') for one in read.rr}
            assert dug.answers == mine, dug.said
    return True


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig (dnsutils) is not installed")
def test_dig_asks_again_over_tcp_when_it_is_told_of_more(world: Nodes) -> None:
    script = LiveScript(world)
    assert script.run("many count=40 service=web") == "ok"

    def got(options: str, kind: str = "A") -> tuple[int, bool]:
        (dug,) = dig(world.here, options.split(), [("web.service.mesh", kind)])
        return len(dug.answers), "tc" in dug.flags

    assert got("+noedns") == (3, False)
    assert got("+bufsize=512", "SRV") == (3, False)
    script.run("options enable_truncate=true")
    assert got("+noedns +ignore") == (3, True)
    assert got("+noedns") == (40, False)
    assert got("+dnssec +bufsize=512 +ignore", "SRV") == (3, True)
    assert got("+dnssec +bufsize=512", "SRV") == (40, False)
    some, truncated = got("+dnssec +bufsize=1232 +ignore", "SRV")
    assert 15 < some < 40
    assert truncated
    assert got("+dnssec +bufsize=4096 +ignore", "SRV") == (40, False)
    assert got("+tcp +ignore", "SRV") == (40, False)


def test_an_idle_node_takes_no_more_memory_than_consul(world: Nodes) -> None:
    """An idle Consul 1.10 server has 66 to 94 MB resident on the machine of docs/performance.md."""
    assert max(world.idle_megabytes) < 94, world.idle_megabytes


def test_an_agent_answers_with_what_it_holds_unless_it_is_told_not_to(world: Nodes) -> None:
    script = LiveScript(world)
    script.run("register node=n1 address=10.0.0.1 service=web port=80")
    front = "options alt_domain=Corp.Example."

    def held(asks: int) -> int:
        """How many of so many questions are answered with what is held."""
        before = _counted(world.front, "mesh_discovery_held_hits")
        for _ in range(asks):
            script.run("ask web.service.mesh A")
        return _counted(world.front, "mesh_discovery_held_hits") - before

    script.run(front)
    eventually(lambda: held(5) == 5)
    script.run(f"{front} cache_max_age_seconds=1")
    eventually(lambda: held(5) == 5)
    script.run(f"{front} use_cache=false")
    assert held(5) == 0
    script.run(f"{front} allow_stale=false")
    assert held(5) == 0
    script.run(f"{front} allow_stale=false use_cache=true")
    eventually(lambda: held(5) == 5)


def _counted(node: Meshd, name: str) -> int:
    """A counter since the start."""
    url = f"http://{node.address}:{node.http}/v1/agent/metrics?format=prometheus"
    with urllib.request.urlopen(url, timeout=60) as response:
        rows = [line.split() for line in response.read().decode().splitlines()]
    return sum(int(float(row[1])) for row in rows if row[0] == name)
