"""pysyncobj without its threads, sockets, poller, pickle and files: only its Raft arithmetic.

What is left of the library: terms and votes, counting votes, the commit index, the order of
applying, the leader's no-op. What it does wrong or not at all is in `guard` and `replica`.

Touched inside pysyncobj 0.3.17, all here (a new version needs this list read again):

- module globals, in a private copy of its module, so that nobody else sees the change:
  `createJournal` (our journal), `createPoller` (none), `PIPE_NOTIFIER_ENABLED` (no pipe),
  `monotonicTime` and `random` (our Clock and Dice), `pickle` (refuses), `logger` (ours);
- overridden: `__doApplyCommand` (commands are opaque bytes), `__sendAppendEntries` (the leader's
  side is `replica`, with pipelining and generations), `_checkCommandsToApply` (entries are added
  by `append`, so that their index is known at once), `__generateRaftTimeout` (never fires itself),
  `__getCurrentLogIndex` and `__getEntries` (the same in fewer steps: every entry needs both);
- set: `__raftElectionDeadline` (to start an election now), `__raftCommitIndex` and
  `__raftLastApplied` (after a snapshot was installed, or when the next epoch tells where this
  one ended);
- put back: `socket.inet_ntop`, which importing the library replaces for the whole process by a
  function that only fails, on any system but Windows;
- called: `__setCurrentTerm`, `__setState` (to step down on a higher term in an answer).
"""

from __future__ import annotations

import importlib.util
import logging
import socket
from collections.abc import Callable, Sequence
from operator import attrgetter
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

from mesh.clock import Clock, Dice
from mesh.raft.journal import Entry, Journal

log = logging.getLogger(__name__)

COMMAND = b"\x00"  # First byte of an entry: a command follows.
NO_OP = b"\x01"
STOP_SIGN = b"\x02"  # The record of the next epoch follows; nothing after it is applied.
APPLY_MAX = 128  # Entries applied in one tick: 50 to 100 us each, and the loop waits for them.
APPLY_BYTES_MAX = 1 << 20  # No more of them once they have so many bytes.
_FOLLOWER = 0
_NEVER = 1e9  # Seconds.
_INET_NTOP = socket.inet_ntop
_term_of = attrgetter("_SyncObj__raftCurrentTerm")
_leader_of = attrgetter("_SyncObj__raftLeader")
_commit_of = attrgetter("_SyncObj__raftCommitIndex")
_applied_of = attrgetter("_SyncObj__raftLastApplied")
_set_term_of = attrgetter("_SyncObj__setCurrentTerm")
_set_state_of = attrgetter("_SyncObj__setState")


class Hooks(Protocol):
    """What the engine tells its owner, always from within a call to the engine."""

    def apply(self, index: int, term: int, command: bytes | None) -> None:
        """The entry is committed; None is a no-op."""
        ...

    def stop_sign(self, index: int, term: int, record: bytes) -> None:
        """The stop-sign at this index is committed: nothing follows in this epoch."""
        ...

    def ask_vote(self, voter: str) -> None:
        """Ask this voter for its vote in the present term."""
        ...

    def give_vote(self, candidate: str, term: int) -> None:
        """Tell the candidate that it has this node's vote."""
        ...

    def role_changed(self) -> None:
        """Became or ceased to be leader or candidate."""
        ...


