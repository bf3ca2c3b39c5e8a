"""Real `serf agent` processes and nodes of ours beside them, each on addresses of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ctypes
import json
import re
import secrets
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from mesh.clock import SeededDice, SystemClock
from mesh.gossip.driver import Gossip
from mesh.gossip.keyring import Keyring
from mesh.gossip.profiles import LocalOptions

KEY = bytes(range(32))
"""A key for pools that are encrypted."""
PATIENCE_SECONDS = 90.0
"""How long a condition may take on a busy machine before the test fails."""
POLL_SECONDS = 0.1
CLIENT_GONE = r"agent\.ipc: [Ff]ailed to (stream|send|write|decode)"
"""What an agent logs when its command line ends before it has read everything."""
LATE = r"memberlist: failed to receive: read .* i/o timeout"
"""What an agent of profile `local` logs when nothing came on a connection for a second."""
ADDRESS_TRIES = 20


class Theirs(msgspec.Struct):
    """A member as `serf members -format json` shows it."""

    name: str
    addr: str
    status: str
    tags: dict[str, str]


class _Listing(msgspec.Struct):
    members: list[Theirs]


def draw_address() -> str:
    """A loopback address that no other test has: 127.64.0.1 to 127.255.254.254, at random.

    Tests run in several processes, and in several checkouts on one machine.
    """
    numbers = (64 + secrets.randbelow(192), secrets.randbelow(255), 1 + secrets.randbelow(254))
    return "127.{}.{}.{}".format(*numbers)


def draw_port(address: str) -> int:
    """A port that is free there for datagrams and streams."""
    for _ in range(ADDRESS_TRIES):
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            stream.bind((address, 0))
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"{address}: no port is free for both")


def why_not() -> str:
    """Why tests with serf cannot run; empty when they can."""
    if shutil.which("serf") is None:
        return "serf is not on PATH (Debian package: serf)"
    return ""


async def until(true: Callable[[], bool | Awaitable[bool]], what: str = "") -> None:
    """Wait until this is so; a coroutine function is asked again and again."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = true()
                if isinstance(answer, Awaitable):
                    answer = await answer
                if answer:
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_SECONDS:.0f} s: {what or true}") from None


