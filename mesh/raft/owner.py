"""The owner of a journal: it is one server's memory of its votes, so no other may go on from it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from mesh.codec import from_json, to_json
from mesh.errors import Invalid
from mesh.raft.disk import discarding
from mesh.raft.journal import make_folder, sync_folder

FORMAT = 1
_RECORD = "owner.json"


class _File(msgspec.Struct):
    format: int
    node: str


def check_owner(journal: Path, node: str) -> None:
    """Raise Invalid, naming the file, when the journal in this folder is another server's.

    One without a record is nobody's; `claim` makes it this server's.
    """
    path = journal / _RECORD
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    try:
        file = from_json(data, _File)
    except Invalid as error:
        raise Invalid(f"{path}: damaged: {error.message}; restore this server") from error
    if file.format > FORMAT:
        raise Invalid(f"{path}: written by a newer mesh (format {file.format}); upgrade mesh")
    if file.node != node:
        raise Invalid(
            f"{path}: this is the journal of node {file.node}, and this node is {node}; "
            "put its own data back, or restore this server"
        )


def claim(journal: Path, node: str) -> None:
    """Write down durably whose journal this is, unless it is there."""
    path, fresh = journal / _RECORD, journal / f"{_RECORD}.new"
    if path.exists():
        return
    make_folder(journal)
    with discarding(fresh), fresh.open("wb") as file:
        file.write(to_json(_File(FORMAT, node), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    sync_folder(journal)
