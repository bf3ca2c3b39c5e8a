"""meshctl exec: run a command on many nodes at once."""

from __future__ import annotations

import time

import msgspec

from mesh import codec
from mesh.agent.execution import EVENT, PREFIX, Job
from mesh.cli.command import FAILED, OK, Command, Example
from mesh.cli.event import FILTERS
from mesh.cli.flags import Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.cli.progress import Progress
from mesh.client import Client, ReadOptions
from mesh.client.kv import Lock
from mesh.client.session import Terms
from mesh.clock import SystemClock
from mesh.durations import parse_duration
from mesh.errors import Busy, Conflict, Invalid, NoLeader

SCRIPT_MAX_BYTES = 256 * 1024
EXPIRES_SECONDS = 120.0
"""Nodes do not begin the job later than this: clocks may differ by some seconds."""
POLL_SECONDS = 5.0
RETRY_SECONDS = 0.5
TTL_SECONDS = 15.0
"""Of the session; it is renewed at each poll."""
LATE_SECONDS = 10.0
"""How long after its time a job may take to say that it was ended."""
SOME_FAILED = 2


class Ran(msgspec.Struct, rename="pascal"):
    """What came of it on one node."""

    exit: int | None = None
    output: str = ""


def execute(invocation: Invocation) -> int:
    """Leave the job in the KV, tell the agents, and show what they write there."""
    parsed = invocation.parsed
    quiet, longest = _seconds(parsed, "wait", 2.0), _seconds(parsed, "timeout", 600.0)
    job = _job(invocation, longest)
    client = invocation.client
    session = _leave(client, job)
    try:
        payload = codec.to_json({"Prefix": PREFIX, "Session": session})
        filters = {name: parsed.text(name) for name in ("node", "service", "tag")}
        client.event.fire(EVENT, payload, **filters)
        with Progress(invocation.out, "Waiting for nodes to take it", waits=True) as progress:
            show = Show(invocation, session, progress)
            show.follow(quiet, longest)
    finally:
        # Nodes where it still runs end it when the job is gone.
        client.session.destroy(session)
        client.kv.delete_under(f"{PREFIX}/{session}/")
    return show.end()


def _leave(client: Client, job: Job) -> str:
    """Write the job, held by a session that takes it away when we are killed; the session."""
    terms = Terms(
        name="meshctl exec", behavior="delete", ttl_seconds=TTL_SECONDS, lock_delay_seconds=0.0
    )
    session = client.session.create(terms)
    if not client.kv.put(f"{PREFIX}/{session}/job", codec.to_json(job), lock=Lock(session)):
        raise Conflict("the session ended before the job was written; try again")
    return session


def _job(invocation: Invocation, seconds: float) -> Job:
    words = invocation.parsed.arguments
    expires = SystemClock().wall() + EXPIRES_SECONDS
    if words == ["-"]:
        script = invocation.stdin.read(SCRIPT_MAX_BYTES + 1)
        if not script.strip() or len(script) > SCRIPT_MAX_BYTES:
            raise Usage(f"-: expected a script of 1 to {SCRIPT_MAX_BYTES} bytes on standard input")
        return Job(script=script, seconds=seconds, expires=expires)
    if invocation.parsed.text("shell") == "false":
        return Job(args=words, seconds=seconds, expires=expires)
    return Job(command=" ".join(words), seconds=seconds, expires=expires)


def _seconds(parsed: Parsed, name: str, default: float) -> float:
    text = parsed.text(name)
    try:
        seconds = parse_duration(text) if text else default
    except Invalid as error:
        raise Usage(f"--{name}: {error.message}") from error
    if seconds <= 0:
        raise Usage(f"--{name}: expected more than 0")
    return seconds


