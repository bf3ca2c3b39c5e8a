"""meshctl lock: run a command while holding a lock, or one of several places."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from mesh.cli import leash
from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import DATACENTER, Argument, Flag, Parsed, Usage
from mesh.cli.invocation import Invocation
from mesh.client.lock import Holder, Lock, Semaphore
from mesh.client.recipes import HOLDERS_KEY, HoldOptions
from mesh.durations import parse_duration
from mesh.errors import Conflict, Invalid

GRACE_SECONDS = 5.0
"""Between SIGTERM and SIGKILL for a command that has to end."""
CHILD_FAILED = 2
NAME_MAX = 200
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(BaseException):
    """A signal came while nothing was held yet; as KeyboardInterrupt, no error."""


class Watch:
    """Wakes the main thread when a signal came, the command has ended, or the lock is lost."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.stopped = threading.Event()
        self.waiting = True
        """For the lock: a signal is then an end at once."""

    def signalled(self, _number: int, _frame: FrameType | None) -> None:
        """As a handler of signals."""
        self.stopped.set()
        self.woken.set()
        if self.waiting:
            raise _Stopped

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals meanwhile. Only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # What nohup has us ignore stays ignored.
        heard = [one for one in SIGNALS if one != signal.SIGHUP or _hangs_up()]
        before = {number: signal.signal(number, self.signalled) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _hangs_up() -> bool:
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def lock(invocation: Invocation) -> int:
    """Wait for the lock, run the command, give the lock back."""
    parsed, watch = invocation.parsed, Watch()
    seconds = _timeout(parsed)
    arguments = _command(parsed)
    holder = _holder(invocation, watch)
    with watch.listening():
        try:
            _say(invocation, f"Waiting for the lock on {parsed.arguments[0]}")
            held = holder.acquire(seconds)
            watch.waiting = False
        except _Stopped:
            watch.waiting = False
            holder.release()  # It may have been taken at that very moment.
            raise Conflict("stopped while waiting for the lock") from None
        if not held:
            raise Conflict(f"the lock on {parsed.arguments[0]} was not free in time")
        try:
            code = _hold(invocation, holder, watch, arguments)
        finally:
            reason = holder.why_lost
            released = holder.release()
        if not released:
            raise Conflict(f"the lock on {parsed.arguments[0]} was lost: {reason or 'unknown'}")
        if holder.cleanup():
            _say(invocation, "Nobody else uses the lock: its key is deleted")
    if invocation.out.as_json:
        invocation.out.json({"Prefix": parsed.arguments[0], "Held": True, "Exit": code})
    failed = code not in {None, 0}
    return CHILD_FAILED if failed and parsed.switch("child-exit-code") else OK


def _timeout(parsed: Parsed) -> float | None:
    text = parsed.text("timeout")
    try:
        seconds = parse_duration(text) if text else 0.0
    except Invalid as error:
        raise Usage(f"--timeout: {error.message}") from error
    if seconds < 0:
        raise Usage("--timeout: must not be negative")
    return seconds or None


def _command(parsed: Parsed) -> list[str]:
    words = parsed.arguments[1:]
    if parsed.text("shell") != "false":
        return ["/bin/sh", "-c", " ".join(words)]
    found = shutil.which(words[0])
    if found is None:
        raise Usage(f'there is no program "{words[0]}" to run')
    return [found, *words[1:]]


def _holder(invocation: Invocation, watch: Watch) -> Holder:
    parsed = invocation.parsed
    prefix, count = parsed.arguments[0].strip("/"), parsed.number("n")
    if count == 0:
        raise Usage("-n: expected at least 1 holder")
    words = " ".join(parsed.arguments[1:])
    name = parsed.text("name") or f'lock for "{words[:NAME_MAX]}" at {prefix}'
    options = HoldOptions(
        value=name.encode("utf-8", "surrogateescape"),
        session_name=name,
        monitor_retries=parsed.number("monitor-retry"),
        datacenter=parsed.text("datacenter"),
    )
    client = invocation.client

    def lost(_reason: str) -> None:
        watch.woken.set()

    if not prefix:
        raise Usage("lock needs a PREFIX: the folder of keys that the lock lies in")
    if (count or 1) == 1:
        return Lock(client, f"{prefix}/{HOLDERS_KEY}", options, lost)
    return Semaphore(client, prefix, count or 1, options, lost)


def _hold(invocation: Invocation, holder: Holder, watch: Watch, arguments: list[str]) -> int | None:
    """Run the command while the lock is held; its exit code, None when it had to end."""
    if watch.stopped.is_set() or holder.lost.is_set():
        return None
    if not holder.held:  # As after a long pause, before the keeper says so.
        raise Conflict(f"the lock on {invocation.parsed.arguments[0]} was lost before the command")
    passes_stdin = invocation.parsed.switch("pass-stdin")
    # A group of its own, so that all it started can be ended; but only ours may read a terminal.
    group = not (passes_stdin and os.isatty(0))
    child = _start(invocation, holder, arguments, passes_stdin=passes_stdin, group=group)
    _say(invocation, f"The lock is held, with fencing token {holder.taken.index}")

    def wait() -> None:
        child.wait()
        watch.woken.set()

    threading.Thread(target=wait, name="waits for the command", daemon=True).start()
    watch.woken.wait()
    if child.poll() is None:
        lost = f"the lock is lost: {holder.why_lost}"
        why = "stopped" if watch.stopped.is_set() else lost
        invocation.out.note(f"meshctl lock: {why}; ending the command")
        _end(child, group=group)
        return None
    _say(invocation, f"The command ended with code {child.returncode}")
    return child.returncode


def _start(
    invocation: Invocation,
    holder: Holder,
    arguments: list[str],
    *,
    passes_stdin: bool,
    group: bool,
) -> subprocess.Popen[bytes]:
    taken = holder.taken
    held = {
        "CONSUL_LOCK_HELD": "true",
        "MESH_LOCK_HELD": "true",
        "MESH_LOCK_KEY": taken.key,
        "MESH_LOCK_SESSION": holder.session,
        "MESH_LOCK_FENCE": str(taken.index),
    }
    # It dies with us, so that it never works on without the lock. Isolated, so that neither the
    # environment nor the working directory decides which modules the leash loads.
    leashed = [sys.executable, "-I", leash.__file__, str(os.getpid()), *arguments]
    # The command is the one that the user gave.
    return subprocess.Popen(  # noqa: S603
        leashed,
        env={**invocation.environment, **held},
        stdin=None if passes_stdin else subprocess.DEVNULL,
        process_group=0 if group else None,
    )


def _end(child: subprocess.Popen[bytes], *, group: bool) -> None:
    _signal(child, signal.SIGTERM, group=group)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    # Whatever it started and left behind goes too.
    _signal(child, signal.SIGKILL, group=group)
    child.wait()


def _signal(child: subprocess.Popen[bytes], number: signal.Signals, *, group: bool) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if group:
            os.killpg(child.pid, number)
        else:
            child.send_signal(number)


def _say(invocation: Invocation, message: str) -> None:
    if invocation.parsed.switch("verbose"):
        invocation.out.note(f"meshctl lock: {message}.")


COMMANDS = {
    "lock": Command(
        lock,
        about="Wait for the lock on PREFIX, run a command while holding it, and give it back. Of\n"
        "all who ask for the same lock only one has it at a time, or -n of them. When the lock\n"
        "is lost, because no server could be reached for too long or somebody took it, the\n"
        "command gets SIGTERM and five seconds later SIGKILL. It finds CONSUL_LOCK_HELD=true\n"
        "in its environment, and in MESH_LOCK_FENCE a number that is greater each time the\n"
        "lock is taken. Words after the command's name are its own.",
        examples=(
            Example("lock service/backup ./backup.sh", "Never two backups at a time"),
            Example("lock -n 3 service/import ./import.sh", "At most three at a time"),
            Example("lock --timeout 30s service/backup ./backup.sh", "Give up after 30 seconds"),
            Example("lock --child-exit-code service/job ./job.sh", "2 when the job failed"),
        ),
        arguments=(Argument("PREFIX"), Argument("COMMAND", many=True)),
        flags=(
            Flag("n", "how many may hold it at a time (1)", "number", value="COUNT"),
            Flag("name", "what the session is called", value="NAME"),
            Flag("timeout", "give up when it is not free within that", value="DURATION"),
            Flag(
                "monitor-retry",
                "errors in a row after which it counts as lost; unless told, none does before "
                "the session's TTL is over",
                "number",
                value="COUNT",
            ),
            Flag("child-exit-code", "end with 2 when the command failed", "switch"),
            Flag("pass-stdin", "give the command our standard input", "switch"),
            Flag("shell", "run it through the shell; on unless =false", "switch"),
            Flag("verbose", "say what happens, on standard error", "switch"),
            DATACENTER,
        ),
        exits=(
            "1: the lock was not taken, or was lost",
            "2: the command failed (with --child-exit-code), or wrong usage",
        ),
        passes_on=True,
    ),
}
