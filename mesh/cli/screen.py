"""The demo's live screen, and the lines it prints where there is none."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mesh.cli import tables
from mesh.cli.picture import DOMAIN, WATCHED, Picture

EVENTS_KEPT = 50
EVENTS_LEAST = 4
BORDERS = ("above", "below")
WIDE_COLUMNS = 110


class Screen(Protocol):
    """Where the demo shows itself."""

    def show(self, picture: Picture, pids: Mapping[str, int], elapsed_seconds: float) -> None:
        """Show the cluster as it is."""

    def tell(self, event: str, elapsed_seconds: float) -> None:
        """Say what just changed."""

    def close(self) -> None:
        """Give the terminal back."""


class Lines:
    """One line for every event."""

    def __init__(self, stream: TextIO, commands: Sequence[str]) -> None:
        self._stream = stream
        self._commands = commands
        self._told_commands = False

    def show(self, picture: Picture, pids: Mapping[str, int], elapsed_seconds: float) -> None:
        """Once there is a leader, say what can be tried."""
        del pids, elapsed_seconds
        if self._commands and picture.leader and picture.instances and not self._told_commands:
            self._told_commands = True
            self._stream.write("Try in another terminal:\n")
            self._stream.writelines(f"  {command}\n" for command in self._commands)
            self._stream.flush()

    def tell(self, event: str, elapsed_seconds: float) -> None:
        """Print it."""
        self._stream.write(f"{elapsed_seconds:7.2f}s  {event}\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to give back."""


class LiveScreen:
    """The whole terminal, drawn anew at every look."""

    def __init__(self, stream: TextIO, commands: Sequence[str]) -> None:
        self._console = Console(file=stream, highlight=False)
        self._commands = commands
        self._events: deque[str] = deque(maxlen=EVENTS_KEPT)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._live.start()

    def show(self, picture: Picture, pids: Mapping[str, int], elapsed_seconds: float) -> None:
        """Draw what fits, what matters most first."""
        title = self._title(picture, elapsed_seconds)
        members, instances = self._members(picture, pids), self._instances(picture)
        edges, dns, commands = self._edges(picture), self._dns(picture), self._try()
        body: list[RenderableType]
        if self._console.width >= WIDE_COLUMNS:
            grid = Table.grid(expand=True)
            grid.add_column(ratio=1)
            grid.add_column(ratio=1)
            grid.add_row(Group(members, instances), Group(edges, dns, commands))
            body = [grid]
        else:
            body = self._fitting([instances, edges, members, dns, commands])
        rest = self._console.height - self._height([title, *body]) - len(BORDERS)
        self._live.update(Group(title, *body, self._changes(max(rest, 1))), refresh=True)

    def _fitting(self, parts: Sequence[RenderableType]) -> list[RenderableType]:
        """As many of the parts as leave room for the title and some events."""
        found = list(parts)
        room = self._console.height - 1 - len(BORDERS) - EVENTS_LEAST
        while len(found) > 1 and self._height(found) > room:
            found.pop()
        return found

    def _height(self, parts: Sequence[RenderableType]) -> int:
        return sum(len(self._console.render_lines(part)) for part in parts)

    def tell(self, event: str, elapsed_seconds: float) -> None:
        """Keep it for the next drawing."""
        self._events.appendleft(f"{elapsed_seconds:7.1f}s  {event}")

    def close(self) -> None:
        """Give the terminal back as it was."""
        self._live.stop()

    def _title(self, picture: Picture, elapsed_seconds: float) -> Text:
        leader = picture.leader or "nobody yet"
        title = Text.assemble((" mesh demo ", "reverse bold"), "  leader: ", (leader, "bold green"))
        return title.append(f"   {elapsed_seconds:.0f} s   Ctrl-C stops everything", "dim")

    def _members(self, picture: Picture, pids: Mapping[str, int]) -> Panel:
        rows = [
            (one.name, one.address, one.kind, one.state, str(pids.get(one.name, "gone")))
            for one in picture.members
        ]
        return _panel(
            f"members, says {picture.asked or 'nobody'}",
            tables.compact(("Node", "Address", "Type", "Status", "Process"), rows),
        )

    def _instances(self, picture: Picture) -> Panel:
        rows = [(one.service, one.id, one.address, one.health) for one in picture.instances]
        return _panel(
            "services", tables.compact(("Service", "Instance", "Address", "Health"), rows)
        )

    def _edges(self, picture: Picture) -> Panel:
        rows = [
            (f"{one.source} -> {one.destination}", one.state, one.said) for one in picture.edges
        ]
        return _panel(
            "calls through sidecars, mutual TLS",
            tables.compact(("Call", "State", "Answer"), rows),
        )

    def _dns(self, picture: Picture) -> Panel:
        nodes: dict[str, list[str]] = {}
        for node, code, found in picture.dns:
            nodes.setdefault(" ".join(found) or code, []).append(node)
        rows = [(" ".join(names), answer) for answer, names in nodes.items()]
        title = f"DNS: {WATCHED}.service.{DOMAIN} SRV"
        return _panel(title, tables.compact(("Nodes", "Answer"), rows))

    def _try(self) -> Panel:
        return _panel("try in another terminal", Text("\n".join(self._commands), overflow="fold"))

    def _changes(self, count: int) -> Panel:
        return _panel(
            "what just changed",
            Text("\n".join(list(self._events)[:count]), overflow="ellipsis", no_wrap=True),
        )


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left")
