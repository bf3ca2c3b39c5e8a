"""Clients of a simulated world: each writes and reads, one operation after the other."""

from __future__ import annotations

from collections.abc import Callable

from mesh.clock import SeededDice
from mesh.errors import DiskFull, MeshError
from tests.sim.checks import Violation
from tests.sim.server import Server
from tests.sim.world import World

PATIENCE_SECONDS = 1.0  # After that a client takes its operation for unknown and goes on.


class Client:
    """One client: an operation, its answer, a pause."""

    def __init__(self, world: World, name: str, think_seconds: float) -> None:
        self._world, self._name, self._think = world, name, think_seconds
        self._dice = SeededDice(world.dice.below(1 << 30))
        self._number = 0
        self._open = 0  # Operations without an answer yet.
        self.stopped = False

    @property
    def unanswered(self) -> int:
        return self._open

    def begin(self) -> None:
        """Start, and go on until stopped."""
        self._pause()

    def _pause(self) -> None:
        seconds = self._dice.uniform(0.0, 2 * self._think)
        self._world.timeline.after(seconds, self._act, f"{self._name} acts")

    def _act(self) -> None:
        if self.stopped:
            return
        server = self._server()
        if not server.taking_part:
            self._pause()
            return
        kind = self._dice.below(10)
        self._number += 1
        number = self._number

        def go_on() -> None:
            if number == self._number and not self.stopped:
                self._number += 1
                self._pause()

        self._world.timeline.after(PATIENCE_SECONDS, go_on, f"{self._name} gives up")
        if kind < 6:
            self._write(server, go_on)
        elif kind < 9:
            self._barrier(server, go_on)
        else:
            self._lease(server, go_on)

    def _server(self) -> Server:
        leader = self._world.leader
        if leader is not None and self._dice.below(2):
            return leader
        return self._world.servers[self._dice.choice(self._world.names)]

    def _write(self, server: Server, go_on: Callable[[], None]) -> None:
        checks, floor, answers = self._world.checks, self._world.checks.newest, list[int]()
        command = f"{self._name} {self._number} ".encode() * (1 + self._dice.below(8))
        self._open += 1

        def done(index: int, _result: object, error: MeshError | None) -> None:
            answers.append(index)
            if len(answers) > 1:
                raise Violation("answers", f"{self._name} was answered twice")
            self._open -= 1
            if error is None:
                checks.acknowledge(index, command, floor)
            checks.refused += isinstance(error, DiskFull)
            go_on()

        server.replica.propose(command, done)
        server.pump()

    def _barrier(self, server: Server, go_on: Callable[[], None]) -> None:
        checks, floor = self._world.checks, self._world.checks.newest
        self._open += 1

        def done(error: MeshError | None) -> None:
            self._open -= 1
            if error is None:
                server.look()
                checks.read("barrier", server.state.index, floor)
            go_on()

        server.replica.barrier(done)
        server.pump()

    def _lease(self, server: Server, go_on: Callable[[], None]) -> None:
        checks = self._world.checks
        if server.leased:
            checks.read("lease", server.state.index, checks.newest)
        go_on()
