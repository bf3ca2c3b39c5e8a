"""Network namespaces for tests: members on machines of their own, as far as the kernel can tell.

Each member gets a namespace with one interface and a firewall; all hang on one bridge, in one more
namespace. Nothing is left in the machine's own network, so addresses are the same in every run,
and tests side by side never meet. Needs root, and the programs `ip`, `nft` and `tc`.
"""

from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

PREFIX = "meshtest"
MEMBERS_MAX = 200
SUBNET = "10.77.0"
LINK = "eth0"
RUN = Path("/run/netns")
CLONE_NEWNET = 0x40000000

REFUSALS = (
    "Operation not permitted",
    "Permission denied",
    "not supported",
    "Unknown device type",
    "No such file or directory",
    "Specified qdisc kind is unknown",
)
"""Words by which a kernel says that it lacks something, as opposed to a mistake in a command."""

Protocol = Literal["udp", "tcp", "ip"]


@cache
def why_not() -> str:
    """Why these tests cannot run here; empty when they can. Tries all that they use."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    packages = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
    missing = [name for name in packages if shutil.which(name) is None]
    if missing:
        wanted = " ".join(sorted({packages[name] for name in missing}))
        return f"{', '.join(missing)} not on PATH (Debian: {wanted})"
    net = Network(2)
    try:
        net.build()
        net.split([1], [2])
        net.block("udp", 1, 2)
        net.lose(50)
        net.limit("1mbit")
    except subprocess.CalledProcessError as error:
        if not any(word in error.stderr for word in REFUSALS):
            raise
        return f"this kernel refuses: {' '.join(error.cmd)}: {error.stderr.strip()}"
    finally:
        net.remove()
    return ""


class Network:
    """So many members, numbered from 1, and what happens to the packets between them.

    Faults add up until `heal`; those of packets hold for what arrives at a member.
    """

    def __init__(self, members: int) -> None:
        assert 1 <= members <= MEMBERS_MAX
        self.numbers = range(1, members + 1)
        # The process is part of the name, so that a later run can tell what was left behind.
        self._tag = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self._rules: dict[int, list[str]] = {}
        self._lost: dict[int, int] = {}
        self._sets_apart: dict[int, set[int]] = {}

    # Life

    def build(self) -> None:
        """Make all of it. Raises CalledProcessError when the kernel cannot."""
        _sweep()
        switch = self._switch
        _run("ip", "netns", "add", switch)
        _run("ip", "-n", switch, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", switch, "link", "set", "bridge", "up")
        for number in self.numbers:
            space, port = self.namespace(number), f"port{number}"
            _run("ip", "netns", "add", space)
            _run(
                *("ip", "-n", switch, "link", "add", port, "type", "veth"),
                *("peer", "name", LINK, "netns", space),
            )
            _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
            _run("ip", "-n", space, "link", "set", LINK, "up")
            _run("ip", "-n", space, "address", "add", f"{self.address(number)}/24", "dev", LINK)

    def remove(self) -> None:
        """Take all of it away; with the last process in them, the namespaces end."""
        for space in (*map(self.namespace, self.numbers), self._switch):
            _run("ip", "netns", "del", space, check=False)

    @property
    def _switch(self) -> str:
        return f"{self._tag}-switch"

    # Places

    def namespace(self, number: int) -> str:
        """The namespace of a member."""
        return f"{self._tag}-{number}"

    def address(self, number: int) -> str:
        """The address of a member."""
        return f"{SUBNET}.{number}"

    def prefix(self, number: int) -> list[str]:
        """Before a command line, makes it run where this member is."""
        return ["ip", "netns", "exec", self.namespace(number)]

    @contextmanager
    def inside(self, number: int) -> Iterator[None]:
        """Sockets that this thread makes meanwhile are where this member is."""
        with Path("/proc/thread-self/ns/net").open("rb") as home:
            with (RUN / self.namespace(number)).open("rb") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    # Faults

    def split(self, *groups: Iterable[int]) -> None:
        """Members of different groups do not hear each other; who is in no group hears all."""
        self._sets_apart = {}
        parts = [set(group) for group in groups]
        for part in parts:
            others = set().union(*parts) - part
            self._sets_apart |= dict.fromkeys(part, others)
        self._apply()

    def block(self, protocol: Protocol, source: int, target: int) -> None:
        """The target no longer hears the source by this protocol; the other way stays open."""
        where = f"ip saddr {self.address(source)}"
        self.rule(target, where if protocol == "ip" else f"{where} meta l4proto {protocol}")

    def rule(self, number: int, match: str) -> None:
        """Drop what arrives at this member and matches, in the words of nft."""
        self._rules.setdefault(number, []).append(match)
        self._apply()

    def lose(self, percent: int, *numbers: int) -> None:
        """Each packet that arrives at these members (default: all) is lost with this chance."""
        self._lost |= dict.fromkeys(numbers or self.numbers, percent)
        self._apply()

    def limit(self, rate: str, *numbers: int) -> None:
        """What these members (default: all) send is limited, in the words of tc (`256kbit`)."""
        for number in numbers or self.numbers:
            _run(
                *("tc", "-n", self.namespace(number), "qdisc", "replace", "dev", LINK, "root"),
                *("tbf", "rate", rate, "burst", "16kb", "latency", "200ms"),
            )

    def set_mtu(self, number: int, size: int) -> None:
        """The largest packet of this member."""
        _run("ip", "-n", self.namespace(number), "link", "set", LINK, "mtu", str(size))

    def dropped(self, number: int) -> int:
        """Packets that were dropped on arrival at this member, since the faults last changed."""
        rules = _run(*self.prefix(number), "nft", "list", "table", "ip", "mesh")
        return sum(int(count) for count in re.findall(r"counter packets (\d+)", rules))

    def heal(self) -> None:
        """End the split, blocks, rules, losses and limits."""
        self._sets_apart, self._rules, self._lost = {}, {}, {}
        self._apply()
        for number in self.numbers:
            qdisc = ["tc", "-n", self.namespace(number), "qdisc", "del", "dev", LINK, "root"]
            _run(*qdisc, check=False)

    def _apply(self) -> None:
        for number in self.numbers:
            lines = [f"{match} counter drop" for match in self._rules.get(number, [])]
            if apart := self._sets_apart.get(number):
                addresses = ", ".join(self.address(other) for other in sorted(apart))
                lines.append(f"ip saddr {{ {addresses} }} counter drop")
            if percent := self._lost.get(number):
                lines.append(f'iifname "{LINK}" numgen random mod 100 < {percent} counter drop')
            rules = "\n".join(lines)
            # Made, deleted and made again in one transaction: no packet slips through between.
            _run(
                *self.prefix(number),
                *("nft", "-f", "-"),
                given=f"table ip mesh {{}}\ndelete table ip mesh\ntable ip mesh {{ chain input {{\n"
                f"type filter hook input priority 0; policy accept;\n{rules}\n}}\n}}\n",
            )


@contextmanager
def network(members: int) -> Iterator[Network]:
    """A network that is taken away afterwards."""
    made = Network(members)
    try:
        made.build()
        yield made
    finally:
        made.remove()


def _run(*command: str, given: str = "", check: bool = True) -> str:
    return subprocess.run(command, input=given, check=check, capture_output=True, text=True).stdout


def _enter(file: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")


def _sweep() -> None:
    """Remove namespaces of runs that were killed."""
    for space in _left_behind(sorted(path.name for path in RUN.glob(f"{PREFIX}-*"))):
        _run("ip", "netns", "del", space, check=False)


def _left_behind(spaces: Sequence[str]) -> list[str]:
    return [space for space in spaces if not Path("/proc", space.split("-")[1]).exists()]
