"""The network doctor between network namespaces whose faults are real: it names each of them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.gossip.netns.member import Member
from tests.gossip.netns.network import Network, network, why_not
from tests.gossip.serf.harness import until

pytestmark = pytest.mark.netns

MEMBERS = 4
BEHIND = "10.77.0.222"
"""What others see of a member behind a NAT."""


@pytest.fixture
def net() -> Iterator[Network]:
    if reason := why_not():
        pytest.skip(reason)
    with network(MEMBERS) as made:
        yield made


@pytest.fixture
async def pool(net: Network, tmp_path: Path) -> AsyncIterator[list[Member]]:
    members = [
        Member(f"m{n}", net.address(n), net.prefix(n), tmp_path / f"m{n}.log") for n in net.numbers
    ]
    everybody = {member.name: "alive" for member in members}
    try:
        await asyncio.gather(*(member.start() for member in members))
        for member in members[1:]:
            assert await member.ask("join", net.address(1)) == 1
        for member in members:

            async def sees(member: Member = member) -> bool:
                return bool(await member.ask("members") == everybody)

            await until(sees, f"{member.name} sees everybody")
        yield members
    finally:
        for member in members:
            await member.end()


def one_way(net: Network) -> None:
    net.block("udp", 1, 2)


def to_one(net: Network) -> None:
    net.rule(3, "meta l4proto udp")


def both_ways(net: Network) -> None:
    net.block("udp", 1, 4)
    net.block("udp", 4, 1)


def no_tcp(net: Network) -> None:
    net.rule(2, f"ip saddr {net.address(4)} tcp dport 7946")


def small_mtu(net: Network) -> None:
    net.set_mtu(2, 1000)


def losses(net: Network) -> None:
    net.rule(4, f"ip saddr {net.address(3)} meta l4proto udp numgen random mod 100 < 50")


def rewritten(net: Network) -> None:
    # Without memory, or what answers a ping from outside would keep its address.
    rules = (
        "table ip rewritten { chain out { type filter hook postrouting priority 300; "
        f"meta l4proto udp ip saddr set {BEHIND}\n}}\n}}\n"
    )
    command = [*net.prefix(3), "nft", "-f", "-"]
    done = subprocess.run(command, input=rules, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this kernel cannot rewrite addresses: {done.stderr}")


def nothing(net: Network) -> None:
    pass


@pytest.mark.parametrize(
    ("fault", "found", "words"),
    [
        (nothing, [], ""),
        (one_way, [("udp-one-way", "m1", "m2")], "UDP from m1 to m2 at 10.77.0.2:7946 is blocked"),
        (to_one, [("udp-one-way", "", "m3")], "from each of 3 others to m3 at 10.77.0.3:7946"),
        (both_ways, [("udp-both-ways", "m1", "m4")], "(10.77.0.4:7946) is blocked both ways"),
        (no_tcp, [("tcp", "m4", "m2")], "TCP from m4 to m2 at 10.77.0.2:7946 does not work"),
        (small_mtu, [("mtu", "", "m2")], "datagrams of 1400 bytes from each of 3 others to m2"),
        (losses, [("loss", "m3", "m4")], "UDP datagrams from m3 to m4 at 10.77.0.4:7946 were lost"),
        (rewritten, [("nat", "m3", "")], f"from {BEHIND}:"),
    ],
)
async def test_each_fault_is_named(
    net: Network,
    pool: list[Member],
    fault: Callable[[Network], None],
    found: list[tuple[str, str, str]],
    words: str,
) -> None:
    fault(net)
    # Whoever asks, also one that the fault befalls, and at the same time. Slowness is a
    # consequence, or other tests'.
    for report in await asyncio.gather(pool[0].ask("examine"), pool[2].ask("examine")):
        faults = [one for one in report["findings"] if one[0] != "slow"]
        assert [tuple(one[:3]) for one in faults] == found, report
        assert all(words in one[3] for one in faults), faults
        assert len(report["cells"]) == MEMBERS * (MEMBERS - 1)
