"""The past: the state an epoch starts from, as the folders of the epochs before it hold it.

A change of membership moves no data: until the new epoch has its own first snapshot, its start is
the last snapshot of an earlier epoch and the logs since.
"""

from __future__ import annotations

from pathlib import Path

from mesh.errors import Invalid
from mesh.raft.engine import COMMAND
from mesh.raft.epochs import Epoch, Epochs
from mesh.raft.journal import Journal, Segments
from mesh.raft.packer import StateMachine
from mesh.raft.snapshots import Snapshots


class Past:
    """Reads earlier epochs of one server, and changes nothing."""

    def __init__(self, epochs: Epochs) -> None:
        self._epochs = epochs

    def restore(self, epoch: Epoch, machine: StateMachine) -> None:
        """Bring the machine to the state this epoch starts from. Raises Invalid on damage."""
        self._restore(epoch.number - 1, epoch.start_index, machine)

    def _restore(self, number: int, until: int, machine: StateMachine) -> None:
        folder = Path(self._epochs.folder(number))
        snapshot = Snapshots(str(folder / "snapshots")).open()
        journal = self.journal(number)
        if snapshot is not None:
            machine.prepare(snapshot.index, snapshot.pieces()).install()
        elif journal.first_index > 1:
            self._restore(number - 1, journal.first_index, machine)
        done = snapshot.index if snapshot else journal.first_index
        if not journal.first_index <= done + 1 <= until + 1 <= journal.last_index + 1:
            raise Invalid(
                f"{folder}: holds entries {journal.first_index} to {journal.last_index} after "
                f"{done}, but epoch {number + 1} starts at {until}; restore this server"
            )
        for data, index, _ in journal.entries[done + 1 - journal.first_index :]:
            if index > until:
                break
            if data[:1] == COMMAND:
                machine.apply(index, data[1:])

    def journal(self, number: int) -> Journal:
        """The log of an earlier epoch. Raises Invalid, naming the file, on damage."""
        folder = Path(self._epochs.folder(number), "journal")
        journal = Journal()
        try:
            journal.replay(Segments(str(folder)).read())
        except Invalid as error:
            named = error.message if str(folder) in error.message else f"{folder}: {error.message}"
            raise Invalid(named) from error
        if not journal.entries:
            raise Invalid(f"{folder}: holds no entry; restore this server")
        return journal
