"""./dev demo: the cluster of cluster-compose.yml as local processes, with a live screen."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from mesh.cli import certificates, compose, picture
from mesh.cli.command import FAILED, OK, WRONG_USE, Command, Example, parse
from mesh.cli.flags import Flag, Parsed, Usage
from mesh.cli.help import explain
from mesh.cli.picture import DNS_PORT, HTTP_PORT, Observer, Picture
from mesh.cli.processes import Ended, Processes
from mesh.cli.screen import Lines, LiveScreen, Screen
from mesh.clock import Clock, SystemClock
from mesh.connect import binary
from mesh.errors import Conflict, MeshError, NotFound, Unreachable

TOP = Path(__file__).parent.parent.parent
LOOK_SECONDS = 0.5
LOOK_OFTEN_SECONDS = 0.1
NETWORKS = range(77, 177)
PORTS = (8080, 8300, 8301, 8500, 8600)
CLAIM_PORT = 8599
LOCALHOST = "127.0.0.1"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

COMMAND = Command(
    lambda _: OK,
    about="Run the cluster of cluster-compose.yml as local processes, each on a loopback address\n"
    "of its own, and show what happens in it. Ctrl-C stops everything.",
    examples=(
        Example("demo", "As ./dev demo: the live screen"),
        Example("demo --plain", "A line for every change"),
        Example("demo --once", "Start, wait until all is well, stop; exit code 0"),
    ),
    flags=(
        Flag("plain", "print lines instead of drawing a screen", "switch"),
        Flag("once", "stop as soon as the cluster works; exit code 1 if it never does", "switch"),
        Flag("check", "the same as --once", "switch"),
        Flag("timeout", "how long --once waits; 60 unless told", "number", value="SECONDS"),
        Flag("file", "the compose file; cluster-compose.yml unless told", value="FILE"),
    ),
    asks_agent=False,
)


class Place(NamedTuple):
    """Where a demo runs: the start of its addresses, and the socket that claims them."""

    loopback: str
    claim: socket.socket
    publish: bool


class Demo:
    """One run: its processes, who watches them, and where it is shown."""

    def __init__(self, path: Path, place: Place, clock: Clock) -> None:
        file = compose.read(path)
        self.cluster = compose.processes(file, place.loopback, publish=place.publish)
        self._clock = clock
        self._started = clock.monotonic()
        self.processes = Processes(clock)
        self._observer = Observer(self.cluster.nodes, self.callers)
        self.stopping = threading.Event()
        self.picture = Picture()
        self.has_envoy = _has_envoy()
        self._certify()
        self._copy_definitions(path.parent / "demo", compose.networks_of(file), place.loopback)

    @property
    def elapsed_seconds(self) -> float:
        """Since the start."""
        return self._clock.monotonic() - self._started

    @property
    def callers(self) -> list[compose.Process]:
        """Who calls another service by its sidecar."""
        return [one for one in self.cluster.processes if "-via" in one.command]

    @property
    def is_connected(self) -> bool:
        """Whether all of them get through, or cannot, since there is no Envoy."""
        return not self.has_envoy or all(one.state == "open" for one in self.picture.edges)

    def start(self) -> None:
        """Start every process."""
        for process in self.cluster.processes:
            self.processes.start(process)

    def stop(self) -> None:
        """End every process and remove what they wrote."""
        self._observer.close()
        self.processes.stop()

    def look(self, screen: Screen) -> list[Ended]:
        """See what there is, show it and tell what changed. Returns who has ended."""
        ended = self.processes.ended()
        for one in ended:
            words = f": {one.last_words[-1]}" if one.last_words else ""
            screen.tell(
                f"process {one.name} ended with code {one.code}{words}", self.elapsed_seconds
            )
        seen = self._observer.look()
        for change in picture.changes(self.picture, seen):
            screen.tell(change, self.elapsed_seconds)
        self.picture = self.picture.after(seen)
        screen.show(self.picture, self.processes.pids(), self.elapsed_seconds)
        return ended

    def commands(self) -> list[str]:
        """What to try in another terminal."""
        at = {process.name: process.address for process in self.cluster.processes}
        asked = LOCALHOST if self.cluster.published else self.cluster.nodes[-1].address
        ask = "" if self.cluster.published else f" --http-addr {asked}:{HTTP_PORT}"
        pids = self.processes.pids()
        wanted = {
            "server1": f"kill -9 {pids.get('server1')}       (server1)",
            "server2": "./dev run meshctl kv get hello"
            f" --http-addr {at.get('server2')}:{HTTP_PORT}",
            "web": f"curl {at.get('web')}:8080",
            "payments1": f"curl -X POST {at.get('payments1')}:8080/fail       (or /recover)",
            "payments2": f"kill -9 {pids.get('payments2')}       (payments-2)",
        }
        return [
            f"http://{asked}:{HTTP_PORT}/       (the web UI, in a browser)",
            f"./dev run meshctl members{ask}",
            f"./dev run meshctl catalog services{ask}",
            f"./dev run meshctl kv put hello world{ask}",
            f"./dev run meshctl intention deny web payments{ask}       (or allow)",
            f"./dev run meshctl proxy list{ask}",
            f"dig @{asked} -p {DNS_PORT} {picture.WATCHED}.service.{picture.DOMAIN} SRV",
            *(
                wanted[name]
                for name in ("server2", "web", "payments1", "payments2", "server1")
                if name in at
            ),
        ]

    def _certify(self) -> None:
        """Make the certificates where every node looks for them."""
        folder = self.processes.folder / certificates.FOLDER
        certificates.make(folder, self.cluster.certified)
        for process in self.cluster.nodes:
            own = self.processes.folder / process.name
            own.mkdir()
            (own / certificates.FOLDER).symlink_to(folder)

    def _copy_definitions(self, source: Path, networks: set[str], loopback: str) -> None:
        """Give every process the folder `demo` as its container has it, addresses moved."""
        for process in self.cluster.processes:
            target = self.processes.folder / process.name / "demo"
            shutil.copytree(source, target)
            for file in target.rglob("*.yaml"):
                file.write_text(compose.moved(file.read_text(), networks, loopback))


def _has_envoy() -> bool:
    try:
        binary.find()
    except NotFound:
        return False
    return True


def find_place(file: compose.File) -> Place:
    """A loopback network nobody uses. Raises Conflict when there is none."""
    free_here = _is_free(LOCALHOST, 8500) and _is_free(LOCALHOST, 8600)
    for number in NETWORKS:
        loopback = f"127.0.{number}"
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind((f"{loopback}.1", CLAIM_PORT))
        except OSError:
            claim.close()
            continue
        cluster = compose.processes(file, loopback, publish=False)
        if all(_is_free(one.address, port) for one in cluster.processes for port in PORTS):
            return Place(loopback, claim, free_here)
        claim.close()
    raise Conflict(
        "no loopback network from 127.0.77.0 to 127.0.176.0 can be used. On macOS only 127.0.0.1 "
        "exists: add the others with `sudo ifconfig lo0 alias 127.0.77.11` and so on"
    )


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # What an earlier demo left in TIME_WAIT does not stand in the way.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def watch(demo: Demo, screen: Screen) -> int:
    """Show the cluster until somebody stops the demo."""
    while not demo.stopping.is_set():
        ended = demo.look(screen)
        if ended and not demo.picture.leader and demo.elapsed_seconds < 10:
            screen.close()
            raise _fall(ended[0])
        demo.stopping.wait(LOOK_SECONDS)
    return OK


def wait_until_well(demo: Demo, screen: Screen, timeout_seconds: float) -> int:
    """Wait for a leader and for every instance in every node's DNS; tell how long each took."""
    count = sum(name.startswith(picture.WATCHED) for name in _names(demo))
    led = named = False
    while not demo.stopping.is_set():
        if ended := demo.look(screen):
            raise _fall(ended[0])
        if demo.picture.leader and not led:
            led = True
            screen.tell("a leader: ready for writes", demo.elapsed_seconds)
        if demo.picture.agrees_on(count) and not named:
            named = True
            screen.tell(f"every node's DNS names all {count}", demo.elapsed_seconds)
        if named and demo.is_connected:
            return OK
        if demo.elapsed_seconds > timeout_seconds:
            raise Unreachable(
                f"not well within {timeout_seconds:.0f} s: leader {demo.picture.leader or 'none'}, "
                f"DNS {demo.picture.dns}, calls {demo.picture.edges}"
            )
        demo.stopping.wait(LOOK_OFTEN_SECONDS)
    return FAILED


