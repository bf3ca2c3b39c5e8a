"""A gossip member in a process of its own: a JSON command a line in, a JSON answer a line out.

Run as `python -m tests.gossip.netns.member NAME OPTIONS`, with options as JSON.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec

from mesh.clock import SeededDice, SystemClock
from mesh.gossip.diagnosis import cell, findings
from mesh.gossip.driver import Gossip, Options
from mesh.gossip.members import MemberEvent
from tests.gossip.serf.harness import PATIENCE_SECONDS, statuses

LINE_MAX_BYTES = 2**20


class Member:
    """The test's side: starts the process and asks it."""

    def __init__(self, name: str, address: str, prefix: list[str], log: Path) -> None:
        """`prefix` goes before the command line, to run it elsewhere."""
        self.name, self.address, self.log = name, address, log
        self._prefix = prefix
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, **changes: float) -> None:
        """Start it, with these options besides its address; returns once it listens."""
        about = json.dumps({"bind_address": self.address, "bind_port": 7946, **TIMING, **changes})
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(*self._prefix, sys.executable, "-m", "tests.gossip.netns.member"),
                *(self.name, about),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_MAX_BYTES,
            )
        await self.ask("members")

    async def ask(self, verb: str, *arguments: object) -> Any:
        """What a verb of `_Answers` says."""
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([verb, *arguments]).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            line = await process.stdout.readline()
        assert line, f"{self.name} ended:\n{self.log.read_text()}"
        return json.loads(line)

    async def end(self) -> None:
        """Kill it."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.kill()
            await self.process.wait()
            if self.process.stdin is not None:
                self.process.stdin.close()


TIMING = {
    "probe_interval_seconds": 0.5,
    "probe_timeout_seconds": 0.2,
    "gossip_interval_seconds": 0.1,
    "push_pull_interval_seconds": 2.0,
    "reconnect_interval_seconds": 1.0,
    "leave_propagate_seconds": 0.3,
}


class _Answers:
    def __init__(self, node: Gossip) -> None:
        self._node = node
        self._events: list[str] = []
        node.listen(self._note)

    def _note(self, event: MemberEvent) -> None:
        self._events.append(f"{event.kind} {event.member.name}")

    async def members(self) -> dict[str, str]:
        """Status by name."""
        return statuses(self._node)

    async def tags(self) -> dict[str, dict[str, str]]:
        """Tags by name."""
        return {member.name: member.tags for member in self._node.members()}

    async def events(self) -> list[str]:
        """Every member event so far."""
        return self._events

    async def score(self) -> int:
        """The local health."""
        return self._node.health_score

    async def join(self, *addresses: str) -> int:
        """How many answered."""
        return await self._node.join(addresses)

    async def set_tags(self, tags: dict[str, str]) -> None:
        """Change what it says of itself."""
        self._node.set_tags(tags)

    async def examine(self) -> dict[str, Any]:
        """What the network doctor shows and says."""
        done = await self._node.examiner.examine()
        return {
            "cells": {f"{path.source} {path.target}": cell(path) for path in done.paths()},
            "findings": [[one.kind, one.source, one.target, one.text] for one in findings(done)],
        }

    async def leave(self) -> None:
        """Leave, and go on answering."""
        await self._node.leave()


async def _main(name: str, about: str) -> None:
    options = msgspec.json.decode(about, type=Options)
    node = Gossip(name, options, SystemClock(), SeededDice())
    await node.start()
    answers, loop = _Answers(node), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        verb, *arguments = json.loads(line)
        print(json.dumps(await getattr(answers, verb)(*arguments)), flush=True)
    await node.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_main(*sys.argv[1:]))