class Show:
    """What the nodes wrote so far, printed as it comes."""

    def __init__(self, invocation: Invocation, session: str, progress: Progress) -> None:
        self._client, self._out = invocation.client, invocation.out
        self._progress, self._verbose = progress, invocation.parsed.switch("verbose")
        self._session, self._prefix = session, f"{PREFIX}/{session}/"
        self._seen: set[str] = set()
        self._renewed = SystemClock().monotonic()
        self._line: dict[str, str] = {}
        """What each node said after its last whole line."""
        self.nodes: dict[str, Ran] = {}

    def follow(self, quiet: float, longest: float) -> None:
        """Until whoever took the job has ended it and nobody else came for a while, or too long."""
        clock = SystemClock()
        last_news = clock.monotonic()
        until, index = last_news + longest + LATE_SECONDS, 0
        while True:
            running = any(ran.exit is None for ran in self.nodes.values())
            pause = (until if running else last_news + quiet) - clock.monotonic()
            if pause <= 0:
                return
            options = ReadOptions(index=index, wait_seconds=min(pause, POLL_SECONDS))
            try:
                index, news = self._look(options)
            except (NoLeader, Busy):  # Soon over, and no reason to end the job on every node.
                time.sleep(min(pause, RETRY_SECONDS))
                index, news = 0, False
            if news:
                last_news = clock.monotonic()

    def _look(self, options: ReadOptions) -> tuple[int, bool]:
        """Take what is new; the index to go on from, and whether there was anything."""
        self._renew(SystemClock().monotonic())
        found = self._client.kv.keys(self._prefix, options=options)
        fresh = [key for key in found.value if key not in self._seen]
        if fresh:
            with self._progress.aside():
                for key in fresh:
                    self._take(key)
            ended = sum(ran.exit is not None for ran in self.nodes.values())
            self._progress.say(f"{ended} of {len(self.nodes)} nodes have ended it")
        return found.index, bool(fresh)

    def _renew(self, now: float) -> None:
        if now - self._renewed < POLL_SECONDS:
            return
        if self._client.session.renew(self._session) is None:
            raise Conflict("the session of the job has ended, and with it the job on every node")
        self._renewed = now

    def _take(self, key: str) -> None:
        rest = key.removeprefix(self._prefix)
        node, _, name = rest.rpartition("/")
        if not node:
            pass  # The job itself.
        elif name == "ack":
            self.nodes.setdefault(node, Ran())
            if self._verbose:
                self._out.note(f"{node}: has taken it")
        elif name == "exit":
            self._exit(node, self._value(key))
        elif node.endswith("/out"):
            self._say(node.removesuffix("/out"), self._value(key).decode(errors="replace"))
        self._seen.add(key)

    def _value(self, key: str) -> bytes:
        pair = self._client.kv.get(key).value
        return pair.value if pair is not None else b""

    def _say(self, node: str, text: str) -> None:
        self.nodes.setdefault(node, Ran()).output += text
        whole, middle, self._line[node] = (self._line.get(node, "") + text).rpartition("\n")
        if middle and not self._out.as_json:
            self._out.lines(None, [f"{node}: {line}" for line in whole.split("\n")])

    def _exit(self, node: str, value: bytes) -> None:
        if self._line.get(node):
            self._say(node, "\n")
        ran = self.nodes.setdefault(node, Ran())
        ran.exit = int(value) if value.lstrip(b"-").isdigit() else FAILED
        if ran.exit or self._verbose:
            self._out.note(f"{node}: ended with code {ran.exit}")

    def end(self) -> int:
        """Say what came of it in all; the exit code. Raises Conflict when nobody took the job."""
        if not self.nodes:
            raise Conflict(
                "no agent took the job. Agents take jobs only with disable_remote_exec = false, "
                "and only those that --node, --service and --tag let through"
            )
        running = sorted(node for node, ran in self.nodes.items() if ran.exit is None)
        failed = [node for node, ran in self.nodes.items() if ran.exit]
        if self._out.as_json:
            self._out.json({"Session": self._session, "Nodes": self.nodes})
        count = len(self.nodes)
        self._out.note(f"{count - len(running)} of {count} nodes that took the job have ended it.")
        if running:
            self._out.note(f"Not ended: {', '.join(running)}")
        return SOME_FAILED if failed or running else OK


COMMANDS = {
    "exec": Command(
        execute,
        about="Run a command on every node, or on those that the filters let through, and show\n"
        "what it says. Agents take such jobs only when their operator set disable_remote_exec to\n"
        "false; they run as the agent's user. Ctrl-C ends it everywhere. With - the command is a\n"
        "script on standard input. Words after the command's name are its own.",
        examples=(
            Example("exec uptime", "On every node that lets you"),
            Example("exec --service ^web systemctl reload nginx", "Where a web service runs"),
            Example("exec --node ^db --timeout 1h - < backup.sh", "A script, for up to an hour"),
        ),
        arguments=(Argument("COMMAND", many=True),),
        flags=(
            *FILTERS,
            Flag("wait", "how long to wait for nodes that say nothing (2s)", value="DURATION"),
            Flag("timeout", "end it on nodes where it takes longer (10m)", value="DURATION"),
            Flag("verbose", "say which node takes it, and which one has ended it", "switch"),
            Flag("shell", "run it through the shell; on unless =false", "switch"),
        ),
        exits=("1: no agent took it", "2: it failed or did not end somewhere, or wrong usage"),
        passes_on=True,
    ),
}