class _Log:
    """The journal as the library sees it."""

    def __init__(self, journal: Journal, commit: int) -> None:
        self._journal = journal
        self._commit = commit

    def __len__(self) -> int:
        return len(self._journal.entries)

    def __getitem__(self, item: Any) -> Any:
        """An entry or several: as many at most as may be applied at once, for that is their use."""
        entries = self._journal.entries
        if not isinstance(item, slice):
            return entries[item]
        start, stop, _ = item.indices(len(entries))
        stop, size = min(stop, start + APPLY_MAX), 0
        for place in range(start, stop - 1):
            size += len(entries[place][0])
            if size >= APPLY_BYTES_MAX:
                return entries[start : place + 1]
        return entries[start:stop]

    def last(self) -> int:
        """The index of the newest entry."""
        return self._journal.entries[-1][1]

    def entries(self, first: int | None, count: int | None = None) -> list[Entry]:
        """So many entries from this index on, or all; not more than may be applied at once."""
        held = self._journal.entries
        start = -1 if first is None else first - held[0][1]
        if start < 0:
            return []
        if count == 1:
            return held[start : start + 1]
        found: list[Entry] = self[start : None if count is None else start + count]
        return found

    def add(self, command: bytes, index: int, term: int) -> None:
        self._journal.append(command, index, term)

    def setCurrentTerm(self, term: int, vote: str | None) -> None:  # noqa: N802  (the library's)
        self._journal.set_term(term, vote or "")

    def getCurrentTerm(self) -> int:  # noqa: N802  (the library's)
        return self._journal.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802  (the library's)
        return self._journal.vote or None

    def getRaftCommitIndex(self) -> int:  # noqa: N802  (the library's)
        return self._commit

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802  (the library's)
        """The commit index is never saved: after a restart it is the snapshot's."""

    def onOneSecondTimer(self) -> None:  # noqa: N802  (the library's)
        """Nothing to do."""


class _Wire:
    """The transport as the library sees it: always ready, and only votes leave through it."""

    ready = True

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self.connected: Callable[[Any], None] = _ignore
        self.disconnected: Callable[[Any], None] = _ignore
        self.received: Callable[[Any, dict[str, Any]], None] = _ignore

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("setOn"):
            raise AttributeError(name)
        return _ignore

    def setOnNodeConnectedCallback(self, callback: Callable[[Any], None]) -> None:  # noqa: N802
        self.connected = callback

    def setOnNodeDisconnectedCallback(self, callback: Callable[[Any], None]) -> None:  # noqa: N802
        self.disconnected = callback

    def setOnMessageReceivedCallback(self, callback: Callable[..., None]) -> None:  # noqa: N802
        self.received = callback

    def send(self, node: Any, message: dict[str, Any]) -> bool:
        kind = message["type"]
        if kind == "request_vote":
            self._hooks.ask_vote(node.id)
        elif kind == "response_vote":
            self._hooks.give_vote(node.id, message["term"])
        else:  # `replica` acknowledges by itself; nothing else may leave.
            assert kind == "next_node_idx", kind
        return True


def _ignore(*_: object) -> None:
    """Take any notice and do nothing."""


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("nothing is ever pickled or unpickled")


def _private_copy(journal: _Log, clock: Clock, dice: Dice) -> ModuleType:
    spec = importlib.util.find_spec("pysyncobj.syncobj")  # This imports the whole library.
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    socket.inet_ntop = _INET_NTOP
    poller = SimpleNamespace(poll=_ignore)
    replaced = {
        "createJournal": lambda _file: journal,
        "createPoller": lambda _kind: poller,
        "PIPE_NOTIFIER_ENABLED": False,
        "monotonicTime": clock.monotonic,
        "random": SimpleNamespace(random=lambda: dice.uniform(0.0, 1.0)),
        "pickle": SimpleNamespace(dumps=_refuse, loads=_refuse, dump=_refuse, load=_refuse),
        "logger": log,
    }
    for name, value in replaced.items():
        assert hasattr(module, name), f"pysyncobj has no {name} any more"
        setattr(module, name, value)
    return module


def _never(*_: object) -> float:
    return _NEVER


class Engine:
    """The Raft state of one voter. It is driven from one thread and does no I/O.

    `commit` is the index up to which entries are known to be committed and applied by the
    machine: the index of the snapshot that was restored, or 1.
    """

    def __init__(
        self,
        me: str,
        others: Sequence[str],
        journal: Journal,
        hooks: Hooks,
        timing: tuple[Clock, Dice, float],
        commit: int = 1,
    ) -> None:
        clock, dice, self._quorum_seconds = timing
        self.journal = journal
        self._hooks = hooks
        self._stopped_at = 0
        self._wire = _Wire(hooks)
        shown = _Log(journal, commit)
        module = _private_copy(shown, clock, dice)
        node = module.Node
        self._nodes = {name: node(name) for name in others}
        overrides: dict[str, Callable[..., object]] = {
            "_SyncObj__doApplyCommand": self._apply,  # Bound: the library's own self is not passed.
            "_SyncObj__sendAppendEntries": _ignore,
            "_checkCommandsToApply": _ignore,
            "_SyncObj__generateRaftTimeout": _never,
            "_SyncObj__getCurrentLogIndex": shown.last,
            "_SyncObj__getEntries": shown.entries,
        }
        for name in overrides:
            assert hasattr(module.SyncObj, name), f"pysyncobj has no {name} any more"
        kind = type("Library", (module.SyncObj,), overrides)
        self._library: Any = kind(
            node(me), set(self._nodes.values()), conf=self._settings(module), transport=self._wire
        )
        assert journal.entries, "the library puts the first entry"
        self._set("raftLastApplied", commit)

    def _settings(self, module: ModuleType) -> Any:
        return module.SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=True,
            dynamicMembershipChange=False,
            commandsWaitLeader=False,
            raftMinTimeout=_NEVER,
            raftMaxTimeout=2 * _NEVER,
            connectionTimeout=2 * _NEVER,
            leaderFallbackTimeout=self._quorum_seconds,
            logCompactionMinEntries=1 << 62,
            logCompactionMinTime=_NEVER * _NEVER,
            onStateChanged=lambda _old, _new: self._hooks.role_changed(),
        )

    @property
    def term(self) -> int:
        """The present term."""
        return int(_term_of(self._library))

    @property
    def leader(self) -> str:
        """Node id of who leads the present term, as far as known; empty for unknown."""
        node = _leader_of(self._library)
        return node.id if node is not None else ""

    @property
    def leads(self) -> bool:
        """Whether this voter is a leader in its term."""
        return bool(self._library._isLeader())  # noqa: SLF001  (the library has no public name)

    @property
    def commit(self) -> int:
        """Highest index known to be committed; the stop-sign's once that is applied."""
        return self._stopped_at or int(_commit_of(self._library))

    @property
    def applied(self) -> int:
        """Highest index applied to the machine; the stop-sign's once that is applied."""
        return self._stopped_at or int(_applied_of(self._library))

    @property
    def behind(self) -> bool:
        """Whether more is committed than the last tick could apply: the next should come soon."""
        return bool(_applied_of(self._library) < self.commit)

    def tick(self) -> None:
        """Count acknowledgements, apply what is committed, step down without a majority."""
        self._library.doTick()

    def campaign(self) -> None:
        """Start an election in the next term. Ask the others first, see `replica`."""
        for node in self._nodes.values():
            self._wire.connected(node)  # Without connections the library starts no election.
        self._set("raftElectionDeadline", 0.0)
        self.tick()
        for node in self._nodes.values():
            self._wire.disconnected(node)
        self._set("raftElectionDeadline", float("inf"))

    def append(self, command: bytes, kind: bytes = COMMAND) -> int:
        """Add a command, or another kind of entry, to the leader's log; its index."""
        return self.extend([kind + command])

    def extend(self, entries: Sequence[bytes]) -> int:
        """Add entries, each with its kind before it, to the leader's log; the index of the last."""
        assert self.leads
        index, term, journal = self.journal.last_index, self.term, self.journal
        for entry in entries:
            index += 1
            journal.append(entry, index, term)
        return index

    def hear_leader(self, leader: str, term: int, commit: int) -> None:
        """A leader of this term, not lower than ours, is heard; our log equals its up to commit.

        The library is shown a heartbeat on our own last entry, so that it deletes nothing.
        """
        message = {
            "type": "append_entries",
            "term": term,
            "commit_index": commit,
            "entries": [],
            "prevLogIdx": self.journal.last_index,
            "prevLogTerm": self.journal.last_term,
        }
        self._wire.received(self._nodes[leader], message)

    def hear_ack(self, peer: str, index: int, *, matches: bool) -> None:
        """A voter answered in this term; if it matches, its log equals ours up to the index."""
        message = {
            "type": "next_node_idx",
            "next_node_idx": index + 1,
            "reset": False,
            "success": matches,
        }
        self._wire.received(self._nodes[peer], message)

    def hear_candidate(self, peer: str, term: int, last_index: int, last_term: int) -> None:
        """A candidate asks for a vote."""
        message = {
            "type": "request_vote",
            "term": term,
            "last_log_index": last_index,
            "last_log_term": last_term,
        }
        self._wire.received(self._nodes[peer], message)

    def hear_vote(self, peer: str, term: int) -> None:
        """A voter gave its vote, for the first time in this term."""
        self._wire.received(self._nodes[peer], {"type": "response_vote", "term": term})

    def hear_term(self, term: int) -> None:
        """Somebody is in a higher term: follow, with no leader known."""
        assert term > self.term
        self._set("raftLeader", None)
        _set_term_of(self._library)(term, None)
        _set_state_of(self._library)(_FOLLOWER)

    def lose_leader(self) -> None:
        """The leader was not heard for too long."""
        self._set("raftLeader", None)

    def commit_to(self, index: int) -> None:
        """The entry at this index, which our log holds, is committed: apply up to it."""
        assert index <= self.journal.last_index
        self._set("raftCommitIndex", max(index, _commit_of(self._library)))
        self.tick()

    def installed(self, index: int) -> None:
        """The machine was restored to this index, and the journal fits it."""
        self._set("raftCommitIndex", index)
        self._set("raftLastApplied", index)

    def _apply(self, command: bytes) -> None:
        if self._stopped_at:
            return
        index = _applied_of(self._library) + 1
        term = self.journal.term_at(index)
        assert term is not None
        if command[:1] == STOP_SIGN:
            self._hooks.stop_sign(index, term, command[1:])
            self._stopped_at = index
        else:
            self._hooks.apply(index, term, command[1:] if command[:1] == COMMAND else None)

    def _set(self, name: str, value: object) -> None:
        assert hasattr(self._library, f"_SyncObj__{name}"), f"pysyncobj has no {name} any more"
        setattr(self._library, f"_SyncObj__{name}", value)