class Serf:
    """A `serf agent`, its command line and its log. Ends with the process that started it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        profile: str = "local",
        key: str = "",
        tags: Mapping[str, str] | None = None,
        snapshot: Path | None = None,
        address: str = "",
        prefix: Sequence[str] = (),
        more: Sequence[str] = (),
    ) -> None:
        """`key` is base64; `more` are further arguments of `serf agent`.

        `prefix` goes before every command line, to run it in another network; all ports are free
        there.
        """
        self.name = name
        self.address = address or draw_address()
        self.port = 7946 if prefix else draw_port(self.address)
        self.bind = f"{self.address}:{self.port}"
        self._rpc = f"{self.address}:{7373 if prefix else draw_port(self.address)}"
        self._prefix = prefix
        self._log = folder / f"{name}-{self.port}.log"
        options = ["-node", name, "-profile", profile, "-bind", self.bind, "-rpc-addr", self._rpc]
        options += ["-log-level", "debug"]
        options += ["-encrypt", key] if key else []
        options += ["-snapshot", str(snapshot)] if snapshot else []
        for tag, value in (tags or {}).items():
            options += ["-tag", f"{tag}={value}"]
        self._arguments = [*prefix, *_bound_to_us(), "serf", "agent", *options, *more]
        self.process: asyncio.subprocess.Process | None = None

    # Life

    async def start(self) -> None:
        """Start it, or start it again after its end; returns once it answers its command line."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        await until(self._answers, f"{self.name} answers\n{self._log.read_text()}")

    async def _answers(self) -> bool:
        assert self.running, f"{self.name} ended:\n{self._log.read_text()}"
        output = await self.ask("members", "-format", "json")
        return output.lstrip().startswith("{")

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be frozen)."""
        return self.process is not None and self.process.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT, SIGINT (which leaves the pool) and so on."""
        assert self.running, f"{self.name} has ended"
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self) -> None:
        """Until the process ended by itself, or by a signal."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.process.wait()

    async def end(self) -> None:
        """Kill it, as a power cut would."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()

    # Command line

    async def ask(self, verb: str, *arguments: str) -> str:
        """What `serf VERB` prints, errors included."""
        assert self.running, f"{self.name} has ended"
        process = await asyncio.create_subprocess_exec(
            *(*self._prefix, "serf", *verb.split(), f"-rpc-addr={self._rpc}", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return output.decode()

    async def says(self, expected: str, verb: str, *arguments: str) -> None:
        """Ask until the answer holds this."""

        async def asked() -> bool:
            return expected in await self.ask(verb, *arguments)

        await until(asked, f"{expected!r} in the answer of {self.name} to {verb} {arguments}")

    async def members(self) -> dict[str, Theirs]:
        """The member list of the agent, by name."""
        output = await self.ask("members", "-format", "json")
        listing = msgspec.json.decode(output, type=_Listing)
        return {member.name: member for member in listing.members}

    async def statuses(self) -> dict[str, str]:
        """`alive`, `leaving`, `left` or `failed` by name."""
        return {name: member.status for name, member in (await self.members()).items()}

    async def sees(self, **statuses: str) -> None:
        """Wait until these members have these statuses; others do not matter."""

        async def seen() -> bool:
            return statuses.items() <= (await self.statuses()).items()

        await until(seen, f"{self.name} sees {statuses}\n{self.log()[-2000:]}")

    async def stats(self) -> dict[str, dict[str, str]]:
        """`serf info`: what the agent says of itself, by section."""
        found: dict[str, dict[str, str]] = json.loads(await self.ask("info", "-format", "json"))
        return found

    # Log

    def log(self) -> str:
        """All it has logged so far, at level debug."""
        return self._log.read_text(errors="replace")

    def lines(self, pattern: str) -> list[str]:
        """The log lines in which this regular expression is found."""
        return [line for line in self.log().splitlines() if re.search(pattern, line)]

    async def logs(self, pattern: str) -> None:
        """Wait for a log line like this."""
        await until(lambda: bool(self.lines(pattern)), f"{pattern!r} in the log of {self.name}")


def _bound_to_us() -> list[str]:
    """A prefix that makes a program end when this process does, even when that is killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


class Agents:
    """The serf agents of one test, with the key of the test unless told otherwise."""

    def __init__(self, folder: Path, key: bytes = b"") -> None:
        self.folder, self.key = folder, key
        self.all: list[Serf] = []
        self._allowed = [CLIENT_GONE, LATE]

    def make(self, name: str = "theirs", **options: object) -> Serf:
        """An agent that is not started yet; options are those of `Serf`."""
        options = {"key": base64.b64encode(self.key).decode(), **options}
        agent = Serf(name, self.folder, **options)  # type: ignore[arg-type]
        self.all.append(agent)
        return agent

    async def start(self, name: str = "theirs", **options: object) -> Serf:
        """An agent that runs."""
        agent = self.make(name, **options)
        await agent.start()
        return agent

    async def pool(self, *names: str, **options: object) -> list[Serf]:
        """Several agents that have joined each other."""
        agents = [await self.start(name, **options) for name in names]
        for agent in agents[1:]:
            await agent.says("Successfully", "join", agents[0].bind)
        return agents

    def allow(self, pattern: str, why: str) -> None:
        """Error lines like this are expected in this test, for this reason."""
        assert why
        self._allowed.append(pattern)

    def errors(self) -> list[str]:
        """The lines of level error that are not allowed, of all agents."""
        found = (line for agent in self.all for line in agent.lines(r"\[ERR\]"))
        return [line for line in found if not any(re.search(one, line) for one in self._allowed)]

    async def end(self) -> None:
        """End every agent."""
        for agent in self.all:
            await agent.end()


class Ours:
    """The nodes of ours in one test. Their timing is serf's profile `local`, some of it faster."""

    def __init__(self, key: bytes = b"") -> None:
        self.key = key
        self.nodes: list[Gossip] = []

    async def node(
        self,
        name: str = "ours",
        tags: Mapping[str, str] | None = None,
        *,
        make: type[Gossip] = Gossip,
        key: bytes = b"",
        **changes: object,
    ) -> Gossip:
        """A node that runs, encrypted with the key; changes are those of its options."""
        given = {"bind_address": draw_address(), **FASTER, **changes}
        key = key or self.key
        more = {"keyring": Keyring([key], lambda: secrets.token_bytes(12))} if key else {}
        node = make(name, LocalOptions(**given), SystemClock(), SeededDice(), tags, **more)  # type: ignore[arg-type]
        await node.start()
        self.nodes.append(node)
        return node

    async def again(self, node: Gossip, **changes: object) -> Gossip:
        """Another life of a node that was stopped: same name, address and port, nothing kept."""
        options = msgspec.structs.replace(node.options, bind_port=node.address[1], **changes)
        life = Gossip(node.name, options, SystemClock(), SeededDice(), keyring=node.keyring)
        await life.start()
        self.nodes.append(life)
        return life

    async def end(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            await node.stop()


class Deafness:
    """Makes the kernel drop what arrives at a node of ours; on most kernels without any privilege.

    A socket filter that keeps 0 bytes of everything: datagrams vanish, and so do the first packets
    of connections to the listening socket. What the node sends still leaves.
    """

    _DROP = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF: return 0
    _ATTACH, _DETACH = 26, 27  # SO_ATTACH_FILTER, SO_DETACH_FILTER of <asm-generic/socket.h>

    def __init__(self, node: Gossip) -> None:
        datagrams, server = node.transport._datagrams, node.transport._server
        assert datagrams is not None
        assert server is not None
        self._datagrams: socket.socket = datagrams.get_extra_info("socket")
        self._streams = server.sockets[0]

    def datagrams(self) -> None:
        """Drop datagrams from now on."""
        self._drop(self._datagrams)

    def streams(self) -> None:
        """Drop new connections from now on."""
        self._drop(self._streams)

    def end(self) -> None:
        """Hear everything again."""
        for one in (self._datagrams, self._streams):
            with contextlib.suppress(FileNotFoundError):
                one.setsockopt(socket.SOL_SOCKET, self._DETACH, 0)

    def _drop(self, one: socket.socket) -> None:
        code = ctypes.create_string_buffer(self._DROP)
        program = struct.pack("HL", 1, ctypes.addressof(code))
        try:
            one.setsockopt(socket.SOL_SOCKET, self._ATTACH, program)
        except PermissionError:
            pytest.skip("this kernel lets only root filter the connections of a listening socket")


FASTER: dict[str, object] = {
    "probe_interval_seconds": 0.5,
    "push_pull_interval_seconds": 1.0,
    "reconnect_interval_seconds": 1.0,
    "suspicion_mult": 4,
    "stream_timeout_seconds": 5.0,
    "leave_propagate_seconds": 0.3,
    # Of three peers, `local` tells two. Whoever hears last that a node is about to leave may have
    # heard before that it has gone, and take it for failed.
    "retransmit_mult": 4,
}
"""Verdicts in two seconds; streams get more time than serf's `local` gives on a busy machine."""


def where(node: Gossip) -> str:
    """The address of a node of ours, as `serf join` wants it."""
    return f"{node.address[0]}:{node.address[1]}"


def statuses(node: Gossip) -> dict[str, str]:
    """What a node of ours thinks of each member, in serf's words."""
    return {member.name: member.status.name.lower() for member in node.members()}


async def sees(node: Gossip, **wanted: str) -> None:
    """Wait until a node of ours sees these members like this; others do not matter."""
    await until(
        lambda: wanted.items() <= statuses(node).items(),
        f"{node.name} sees {wanted}",
    )


def bad(node: Gossip) -> dict[str, int]:
    """What a node of ours could not read."""
    return {name: n for name, n in node.counters.items() if n and name.startswith("malformed")}


def kill(names: str) -> tuple[str, str]:
    """What agents may log as errors when members of these names (a|b) die without a word."""
    reason = "agents say that a member which was killed cannot be reached"
    return (
        rf"Failed fallback ping: .*(refused|timeout|reset|EOF)|Push/Pull with ({names}) failed: "
        rf"|Failed to (send|forward) .*(refused|timeout|closed)",
        reason,
    )


def log_seconds(agent: Serf, pattern: str) -> list[int]:
    """When the lines with this pattern were logged, in whole seconds from any start."""
    times = [line.split()[1].split(":") for line in agent.lines(pattern)]
    return [int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in times]


both = pytest.mark.parametrize("key", [b"", KEY], ids=["plain", "encrypted"])
"""Runs a test with a pool in plain text and with an encrypted one."""