def _names(demo: Demo) -> list[str]:
    return [process.name for process in demo.cluster.processes]


def _fall(ended: Ended) -> MeshError:
    words = "\n  ".join(ended.last_words)
    return Unreachable(f"{ended.name} ended with code {ended.code}; its last words:\n  {words}")


def run(parsed: Parsed, stream: TextIO, clock: Clock) -> int:
    """Run the demo as the flags say; returns the exit code."""
    once = parsed.switch("once") or parsed.switch("check")
    path = Path(parsed.text("file") or TOP / "cluster-compose.yml")
    place = find_place(compose.read(path))
    with ExitStack() as stack:
        stack.enter_context(place.claim)
        demo = Demo(path, place, clock)
        stack.callback(_stop, demo, stream)
        _heed_signals(demo)
        demo.start()
        plain = once or parsed.switch("plain") or not stream.isatty()
        screen = (Lines if plain else LiveScreen)(stream, [] if once else demo.commands())
        stack.callback(screen.close)
        if not place.publish:
            screen.tell(f"{LOCALHOST}:8500 or :8600 is taken; ask 127.0.x.y", 0.0)
        if once:
            return wait_until_well(demo, screen, parsed.number("timeout") or 60)
        return watch(demo, screen)


def _heed_signals(demo: Demo) -> None:
    """The first signal ends the demo in good order, the second by force."""

    def heed(_number: int, _frame: object) -> None:
        if demo.stopping.is_set():
            demo.processes.hurry.set()
        demo.stopping.set()

    for number in SIGNALS:
        signal.signal(number, heed)


def _stop(demo: Demo, stream: TextIO) -> None:
    before = demo.elapsed_seconds
    demo.stopping.set()
    demo.stop()
    with suppress(OSError):  # The terminal may be gone.
        stream.write(f"Everything stopped, in {demo.elapsed_seconds - before:.2f} s.\n")
        stream.flush()


def main(words: list[str]) -> int:
    """Run from the command line."""
    try:
        parsed = parse("demo", COMMAND, words)
        if parsed.switch("help"):
            sys.stdout.write(explain("demo", COMMAND).replace("meshctl demo", "./dev demo"))
            return OK
        return run(parsed, sys.stdout, SystemClock())
    except Usage as error:
        sys.stderr.write(f"demo: {error.message.replace('meshctl demo', './dev demo')}\n")
        return WRONG_USE
    except MeshError as error:
        sys.stderr.write(f"demo: {error.message}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
